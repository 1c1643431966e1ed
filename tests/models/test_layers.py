"""The layers that stand in for torch's on the CPU, the two forms of a rotation, and the KV cache's two updates."""

import pytest
import torch
from torch import nn

from randar_core.models.kv_cache import KVCache
from randar_core.models.layers import RMSNorm
from randar_core.models.rope import (
    rope_of,
    rotate,
    rotated_as_complex,
    rotated_as_pairs,
    trained_table,
    with_values,
)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


def rope(cells: int = 16, head_width: int = 8) -> torch.Tensor:
    order = torch.randperm(cells, generator=torch.Generator().manual_seed(1)).expand(2, -1)
    return rope_of(order, trained_table(4, head_width))


@pytest.mark.parametrize("scale", [1e-4, 1.0, 300.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-7), (torch.bfloat16, 8e-3)])
def test_rms_norm_gives_what_torchs_gives(scale, dtype, tolerance):
    x, weight = scale * draw(3, 5, 48), 1 + 0.3 * draw(48, seed=1)
    norm = RMSNorm(48, eps=1e-5, dtype=dtype)
    norm.load_state_dict({"weight": weight})
    expected = nn.functional.rms_norm(x.to(dtype).double(), (48,), weight.to(dtype).double(), 1e-5)
    with torch.no_grad():
        found = norm(x.to(dtype).transpose(0, 1))
    assert found.dtype == dtype and found.is_contiguous()
    torch.testing.assert_close(found.double(), expected.transpose(0, 1), rtol=tolerance, atol=tolerance * scale)


def test_rms_norm_of_zeros_is_zero_and_of_nan_is_nan():
    norm = RMSNorm(8, eps=1e-5)
    with torch.no_grad():
        assert norm(torch.zeros(2, 8)).abs().sum() == 0
        assert norm(torch.full((1, 8), torch.nan)).isnan().all()


def test_rms_norm_can_be_trained():
    x = draw(4, 8).requires_grad_()
    mine, torchs = RMSNorm(8, eps=1e-5), nn.RMSNorm(8, eps=1e-5)
    gradients = [torch.autograd.grad((norm(x) ** 3).sum(), [x, norm.weight]) for norm in (mine, torchs)]
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_rotation_by_complex_numbers_is_one_by_pairs(dtype):
    turn, pairs = rope(), draw(2, 16, 3, 4, 2).to(dtype)
    torch.testing.assert_close(rotated_as_complex(pairs, turn), rotated_as_pairs(pairs, turn), rtol=1e-6, atol=1e-6)


def test_a_rotation_keeps_lengths_and_turns_equal_cells_alike():
    turn, x = rope(), draw(1, 1, 1, 8)
    rotated = rotate(x.expand(2, 16, 3, 8), turn)
    torch.testing.assert_close(rotated.norm(dim=-1), x.norm(dim=-1).expand(2, 16, 3))
    assert torch.equal(rotated[0], rotated[1]) and not torch.equal(rotated[0, 0], rotated[0, 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_stay_as_they_are_bit_for_bit(dtype):
    qkv = draw(2, 16, 3, 2, 8).to(dtype)
    rotated = rotate(qkv, with_values(rope()))
    assert torch.equal(rotated[:, :, 2], qkv[:, :, 2])
    assert torch.equal(rotated[:, :, :2], rotate(qkv[:, :, :2], rope().unsqueeze(3)))


def test_keys_and_values_in_one_tensor_are_written_as_those_in_two():
    apart, together = (KVCache.allocate(draw(1), 3, 2, 4, 10, 8) for _ in range(2))
    for count in (4, 1, 3):
        key_value = draw(2, 2, 4, count, 8, seed=count)
        for layer in range(3):
            found, expected = together.update_pair(layer, layer + key_value), apart.update(layer, *(layer + key_value))
            assert all(map(torch.equal, found, expected))
        for cache in (apart, together):
            cache.advance(count)
