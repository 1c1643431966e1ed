"""Live previews: when they are decoded, what they look like, and what they may cost."""

import threading
from types import SimpleNamespace

import pytest
import torch
from PIL import Image, ImageChops, ImageStat

CALL = 1.0  # seconds that a call of the model takes by the clock of these tests


class Clock:
    """A clock that only calls of the model and the decoder move. `decoded` has a record of each decoding."""

    def __init__(self):
        self.now, self.cost, self.decoded = 0.0, 0.0, []

    def perf_counter(self):
        return self.now

    @property
    def seconds(self):
        return sum(record.seconds for record in self.decoded)


@pytest.fixture
def clock(pack, model, monkeypatch):
    """Previews are on, by a clock whose `cost` is what decoding a picture takes. Fitting the colours is left out."""
    from comfy.cli_args import LatentPreviewMethod, args

    clock = Clock()
    for name in ("preview", "preview_time", "progress", "vae"):
        monkeypatch.setattr(pack.module(f"nodes.{name}"), "time", clock)
    tokenizer, step = model.vae.tokenizer, type(model.transformer).step
    decode_codes = tokenizer.decode_codes

    def timed_decode(vectors):
        seconds = clock.cost * len(vectors)
        clock.now += seconds
        clock.decoded.append(SimpleNamespace(at=clock.now, seconds=seconds, thread=threading.get_ident()))
        return decode_codes(vectors)

    def timed_step(self, *arguments):
        clock.now += CALL
        return step(self, *arguments)

    monkeypatch.setattr(tokenizer, "decode_codes", timed_decode)
    monkeypatch.setattr(type(model.transformer), "step", timed_step)
    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Auto)

    def decoding_takes(seconds):
        with torch.inference_mode():
            pack.module("nodes.code_colours").code_colours(model.vae)
        clock.cost = seconds
        monkeypatch.setattr(model.vae, "decode_seconds", seconds / model.vae.computed_cells(4, 4))
        clock.decoded.clear()

    monkeypatch.setattr(model.vae, "code_colours", None)
    clock.decoding_takes = decoding_takes
    return clock


@pytest.fixture
def preview(pack, model, monkeypatch):
    """A preview of the tiny model that may decode, which takes no time worth counting."""
    with torch.inference_mode():
        preview = pack.module("nodes.preview").Preview(model.vae, decoded=True)
    preview.may_decode = True
    monkeypatch.setattr(model.vae, "decode_seconds", 1e-6)
    monkeypatch.setattr(model.vae, "code_colours", model.vae.code_colours)  # decoding makes them better
    return preview


def difference(first: Image.Image, second: Image.Image) -> float:
    """The largest mean difference of a colour, in 0…255."""
    assert first.size == second.size
    return max(ImageStat.Stat(ImageChops.difference(first, second)).mean)


def picture_of(model, latent) -> Image.Image:
    pixels = model.vae.decode(latent["samples"])[0]
    return Image.fromarray((pixels * 255).to(torch.uint8).numpy()).resize((64, 64), Image.Resampling.BICUBIC)


def level(image: Image.Image, row: int, column: int) -> float:
    """The mean level of a cell of 16 pixels, less its edge."""
    x, y = 16 * column, 16 * row
    return sum(ImageStat.Stat(image.crop((x + 4, y + 4, x + 12, y + 12))).mean) / 3


def test_a_quick_decoder_shows_the_picture_itself(model, sample, reports, clock):
    clock.decoding_takes(0.01)
    latent = sample(steps=16)[0]
    assert len(clock.decoded) > 4
    assert difference(reports[-1][2][1], picture_of(model, latent)) < 1


def test_a_slow_decoder_is_left_alone(pack, model, sample, reports, clock):
    clock.decoding_takes(1.01 * pack.module("nodes.preview").LONGEST_PAUSE)
    latent = sample(steps=16)[0]
    assert not clock.decoded and len(reports) == 16 and all(preview for *_, preview in reports)
    assert difference(reports[-1][2][1], picture_of(model, latent)) > 5


@pytest.mark.parametrize("cost", [0.003, 0.02, 0.09, 0.3, 0.8])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_decoding_takes_no_more_than_its_share_of_a_run(pack, sample, clock, cost, batch_size):
    clock.decoding_takes(cost)
    share = pack.module("nodes.preview_time").SHARE
    began = clock.now + CALL
    sample(steps=16, batch_size=batch_size)
    assert clock.decoded
    spent = 0.0
    for record in clock.decoded:
        spent += record.seconds
        assert spent <= share * (record.at - record.seconds - began) + 1e-9


def test_time_for_one_picture_is_kept_for_the_last(model, sample, reports, clock):
    clock.decoding_takes(0.9)
    began = clock.now
    latent = sample(steps=16)[0]
    assert [record.at for record in clock.decoded] == [pytest.approx(began + 16 * CALL + 0.9)]
    assert difference(reports[-1][2][1], picture_of(model, latent)) < 1


@pytest.mark.parametrize(("cost", "decoded"), [(0.08, 1), (0.12, 0)])
def test_the_last_preview_of_a_short_run_is_decoded_where_that_is_quick(sample, clock, monkeypatch, cost, decoded):
    monkeypatch.setitem(globals(), "CALL", 0.004)
    clock.decoding_takes(cost)
    sample(steps=16)
    assert len(clock.decoded) == decoded


def test_decoding_is_done_where_the_run_is_and_not_beside_it(sample, clock):
    clock.decoding_takes(0.01)
    sample()
    assert {record.thread for record in clock.decoded} == {threading.get_ident()}


def test_previews_change_no_token(sample, clock, monkeypatch):
    from comfy.cli_args import LatentPreviewMethod, args

    clock.decoding_takes(0.01)
    seen = sample(steps=16, batch_size=3)
    assert clock.decoded
    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.NoPreviews)
    unseen = sample(steps=16, batch_size=3)
    assert seen[0]["samples"].equal(unseen[0]["samples"]) and seen[1].equal(unseen[1])


@pytest.fixture
def loads(monkeypatch):
    """The patchers of each load that ComfyUI is asked for."""
    import comfy.model_management as management

    asked = []
    monkeypatch.setattr(management, "load_models_gpu", lambda models, **more: asked.append(models))
    return asked


def test_without_previews_nothing_is_fitted_loaded_or_decoded(model, sample, clock, loads, monkeypatch):
    from comfy.cli_args import LatentPreviewMethod, args

    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.NoPreviews)
    sample()
    assert model.vae.code_colours is None and loads == [[model.patcher]] and not clock.decoded


def test_latent2rgb_shows_colours_only(model, sample, reports, clock, loads, monkeypatch):
    from comfy.cli_args import LatentPreviewMethod, args

    clock.decoding_takes(0.001)
    loads.clear()
    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Latent2RGB)
    sample()
    assert reports[-1][2] and loads == [[model.patcher]] and not clock.decoded


@pytest.mark.parametrize("room", [True, False])
def test_the_decoder_is_loaded_into_free_memory_only(model, sample, clock, loads, monkeypatch, room):
    import comfy.model_management as management

    clock.decoding_takes(0.001)
    loads.clear()
    monkeypatch.setattr(management, "get_free_memory", lambda device, *more: 2**34 if room else 2**29)
    sample()
    assert loads == [[model.patcher, model.vae.patcher] if room else [model.patcher]]
    assert bool(clock.decoded) == room


def test_what_is_free_must_hold_the_weights_that_are_missing(pack, monkeypatch):
    import comfy.model_management as management

    fits, gib = pack.module("nodes.host_memory").fits_beside, 2**30

    def patcher(size, loaded, load="card", offload="cpu"):
        return SimpleNamespace(
            load_device=load, offload_device=offload, model_size=lambda: size * gib, loaded_size=lambda: loaded * gib
        )

    monkeypatch.setattr(management, "minimum_inference_memory", lambda: gib)
    monkeypatch.setattr(management, "get_free_memory", lambda device: 10 * gib)
    assert fits(patcher(2, 0), [patcher(5, 0)], gib)
    assert not fits(patcher(4, 0), [patcher(5, 0)], gib)
    assert fits(patcher(4, 0), [patcher(5, 5)], gib)  # the model is loaded
    assert fits(patcher(4, 0), [patcher(5, 0, "other card")], gib)
    assert fits(patcher(20, 0, "cpu"), [patcher(20, 0, "cpu")], gib)  # weights on the CPU stay where they are
    assert not fits(patcher(20, 0, "cpu"), [patcher(20, 0, "cpu")], 10 * gib)


def test_no_preview_is_decoded_while_memory_is_short(sample, reports, clock, monkeypatch):
    import comfy.model_management as management

    clock.decoding_takes(0.001)
    monkeypatch.setattr(management, "get_free_memory", lambda device, *more: 2**34 if clock.now < 8 * CALL else 0)
    began = clock.now
    assert began < 8 * CALL
    sample(steps=16)
    assert clock.decoded and max(record.at for record in clock.decoded) < 8 * CALL and reports[-1][2]


def test_a_preview_that_runs_out_of_memory_costs_the_run_nothing(model, sample, reports, clock, monkeypatch):
    clock.decoding_takes(0.001)
    whole, starts, start = sample(steps=16, batch_size=2)[0]["samples"], [], type(model.transformer).start
    tries = []

    def full(vectors):
        tries.append(len(vectors))
        raise torch.OutOfMemoryError

    monkeypatch.setattr(model.vae.tokenizer, "decode_codes", full)
    monkeypatch.setattr(type(model.transformer), "start", lambda *a, **k: starts.append(1) or start(*a, **k))
    assert sample(steps=16, batch_size=2)[0]["samples"].equal(whole)
    assert len(tries) == 1 and len(starts) == 1 and reports[-1][2]


def test_another_error_of_the_decoder_is_not_hidden(model, sample, clock, monkeypatch):
    clock.decoding_takes(0.001)

    def broken(vectors):
        raise RuntimeError("a fault in the decoder")

    monkeypatch.setattr(model.vae.tokenizer, "decode_codes", broken)
    with pytest.raises(RuntimeError, match="a fault in the decoder"):
        sample(steps=16)


def test_an_interrupt_while_a_preview_is_decoded_ends_the_run(model, sample, reports, clock, monkeypatch):
    import comfy.model_management as management

    clock.decoding_takes(0.001)
    decode_codes = model.vae.tokenizer.decode_codes

    def interrupted(vectors):
        management.interrupt_current_processing()
        return decode_codes(vectors)

    monkeypatch.setattr(model.vae.tokenizer, "decode_codes", interrupted)
    with pytest.raises(management.InterruptProcessingException):
        sample(steps=16)
    assert len(clock.decoded) == 1


TOKENS = torch.randint(32, (1, 4, 4), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("seconds", [0.0, 1000.0])
@torch.inference_mode()
def test_undrawn_cells_are_dimmed(pack, preview, seconds):
    module = pack.module("nodes.preview")
    part = torch.full_like(TOKENS, 7)
    whole = part.clone()
    part[:, 1:3, 2] = module.UNDRAWN
    assert (preview.decode(whole, 512, seconds) > 0) == (seconds > 0)
    full = preview.image(whole, 512)
    preview.begin(part[:, :2])  # forget
    preview.decode(part, 512, seconds)
    image = preview.image(part, 512)
    dark = level(Image.new("RGB", (64, 64), module.BACKGROUND), 0, 0)
    for row in (1, 2):
        assert level(image, row, 2) == pytest.approx(
            dark + module.BRIGHTNESS * (level(full, row, 2) - dark), abs=0.15 * level(full, row, 2)
        )
        assert level(image, row, 1) == pytest.approx(level(full, row, 1), abs=0.15 * level(full, row, 1))


@torch.inference_mode()
def test_a_picture_that_is_not_begun_is_dark(pack, preview):
    module = pack.module("nodes.preview")
    image = preview.image(torch.cat([TOKENS, torch.full_like(TOKENS, module.UNDRAWN)]), 512)
    assert image.size == (128, 64)
    assert max(channel[1] for channel in image.crop((64, 0, 128, 64)).getextrema()) <= max(module.BACKGROUND)


@torch.inference_mode()
def test_cells_drawn_since_the_last_decoding_leave_the_others_sharp(pack, preview):
    tokens = TOKENS.clone()
    tokens[:, 0, 0] = pack.module("nodes.preview").UNDRAWN
    preview.decode(tokens, 512, 1000.0)
    before, after = preview.image(tokens, 512), preview.image(TOKENS, 512)
    for row in range(4):
        for column in range(4):
            same = level(before, row, column) == level(after, row, column)
            assert same == ((row, column) != (0, 0))


@torch.inference_mode()
def test_few_cells_are_not_decoded(pack, preview):
    tokens = torch.full_like(TOKENS, pack.module("nodes.preview").UNDRAWN)
    tokens[:, 0, 0] = 1
    assert preview.decode(tokens, 512, 1000.0) == 0.0


@torch.inference_mode()
def test_a_preview_of_a_huge_canvas_is_as_small_as_what_is_shown(preview):
    image = preview.image(torch.zeros(1, 30, 1200, dtype=torch.long), 256)
    assert image.size == (256, 6)
