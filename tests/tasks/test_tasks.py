"""Tasks on small random models: what is kept, what is drawn, and by which random numbers."""

from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from randar_core.decoding.canvas import Canvas
from randar_core.decoding.guidance import Linear, class_guidance, spatial_guidance
from randar_core.decoding.loop import Setting, decode
from randar_core.decoding.options import DecodingOptions
from randar_core.decoding.orders import ORDERS, Painted
from randar_core.decoding.plan import make_plan
from randar_core.decoding.seeding import draw_noise
from randar_core.decoding.windows import fill, window_parts, window_places
from randar_core.models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from randar_core.models.randar import RandAR, RandARConfig
from randar_core.tasks import confidence
from randar_core.tasks.blending import carried_on, edge_of, fade_in, fade_out, spread
from randar_core.tasks.confidence import forget_unsure, heat_map, sureness
from randar_core.tasks.extrapolate import extrapolate
from randar_core.tasks.generate import generate
from randar_core.tasks.inpaint import cut_out, inpaint, label_regions
from randar_core.tasks.outpaint import outpaint
from randar_core.tasks.refine import refine

GRID, FACTOR, CODES, CLASSES = 4, 2, 32, 3
OPTIONS = DecodingOptions(class_guidance(Linear(1, 3)), steps=4, seed=7)
SIZE = GRID * FACTOR


def randomised(module: torch.nn.Module, scale: float) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * scale
    return module.requires_grad_(False)


@pytest.fixture(scope="module")
def model():
    return randomised(RandAR(RandARConfig(16, 2, 2, CODES, CLASSES, GRID)), 0.3)


@pytest.fixture(scope="module")
def tokenizer():
    config = LlamaGenConfig(
        channels=8,
        multipliers=(1, 2),
        res_blocks=1,
        codebook_size=CODES,
        codebook_dim=4,
        z_channels=8,
        norm_groups=4,
    )
    return randomised(LlamaGenTokenizer(config), 0.3)


def picture(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def random_ids(*shape: int) -> torch.Tensor:
    return torch.randint(CODES, shape, generator=torch.Generator().manual_seed(1))


def classes(batch: int) -> torch.Tensor:
    return torch.arange(batch) % CLASSES


class QuestionsToTheDevice(TorchDispatchMode):
    """Counts what makes a program wait for a graphics card: values that are read, places that are looked for."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        places = args[1] if "index" in func.__name__ and len(args) > 1 and isinstance(args[1], (list, tuple)) else ()
        looked_for = any(isinstance(place, torch.Tensor) and place.dtype == torch.bool for place in places)
        if looked_for or func.__name__.split(".")[0] in {"_local_scalar_dense", "nonzero", "masked_select", "equal"}:
            self.count += 1
        return func(*args, **(kwargs or {}))


def plainly(model, canvas: Canvas, options: DecodingOptions = OPTIONS) -> torch.Tensor:
    """Ids by the decode loop alone, without any task."""
    plan = make_plan(canvas, options.steps, options.seed, options.order, options.pictures)
    setting = Setting(classes(canvas.batch), options.guidance, options.sampling)
    with torch.no_grad():
        return decode(model, canvas, plan, setting).ids


class Recorder:
    """An `on_call` that copies what it sees, and stops after so many calls."""

    def __init__(self, stop_after: int | None = None):
        self.calls, self.known, self.stop_after = [], [], stop_after

    def __call__(self, decoded):
        self.calls.append((decoded.call, decoded.calls))
        self.known.append(decoded.known.clone())
        return self.stop_after is None or decoded.call < self.stop_after

    def check(self):
        """Calls are counted from 1 to the end, and cells are only ever added."""
        total = self.calls[0][1]
        assert self.calls == [(call, total) for call in range(1, total + 1)]
        for before, after in zip(self.known, self.known[1:], strict=False):
            assert (after | ~before).all()


# Canvas of any size


def test_a_canvas_of_the_models_size_is_the_plain_decode(model):
    assert torch.equal(generate(model, classes(3), OPTIONS).ids, plainly(model, Canvas.empty(3, GRID, GRID)))


def test_a_partly_known_canvas_of_the_models_size_is_the_plain_decode(model):
    canvas = Canvas(random_ids(2, GRID, GRID), picture(2, GRID, GRID) < 0.5)
    assert torch.equal(fill(model, canvas, classes(2), OPTIONS).ids, plainly(model, canvas))


@given(
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    overlap=st.integers(0, GRID - 1),
    share=st.floats(0, 1),
    box=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_any_canvas_is_filled_and_keeps_what_it_knows(model, height, width, overlap, share, box, seed):
    known = picture(2, height, width, seed=seed) < share
    if box:
        known = torch.zeros_like(known)
        known[:, height // 3 : height // 3 + int(share * height), width // 2 :] = True
    canvas, seen = Canvas(random_ids(2, height, width), known), Recorder()
    decoded = fill(model, canvas, classes(2), OPTIONS, overlap, on_call=seen)
    assert decoded.known.all()
    assert torch.equal(decoded.ids[known], canvas.ids[known])
    assert ((decoded.confidence > 0) & (decoded.confidence <= 1)).all()
    assert decoded.call == decoded.calls == len(seen.calls)
    if seen.calls:
        seen.check()
        assert seen.known[-1].shape == known.shape


@given(
    grid=st.sampled_from([4, 7, 8]),
    higher=st.integers(0, 16),
    wider=st.integers(0, 16),
    overlap=st.integers(0, 7),
    edges=st.lists(st.floats(0, 1), min_size=4, max_size=4),
    holes=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_windows_need_nothing_of_their_wave_and_nothing_from_the_edge_of_another(
    grid, higher, wider, overlap, edges, holes, seed
):
    height, width, overlap = grid + higher, grid + wider, min(overlap, grid - 1)
    known = torch.zeros(height, width, dtype=torch.bool)
    (top, bottom), (left, right) = sorted(edges[:2]), sorted(edges[2:])
    known[int(top * height) : int(bottom * height), int(left * width) : int(right * width)] = True
    if holes:
        known &= picture(height, width, seed=seed) < 0.7
    depth = {0: 0, 1: 0, 2: 1}.get(overlap, 2 if grid > 4 else 1)
    drawn_in = torch.where(known, 0, -1)  # the last wave, from 1, that drew a cell
    at_an_edge = torch.zeros_like(known)  # where it was drawn at a window's edge from which the picture went on
    for wave, y, x, known_there in window_parts(known, grid, overlap):
        part = slice(y, y + grid), slice(x, x + grid)
        assert not known_there.all()
        assert (drawn_in[part][known_there] >= 0).all() and (drawn_in[part] <= wave).all()
        assert not at_an_edge[part][known_there].any()
        drawn_in[part][~known_there] = wave + 1
        # What lies right outside and is still to be drawn, and what is up to `depth` steps straight inward from there.
        outside = F.pad(torch.zeros(grid, grid, dtype=torch.bool), (1, 1, 1, 1), value=True)
        outside &= F.pad(drawn_in < 0, (1, 1, 1, 1))[y : y + grid + 2, x : x + grid + 2]
        outside[[0, 0, -1, -1], [0, -1, 0, -1]] = False
        outside = F.pad(outside, (2, 2, 2, 2))  # rolling comes round
        reached = torch.zeros_like(outside)
        for steps in range(1, depth + 1):
            for axis, way in ((0, 1), (0, -1), (1, 1), (1, -1)):
                reached |= outside.roll(way * steps, axis)
        at_an_edge[part][~known_there] = reached[3:-3, 3:-3][~known_there]
        assert known.any() or overlap == 0 or wave == 0 or known_there.any()
    assert (drawn_in >= 0).all()
    assert torch.equal(drawn_in == 0, known)
    assert not at_an_edge.any()


def test_windows_that_need_nothing_of_each_other_share_a_wave():
    def waves(height: int, width: int) -> list[int]:
        return [part[0] for part in window_parts(torch.zeros(height, width, dtype=torch.bool), 16, 8)]

    assert waves(16, 40) == [0, 1, 1, 2, 2]
    assert sorted(waves(32, 32)) == [0, 1, 1, 2, 2, 3, 3, 3, 3]
    assert max(waves(64, 64)) == 9  # of 49 windows


@pytest.mark.parametrize("overlap, anew", [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (7, 2)])
def test_a_window_draws_the_outermost_overlapping_cells_anew(overlap, anew):
    grid, stride = 8, 8 - overlap
    parts = list(window_parts(torch.zeros(grid, grid + 2 * stride, dtype=torch.bool), grid, overlap))
    assert [x for _, _, x, _ in parts] == [stride, 0, 2 * stride]
    middle, before, after = (part[3].all(0).nonzero().flatten().tolist() for part in parts)
    assert middle == []
    # The window on the left is drawn when the picture still goes on to the right of the middle one.
    assert before == list(range(stride + anew, min(grid, stride + grid - anew)))
    assert after == list(range(overlap - anew))


def test_windows_overlap_as_was_asked_for():
    known = torch.zeros(GRID, 20, dtype=torch.bool)
    known[:, :6] = True
    new = [x for _, x in window_places(known, GRID, 1) if x + GRID > 6]
    assert new == [5, 8, 11, 14, 16]


def test_a_wide_canvas_is_no_different_in_pieces(model):
    together = generate(model, classes(2), OPTIONS, 7, 11)
    in_pieces = generate(model, classes(2), replace(OPTIONS, batch=1), 7, 11)
    alone = generate(model, classes(2)[1:], replace(OPTIONS, pictures=[1]), 7, 11)
    assert torch.equal(together.ids, in_pieces.ids)
    assert torch.equal(together.ids[1:], alone.ids)


def test_every_cell_of_a_wide_canvas_has_a_random_number_of_its_own(model):
    # A model that is sure of nothing draws what its random numbers say.
    blank = randomised(RandAR(RandARConfig(16, 1, 2, CODES, CLASSES, GRID)), 0.0)
    decoded = generate(blank, classes(1), OPTIONS, 6, 10)
    noise = draw_noise(OPTIONS.seed, [0], 60).view(1, 6, 10)
    assert torch.equal(decoded.ids, (noise * CODES).long())


@pytest.mark.parametrize("name", ORDERS)
def test_any_order_fills_a_wide_canvas(model, name):
    assert generate(model, classes(1), replace(OPTIONS, order=ORDERS[name]), 5, 9).known.all()


def test_each_window_sees_its_part_of_a_painting(model):
    painting = torch.zeros(GRID, 3 * GRID)
    painting[:, GRID] = 1  # the left edge of the window in the middle, which comes first
    seen = Recorder()
    options = replace(OPTIONS, order=Painted(painting), steps=999)
    generate(model, classes(1), options, *painting.shape, on_call=seen)
    assert torch.equal(seen.known[GRID - 1][0], painting > 0)


def test_an_order_given_outright_is_one_of_the_whole_canvas(model):
    order = torch.arange(GRID * 8).flip(0)
    canvas = Canvas(random_ids(1, GRID, 8), torch.zeros(1, GRID, 8, dtype=torch.bool))
    seen = Recorder()
    fill(model, canvas, classes(1), replace(OPTIONS, order=order, steps=99), overlap=0, on_call=seen)
    first_window = seen.known[GRID * GRID - 1].flatten().nonzero()
    assert torch.equal(seen.known[0].flatten().nonzero(), first_window[-1:])
    with pytest.raises(ValueError, match="no permutation"):
        fill(model, canvas, classes(1), replace(OPTIONS, order=torch.zeros(32, dtype=torch.long)))


def test_a_decode_over_several_windows_stops_when_asked(model):
    seen = Recorder(stop_after=6)
    decoded = generate(model, classes(1), OPTIONS, GRID, 16, on_call=seen)
    assert len(seen.calls) == 6
    assert not decoded.known.all()
    assert torch.equal(decoded.known, decoded.confidence > 0)


@pytest.mark.parametrize("overlap", [-1, GRID])
def test_an_overlap_out_of_range_is_named(model, overlap):
    with pytest.raises(ValueError, match=f"overlap is {overlap} cells.*0 to {GRID - 1}"):
        generate(model, classes(1), OPTIONS, 8, 8, overlap)


def test_a_canvas_without_cells_is_refused(model):
    with pytest.raises(ValueError, match="8×0 cells"):
        generate(model, classes(1), OPTIONS, height=0, width=8)


def test_batches_that_do_not_match_are_named(model):
    with pytest.raises(ValueError, match="2 picture indices.*batch of 1"):
        generate(model, classes(1), replace(OPTIONS, pictures=[1, 2]))
    with pytest.raises(ValueError, match="the least is 1"):
        generate(model, classes(1), replace(OPTIONS, batch=0))
    with pytest.raises(ValueError, match=r"2 pictures needs 2 class ids.*\[3\]"):
        fill(model, Canvas.empty(2, 4, 4), classes(3), OPTIONS)


# Confidence


@given(share=st.floats(0, 1), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_the_least_sure_share_is_forgotten(share, seed):
    sure = picture(2, 5, 6, seed=seed)
    canvas = Canvas(random_ids(2, 5, 6), picture(2, 5, 6, seed=seed + 1) < 0.4)
    after = forget_unsure(canvas, sure, share=share)
    assert (after.known | ~canvas.known).all()
    for picture_sure, known, before in zip(sure, after.known, canvas.known, strict=True):
        count = int((~before).sum())
        assert int((~known).sum()) == min(count, max(round(count * share), int(share > 0)))
        kept = picture_sure[known & ~before]
        if kept.numel() and not known.all():
            assert kept.min() >= picture_sure[~known].max()


def test_cells_below_a_probability_are_forgotten():
    sure = torch.tensor([[[0.1, 0.5], [0.9, 0.3]]])
    canvas = forget_unsure(Canvas.empty(1, 2, 2), sure, below=0.4)
    assert canvas.known.tolist() == [[[False, True], [True, False]]]


def test_forgetting_takes_either_a_share_or_a_probability():
    canvas = Canvas.empty(1, 2, 2)
    for arguments in ({}, {"share": 0.5, "below": 0.5}):
        with pytest.raises(ValueError, match="not both"):
            forget_unsure(canvas, torch.zeros(1, 2, 2), **arguments)
    with pytest.raises(ValueError, match="share is 1.5"):
        forget_unsure(canvas, torch.zeros(1, 2, 2), share=1.5)


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 3, 9), (1, 10, 5)])
def test_a_picture_of_any_size_is_scored(model, shape):
    canvas = Canvas(random_ids(*shape), torch.zeros(shape, dtype=torch.bool))
    sure = sureness(model, canvas, classes(shape[0]), OPTIONS)
    assert sure.shape == shape
    assert ((sure > 0) & (sure < 1)).all()
    assert torch.allclose(sure, sureness(model, canvas, classes(shape[0]), replace(OPTIONS, batch=1)))


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 2), (1, 2, 9)])
def test_every_cell_of_a_canvas_smaller_than_the_window_is_scored_once_and_by_its_own_cells(model, shape, monkeypatch):
    """Scores that are the cells' places in the window show which of them are read back."""
    orders = []

    def places(model, canvas, order, setting):
        orders.append(order)
        return torch.arange(canvas.cells).view(1, GRID, GRID).expand(canvas.ids.shape).float()

    monkeypatch.setattr(confidence, "score", places)
    canvas = Canvas(random_ids(*shape), torch.zeros(shape, dtype=torch.bool))
    sure = sureness(model, canvas, classes(shape[0]), OPTIONS)
    height, width = shape[1], min(shape[2], GRID)
    window = torch.arange(GRID**2).view(GRID, GRID)[:height, :width]
    assert torch.equal(sure[0, :, :width], window.float())
    for order in orders:
        assert torch.equal(order[0, : height * width].sort().values, window.flatten())


def test_no_score_rests_on_blank_cells(model):
    known, blank = picture(1, GRID, GRID) < 0.3, picture(1, GRID, GRID, seed=1) < 0.4
    ids = random_ids(1, GRID, GRID)
    scores = [
        sureness(model, Canvas(torch.where(blank, other, ids), known & ~blank), classes(1), OPTIONS, blank=blank)
        for other in (ids, (ids + 1) % CODES)
    ]
    torch.testing.assert_close(scores[0][~blank], scores[1][~blank], rtol=0, atol=0)


def test_the_heat_map_goes_from_dark_to_yellow():
    colours = heat_map(torch.tensor([[[0.0, 1.0], [0.5, 0.25]]]), 6, 4)
    assert colours.shape == (1, 3, 6, 4)
    assert (colours[0, :, 0, 0].sum() < colours[0, :, 5, 3].sum()) and colours[0, 0, 0, 3] > 0.9
    assert torch.equal(colours[0, :, 0, 0], colours[0, :, 2, 1])


# Inpaint


def native_ids(model, tokenizer, pixels, mask, given_classes):
    ids = tokenizer.encode(pixels)
    cells = torch.nn.functional.max_pool2d((mask > 0).float(), FACTOR) > 0
    canvas = Canvas(ids, ~cells)
    plan = make_plan(canvas, OPTIONS.steps, OPTIONS.seed)
    with torch.no_grad():
        return decode(model, canvas, plan, Setting(given_classes, OPTIONS.guidance)).ids


def test_a_picture_of_the_models_size_gets_the_tokens_of_the_native_way(model, tokenizer):
    pixels, mask = picture(2, 3, SIZE, SIZE), torch.zeros(2, SIZE, SIZE)
    mask[0, 1:5, 2:4] = 1
    mask[1, 3:, :5] = 1
    done = inpaint(model, tokenizer, pixels, mask, classes(2), OPTIONS)
    assert torch.equal(done.decoded.ids, native_ids(model, tokenizer, pixels, mask, classes(2)))


# Above 64 pixels regions are told apart in blocks.
sizes = st.one_of(
    st.tuples(st.just(1), st.integers(1, 30)),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.sampled_from([(1, 80), (70, 3)]),
)


@given(
    size=sizes,
    batches=st.sampled_from([(1, 1), (2, 1), (1, 2), (2, 2)]),
    channels=st.sampled_from([3, 4]),
    kind=st.sampled_from(["noise", "soft", "box", "dot"]),
    grow=st.integers(0, 4),
    seam=st.integers(0, 9),
    context=st.floats(1, 4),
    denoise=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=50, deadline=None)
def test_pixels_outside_the_grown_mask_stay_bit_for_bit(
    model, tokenizer, size, batches, channels, kind, grow, seam, context, denoise, seed
):
    height, width = size
    pixels = picture(batches[0], channels, height, width, seed=seed)
    noise = picture(batches[1], height, width, seed=seed + 1)
    mask = {
        "noise": (noise > 0.8).float(),
        "soft": (noise - 0.7).clamp(min=0),
        "box": torch.zeros_like(noise),
        "dot": torch.zeros_like(noise),
    }[kind]
    if kind == "box":
        mask[:, height // 3 : height // 2 + 1, width // 4 : width // 2 + 1] = 1
    if kind == "dot":
        mask[0, -1, -1] = 1
    before = pixels.clone()
    done = inpaint(model, tokenizer, pixels, mask, classes(1), OPTIONS, denoise, grow, seam, context)
    outside = (spread(mask, grow) == 0).expand(max(batches), -1, -1)
    expected = pixels.expand(max(batches), -1, -1, -1)
    assert torch.equal(pixels, before)
    assert done.pixels.shape == expected.shape
    assert torch.equal(done.pixels.movedim(1, 3)[outside], expected.movedim(1, 3)[outside])
    assert torch.equal(done.pixels[:, 3:], expected[:, 3:])
    assert done.pixels.isfinite().all()
    assert (done.confidence[outside] == 1).all()


def test_an_empty_mask_gives_the_picture_back(model, tokenizer):
    pixels = picture(2, 3, 9, 7)
    done = inpaint(model, tokenizer, pixels, torch.zeros(1, 9, 7), classes(1), OPTIONS)
    assert torch.equal(done.pixels, pixels)
    assert done.decoded is None


def test_a_full_mask_draws_the_picture_anew(model, tokenizer):
    pixels = picture(1, 3, SIZE, SIZE)
    done = inpaint(model, tokenizer, pixels, torch.ones(1, SIZE, SIZE), classes(1), OPTIONS)
    assert torch.equal(done.decoded.ids, generate(model, classes(1), OPTIONS).ids)
    with torch.no_grad():
        assert torch.equal(done.pixels, tokenizer.decode(done.decoded.ids).clamp(0, 1))


def test_a_class_edit_depends_on_the_class_and_denoise_keeps_a_share(model, tokenizer):
    pixels, mask = picture(1, 3, SIZE, SIZE), torch.ones(1, SIZE, SIZE)
    given_ids = tokenizer.encode(pixels)
    edits = [inpaint(model, tokenizer, pixels, mask, torch.tensor([c]), OPTIONS).decoded.ids for c in (0, 1)]
    assert not torch.equal(*edits)
    seen = Recorder()
    kept = inpaint(model, tokenizer, pixels, mask, torch.tensor([1]), OPTIONS, denoise=0.25, on_call=seen)
    assert (kept.decoded.confidence == 1).sum() == 12
    assert (kept.decoded.ids == given_ids).sum() >= 12


def test_cells_beyond_the_picture_are_drawn_whatever_share_of_the_mask_is_kept(model, tokenizer):
    pixels, mask = picture(1, 3, SIZE // 2, 4 * SIZE), torch.zeros(1, SIZE // 2, 4 * SIZE)
    mask[0, :, SIZE : 2 * SIZE] = 1
    on = torch.zeros(GRID, GRID, dtype=torch.bool)
    on[1:3] = True  # the square is as high as four pictures, and in its middle; half of what is on it is masked
    for denoise, drawn in ((1.0, 4), (0.5, 2), (0.01, 1)):
        done = inpaint(model, tokenizer, pixels, mask, classes(1), OPTIONS, denoise)
        (cutout,) = done.cutouts
        assert cutout.side == 2 * SIZE
        given = done.decoded.confidence[0] == 1
        assert not given[~on].any()
        assert (~given[on]).sum() == drawn


def test_regions_far_apart_get_squares_of_their_own(model, tokenizer):
    mask = torch.zeros(1, 40, 60)
    mask[0, 3:6, 3:6] = mask[0, 30:34, 50:53] = 1
    cutouts = cut_out(label_regions(mask > 0)[0], 0, 2, SIZE)
    assert [(c.top, c.left, c.side) for c in cutouts] == [(0, 0, 8), (28, 47, 8)]
    done = inpaint(model, tokenizer, picture(1, 3, 40, 60), mask, classes(1), OPTIONS)
    assert len(done.decoded.ids) == 2


def test_squares_that_would_coincide_become_one():
    mask = torch.zeros(1, 40, 60)
    mask[0, 3:6, 3:5] = mask[0, 3:6, 6:8] = 1
    assert len(cut_out(label_regions(mask > 0)[0], 0, 2, SIZE)) == 1


def test_a_chain_of_small_regions_is_drawn_about_as_finely_as_each_alone():
    mask = torch.zeros(1, 60, 60)
    mask[0, 30, ::2] = 1
    cutouts = cut_out(label_regions(mask > 0)[0], 0, 2, SIZE)
    assert len(cutouts) < 15 and all(cutout.side <= 1.5 * SIZE for cutout in cutouts)
    regions = [region for cutout in cutouts for region in cutout.regions]
    assert len(regions) == len(set(regions)) == 30


def test_a_square_has_the_context_that_fits():
    mask = torch.zeros(1, 30, 60)
    mask[0, 10:20, 28:38] = 1
    labels = label_regions(mask > 0)[0]
    assert [(c.top, c.left, c.side) for c in cut_out(labels, 0, 2, SIZE)] == [(5, 23, 20)]
    assert [(c.top, c.left, c.side) for c in cut_out(labels, 0, 4, SIZE)] == [(-5, 13, 40)]
    assert [(c.top, c.left, c.side) for c in cut_out(labels, 0, 9, SIZE)] == [(-15, 0, 60)]


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("size, region", [((128, 512), (76, 216)), ((32, 120), (32, 40)), ((1, 40), (1, 4))])
def test_what_the_picture_shows_beside_a_region_is_known(model, tokenizer, size, region, upright):
    (height, width), (high, wide) = (size[::-1], region[::-1]) if upright else (size, region)
    mask = torch.zeros(1, height, width)
    top, left = (height - high) // 2, (width - wide) // 2
    mask[0, top : top + high, left : left + wide] = 1
    done = inpaint(model, tokenizer, picture(1, 3, height, width), mask, classes(1), OPTIONS)
    (cutout,) = done.cutouts
    before, after = (cutout.top, top + high) if upright else (cutout.left, left + wide)
    assert cutout.side == 2 * max(region[1], min(size) // 2)
    assert before < (top if upright else left) and after < before + cutout.side
    known = done.decoded.confidence[0] == 1
    known = known.T if upright else known
    middle = GRID // 2
    assert known[middle, 0] and known[middle, -1] and not known[middle, middle]


def test_a_region_as_high_as_the_picture_has_context_beside_it_at_the_pictures_height():
    mask = torch.zeros(1, 30, 90)
    mask[0, :, 40:50] = 1
    assert [(c.top, c.left, c.side) for c in cut_out(label_regions(mask > 0)[0], 0, 2, SIZE)] == [(0, 30, 30)]


def test_a_region_wider_than_the_picture_is_high_gets_a_square_over_the_edges(model, tokenizer):
    mask = torch.zeros(1, 4, 40)
    mask[0, 1:3] = 1
    (cutout,) = cut_out(label_regions(mask > 0)[0], 0, 2, SIZE)
    assert (cutout.top, cutout.left, cutout.side) == (-18, 0, 40)
    done = inpaint(model, tokenizer, picture(1, 3, 4, 40), mask, classes(1), OPTIONS)
    assert not done.decoded.known.logical_not().any()


def test_a_square_sees_its_part_of_a_painting(model, tokenizer):
    mask, painting, seen = torch.zeros(1, 4 * SIZE, 4 * SIZE), torch.zeros(4 * SIZE, 4 * SIZE), Recorder()
    mask[0, SIZE : 2 * SIZE, :SIZE] = 1
    painting[2 * SIZE - FACTOR : 2 * SIZE, :SIZE] = 1  # the lowest row of the square
    options = replace(OPTIONS, order=Painted(painting), steps=999)
    inpaint(model, tokenizer, picture(1, 3, 4 * SIZE, 4 * SIZE), mask, classes(1), options, context=1, on_call=seen)
    assert seen.known[GRID - 1][0].tolist() == [[False] * GRID] * (GRID - 1) + [[True] * GRID]


def test_cell_indices_order_the_squares_of_all_pictures(model, tokenizer):
    mask, order = torch.zeros(1, SIZE, SIZE), torch.randperm(GRID**2, generator=torch.Generator().manual_seed(1))
    mask[0, : SIZE // 2] = 1
    drawn = [
        inpaint(model, tokenizer, picture(2, 3, SIZE, SIZE), mask, classes(2), replace(OPTIONS, order=each)).pixels
        for each in (order, order.expand(1, -1), order.expand(2, -1))
    ]
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])
    with pytest.raises(ValueError, match="expected \\[2, "):
        inpaint(
            model, tokenizer, picture(2, 3, SIZE, SIZE), mask, classes(2), replace(OPTIONS, order=order.expand(3, -1))
        )


@given(seam=st.integers(0, 12), width=st.integers(1, 20))
@settings(max_examples=20, deadline=None)
def test_the_seam_rises_inside_the_mask_and_reaches_one(seam, width):
    mask = torch.zeros(1, 40, 40)
    mask[0, 8 : 8 + width, 8:34] = 1
    opacity = fade_in(mask, seam)
    assert (opacity[mask == 0] == 0).all() and (opacity[mask == 1] > 0).all()
    assert opacity.max() == 1
    column = opacity[0, 8 : 8 + width, 20]
    assert (column[: (width + 1) // 2].diff() >= 0).all()


@pytest.mark.parametrize("task", ["generate", "fill", "extrapolate"])
@pytest.mark.parametrize("watched", [True, False])
def test_a_call_asks_nothing_of_the_device(model, task, watched):
    """However many calls there are: each answer would be waited for."""
    asked = []
    for steps in (4, 12):
        options = replace(OPTIONS, steps=steps)
        on_call = (lambda decoded: None) if watched else None
        with QuestionsToTheDevice() as questions:
            if task == "generate":
                generate(model, classes(2), options, on_call=on_call)
            elif task == "fill":
                fill(model, Canvas.empty(2, GRID, GRID, torch.device("cpu")), classes(2), options, on_call=on_call)
            else:
                extrapolate(model, classes(2), 2, options, on_call=on_call)
        asked.append(questions.count)
    assert asked[0] == asked[1] > 0


@given(height=st.integers(1, 20), width=st.integers(1, 20), pixels=st.integers(0, 30), seed=st.integers(0, 99))
def test_a_mask_grows_by_so_many_pixels_in_every_direction(height, width, pixels, seed):
    mask = torch.rand(2, height, width, generator=torch.Generator().manual_seed(seed))
    mask *= mask > 0.9
    expected = torch.zeros_like(mask)
    for picture, y, x in mask.nonzero().tolist():
        near = expected[picture, max(0, y - pixels) : y + pixels + 1, max(0, x - pixels) : x + pixels + 1]
        near.clamp_(min=float(mask[picture, y, x]))
    assert torch.equal(spread(mask, pixels), expected)


def test_the_edge_of_the_picture_is_no_seam():
    assert (fade_in(torch.ones(1, 9, 9), 4) == 1).all()


def test_masks_pictures_and_settings_that_do_not_match_are_named(model, tokenizer):
    pixels = picture(2, 3, 8, 8)
    given = {"model": model, "tokenizer": tokenizer, "pixels": pixels, "mask": torch.ones(1, 8, 8)}
    given |= {"classes": classes(1), "options": OPTIONS}
    for match, arguments in {
        "mask is 4×5, the picture is 8×8": {"mask": torch.ones(1, 5, 4)},
        r"mask has the shape \[8, 8\]": {"mask": torch.ones(8, 8)},
        r"picture has the shape \[2, 1, 8, 8\]": {"pixels": picture(2, 1, 8, 8)},
        "2 pictures don't match 3 masks": {"mask": torch.ones(3, 8, 8)},
        "2 classes don't match": {"classes": classes(2), "mask": torch.ones(3, 8, 8), "pixels": pixels[:1]},
        "Denoise is 1.5": {"denoise": 1.5},
        "grow by -1": {"grow": -1},
        "context is 0.5": {"context": 0.5},
    }.items():
        with pytest.raises(ValueError, match=match):
            inpaint(**{**given, **arguments})


@dataclass(frozen=True)
class Shifted:
    """A tokenizer whose pictures come back too bright by `amount`."""

    tokenizer: LlamaGenTokenizer
    amount: float

    def encode(self, pixels):
        return self.tokenizer.encode(pixels)

    def decode(self, ids):
        return 0.3 + 0.3 * self.tokenizer.decode(ids).clamp(0, 1) + self.amount

    @property
    def factor(self):
        return self.tokenizer.factor


@pytest.mark.parametrize("size", [(SIZE, SIZE), (3 * SIZE, 2 * SIZE)])
def test_what_the_tokenizer_gets_wrong_beside_the_mask_leaves_no_patch(model, tokenizer, size):
    pixels, mask = 0.3 + 0.3 * picture(1, 3, *size), torch.zeros(1, *size)
    mask[:, 3:5, 2:6] = 1
    plain, shifted = (
        inpaint(model, Shifted(tokenizer, amount), pixels, mask, classes(1), OPTIONS).pixels for amount in (0.0, 0.2)
    )
    torch.testing.assert_close(shifted, plain, rtol=0, atol=1e-5)
    everywhere = torch.ones_like(mask)  # with nothing left to go by, what was drawn is what there is
    plain, shifted = (
        inpaint(model, Shifted(tokenizer, amount), pixels, everywhere, classes(1), OPTIONS, seam=0).pixels
        for amount in (0.0, 0.2)
    )
    torch.testing.assert_close(shifted, plain + 0.2, rtol=0, atol=1e-5)


def test_other_content_beside_the_mask_is_no_error_of_the_tokenizer(model, tokenizer):
    """A corner that the brush missed lies in a cell that is drawn again: the rest doesn't take on its colour."""
    pixels, mask = torch.full((1, 3, SIZE, SIZE), 0.5), torch.ones(1, SIZE, SIZE)
    mask[:, 0, 0] = 0
    black = pixels.clone()
    black[..., 0, 0] = 0
    plain = inpaint(model, Shifted(tokenizer, 0.0), pixels, mask, classes(1), OPTIONS, seam=0).pixels
    missed = inpaint(model, Shifted(tokenizer, 0.0), black, mask, classes(1), OPTIONS, seam=0).pixels
    assert torch.equal(plain[:, :, mask[0] > 0], missed[:, :, mask[0] > 0])


def test_many_squares_are_matched_in_pieces_as_together(model, tokenizer):
    pixels, mask = 0.3 + 0.3 * picture(1, 3, 5 * SIZE, 5 * SIZE), torch.zeros(1, 5 * SIZE, 5 * SIZE)
    mask[:, 3 :: 2 * SIZE, 3 :: 2 * SIZE] = 1
    together, apart = (
        inpaint(model, tokenizer, pixels, mask, classes(1), replace(OPTIONS, batch=batch)) for batch in (None, 2)
    )
    assert len(together.cutouts) > 2
    torch.testing.assert_close(together.pixels, apart.pixels, rtol=0, atol=1e-5)


# Outpaint


@given(
    size=sizes,
    amounts=st.lists(st.integers(0, 13), min_size=4, max_size=4),
    overlap=st.integers(0, GRID - 1),
    channels=st.sampled_from([3, 4]),
    seam=st.integers(0, 20),
)
@settings(max_examples=20, deadline=None)
def test_the_original_stays_bit_for_bit_wherever_it_grows(model, tokenizer, size, amounts, overlap, channels, seam):
    left, top, right, bottom = amounts
    pixels = picture(1, channels, *size)
    done = outpaint(model, tokenizer, pixels, classes(2), OPTIONS, *amounts, overlap=overlap, seam=seam)
    assert done.pixels.shape == (2, channels, size[0] + top + bottom, size[1] + left + right)
    middle = done.pixels[:, :, top : top + size[0], left : left + size[1]]
    assert torch.equal(middle, pixels.expand(2, -1, -1, -1))
    assert ((done.pixels >= 0) & (done.pixels <= 1)).all()
    assert done.decoded.known.all()


@pytest.mark.parametrize("size", [(9, 7), (5, 3), (1, 1), (3, 30)])
def test_growing_by_nothing_gives_the_picture_back_and_draws_nothing(model, tokenizer, size):
    pixels = picture(1, 3, *size)
    done = outpaint(model, tokenizer, pixels, classes(1), OPTIONS)
    assert torch.equal(done.pixels, pixels)
    assert done.decoded.calls == 0


def test_cells_of_the_original_are_known_and_aligned_with_it(model, tokenizer):
    pixels = picture(1, 3, SIZE, SIZE)
    done = outpaint(model, tokenizer, pixels, classes(1), OPTIONS, left=5, bottom=3)
    assert (done.row, done.column) == (0, 3)
    # The tokenizer sees the edge go on where the picture does, as far as a quarter of a window.
    reach = GRID // 4
    amid = tokenizer.encode(F.pad(pixels, (reach * FACTOR, 0, 0, reach * FACTOR), mode="replicate"))
    assert torch.equal(done.decoded.ids[:, :GRID, 3:], amid[:, :GRID, reach:])
    assert (done.decoded.confidence[:, :GRID, 3:] == 1).all()
    assert (done.decoded.confidence[:, :, :3] < 1).all()


def test_a_cell_that_is_partly_new_is_drawn(model, tokenizer):
    done = outpaint(model, tokenizer, picture(1, 3, SIZE, SIZE - 1), classes(1), OPTIONS, left=2, right=1)
    assert (done.decoded.confidence[:, :, 1:-1] == 1).all() and (done.decoded.confidence[:, :, -1] < 1).all()


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
@pytest.mark.parametrize("length", [1, FACTOR, SIZE - 1, SIZE])
def test_all_of_a_picture_that_grows_on_one_side_is_known(model, tokenizer, side, length):
    upright, growth = side in ("top", "bottom"), 3 * FACTOR + 1
    pixels = picture(1, 3, length, SIZE) if upright else picture(1, 3, SIZE, length)
    done = outpaint(model, tokenizer, pixels, classes(1), OPTIONS, **{side: growth})
    sure = done.decoded.confidence[0].T if upright else done.decoded.confidence[0]
    known = (sure == 1).all(0)
    assert torch.equal(known, (sure == 1).any(0)) and known.sum() == -(-length // FACTOR)
    assert known[0 if side in ("right", "bottom") else -1]
    assert (done.row, done.column) == ((4, 0) if side == "top" else (0, 4) if side == "left" else (0, 0))
    odd, shift = length % FACTOR, (-growth) % FACTOR
    starts = {"left": (0, shift), "top": (shift, 0), "right": (0, odd), "bottom": (odd, 0)}
    assert (done.top, done.left) == starts[side]


@pytest.mark.parametrize("size", [(1, 1), (1, SIZE), (SIZE, 1)])
def test_a_picture_narrower_than_a_cell_grows_into_its_surroundings(model, tokenizer, size):
    pixels = picture(1, 3, *size)
    done = outpaint(model, tokenizer, pixels, classes(1), OPTIONS, 3, 3, 3, 3)
    cell = F.pad(pixels, (0, -size[1] % FACTOR, 0, -size[0] % FACTOR), mode="replicate")
    amid = tokenizer.encode(F.pad(cell, (FACTOR,) * 4, mode="replicate"))[:, 1:-1, 1:-1]
    known = done.decoded.confidence[0] == 1
    assert torch.equal(done.decoded.ids[0][known], amid.flatten())
    with torch.no_grad():
        beside = tokenizer.decode(done.decoded.ids)[
            ..., FACTOR * done.row + size[0] - 1, FACTOR * done.column + size[1]
        ]
    flush = outpaint(model, tokenizer, pixels, classes(1), OPTIONS, 3, 3, 3, 3, seam=0)
    torch.testing.assert_close(flush.pixels[..., 3 + size[0] - 1, 3 + size[1]], beside.clamp(0, 1), rtol=0, atol=1e-6)


def test_a_great_amount_is_drawn_window_by_window(model, tokenizer):
    seen = Recorder()
    done = outpaint(model, tokenizer, picture(1, 3, SIZE, SIZE), classes(1), OPTIONS, right=300, on_call=seen)
    seen.check()
    assert done.pixels.shape == (1, 3, SIZE, SIZE + 300)
    assert len(seen.calls) > 100


def test_the_error_of_the_tokenizer_does_not_show_at_the_edge(model, tokenizer):
    """Old pixels come back too bright: the step from the last of them to the first new one is as drawn all the same."""
    grown = {"right": SIZE, "bottom": SIZE}
    pixels = 0.3 + 0.3 * picture(1, 3, SIZE, SIZE)
    plain, shifted = (
        outpaint(model, Shifted(tokenizer, amount), pixels, classes(1), OPTIONS, **grown).pixels
        for amount in (0.0, 0.2)
    )
    for beside in ((..., slice(SIZE), SIZE), (..., SIZE, slice(SIZE))):
        torch.testing.assert_close(shifted[beside], plain[beside], rtol=0, atol=0.2 / 65 + 1e-5)
    away = shifted[..., SIZE:] - plain[..., SIZE:]  # what is added fades out
    assert (away.diff(dim=-1)[..., :SIZE, :] > 0).all()
    flush = outpaint(model, Shifted(tokenizer, 0.2), pixels, classes(1), OPTIONS, **grown, seam=2).pixels
    bare = outpaint(model, Shifted(tokenizer, 0.2), pixels, classes(1), OPTIONS, **grown, seam=0).pixels
    assert torch.equal(flush[..., SIZE + 2 :], bare[..., SIZE + 2 :])


def test_outpainting_keeps_the_type_of_the_pixels(model, tokenizer):
    pixels = picture(1, 3, SIZE, SIZE).half()
    done = outpaint(model, Shifted(tokenizer, 0.0), pixels, classes(1), OPTIONS, right=3)
    assert done.pixels.dtype == torch.float16


# Where new pixels meet old ones


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 99),
    share=st.floats(0, 0.3),
)
@settings(max_examples=40, deadline=None)
def test_what_is_carried_on_is_as_at_the_edge_and_never_more(size, seed, share):
    edge = picture(2, *size, seed=seed) < share
    error = picture(2, 3, *size, seed=seed + 1) - 0.5
    error[:, :, 0, 0] = torch.where(edge[:, None, 0, 0], error[:, :, 0, 0], float("nan"))  # a hole in the picture
    carried = carried_on(error, edge)
    for own, there, found in zip(error, edge, carried, strict=True):
        if not there.any():
            assert not found.any()
            continue
        assert torch.equal(found[:, there], own[:, there])
        least, most = (extreme(own[:, there], 1).values[:, None, None] for extreme in (torch.min, torch.max))
        assert (found >= least - 1e-5).all() and (found <= most + 1e-5).all()
    everywhere = carried_on(torch.full_like(error, 0.25), edge)
    assert torch.allclose(everywhere[edge.any(2).any(1)], torch.tensor(0.25), atol=1e-5)


@pytest.mark.parametrize("place", [63, 64, 65, 66, 67, 127, 128])
@pytest.mark.parametrize("upright", [False, True])
def test_what_is_carried_on_follows_the_edge_wherever_it_lies(place, upright):
    """A wave along the edge, of 16 pixels: the pixel beside it has most of it, one far away next to nothing."""
    wave = torch.sin(torch.arange(128) * 2 * torch.pi / 16)
    error = torch.zeros(1, 1, 128, 192)
    error[..., place] = wave
    edge = torch.zeros(1, 128, 192, dtype=torch.bool)
    edge[..., place] = True
    if upright:
        carried = carried_on(error.mT, edge.mT)[0, 0].T
    else:
        carried = carried_on(error, edge)[0, 0]
    share = (carried * wave[:, None]).sum(0) / (wave**2).sum()
    assert 0.6 < share[place - 1] < 1 and 0.6 < share[place + 1] < 1
    assert abs(share[place + 40 :]).max() < 0.05


def test_an_edge_is_the_old_pixels_beside_new_ones():
    old = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1]]).bool()[None]
    new = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]).bool()[None]
    beside = torch.tensor([[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 0, 1], [0, 1, 1, 1]]).bool()[None]
    assert torch.equal(edge_of(old, new), beside)
    assert not edge_of(old, torch.zeros_like(old)).any()


def test_an_error_fades_out_around_what_is_old():
    faded = fade_out(2, 3, (2, 0, 1, 4), 2)
    assert faded.shape == (7, 5)
    assert (faded[1:3, 2:] == 1).all()
    torch.testing.assert_close(faded[1, :2], torch.tensor([1 / 3, 2 / 3]))
    torch.testing.assert_close(faded[3:, 2], torch.tensor([2 / 3, 1 / 3, 0, 0]))
    torch.testing.assert_close(faded[0, 1], torch.tensor(1 - 2**0.5 / 3))


def test_growing_by_less_than_nothing_is_refused(model, tokenizer):
    with pytest.raises(ValueError, match="left -3.*crop"):
        outpaint(model, tokenizer, picture(1, 3, 8, 8), classes(1), OPTIONS, left=-3)


# Extrapolate

SPATIAL = spatial_guidance(Linear(1, 3), Linear(1, 2.5))


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("spatial", [None, SPATIAL])
def test_every_cell_is_drawn_and_the_low_resolution_lies_on_multiples(model, factor, spatial):
    seen = Recorder()
    decoded = extrapolate(model, classes(2), factor, OPTIONS, spatial, on_call=seen)
    seen.check()
    assert decoded.ids.shape == (2, factor * GRID, factor * GRID)
    assert decoded.known.all() and seen.known[0].shape == decoded.ids.shape
    assert torch.equal(decoded.ids[:, ::factor, ::factor], generate(model, classes(2), OPTIONS).ids)


def test_a_given_picture_is_the_low_resolution(model):
    ids = random_ids(2, GRID, GRID)
    decoded = extrapolate(model, classes(2), 2, OPTIONS, SPATIAL, ids=ids)
    assert torch.equal(decoded.ids[:, ::2, ::2], ids)
    assert (decoded.confidence[:, ::2, ::2] == 1).all() and (decoded.confidence[:, 1::2] < 1).all()


def test_an_extrapolated_batch_may_be_split(model):
    together = extrapolate(model, classes(3), 2, OPTIONS, SPATIAL)
    split = extrapolate(model, classes(3), 2, replace(OPTIONS, batch=2), SPATIAL)
    alone = extrapolate(model, classes(3)[2:], 2, replace(OPTIONS, pictures=[2]), SPATIAL)
    assert torch.equal(together.ids, split.ids)
    assert torch.equal(together.ids[2:], alone.ids)


def test_an_order_of_the_large_grid_rules_the_low_resolution_too(model):
    order = torch.arange(4 * GRID * GRID).flip(0)
    seen = Recorder()
    extrapolate(model, classes(1), 2, replace(OPTIONS, order=order, steps=999), on_call=seen)
    low = seen.known[GRID * GRID // 2 - 1][0, ::2, ::2].flatten()
    assert torch.equal(low, torch.arange(GRID * GRID) >= GRID * GRID // 2)


def test_the_dropped_context_matters_and_may_be_given(model):
    kept = torch.ones(1, GRID, GRID, dtype=torch.bool)
    ids = random_ids(1, GRID, GRID)
    chance, all_kept, none_kept = (
        extrapolate(model, classes(1), 2, OPTIONS, SPATIAL, ids=ids, context_kept=given).ids
        for given in (None, kept, ~kept)
    )
    assert not torch.equal(chance, all_kept) and not torch.equal(all_kept, none_kept)
    # Nothing dropped: B and C are one, and what is left is class guidance.
    plain = extrapolate(model, classes(1), 2, OPTIONS, ids=ids).ids
    assert torch.equal(all_kept, plain)


def test_extrapolation_stops_when_asked(model):
    for calls in (2, 6):
        seen = Recorder(stop_after=calls)
        assert not extrapolate(model, classes(1), 2, OPTIONS, on_call=seen).known.all()
        assert len(seen.calls) == calls


def test_extrapolation_says_what_it_needs(model):
    with pytest.raises(ValueError, match="factor is 1"):
        extrapolate(model, classes(1), 1, OPTIONS)
    with pytest.raises(ValueError, match="factor is 1.5"):
        extrapolate(model, classes(1), 1.5, OPTIONS)
    with pytest.raises(ValueError, match=r"\[1, 3, 3\].*\[1, 4, 4\]"):
        extrapolate(model, classes(1), 2, OPTIONS, ids=random_ids(1, 3, 3))
    with pytest.raises(ValueError, match="drop ratio is 2"):
        extrapolate(model, classes(1), 2, OPTIONS, drop_ratio=2)


# Refine


def test_refining_keeps_the_surest_cells(model):
    ids = random_ids(2, GRID, GRID)
    sure = picture(2, GRID, GRID)
    decoded = refine(model, ids, classes(2), OPTIONS, share=0.25, confidence=sure)
    kept = forget_unsure(Canvas(ids, torch.zeros_like(ids, dtype=torch.bool)), sure, share=0.25).known
    assert torch.equal(decoded.ids[kept], ids[kept])
    assert torch.equal(decoded.confidence[kept], sure[kept])


def test_rounds_have_random_numbers_of_their_own(model):
    ids = random_ids(1, GRID, GRID)
    once = refine(model, ids, classes(1), OPTIONS, share=1)
    twice = refine(model, ids, classes(1), OPTIONS, share=1, rounds=2)
    assert not torch.equal(once.ids, twice.ids)
    assert not torch.equal(once.ids, generate(model, classes(1), OPTIONS).ids)


def test_a_refined_picture_is_no_different_in_a_batch(model):
    ids = random_ids(3, GRID, 2 * GRID)
    together = refine(model, ids, classes(3), OPTIONS, share=0.5, rounds=2)
    alone = refine(model, ids[2:], classes(3)[2:], replace(OPTIONS, pictures=[2]), share=0.5, rounds=2)
    assert torch.equal(together.ids[2:], alone.ids)


@pytest.mark.parametrize("size", [(GRID, GRID), (1, 1), (GRID - 2, GRID + 3)])
def test_refining_nothing_changes_nothing(model, size):
    ids = random_ids(2, *size)
    for forgotten in ({"share": 0.0}, {"below": 0.0}):
        decoded = refine(model, ids, classes(2), OPTIONS, **forgotten)
        assert torch.equal(decoded.ids, ids) and decoded.calls == 0


def test_beside_a_strip_only_the_windows_that_reach_what_is_new_are_drawn(model):
    """What a strip lacks above and below is never seen."""
    strip = Canvas(random_ids(2, 2, 6 * GRID), torch.ones(2, 2, 6 * GRID, dtype=torch.bool))
    strip.known[0, :, -2:] = False
    strip.known[1, :, :2] = False
    upright = Canvas(strip.ids.mT.contiguous(), strip.known.mT.contiguous())
    one_window = fill(model, Canvas.empty(1, GRID, GRID), classes(1), OPTIONS)
    for canvas in (strip, upright):
        decoded = fill(model, canvas, classes(2), OPTIONS)
        assert decoded.known.all() and torch.equal(decoded.ids[canvas.known], canvas.ids[canvas.known])
        assert decoded.calls <= 2 * one_window.calls


def test_scoring_tells_of_every_window_and_may_be_stopped(model):
    ids, told = random_ids(2, GRID, 2 * GRID), []
    canvas = Canvas(ids, torch.zeros_like(ids, dtype=torch.bool))
    watched = replace(OPTIONS, batch=1, on_scored=lambda done, of: told.append((done, of)))
    quiet = sureness(model, canvas, classes(2), replace(OPTIONS, batch=1))
    assert torch.equal(sureness(model, canvas, classes(2), watched), quiet)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]

    def stop(done, of):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refine(model, ids, classes(2), replace(OPTIONS, on_scored=stop), share=0.5)


def test_refining_counts_its_calls_over_all_rounds_and_stops_when_asked(model):
    ids = random_ids(1, GRID, 2 * GRID)
    seen = Recorder()
    refine(model, ids, classes(1), OPTIONS, share=1.0, rounds=3, on_call=seen)
    assert [call for call, _ in seen.calls] == list(range(1, len(seen.calls) + 1))
    assert {calls for _, calls in seen.calls} == {len(seen.calls)}
    seen = Recorder(stop_after=5)
    refine(model, ids, classes(1), OPTIONS, share=1.0, rounds=3, on_call=seen)
    assert len(seen.calls) == 5


def test_refining_takes_at_least_a_round(model):
    with pytest.raises(ValueError, match="0 rounds"):
        refine(model, random_ids(1, GRID, GRID), classes(1), OPTIONS, share=0.5, rounds=0)


def test_a_context_of_another_shape_is_refused(model):
    kept = torch.ones(1, GRID * GRID, dtype=torch.bool)
    with pytest.raises(ValueError, match=rf"shape \[1, {GRID * GRID}\]; .* need \[1, {GRID}, {GRID}\]"):
        extrapolate(model, classes(1), 2, OPTIONS, SPATIAL, context_kept=kept)
