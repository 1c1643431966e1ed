"""Packed weights compute what plain ones do, where this machine has them."""

import pytest
import torch

from randar_core.decoding.canvas import Canvas
from randar_core.decoding.guidance import Linear, class_guidance
from randar_core.decoding.loop import Setting, decode
from randar_core.decoding.plan import make_plan
from randar_core.decoding.sampling import Sampling
from randar_core.models import packing
from randar_core.models.randar import RandAR, RandARConfig


def model(dtype=torch.float32) -> RandAR:
    generator = torch.Generator().manual_seed(0)
    decoder = RandAR(RandARConfig(64, 2, 4, 32, classes=3, grid=4)).eval().requires_grad_(False)
    for parameter in decoder.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.1 if parameter.ndim > 1 else 1))
    return decoder.to(dtype)


needs_packing = pytest.mark.skipif(not packing.can_pack(torch.empty(0)), reason="no packed kernels here")


def greedy(decoder) -> torch.Tensor:
    canvas = Canvas.empty(2, 4, 4)
    setting = Setting(torch.tensor([0, 2]), class_guidance(Linear(1.0, 4.0)), Sampling(top_k=1))
    return decode(decoder, canvas, make_plan(canvas, 7, 0), setting).ids


@needs_packing
@torch.inference_mode()
def test_packed_weights_draw_the_same_tokens_in_float32():
    assert torch.equal(greedy(packing.pack(model())), greedy(model()))


@needs_packing
@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_logits_agree_with_plain_ones(dtype):
    if not packing.can_pack(torch.empty(0, dtype=dtype)):
        pytest.skip("this processor has no bfloat16 products")
    order = torch.arange(16).expand(1, -1)
    arguments = (torch.tensor([1]), torch.randint(0, 32, (1, 16), generator=torch.Generator().manual_seed(1)), order)
    tolerance = 2e-5 if dtype == torch.float32 else 3e-2
    plain, packed = model(dtype)(*arguments), packing.pack(model(dtype))(*arguments)
    torch.testing.assert_close(packed, plain, rtol=tolerance, atol=tolerance)


@needs_packing
def test_no_second_copy_of_the_weights_stays():
    decoder = packing.pack(model())
    assert not [name for name, module in decoder.named_modules() if isinstance(module, torch.nn.Linear)]
    assert not [name for name, _ in decoder.named_parameters() if "wqkv" in name or "output" in name]


def test_a_torch_without_the_private_kernels_keeps_plain_layers(monkeypatch):
    monkeypatch.setattr(packing, "can_pack", lambda weight: False)
    decoder = packing.pack(model())
    assert isinstance(decoder.output, torch.nn.Linear)


def test_half_precision_is_left_plain():
    assert not packing.can_pack(torch.empty(0, dtype=torch.float16))
