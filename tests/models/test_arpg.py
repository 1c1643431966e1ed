"""ARPG: a content stack, queries that only cross-attend, and how the loop draws with them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from randar_core.models.arpg import ARPG, ARPGConfig

GRID, CODES, CLASSES = 6, 24, 5
CELLS = GRID * GRID
CONFIG = ARPGConfig(width=32, layers=4, heads=2, codebook_size=CODES, classes=CLASSES, grid=GRID)

shared = settings(max_examples=8, deadline=None)


def filled(network: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model() -> ARPG:
    return filled(ARPG(CONFIG))


def random_tokens(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, CODES, (rows, CELLS), generator=torch.Generator().manual_seed(seed))


def random_orders(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(rows, CELLS, generator=torch.Generator().manual_seed(seed)).argsort(1)


def assert_close(found: torch.Tensor, expected: torch.Tensor):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


# The calls


@given(known=st.integers(0, CELLS - 1), seed=st.integers(0, 2**32))
@shared
def test_known_tokens_are_fed_as_in_training(model, known, seed):
    """Known tokens at once, then one a call: all logits are the teacher-forced ones."""
    condition = model.class_embedding(torch.tensor([1, 4, CLASSES]))
    order, tokens = random_orders(3, seed), random_tokens(3, seed)
    expected = model(condition, tokens, order)
    state = model.start(condition, order)
    for done in range(known, CELLS):
        fed = tokens[:, :done] if done == known else tokens[:, done - 1 : done]
        assert_close(model.step(state, fed, 1)[:, 0], expected[:, done])


@given(known=st.integers(0, CELLS - 2), data=st.data())
@shared
def test_queries_of_one_call_do_not_see_each_other(model, known, data):
    condition, order, tokens = model.class_embedding(torch.tensor([2])), random_orders(1), random_tokens(1)
    queries = data.draw(st.integers(2, CELLS - known))
    other = data.draw(st.integers(1, queries - 1))
    together = model.step(model.start(condition, order), tokens[:, :known], queries)
    order = order.clone()
    order[:, [known, known + other]] = order[:, [known + other, known]]
    alone = model.step(model.start(condition, order), tokens[:, :known], 1)
    assert_close(together[:, other], alone[:, 0])


def test_tokens_of_a_later_call_see_each_other_whatever_their_order(model):
    condition, order, tokens = model.class_embedding(torch.tensor([2])), random_orders(1), random_tokens(1)
    swapped = [1, 0, *range(2, CELLS)]

    def after(known: int, order: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        state = model.start(condition, order)
        if known == 0:
            model.step(state, tokens[:, :0], 2)
        return model.step(state, tokens[:, :2], 4)

    assert_close(after(0, order, tokens), after(0, order[:, swapped], tokens[:, swapped]))
    assert (after(0, order, tokens) - after(2, order, tokens)).abs().max() > 1e-2
    assert (after(2, order, tokens) - after(2, order[:, swapped], tokens[:, swapped])).abs().max() > 1e-2


def test_a_query_knows_its_cell(model):
    condition, order = model.class_embedding(torch.tensor([2])), random_orders(1)
    logits = model.step(model.start(condition, order), random_tokens(1)[:, :3], CELLS - 3)[0]
    assert len(logits.unique(dim=0)) == CELLS - 3


def test_every_class_and_the_null_class_has_an_embedding_of_its_own(model):
    embedded = model.class_embedding(torch.arange(model.null_class + 1))
    assert model.null_class == CLASSES
    assert len(embedded.unique(dim=0)) == CLASSES + 1
    assert not torch.isin(embedded, model.embeddings(torch.arange(CODES + 1))).any()


def test_a_masked_token_is_fed_as_zeros(model):
    condition, order, tokens = model.class_embedding(torch.tensor([2, 3])), random_orders(2), random_tokens(2)
    mask = torch.ones(2, CELLS)
    mask[:, [1, 4]] = 0
    changed = tokens.clone()
    changed[:, [1, 4]] = (changed[:, [1, 4]] + 1) % CODES
    expected = model(condition, tokens, order, mask)
    assert_close(model(condition, changed, order, mask), expected)
    assert (model(condition, tokens, order) - expected)[:, 2:].abs().max() > 1e-2
    state = model.start(condition, order, mask)
    assert_close(model.step(state, changed[:, :2], 1)[:, 0], expected[:, 2])
    for done in range(3, 7):
        assert_close(model.step(state, changed[:, done - 1 : done], 1)[:, 0], expected[:, done])


# Another grid


def test_an_enlarged_model_shares_the_weights_and_leaves_the_model_as_it_is(model):
    large = model.enlarged(2, 2)
    assert (large.config.grid, model.config.grid) == (2 * GRID, GRID)
    assert large.rope_table.shape[0] == 1 + 4 * CELLS and model.rope_table.shape[0] == 1 + CELLS
    assert all(large.get_parameter(name) is parameter for name, parameter in model.named_parameters())
    order = torch.arange(4 * CELLS)[None]
    logits = large.step(large.start(large.class_embedding(torch.tensor([1])), order), order[:, :0], 4 * CELLS)
    assert logits.shape == (1, 4 * CELLS, CODES) and logits.isfinite().all()


# Size and precision


def test_the_state_takes_the_memory_it_says_and_is_allocated_once(model):
    condition = model.class_embedding(torch.arange(3))
    state = model.start(condition, random_orders(3))
    held = [state.condition, state.rope, state.cache.data]
    assert sum(tensor.nbytes for tensor in held) == model.state_bytes(3, CELLS, 4)
    before = [tensor.data_ptr() for tensor in held]
    tokens = random_tokens(3)
    model.step(state, tokens[:, :0], 1)
    for token in tokens.T[: CELLS - 1]:
        model.step(state, token[:, None], 1)
    assert [tensor.data_ptr() for tensor in (state.condition, state.rope, state.cache.data)] == before


def test_weights_in_half_precision_decode(model):
    half = ARPG(CONFIG, dtype=torch.bfloat16).eval().requires_grad_(False)
    half.load_state_dict(model.state_dict())
    classes, order, tokens = torch.tensor([1]), random_orders(1), random_tokens(1)
    logits = half(half.class_embedding(classes), tokens, order)
    expected = model(model.class_embedding(classes), tokens, order)
    assert logits.dtype == torch.float32
    assert (logits - expected).norm() < 0.05 * expected.norm()


def test_sizes_that_make_no_transformer_are_refused_in_words():
    with pytest.raises(ValueError, match="can't have 3 heads.*a multiple of 4"):
        ARPG(ARPGConfig(width=32, layers=2, heads=3, codebook_size=8))
    with pytest.raises(ValueError, match="can't have 3 layers.*even number"):
        ARPG(ARPGConfig(width=32, layers=3, heads=2, codebook_size=8))
