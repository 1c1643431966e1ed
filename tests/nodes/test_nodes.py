"""The nodes, inside the stand-in host or the real one."""

import gc
import os
import pickle
import platform
import threading
import weakref
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

SEED_MAX = 0xFFFFFFFFFFFFFFFF


@pytest.fixture
def star(pack):
    return pack.run("RandARClassList", class_list="star")[0]


@pytest.fixture
def sample(pack, model, star):
    """Run the sampler with a few steps; the latent's samples and the confidence."""

    def run(**inputs):
        inputs = {"model": model, "classes": star, "seed": 1, "steps": 4, "cfg": 2.0} | inputs
        latent, confidence = pack.run("RandARSampler", **inputs)
        return latent, confidence

    return run


@pytest.fixture
def picture(model):
    """An IMAGE of the model's own size whose tokens differ from cell to cell."""
    ids = torch.randint(32, (1, 4, 4), generator=torch.Generator().manual_seed(5))
    return model.vae.decode(model.vae.vectors(ids))


def inputs_of(node):
    return {socket.id: socket for socket in node.GET_SCHEMA().inputs}


# --- what ComfyUI sees


def test_everything_has_a_tooltip_and_is_found_by_other_names(pack):
    for node in pack.nodes.values():
        schema = node.GET_SCHEMA()
        assert schema.node_id.startswith("RandAR") and schema.category.startswith("RandAR")
        assert schema.description and schema.search_aliases
        for socket in [*schema.inputs, *schema.outputs]:
            assert socket.tooltip, (schema.node_id, getattr(socket, "id", None))
        assert all(output.display_name for output in schema.outputs)


def test_the_sampler_reads_like_ksampler(pack):
    sockets = inputs_of(pack.nodes["RandARSampler"])
    assert list(sockets)[:5] == ["model", "classes", "seed", "steps", "cfg"]
    assert sockets["seed"].control_after_generate and sockets["seed"].max == SEED_MAX
    assert [name for name, socket in sockets.items() if getattr(socket, "advanced", None)] == [
        "temperature",
        "top_k",
        "top_p",
        "mask_threshold",
    ]
    assert sockets["steps"].default == 88 and sockets["denoise"].default == 1.0


def test_classes_are_listed_with_number_and_name(pack):
    options = inputs_of(pack.nodes["RandARClass"])["class_name"].options
    assert "207: golden retriever" in options and len(set(options)) == len(options) >= 1000


# --- loading


def test_a_model_brings_its_vae(pack, tiny, model):
    assert tiny.name in inputs_of(pack.nodes["RandARLoadModel"])["model_name"].options
    assert model.side == 16 and model.vae.spacial_compression_decode() == 4
    assert model.class_names == ("circle", "square", "star")


@pytest.mark.parametrize("choice", ["default", "bf16", "fp32", "int8"])
def test_the_weights_get_the_chosen_precision_and_are_counted(pack, tiny, star, choice):
    precisions = pack.module("randar_core.runtime.precision")
    if choice == "int8" and not precisions.can_pack_in(choice):
        pytest.skip("no kernels for weights in int8 here")
    model, _ = pack.run("RandARLoadModel", model_name=tiny.name, weight_dtype=choice)
    name = {"default": "auto", "bf16": "bfloat16", "fp32": "float32", "int8": "int8"}[choice]
    wanted = precisions.precision_of(name, model.device)
    assert next(model.transformer.parameters()).dtype == wanted.dtype
    whole = sum(p.numel() for p in pack.module("randar_core.checkpoints.model").load_transformer(tiny).parameters())
    linears = [m for m in model.transformer.modules() if hasattr(m, "in_features")]
    packed = sum(layer.in_features * layer.out_features for layer in linears)
    itemsize = {None: wanted.dtype.itemsize, "float16": 2, "int8": 1}[wanted.bits]
    assert model.patcher.model_size() == (whole - packed) * wanted.dtype.itemsize + packed * itemsize
    latent, _ = pack.run("RandARSampler", model=model, classes=star, seed=0, steps=4, cfg=2.0)
    assert latent["samples"].dtype == torch.float32


@pytest.fixture
def parts(pack, tiny):
    """The tiny model in two files: a decoder alone and its tokenizer."""
    bundle = pack.module("randar_core.checkpoints.bundle")
    whole = pack.module("randar_core.checkpoints.model").load_model(tiny)
    decoder, tokenizer = pack.models / "decoder.safetensors", pack.models / "codes.safetensors"
    bundle.save_bundle(decoder, transformer=whole.transformer)
    bundle.save_bundle(tokenizer, tokenizer=whole.tokenizer)
    yield decoder, tokenizer
    for path in pack.models.iterdir():
        if path != tiny:
            path.unlink()


def test_the_only_tokenizer_that_fits_is_found(pack, tiny, parts):
    decoder, tokenizer = parts
    hidden = tiny.rename(tiny.with_suffix(".hidden"))
    try:
        model, _ = pack.run("RandARLoadModel", model_name=decoder.name)
    finally:
        hidden.rename(tiny)
    assert model.vae.latent_channels == 4


def test_unreadable_files_of_others_do_not_stop_a_model(pack, tiny, parts):
    decoder, tokenizer = parts
    (pack.models / "cut.safetensors").write_bytes(tokenizer.read_bytes()[:100])
    (pack.models / "code.pt").write_bytes(pickle.dumps(print))
    (pack.models / "loop.pt").symlink_to(pack.models / "loop.pt")
    hidden = tiny.rename(tiny.with_suffix(".hidden"))
    try:
        assert pack.nodes["RandARLoadModel"].fingerprint_inputs(decoder.name)
        model, _ = pack.run("RandARLoadModel", model_name=decoder.name)
    finally:
        hidden.rename(tiny)
    assert model.vae.latent_channels == 4


def test_of_several_tokenizers_the_user_chooses(pack, parts):
    decoder, tokenizer = parts  # the bundle holds a tokenizer too
    with pytest.raises(
        ValueError, match="Several tokenizers fit.*codes.safetensors.*Name one of them as the tokenizer"
    ):
        pack.run("RandARLoadModel", model_name=decoder.name)
    pack.run("RandARLoadModel", model_name=decoder.name, tokenizer=tokenizer.name)


def test_a_decoder_without_a_tokenizer_says_what_is_missing(pack, tiny, parts):
    decoder, tokenizer = parts
    tokenizer.unlink()
    hidden = tiny.rename(tiny.with_suffix(".hidden"))
    try:
        with pytest.raises(ValueError, match="without a tokenizer, and no tokenizer that fits it was found"):
            pack.run("RandARLoadModel", model_name=decoder.name)
    finally:
        hidden.rename(tiny)


def test_a_tokenizer_that_cannot_be_read_is_named_where_none_is_found(pack, tiny, parts):
    decoder, tokenizer = parts
    tokenizer.write_bytes(tokenizer.read_bytes()[:100])
    hidden = tiny.rename(tiny.with_suffix(".hidden"))
    try:
        with pytest.raises(
            ValueError, match="These files can't be read: codes.safetensors. Name one of them as the tokenizer"
        ):
            pack.run("RandARLoadModel", model_name=decoder.name)
    finally:
        hidden.rename(tiny)


def test_a_model_is_loaded_anew_when_a_file_of_its_own_has_changed_and_no_other(pack, tiny, parts):
    decoder, tokenizer = parts
    load, gone = pack.nodes["RandARLoadModel"], pack.models / "gone.safetensors"
    before = {name: load.fingerprint_inputs(name) for name in (tiny.name, decoder.name)}
    gone.symlink_to(pack.models / "nowhere.safetensors")
    assert load.fingerprint_inputs(decoder.name) == before[decoder.name]
    os.utime(tokenizer, (1, 1))
    assert load.fingerprint_inputs(tiny.name) == before[tiny.name]
    assert load.fingerprint_inputs(decoder.name) != before[decoder.name]


def test_a_download_is_run_again_when_its_file_has_gone(pack):
    download, path = pack.nodes["RandARDownloadModel"], pack.models / "vq_ds16_c2i.pt"
    path.write_bytes(b"weights")
    before = download.fingerprint_inputs("randar-l-llamagen")
    assert download.fingerprint_inputs("randar-l-llamagen") == before
    path.unlink()
    assert download.fingerprint_inputs("randar-l-llamagen") != before


def test_a_tokenizer_is_no_model(pack, parts):
    with pytest.raises(ValueError, match="tokenizer without a transformer. Give the file of the model"):
        pack.run("RandARLoadModel", model_name=parts[1].name)


def test_a_file_of_another_kind_is_named(pack, parts):
    save_file({"lora": torch.zeros(2)}, pack.models / "lora.safetensors")
    with pytest.raises(ValueError, match="lora.safetensors"):
        pack.run("RandARLoadModel", model_name="lora.safetensors")


def test_a_broken_file_is_named(pack, parts):
    (pack.models / "cut.safetensors").write_bytes(b"\x10\x00\x00")
    with pytest.raises(ValueError, match="cut.safetensors"):
        pack.run("RandARLoadModel", model_name="cut.safetensors")


def test_a_file_that_has_gone_is_named(pack):
    with pytest.raises(FileNotFoundError, match="gone.safetensors"):
        pack.run("RandARLoadModel", model_name="gone.safetensors")


# --- classes


def test_classes_chain_into_a_batch(pack, sample):
    first = pack.run("RandARClassList", class_list="circle")[0]
    both = pack.run("RandARClassList", class_list="1, star", classes=first)[0]
    latent, _ = sample(classes=both, batch_size=2)
    assert len(latent["samples"]) == 6


def test_a_class_of_another_model_is_refused(pack, sample):
    retriever = pack.run("RandARClass", class_name="207: golden retriever")[0]
    with pytest.raises(ValueError, match="doesn't know the class '207: golden retriever'.*circle, square, star"):
        sample(classes=retriever)


def test_a_class_that_does_not_exist_is_refused_with_near_names(pack, sample):
    with pytest.raises(ValueError, match="circel.*Did you mean circle"):
        sample(classes=pack.run("RandARClassList", class_list="circel")[0])


def test_an_empty_class_list_is_refused(pack):
    with pytest.raises(ValueError, match="class list is empty"):
        pack.run("RandARClassList", class_list=" \n,")


def test_the_built_in_model_draws_its_own_classes(pack, reports):
    model, vae = pack.run("RandARLoadModel", model_name="built-in")
    options = inputs_of(pack.nodes["RandARClass"])["class_name"].options
    assert options[: len(model.class_names)] == [f"built-in: {name}" for name in model.class_names]
    star = pack.run("RandARClass", class_name="built-in: star")[0]
    latent, _ = pack.run("RandARSampler", model=model, classes=star, seed=0, steps=4, cfg=2.0)
    assert vae.decode(latent["samples"]).shape == (1, model.side, model.side, 3)


# --- the sampler


def test_a_picture_is_drawn(sample, model):
    latent, confidence = sample()
    assert latent["samples"].shape == (1, 4, 4, 4) and latent["samples"].dtype == torch.float32
    assert confidence.shape == (1, 16, 16) and 0 < confidence.min() and confidence.max() <= 1
    assert model.vae.decode(latent["samples"]).shape == (1, 16, 16, 3)


def test_a_seed_gives_the_same_picture_again_and_another_one_another(sample):
    assert sample(seed=3)[0]["samples"].equal(sample(seed=3)[0]["samples"])
    assert not sample(seed=3)[0]["samples"].equal(sample(seed=4)[0]["samples"])


@pytest.mark.parametrize("seed", [0, SEED_MAX])
def test_seeds_at_both_ends_work(sample, seed):
    assert sample(seed=seed)[0]["samples"].isfinite().all()


def test_a_picture_does_not_depend_on_the_batch(sample):
    batch = sample(batch_size=3)[0]["samples"]
    assert batch[:1].equal(sample()[0]["samples"])
    assert not batch[0].equal(batch[1])


def test_batch_index_picks_a_picture_out_of_a_batch(sample):
    third = sample(latent_image={"samples": torch.zeros(1, 4, 8, 8), "batch_index": [2]})[0]
    assert third["samples"].equal(sample(batch_size=3)[0]["samples"][2:])
    assert third["batch_index"] == [2]


def test_an_empty_latent_only_sets_the_batch(sample):
    empty = {"samples": torch.zeros(2, 4, 64, 64), "downscale_ratio_spacial": 8}
    latent, _ = sample(latent_image=empty, batch_size=5)
    assert latent["samples"].equal(sample(batch_size=2)[0]["samples"])
    assert "downscale_ratio_spacial" not in latent and "downscale_ratio_spacial" in empty


def test_a_latent_without_a_mask_is_redrawn_whole(sample, model, picture):
    latent, _ = sample(latent_image={"samples": model.vae.encode(picture)})
    assert latent["samples"].equal(sample()[0]["samples"])


@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (1, 16, 16), (1, 1, 4, 4), (1, 1, 64, 64), (1, 1, 50, 37)])
def test_only_what_the_mask_covers_is_redrawn(sample, model, picture, shape):
    mask = torch.zeros(shape)
    mask[..., : shape[-1] // 2] = 1
    before = model.vae.encode(picture)
    latent, confidence = sample(latent_image={"samples": before, "noise_mask": mask})
    touched = 2 if shape[-1] % 4 == 0 else 3 if shape[-1] // 2 * 4 > shape[-1] * 2 else 2
    assert latent["samples"][..., touched:].equal(before[..., touched:])
    assert (confidence[..., touched * 4 :] == 1).all() and (confidence[..., :8] < 1).all()
    assert latent["noise_mask"] is mask


def test_each_picture_has_its_own_mask(sample, model, picture):
    before = model.vae.encode(picture.repeat(2, 1, 1, 1))
    masks = torch.zeros(2, 1, 16, 16)
    masks[1] = 1
    after = sample(latent_image={"samples": before, "noise_mask": masks})[0]["samples"]
    assert after[0].equal(before[0]) and not after[1].equal(before[1])


def test_a_mask_that_covers_nothing_changes_nothing(sample, model, picture):
    before = model.vae.encode(picture)
    latent, confidence = sample(latent_image={"samples": before, "noise_mask": torch.zeros(1, 64, 64)})
    assert latent["samples"].equal(before) and (confidence == 1).all()


def test_denoise_keeps_the_surest_share(sample, model, picture):
    before = model.vae.encode(picture)
    confidence = sample(latent_image={"samples": before}, denoise=0.25)[1]
    assert (confidence < 1).float().mean() == 0.25
    assert sample(latent_image={"samples": before}, denoise=0.0)[0]["samples"].equal(before)


def test_several_classes_redraw_one_picture_each_way(pack, sample, model, picture):
    two = pack.run("RandARClassList", class_list="circle, star")[0]
    assert len(sample(classes=two, latent_image={"samples": model.vae.encode(picture)})[0]["samples"]) == 2


def test_the_given_latent_is_left_alone(sample, model, picture):
    given = {"samples": model.vae.encode(picture), "noise_mask": torch.ones(1, 1, 16, 16)}
    kept = given["samples"].clone()
    sample(latent_image=given)
    assert given["samples"].equal(kept) and set(given) == {"samples", "noise_mask"}


def test_a_latent_of_another_kind_of_model_is_refused(sample):
    with pytest.raises(ValueError, match="comes from another kind of model"):
        sample(latent_image={"samples": torch.ones(1, 16, 4, 4)})


def test_a_latent_of_another_grid_is_refused_with_both_sizes(sample):
    with pytest.raises(ValueError, match=r"8×6 cells .* 32×24 pixels; the model draws 4×4 cells, 16×16 pixels"):
        sample(latent_image={"samples": torch.ones(1, 4, 6, 8)})


def test_temperature_and_filters_reach_the_draw(sample):
    assert (
        sample(top_k=1, seed=1)[0]["samples"].equal(sample(top_k=1, seed=2, temperature=3.0)[0]["samples"]) is not None
    )
    surest = sample(top_k=1, cfg=1.0)[1]
    assert surest.mean() > sample(temperature=5.0, cfg=1.0)[1].mean()
    assert not sample(top_p=0.1)[0]["samples"].equal(sample()[0]["samples"])


def test_an_order_of_ones_own_changes_the_picture(pack, sample):
    raster = pack.run("RandAROrder", order="raster")[0]
    assert not sample(order=raster)[0]["samples"].equal(sample()[0]["samples"])


@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)], ids=["mask", "grey", "colours", "alpha"])
def test_what_is_painted_bright_is_drawn_first(pack, model, sample, monkeypatch, channels):
    mask = torch.zeros(1, 16, 16, *channels)
    mask[:, 8:] = 1
    states = []
    monkeypatch.setattr(
        pack.module("nodes.progress").Progress, "__call__", lambda self, decoded: states.append(decoded.known.clone())
    )
    sample(order=pack.run("RandARPaintedOrder", mask=mask)[0], steps=16)
    assert states[7][0, 2:].all() and not states[7][0, :2].any()


def test_a_mask_with_a_channel_is_painted_like_one_without(pack):
    mask = torch.rand(1, 16, 12)
    plain, channel = (pack.run("RandARPaintedOrder", mask=each)[0] for each in (mask, mask.unsqueeze(1)))
    assert torch.equal(plain.resized(8, 8), channel.resized(8, 8))


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 8, 8, 3)], ids=["masks", "pictures"])
def test_several_painted_masks_are_refused(pack, shape):
    with pytest.raises(ValueError, match="found a batch of 2"):
        pack.run("RandARPaintedOrder", mask=torch.zeros(shape))


def test_guidance_takes_the_place_of_cfg(pack, sample):
    same = pack.run("RandARGuidance", course="linear", start=1.0, end=2.0)[0]
    constant = pack.run("RandARGuidance", course="constant", start=1.0, end=9.0)[0]
    assert sample(guidance=same, cfg=7.0)[0]["samples"].equal(sample(cfg=2.0)[0]["samples"])
    assert not sample(guidance=constant)[0]["samples"].equal(sample()[0]["samples"])


# --- the VAE


def test_ids_come_back_exactly_from_a_latent(model):
    ids = torch.arange(32).view(2, 4, 4)
    assert model.vae.ids(model.vae.vectors(ids)).equal(ids)


def test_a_flipped_latent_decodes_to_a_picture(model):
    vectors = model.vae.vectors(torch.arange(16).view(1, 4, 4))
    decoded = model.vae.decode(vectors.flip(3))
    assert decoded.shape == (1, 16, 16, 3) and 0 <= decoded.min() and decoded.max() <= 1


def test_alpha_is_left_out_and_grey_is_taken(model, picture):
    alpha = torch.cat([picture, torch.rand_like(picture[..., :1])], -1)
    assert model.vae.encode(alpha).equal(model.vae.encode(picture))
    assert model.vae.encode(picture[..., :1]).shape == (1, 4, 4, 4)


def test_odd_sizes_are_cropped_around_the_middle(model, picture):
    padded = torch.nn.functional.pad(picture, (0, 0, 1, 2, 1, 1))
    assert model.vae.encode(padded).equal(model.vae.encode(picture))


def test_a_picture_below_a_cell_is_refused(model):
    with pytest.raises(ValueError, match=r"1×3 pixels .* needs 4×4 at least"):
        model.vae.encode(torch.zeros(1, 3, 1, 3))


def test_a_latent_of_another_kind_cannot_be_decoded(model):
    with pytest.raises(ValueError, match="comes from another kind of model"):
        model.vae.decode(torch.zeros(1, 16, 8, 8))


def test_tiles_cover_the_whole_picture(model, picture):
    wide = picture.repeat(1, 2, 3, 1)
    latent = model.vae.encode_tiled(wide, tile_x=16, tile_y=16, overlap=4, tile_t=64, overlap_t=8)
    assert latent.shape == (1, 4, 8, 12) and model.vae.ids(latent).max() < 32
    decoded = model.vae.decode_tiled(latent, tile_x=4, tile_y=4, overlap=1, tile_t=None, overlap_t=None)
    assert decoded.shape == wide.shape and decoded.isfinite().all()
    assert model.vae.decode_tiled(latent, tile_x=99, tile_y=99, overlap=0).allclose(model.vae.decode(latent), atol=1e-4)


def test_an_overlap_as_large_as_the_tile_still_ends(model, picture):
    assert model.vae.encode_tiled(picture.repeat(1, 2, 2, 1), tile_x=16, tile_y=16, overlap=64).shape == (1, 4, 8, 8)


# --- progress, interrupts, memory


def test_a_gpu_has_a_few_calls_in_flight(pack, monkeypatch):
    module, card, done = pack.module("nodes.progress"), torch.device("cuda"), []

    class Stream:
        def record_event(self):
            number = next(numbers)
            return SimpleNamespace(synchronize=lambda: done.append(number))

    numbers, in_flight = count(1), module.InFlight()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream())
    for _ in range(module.CALLS_IN_FLIGHT):
        in_flight.add(card)
    assert done == []
    in_flight.add(card)
    in_flight.add(card)
    assert done == [1, 2]
    in_flight.wait()
    assert done == list(range(1, module.CALLS_IN_FLIGHT + 3))
    in_flight.add(torch.device("cpu"))  # which does a call when it is told to
    assert not in_flight.events


def test_progress_counts_the_calls(sample, reports):
    sample(steps=4)
    assert reports[-1][:2] == (4, 4) and all(preview is None for *_, preview in reports)


def test_previews_show_the_batch_where_the_user_wants_them(pack, sample, reports, monkeypatch):
    from comfy.cli_args import LatentPreviewMethod, args

    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Auto)
    sample(batch_size=4)
    kind, image, size = reports[-1][2]
    assert kind == "JPEG" and image.size == (2 * 4 * 16, 2 * 4 * 16) and size == args.preview_size
    assert len(image.getcolors(100000)) > 1


def test_a_preview_of_a_wide_canvas_is_no_larger_than_what_is_shown(pack, model, reports, monkeypatch):
    from comfy.cli_args import LatentPreviewMethod, args

    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Auto)
    star = pack.run("RandARClassList", class_list="star")[0]
    pack.run("RandARCanvas", model=model, classes=star, width=800, height=16, seed=0, steps=2, cfg=1.0, overlap=0.0)
    assert reports[-1][2][1].size == (2 * 200, 2 * 4)


@pytest.fixture
def caches(model, monkeypatch):
    """Weak references to the KV caches that are made, in order."""
    kept, start = [], type(model.transformer).start

    def watched(self, *arguments, **more):
        state = start(self, *arguments, **more)
        kept.append(weakref.ref(state.cache))
        return state

    monkeypatch.setattr(type(model.transformer), "start", watched)
    return kept


def test_an_interrupt_ends_the_run_within_a_call_and_leaves_nothing(pack, sample, caches, monkeypatch):
    import comfy.model_management as management

    calls = []
    progress = pack.module("nodes.progress").Progress
    report = progress.__call__

    def interrupted(self, decoded):
        calls.append(decoded.call)
        if decoded.call == 2:
            management.interrupt_current_processing()
        return report(self, decoded)

    monkeypatch.setattr(progress, "__call__", interrupted)
    with pytest.raises(management.InterruptProcessingException):
        sample(steps=16)
    gc.collect()
    assert calls[-1] == 2 and [cache() for cache in caches] == [None]


def test_an_error_in_the_middle_of_a_run_leaves_nothing(model, sample, caches, monkeypatch):
    def broken(self, state, *arguments):
        raise RuntimeError("a fault in the middle")

    monkeypatch.setattr(type(model.transformer), "step", broken)
    with pytest.raises(RuntimeError, match="a fault in the middle"):
        sample(steps=16)
    gc.collect()
    assert caches and all(cache() is None for cache in caches)


def test_the_cache_is_gone_after_a_run(sample, caches):
    sample()
    assert caches and all(cache() is None for cache in caches)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError, lambda: RuntimeError("DefaultCPUAllocator: not enough memory")]
)
def test_a_batch_that_does_not_fit_is_split_and_finished(model, sample, monkeypatch, error):
    whole, start, sizes = sample(batch_size=5)[0]["samples"], type(model.transformer).start, []

    def limited(self, condition, order, context_mask=None):
        sizes.append(len(condition) // 2)
        if sizes[-1] > 2:
            raise error()
        return start(self, condition, order, context_mask)

    monkeypatch.setattr(type(model.transformer), "start", limited)
    assert sample(batch_size=5)[0]["samples"].equal(whole)
    assert sizes == [5, 3, 2, 2, 1]


def test_one_picture_that_does_not_fit_is_a_clear_error(model, sample, monkeypatch):
    def full(self, *arguments, **more):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(type(model.transformer), "start", full)
    with pytest.raises(MemoryError, match="not enough memory to draw one picture at a time"):
        sample(batch_size=2)


def test_other_errors_are_not_taken_for_a_lack_of_memory(model, sample, monkeypatch):
    def broken(self, *arguments, **more):
        raise RuntimeError("something else")

    monkeypatch.setattr(type(model.transformer), "start", broken)
    with pytest.raises(RuntimeError, match="something else"):
        sample()


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc keeps what was freed, and can be asked for it"
)
def test_what_a_packed_model_held_is_handed_back_once_it_is_gone(pack, tiny, monkeypatch):
    memory, asked = pack.module("nodes.memory"), []

    class Timer(threading.Thread):
        def __init__(self, delay, function, arguments):
            super().__init__()
            asked.append((function.__name__, arguments))

    model, _ = pack.run("RandARLoadModel", model_name=tiny.name)
    if not pack.module("randar_core.runtime.packed_linear").packed_bytes(model.transformer):
        pytest.skip("nothing is packed on this device")
    monkeypatch.setattr(memory.threading, "Timer", Timer)
    monkeypatch.setattr(Timer, "start", lambda self: None)
    assert not asked
    del model, _
    gc.collect()
    assert asked == [("malloc_trim", [0])]


def test_a_batch_is_drawn_in_pieces_when_little_is_free(model, sample, monkeypatch):
    import comfy.model_management as management

    sizes, start = [], type(model.transformer).start
    monkeypatch.setattr(
        type(model.transformer),
        "start",
        lambda self, condition, order, *rest: sizes.append(len(condition) // 2) or start(self, condition, order, *rest),
    )
    monkeypatch.setattr(management, "get_free_memory", lambda device, *more: 1)
    sample(batch_size=3)
    assert sizes == [1, 1, 1]
    # With dynamic VRAM the device looks full, but the host gives way: its patchers know.
    monkeypatch.setattr(model.patcher, "get_free_memory", lambda device: 2**33)
    sample(batch_size=3)
    assert sizes == [1, 1, 1, 3]


# --- download


def test_a_download_brings_the_tokenizer_and_shows_how_far_it_is(pack, reports, monkeypatch):
    asked = []

    def download(name, folder, on_bytes):
        asked.append((name, folder))
        on_bytes(50, 100)
        return pack.models / f"{name}.safetensors"

    monkeypatch.setattr(pack.module("nodes.download"), "download", download)
    assert pack.run("RandARDownloadModel", release="randar-l-llamagen") == ("randar-l-llamagen.safetensors",)
    assert asked == [("randar-l-llamagen", str(pack.models)), ("llamagen-vq16", str(pack.models))]
    assert reports[0][:2] == (50, 100)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_download_is_interrupted(pack, monkeypatch, wrapped):
    import comfy.model_management as management

    def download(name, folder, on_bytes):
        management.interrupt_current_processing()
        try:
            on_bytes(1, 100)
        except BaseException as error:
            if wrapped:  # as where the interrupt is an Exception
                raise pack.module("randar_core.checkpoints.download").DownloadError("stopped") from error
            raise

    monkeypatch.setattr(pack.module("nodes.download"), "download", download)
    with pytest.raises(management.InterruptProcessingException):
        pack.run("RandARDownloadModel", release="llamagen-vq16")


# --- the second family


@pytest.fixture
def rar(pack, tiny):
    """A tiny RAR model, as `model` is a tiny RandAR."""
    bundle, releases = pack.module("randar_core.checkpoints.bundle"), pack.module("randar_core.checkpoints.releases")
    family, whole = pack.module("randar_core.models.rar"), pack.module("randar_core.checkpoints.model").load_model(tiny)
    decoder = family.RAR(family.RARConfig(32, 2, 4, mlp_width=64, codebook_size=32, classes=3, grid=4))
    generator = torch.Generator().manual_seed(0)
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, 0, 0.2, generator)
    defaults = releases.Defaults(guidance=8.0, guidance_power=1.2, order="raster", steps=16)
    path = pack.models / "rar.safetensors"
    bundle.save_bundle(path, decoder, whole.tokenizer, whole.class_names, defaults)
    yield pack.run("RandARLoadModel", model_name=path.name)[0]
    path.unlink()


def test_the_same_nodes_serve_rar(pack, rar, star, reports, picture):
    latent, _ = pack.run("RandARSampler", model=rar, classes=star, seed=1, steps=4, cfg=8.0)
    assert latent["samples"].shape == (1, 4, 4, 4) and reports[-1][:2] == (16, 16)
    course = pack.run("RandARGuidance", course="cosine", start=1.0, end=8.0, power=1.2)[0]
    same, _ = pack.run("RandARSampler", model=rar, classes=star, seed=1, steps=4, cfg=1.0, guidance=course)
    assert same["samples"].equal(latent["samples"])
    given = {
        "samples": rar.vae.encode(picture),
        "noise_mask": torch.zeros(1, 16, 16).index_fill(1, torch.arange(8, 16), 1),
    }
    completed, _ = pack.run("RandARSampler", model=rar, classes=star, seed=1, steps=4, cfg=8.0, latent_image=given)
    assert completed["samples"][:, :, :2].equal(given["samples"][:, :, :2])


def test_rar_says_that_it_cannot_extrapolate(pack, rar, star):
    with pytest.raises(ValueError, match="can't extrapolate.*Take a RandAR model"):
        pack.run("RandARExtrapolate", model=rar, classes=star, seed=1, steps=4, cfg=2.0, factor=2)
