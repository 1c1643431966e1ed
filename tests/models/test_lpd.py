"""LPD: who sees whom in a decode of groups, what the cache holds, and what the family can't do."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from randar_core.models.kv_cache import KVCache
from randar_core.models.lpd import LPD, LPDConfig

KEYS = json.loads((Path(__file__).parents[1] / "golden" / "checkpoint_keys.json").read_text())
GRID = 4
CELLS = GRID * GRID
CONFIG = LPDConfig(width=32, layers=3, heads=2, codebook_size=24, classes=5, grid=GRID)


@pytest.fixture(scope="module")
def model() -> LPD:
    generator = torch.Generator().manual_seed(0)
    network = LPD(CONFIG)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return network.eval().requires_grad_(False)


def tokens_and_orders(rows: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random tokens along random orders, `[R, N]` each."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, CONFIG.codebook_size, (rows, CELLS), generator=generator)
    return tokens, torch.rand(rows, CELLS, generator=generator).argsort(1)


def teacher_forced(model, condition, tokens, order, sizes, known: int = 0) -> torch.Tensor:
    """Logits `[R, N - known, V]` of a decode in groups of `sizes` that feeds `tokens` whatever the logits say."""
    state = model.start(condition, order)
    logits, done, fed = [], known, 0
    for size in sizes:
        logits.append(model.step(state, tokens[:, fed:done], size))
        fed, done = done, done + size
    return torch.cat(logits, 1)


@st.composite
def groups(draw):
    known = draw(st.integers(0, CELLS - 1))
    sizes, left = [], CELLS - known
    while left:
        sizes.append(draw(st.integers(1, left)))
        left -= sizes[-1]
    return known, sizes


@given(known=st.integers(0, CELLS - 1))
@settings(max_examples=8, deadline=None)
def test_single_tokens_after_known_ones_have_the_logits_of_the_teacher_forced_pass(model, known):
    tokens, order = tokens_and_orders(3)
    condition = model.class_embedding(torch.tensor([1, 4, 5]))
    stepped = teacher_forced(model, condition, tokens, order, [1] * (CELLS - known), known)
    torch.testing.assert_close(stepped, model(condition, tokens, order)[:, known:], rtol=1e-4, atol=1e-5)


def literal_logits(model, condition, tokens, order, sizes, known):
    """One pass over `[class, tokens, queries]` with the mask of the paper, written out pair by pair."""
    group_of = [1 + i for i in range(known)]  # known tokens are groups of one
    for number, size in enumerate(sizes):
        group_of += [1 + known + number] * size
    context = [0, *group_of]
    size = 1 + 2 * CELLS
    mask = torch.full((size, size), -torch.inf)
    for i, own in enumerate(context):
        for j, other in enumerate(context):
            if other <= own:
                mask[i, j] = 0
    for i, own in enumerate(group_of):
        for j, other in enumerate(context):
            if other < own:
                mask[1 + CELLS + i, j] = 0
        for j, other in enumerate(group_of):
            if other == own:
                mask[1 + CELLS + i, 1 + CELLS + j] = 0
    position = model.pos_embed[0][torch.cat([torch.zeros_like(order[:, :1]), 1 + order, 1 + order], 1)]
    queries = model.mask_token.expand(len(order), CELLS, -1)
    x = torch.cat([condition.unsqueeze(1), model.token_emb(tokens), queries], 1) + position
    return model.logits(x, CELLS, None, mask)[:, known:]


@given(case=groups())
@settings(max_examples=15, deadline=None)
def test_tokens_see_their_own_group_and_queries_the_queries_of_theirs(model, case):
    known, sizes = case
    tokens, order = tokens_and_orders(2)
    condition = model.class_embedding(torch.tensor([0, 3]))
    found = teacher_forced(model, condition, tokens, order, sizes, known)
    expected = literal_logits(model, condition, tokens, order, sizes, known)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_queries_leave_nothing_behind(model):
    tokens, order = tokens_and_orders(1)
    condition, found = model.class_embedding(torch.tensor([2])), []
    for asked in (3, 9):
        state = model.start(condition, order)
        model.step(state, tokens[:, :0], asked)
        assert state.cache.length == 1
        found.append(model.step(state, tokens[:, :3], 2))
        assert state.cache.length == 4
    # The first call rounds otherwise with more queries beside the condition.
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


def test_a_row_does_not_depend_on_the_others(model):
    tokens, order = tokens_and_orders(3)
    condition = model.class_embedding(torch.tensor([0, 1, 5]))
    together = teacher_forced(model, condition, tokens, order, [1, 4, 6, 5])
    for row in range(3):
        one = slice(row, row + 1)
        alone = teacher_forced(model, condition[one], tokens[one], order[one], [1, 4, 6, 5])
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-5)


def test_a_masked_token_is_an_embedding_of_zeros_at_its_position(model):
    tokens, order = tokens_and_orders(2)
    condition = model.class_embedding(torch.tensor([1, 2]))
    mask = (torch.arange(CELLS) % 3 > 0).float().expand(2, -1)
    blank = LPD(CONFIG).requires_grad_(False)
    blank.load_state_dict(model.state_dict())
    blank.token_emb.weight[7] = 0
    tokens = torch.where(mask > 0, tokens.clamp(max=6), 7)
    expected = blank(condition, tokens, order)
    torch.testing.assert_close(model(condition, tokens, order, mask), expected)
    state = model.start(condition, order, mask)
    stepped = torch.cat([model.step(state, tokens[:, :5], 1), model.step(state, tokens[:, 5:6], 1)], 1)
    torch.testing.assert_close(stepped, expected[:, 5:7], rtol=1e-4, atol=1e-5)


def test_the_null_class_is_the_released_fake_latent(model):
    embedded = model.class_embedding(torch.tensor([model.null_class, 0, 4]))
    assert torch.equal(embedded[0], model.fake_latent[0])
    assert torch.equal(embedded[1:], model.class_emb.weight[[0, 4]])


def test_a_decode_takes_the_memory_it_says(model):
    state = model.start(model.class_embedding(torch.tensor([0, 1, 2])), tokens_and_orders(3)[1])
    held = [state.positions, state.cache.data]
    assert sum(tensor.numel() * tensor.element_size() for tensor in held) == model.state_bytes(3, CELLS, 4)


def test_weights_in_half_precision_decode(model):
    half = LPD(CONFIG, dtype=torch.bfloat16).eval().requires_grad_(False)
    half.load_state_dict(model.state_dict())
    tokens, order = tokens_and_orders(1)
    classes = torch.tensor([1])
    logits = half(half.class_embedding(classes), tokens, order)
    expected = model(model.class_embedding(classes), tokens, order)
    assert logits.dtype == torch.float32
    assert (logits - expected).norm() < 0.05 * expected.norm()
    assert isinstance(half.start(half.class_embedding(classes), order).cache, KVCache)


def test_extrapolation_is_refused_in_words(model):
    with pytest.raises(ValueError, match="LPD can't extrapolate: .* its own 4 × 4 cells"):
        model.enlarged(2, 2)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="can't have 3 heads"):
        LPD(LPDConfig(width=32, layers=1, heads=3, codebook_size=8))


SIZES = {
    "lpd_l_256": (1024, 24, 16, 16, 337_157_120),
    "lpd_xl_256": (1280, 36, 20, 16, 751_947_520),
    "lpd_xxl_256": (1536, 48, 24, 16, 1_412_184_576),
    "lpd_l_512": (1024, 24, 16, 32, 337_943_552),
    "lpd_xl_512": (1280, 36, 20, 32, 752_930_560),
}


@pytest.mark.parametrize("file", SIZES)
def test_released_files_have_our_keys_and_shapes(file):
    width, layers, heads, grid, parameters = SIZES[file]
    state = LPD(LPDConfig(width, layers, heads, 16384, 1000, grid), device="meta").state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == KEYS[file]
    assert sum(value.numel() for value in state.values()) == parameters
