"""Causal attention in blocks."""

import torch
import torch.nn.functional as F

from randar_core.training.cpu_attention import causal_attention


def test_quick_attention_is_attention():
    query, key, value = (torch.randn(5, 2, 300, 8, generator=torch.Generator().manual_seed(i)) for i in range(3))
    expected = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    assert torch.allclose(causal_attention(query, key, value), expected, atol=1e-5)
