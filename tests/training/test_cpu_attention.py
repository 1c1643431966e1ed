"""Attention in blocks, to learn from."""

import pytest
import torch
import torch.nn.functional as F

from randar_core.models.lpd import group_mask
from randar_core.training.cpu_attention import QuickAttention

LIKE = torch.zeros(1)
MASKS = {
    "causal": {"is_causal": True},
    "groups": {"attn_mask": group_mask(LIKE, [1] * 40 + [60, 61])},
    "weights of keys": {"attn_mask": torch.randn(300, 300, generator=torch.Generator().manual_seed(3))},
}


@pytest.mark.parametrize("case", MASKS)
def test_quick_attention_is_attention(case):
    mask = MASKS[case]
    length = 300 if mask.get("attn_mask") is None else len(mask["attn_mask"])
    drawn = [torch.randn(5, 2, length, 8, generator=torch.Generator().manual_seed(i)) for i in range(4)]

    def attended() -> tuple[torch.Tensor, ...]:
        inputs = [tensor.clone().requires_grad_() for tensor in drawn[:3]]
        out = F.scaled_dot_product_attention(*inputs, **mask)
        out.backward(drawn[3])
        return out, *(tensor.grad for tensor in inputs)

    expected = attended()
    with QuickAttention():
        got = attended()
    for one, other in zip(got, expected, strict=True):
        assert not torch.equal(one, other), "torch's own kernel was taken"
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
