"""RAR: one token a call through the one loop, and what depends on class and place alone computed once."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from randar_core.checkpoints import detect as recognising
from randar_core.checkpoints.bundle import save_bundle
from randar_core.checkpoints.model import load_model, load_transformer
from randar_core.checkpoints.releases import Defaults, find_release
from randar_core.checkpoints.weights import CheckpointError
from randar_core.cli import main
from randar_core.decoding.canvas import Canvas
from randar_core.decoding.guidance import Linear, PowerCosine, class_guidance
from randar_core.decoding.loop import Setting, decode, score
from randar_core.decoding.orders import ORDERS, random, raster
from randar_core.decoding.plan import make_plan
from randar_core.decoding.sampling import Sampling
from randar_core.models import rar
from randar_core.models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from randar_core.models.maskgit import MaskGITConfig, MaskGITTokenizer
from randar_core.models.randar import RandAR, RandARConfig
from randar_core.models.rar import RAR, RARConfig

KEYS = json.loads((Path(__file__).parents[1] / "golden" / "checkpoint_keys.json").read_text())
GRID = 6  # more places than one window of adaptive-norm parts
CELLS = GRID * GRID
CONFIG = RARConfig(width=32, layers=2, heads=2, mlp_width=48, codebook_size=24, classes=5, grid=GRID)
GUIDANCE = class_guidance(PowerCosine(8.0, 1.5))


def filled(network: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model() -> RAR:
    return filled(RAR(CONFIG))


def setting(classes, guidance=GUIDANCE, **sampling) -> Setting:
    return Setting(torch.tensor(classes), guidance, Sampling(**sampling))


def random_tokens(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 24, (rows, CELLS), generator=torch.Generator().manual_seed(seed))


def random_orders(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(rows, CELLS, generator=torch.Generator().manual_seed(seed)).argsort(1)


def plan_for(canvas: Canvas, order=raster, seed: int = 0, pictures=None):
    return make_plan(canvas, 999, seed, order, pictures, parallel=RAR.parallel)


# The sequence


@given(known=st.integers(0, CELLS - 1), then=st.integers(1, 5))
@settings(max_examples=6, deadline=None)
def test_cached_steps_give_what_teacher_forcing_gives(model, known, then):
    """Whatever is fed at once: `known` tokens with the first query, one a call, and `then` at once in between."""
    classes, order, tokens = torch.tensor([1, 4, 5]), random_orders(3), random_tokens(3)
    expected = model(classes, tokens, order)
    state, done = model.start(classes, order), 0
    for fresh in [known, then, *[1] * CELLS]:
        if done + fresh >= CELLS:
            break
        found = model.step(state, tokens[:, done : done + fresh])
        done += fresh
        torch.testing.assert_close(found[:, 0], expected[:, done], rtol=1e-4, atol=1e-4)


def test_greedy_drawing_takes_the_best_token_of_the_teacher_forced_logits(model):
    canvas = Canvas.empty(2, GRID, GRID)
    plan = plan_for(canvas, random)
    decoded = decode(model, canvas, plan, setting([0, 3], class_guidance(PowerCosine(0.0, 1.0)), top_k=1))
    along = decoded.ids.flatten(1).gather(1, plan.order)
    assert torch.equal(model(torch.tensor([0, 3]), along, plan.order).argmax(-1), along)


def test_a_scored_picture_has_the_confidence_that_was_drawn_with(model):
    canvas = Canvas.empty(2, GRID, GRID)
    plan = plan_for(canvas)
    decoded = decode(model, canvas, plan, setting([0, 3]))
    scored = score(model, decoded.canvas, plan.order, setting([0, 3]))
    torch.testing.assert_close(scored, decoded.confidence, rtol=1e-4, atol=1e-5)


def test_a_row_sees_nothing_of_the_tokens_it_predicts(model):
    order, tokens = random_orders(1), random_tokens(1)
    other = tokens.clone()
    other[:, 20:] = (other[:, 20:] + 1) % 24
    one, two = (model(torch.tensor([2]), given, order) for given in (tokens, other))
    torch.testing.assert_close(one[:, :21], two[:, :21])
    assert (one[:, 21] - two[:, 21]).abs().max() > 1e-2


def test_a_token_knows_which_cell_comes_next(model):
    """Swapping the two cells after the first changes the logits that follow the first."""
    order, tokens = random_orders(1), random_tokens(1)
    swapped = order[:, [0, 2, 1, *range(3, CELLS)]]
    one, two = (model(torch.tensor([2]), tokens, given) for given in (order, swapped))
    torch.testing.assert_close(one[:, 0], two[:, 0])
    assert (one[:, 1] - two[:, 1]).abs().max() > 1e-2


def test_the_null_class_is_a_class_of_its_own(model):
    order, tokens = random_orders(1), random_tokens(1)
    seen = {model(torch.tensor([c]), tokens, order).sum().item() for c in range(model.null_class + 1)}
    assert model.null_class == CONFIG.classes
    assert len(seen) == CONFIG.classes + 1


# The loop


def test_one_token_is_drawn_a_call_in_raster_order(model):
    canvas, seen = Canvas.empty(1, GRID, GRID), []
    assert ORDERS[RAR.trained_order] is raster and ORDERS[RandAR.trained_order] is random
    decode(model, canvas, plan_for(canvas), setting([0]), lambda now: seen.append(now.known.flatten().clone()))
    assert all(torch.equal(known.nonzero()[:, 0], torch.arange(call + 1)) for call, known in enumerate(seen))
    assert len(seen) == CELLS


@pytest.mark.parametrize("rows", [1, 4])
def test_raster_completion_keeps_the_upper_part_and_draws_the_rest(model, rows):
    whole = decode(model, Canvas.empty(2, GRID, GRID), plan_for(Canvas.empty(2, GRID, GRID)), setting([1, 2]))
    upper = torch.zeros(2, GRID, GRID, dtype=torch.bool)
    upper[:, :rows] = True
    canvas = Canvas(torch.where(upper, whole.ids, 0), upper)
    completed = decode(model, canvas, plan_for(canvas), setting([1, 2]))
    assert completed.calls == (GRID - rows) * GRID
    assert torch.equal(completed.ids, whole.ids)  # the same seed goes on where the whole picture was
    other = decode(model, canvas, plan_for(canvas, seed=1), setting([1, 2]))
    assert torch.equal(other.ids[upper], whole.ids[upper])
    assert not torch.equal(other.ids, whole.ids)


@settings(max_examples=4, deadline=None)
@given(counts=st.lists(st.integers(0, CELLS), min_size=2, max_size=3), seed=st.integers(0, 2**32))
def test_known_cells_anywhere_stay_and_a_picture_does_not_depend_on_its_batch(model, counts, seed):
    known = random_orders(len(counts), seed).argsort(1) < torch.tensor(counts)[:, None]
    canvas = Canvas(random_tokens(len(counts), seed).view(-1, GRID, GRID), known.view(-1, GRID, GRID))
    classes = list(range(len(counts)))
    together = decode(model, canvas, plan_for(canvas, random, seed), setting(classes, top_k=3))
    assert torch.equal(together.ids[canvas.known], canvas.ids[canvas.known])
    assert together.calls == sum(CELLS - count for count in set(counts))
    for index in classes:
        one = Canvas(canvas.ids[index : index + 1], canvas.known[index : index + 1])
        alone = decode(model, one, plan_for(one, random, seed, pictures=[index]), setting([index], top_k=3))
        assert torch.equal(alone.ids[0], together.ids[index])


# What is computed once


def test_adaptive_norm_parts_are_computed_once_for_every_class_and_place(model):
    seen = []
    hooks = [
        module.adaLN_modulation[1].register_forward_hook(lambda module, given, _: seen.append((module, given[0])))
        for module in [*model.blocks, model.adaln_before_head]
    ]
    canvas = Canvas.empty(3, GRID, GRID)
    decode(model, canvas, plan_for(canvas), setting([1, 1, 4]))
    for hook in hooks:
        hook.remove()
    windows = 1 + -(-(CELLS - 1) // rar.WINDOW)  # the first call feeds two places
    assert len(seen) == windows * len(hooks)
    for module in {module for module, _ in seen}:
        shapes = [given.shape for one, given in seen if one is module]
        assert {shape[0] for shape in shapes} == {3}  # two classes and the null class for six rows
        assert sum(shape[1] for shape in shapes) == 1 + CELLS


def test_a_decode_takes_the_memory_it_says(model):
    classes = torch.arange(3)
    state = model.start(classes, random_orders(3))
    held = [value for value in vars(state).values() if torch.is_tensor(value) and value.is_floating_point()]
    assert sum(tensor.numel() * tensor.element_size() for tensor in held) == model.cache_bytes(3, CELLS, 4)
    before = [tensor.data_ptr() for tensor in held]
    model.step(state, random_tokens(3)[:, :0])
    for token in random_tokens(3).T[: CELLS - 1]:
        model.step(state, token[:, None])
    assert [tensor.data_ptr() for tensor in held] == before
    assert [value for value in vars(state).values() if any(value is tensor for tensor in held)] == held


def test_rows_of_one_class_share_their_parts(model):
    state = model.start(torch.tensor([2, 2, 2, 5]), random_orders(4))
    assert len(state.parts) == 2


def test_weights_in_half_precision_decode(model):
    half = RAR(CONFIG, dtype=torch.bfloat16).eval().requires_grad_(False)
    half.load_state_dict(model.state_dict())
    logits = half(torch.tensor([1]), random_tokens(1), random_orders(1))
    expected = model(torch.tensor([1]), random_tokens(1), random_orders(1))
    assert logits.dtype == torch.float32
    assert (logits - expected).norm() < 0.05 * expected.norm()


# What it can't do


def test_another_grid_is_refused_in_words(model):
    with pytest.raises(ValueError, match="RAR draws pictures of 6 × 6 = 36 cells.*144 cells were asked for"):
        model.start(torch.tensor([0]), torch.arange(4 * CELLS)[None])


@pytest.mark.parametrize("argument", ["table", "context_kept"])
def test_extrapolation_is_refused_in_words(model, argument):
    given = {argument: torch.ones(1, CELLS)}
    with pytest.raises(ValueError, match="RAR can't extrapolate"):
        model.start(torch.tensor([0]), random_orders(1), **given)
    with pytest.raises(ValueError, match="RAR can't extrapolate"):
        model(torch.tensor([0]), random_tokens(1), random_orders(1), **given)


def test_several_tokens_a_call_are_refused(model):
    canvas = Canvas.empty(1, GRID, GRID)
    with pytest.raises(ValueError, match="one token a call; 2 were asked for"):
        decode(model, canvas, make_plan(canvas, 20, 0, parallel=True), setting([0]))


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="can't have 3 heads"):
        RAR(RARConfig(width=32, layers=1, heads=3, mlp_width=8))


# Files


@pytest.mark.parametrize(
    ("file", "guidance", "power", "temperature"),
    [("rar_b", 16.0, 2.75, 1.0), ("rar_l", 15.5, 2.5, 1.02), ("rar_xl", 6.9, 1.5, 1.02), ("rar_xxl", 8.0, 1.2, 1.02)],
)
def test_released_files_have_our_keys_and_the_defaults_of_the_paper(file, guidance, power, temperature):
    release = find_release(file.replace("_", "-"))
    state = RAR(release.config, device="meta").state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == KEYS[file]
    assert release.file == f"{file}.bin" and release.tokenizer == "maskgit-vqgan"
    assert release.config.heads == 16
    assert release.defaults == Defaults(guidance, 1.0, power, temperature, steps=256, order=RAR.trained_order)


LLAMAGEN = LlamaGenConfig(8, (1, 2), 1, codebook_size=24, codebook_dim=4, z_channels=8, norm_groups=4)
MASKGIT = MaskGITConfig(8, (1, 2), 1, codebook_size=24, codebook_dim=8, norm_groups=4)


@pytest.fixture
def small_releases(monkeypatch):
    """The table of releases with sizes that tests can write."""
    sizes = {"rar-b": CONFIG, "maskgit-vqgan": MASKGIT, "llamagen-vq16": LLAMAGEN}
    small = [dataclasses.replace(find_release(name), config=size) for name, size in sizes.items()]
    monkeypatch.setattr(recognising, "RELEASES", small)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_released_pickle_is_recognised_and_drawn_from(tmp_path, small_releases, model, zipped):
    tokenizer = filled(MaskGITTokenizer(MASKGIT))
    torch.save(model.state_dict(), tmp_path / "rar_b.bin", _use_new_zipfile_serialization=zipped)
    torch.save(tokenizer.state_dict(), tmp_path / "t.bin", _use_new_zipfile_serialization=zipped)
    loaded = load_model(tmp_path / "rar_b.bin", tmp_path / "t.bin")
    assert loaded.name == "rar-b"
    assert loaded.class_names[207] == "golden retriever"
    (course, _, _), *_ = loaded.guidance().terms
    assert course == PowerCosine(16.0, 2.75)
    given = torch.tensor([1]), random_tokens(1), random_orders(1)
    assert torch.equal(loaded.transformer(*given), model(*given))


def test_guidance_rises_by_the_models_power_unless_another_course_is_asked_for(tmp_path, small_releases, model):
    torch.save(model.state_dict(), tmp_path / "rar_b.bin")
    torch.save(filled(MaskGITTokenizer(MASKGIT)).state_dict(), tmp_path / "t.bin")
    loaded = load_model(tmp_path / "rar_b.bin", tmp_path / "t.bin")
    asked = {
        PowerCosine(4.0, 2.75): {"end": 4.0},
        PowerCosine(16.0, 0.0): {"power": 0.0},
        Linear(2.0, 4.0): {"end": 4.0, "start": 2.0},
    }
    for expected, arguments in asked.items():
        assert loaded.guidance(**arguments) == class_guidance(expected)
    with pytest.raises(ValueError, match="a start .2.0. and a power .1.5.*Give one of the two"):
        loaded.guidance(4.0, start=2.0, power=1.5)


def test_a_bundle_of_another_size_is_drawn_in_the_order_of_its_family(tmp_path, model):
    path = tmp_path / "b.safetensors"
    save_bundle(path, model, filled(MaskGITTokenizer(MASKGIT)), list("abcde"), name="small")
    loaded = load_model(path)
    assert loaded.transformer.config == CONFIG
    assert loaded.defaults == Defaults(order="raster")
    save_bundle(path, model, loaded.tokenizer, defaults=Defaults(2.0, guidance_power=1.5, order="random"))
    assert load_model(path).defaults.order == "random"


def test_the_command_line_draws_and_converts_and_says_what_it_cannot(tmp_path, model, capsys):
    path, picture = tmp_path / "b.safetensors", tmp_path / "00000_b.png"
    defaults = Defaults(4.0, guidance_power=1.5, order="raster")
    save_bundle(path, model, filled(MaskGITTokenizer(MASKGIT)), list("abcde"), defaults)
    assert main(["generate", "b", "--model", str(path), "--out", str(tmp_path)]) == 0
    facts = json.loads(Image.open(picture).text["parameters"])
    assert (facts["order"], facts["guidance"], facts["guidance_power"]) == ("raster", [4.0], 1.5)
    assert main(["convert", str(path), str(tmp_path / "half.safetensors"), "--dtype", "bfloat16"]) == 0
    assert main(["info", str(tmp_path / "half.safetensors")]) == 0
    assert "transformer: rar, " in capsys.readouterr().out
    assert main(["extrapolate", str(picture), "b", "--model", str(path)]) == 2
    assert "can't extrapolate" in capsys.readouterr().err


def test_a_canvas_of_as_many_cells_but_another_shape_is_refused(model):
    canvas = Canvas.empty(1, CELLS // 4, 4)
    with pytest.raises(ValueError, match="4×9 cells.*draws 6×6 at once"):
        decode(model, canvas, plan_for(canvas), setting([0]))


def test_a_cut_pickle_is_named(tmp_path, model):
    path = tmp_path / "rar_b.bin"
    torch.save(model.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match="rar_b.bin' is a cut or damaged PyTorch checkpoint"):
        load_transformer(path)


def test_a_tokenizer_of_the_wrong_family_is_refused(tmp_path, small_releases, model):
    torch.save(model.state_dict(), tmp_path / "rar_b.bin")
    torch.save(filled(LlamaGenTokenizer(LLAMAGEN)).state_dict(), tmp_path / "t.pt")
    with pytest.raises(CheckpointError, match="rar-b was trained with a maskgit tokenizer, not with llamagen"):
        load_model(tmp_path / "rar_b.bin", tmp_path / "t.pt")


def test_mixed_decoders_in_one_file_are_refused(tmp_path, model):
    other = RandAR(RandARConfig(width=32, layers=1, heads=2, codebook_size=24, classes=5, grid=GRID))
    torch.save(model.state_dict() | other.state_dict(), tmp_path / "mixed.bin")
    with pytest.raises(CheckpointError, match="mixes the keys of randar .* and rar"):
        load_transformer(tmp_path / "mixed.bin")
