"""Attention in blocks, for training."""

from unittest import mock

import pytest
import torch
import torch.nn.functional as F

from randar_core.models.lpd import LPD, LPDConfig, group_mask
from randar_core.training import cpu_attention
from randar_core.training.cpu_attention import QuickAttention
from randar_core.training.transformer import initialise, objective_of

GROUPS = group_mask(torch.zeros(1), [1] * 40 + [60, 61])
MASKS = {
    "causal": {"is_causal": True},
    "groups": {"attn_mask": GROUPS},
    "last queries": {"attn_mask": GROUPS[-161:]},
    "weights of keys": {"attn_mask": torch.randn(300, 300, generator=torch.Generator().manual_seed(3))},
}
OTHERS = {
    "no mask": {},
    "bool": {"attn_mask": torch.ones(300, 300, dtype=torch.bool).tril()},
    "scale": {"is_causal": True, "scale": 0.5},
    "of each row": {"attn_mask": torch.zeros(5, 1, 300, 300)},
    "of all queries": {"attn_mask": torch.zeros(1, 300)},
}


@pytest.fixture
def in_blocks():
    with mock.patch.object(cpu_attention, "attention_in_blocks", wraps=cpu_attention.attention_in_blocks) as taken:
        yield taken


def drawn(case: dict, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Query, key, value and the gradient of the result."""
    queries, keys = (300, 300) if "attn_mask" not in case else case["attn_mask"].shape[-2:]
    lengths = (queries if queries > 1 else 300, keys, keys, queries if queries > 1 else 300)
    made = [torch.randn(5, 2, n, 8, generator=torch.Generator().manual_seed(i)) for i, n in enumerate(lengths)]
    return [tensor.to(dtype) for tensor in made]


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize("case", MASKS)
def test_quick_attention_is_attention(case, dtype, bound, in_blocks):
    given = drawn(MASKS[case], dtype)

    def attended() -> tuple[torch.Tensor, ...]:
        inputs = [tensor.clone().requires_grad_() for tensor in given[:3]]
        mask = {name: value.to(dtype) if name == "attn_mask" else value for name, value in MASKS[case].items()}
        out = F.scaled_dot_product_attention(*inputs, **mask)
        out.backward(given[3])
        return out, *(tensor.grad for tensor in inputs)

    expected = attended()
    assert not in_blocks.called
    with QuickAttention():
        got = attended()
    assert in_blocks.called
    torch.testing.assert_close(got, expected, atol=bound, rtol=bound)


@pytest.mark.parametrize("case", OTHERS)
def test_other_calls_remain_torchs_own(case, in_blocks):
    query, key, value, _ = drawn(OTHERS[case])
    expected = F.scaled_dot_product_attention(query, key, value, **OTHERS[case])
    with QuickAttention():
        assert torch.equal(F.scaled_dot_product_attention(query, key, value, **OTHERS[case]), expected)
    assert not in_blocks.called


def test_lpd_learns_with_it(in_blocks):
    model = LPD(LPDConfig(width=16, layers=3, heads=2, codebook_size=16, classes=4, grid=4))
    initialise(model, 0)
    batch = {"classes": torch.tensor([1]), "tokens": torch.zeros(1, 16, dtype=torch.long)}
    objective_of(model, 0)(batch | {"order": torch.arange(16)[None]}, 0)
    assert in_blocks.call_count == 3
