"""Packed weights compute what plain ones do, where this machine has them; fewer bits cost what is stated here."""

import copy
import weakref

import pytest
import torch

from randar_core.checkpoints.locate import BUILTIN
from randar_core.checkpoints.model import load_model
from randar_core.decoding.guidance import Guidance, Linear
from randar_core.decoding.options import DecodingOptions
from randar_core.decoding.sampling import Sampling
from randar_core.models.randar import RandAR, RandARConfig
from randar_core.procedural.landscape.pictures import Landscapes
from randar_core.runtime import packed_linear as packing
from randar_core.runtime.capabilities import PACKED_BITS
from randar_core.tasks.generate import generate


def model(dtype=torch.float32) -> RandAR:
    generator = torch.Generator().manual_seed(0)
    decoder = RandAR(RandARConfig(64, 2, 4, 32, classes=3, grid=4)).eval().requires_grad_(False)
    for parameter in decoder.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.1 if parameter.ndim > 1 else 1))
    return decoder.to(dtype)


needs_packing = pytest.mark.skipif(not packing.can_pack(torch.empty(0)), reason="no packed kernels here")


def greedy(decoder) -> torch.Tensor:
    options = DecodingOptions(Guidance(Linear(1.0, 4.0)), steps=7, seed=0, sampling=Sampling(top_k=1))
    return generate(decoder, torch.tensor([0, 2]), options).ids


def logits(decoder, classes, tokens, order) -> torch.Tensor:
    return decoder(decoder.class_embedding(classes), tokens, order)


@needs_packing
@torch.inference_mode()
def test_packed_weights_draw_the_same_tokens_in_float32():
    assert torch.equal(greedy(packing.pack(model())), greedy(model()))


@needs_packing
@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_logits_agree_with_plain_ones(dtype):
    if not packing.can_pack(torch.empty(0, dtype=dtype)):
        pytest.skip("this CPU has no bfloat16 products")
    order = torch.arange(16).expand(1, -1)
    arguments = (torch.tensor([1]), torch.randint(0, 32, (1, 16), generator=torch.Generator().manual_seed(1)), order)
    tolerance = 2e-5 if dtype == torch.float32 else 3e-2
    plain, packed = logits(model(dtype), *arguments), logits(packing.pack(model(dtype)), *arguments)
    torch.testing.assert_close(packed, plain, rtol=tolerance, atol=tolerance)


@needs_packing
def test_no_second_copy_of_the_weights_stays():
    decoder = packing.pack(model())
    assert not [name for name, module in decoder.named_modules() if isinstance(module, torch.nn.Linear)]
    assert not [name for name, _ in decoder.named_parameters() if "wqkv" in name or "output" in name]


@needs_packing
def test_each_layer_goes_before_the_next_is_packed(monkeypatch):
    decoder, there = model(), []
    layers = [weakref.ref(module) for module in decoder.modules() if isinstance(module, torch.nn.Linear)]
    make = packing.PackedLinear.__init__

    def watched(packed, linear):
        there.append(sum(layer() is not None for layer in layers))
        make(packed, linear)

    monkeypatch.setattr(packing.PackedLinear, "__init__", watched)
    packing.pack(decoder)
    assert there == list(range(len(layers), 0, -1))


def test_a_torch_without_the_private_kernels_keeps_plain_layers(monkeypatch):
    monkeypatch.setattr(packing, "can_pack", lambda weight: False)
    decoder = packing.pack(model())
    assert isinstance(decoder.output, torch.nn.Linear)


def test_half_precision_is_left_plain():
    assert not packing.can_pack(torch.empty(0, dtype=torch.float16))


def needs_bits(bits: str):
    return pytest.mark.skipif(not packing.can_pack_in(bits), reason=f"no kernels for weights in {bits} here")


BITS = [pytest.param(bits, marks=needs_bits(bits)) for bits in PACKED_BITS]


@pytest.mark.parametrize("bits", BITS)
@torch.inference_mode()
def test_weights_in_fewer_bits_cost_what_is_said_and_no_more(bits):
    """Of the spread of the logits: under a thousandth in float16, under a tenth in 8 bits."""
    order = torch.arange(16).expand(1, -1)
    arguments = (torch.tensor([1]), torch.randint(0, 32, (1, 16), generator=torch.Generator().manual_seed(1)), order)
    plain, packed = logits(model(), *arguments), logits(packing.pack(model(), bits), *arguments)
    error = (packed - plain).pow(2).mean().sqrt() / plain.std()
    assert 0 < error < {"float16": 1e-3, "int8": 0.1}[bits]


@pytest.fixture(scope="module")
def trained():
    """The built-in decoder in float32, and two pictures that it goes through, each in an order of its own."""
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        builtin = load_model(BUILTIN, dtype=torch.float32)
        pictures, classes = zip(*(Landscapes(0, 2)[index] for index in range(2)), strict=True)
        pixels = torch.stack([torch.from_numpy(picture.copy()) for picture in pictures]).movedim(-1, 1) / 255
        order = torch.stack([torch.randperm(256, generator=generator) for _ in pictures])
        ids = builtin.tokenizer.encode(pixels).flatten(1).gather(1, order)
        # The file holds bfloat16: as they are, float16 would round none but the smallest weights.
        for parameter in builtin.transformer.parameters():
            parameter.mul_(1 + 1e-3 * torch.randn(parameter.shape, generator=generator))
    return builtin.transformer, (torch.tensor(classes), ids, order)


# Bounds: of the logits' error against float32, as a share of their spread, and of the share of positions whose most
# likely token stays the same. Measured: bfloat16 0.0075 and 99.6 %, float16 weights 0.0004 and 100 %, int8 0.165 and
# 86.5 % on a CPU that takes only 7 bits of the input.
COSTS = [
    pytest.param("bfloat16", 0.02, 0.97, id="bfloat16"),  # anywhere, kernels or not
    pytest.param("float16", 1e-3, 0.995, marks=needs_bits("float16"), id="float16 weights"),
    pytest.param("int8", 0.3, 0.8, marks=needs_bits("int8"), id="int8 weights"),
]


@pytest.mark.parametrize(("precision", "error_at_most", "same_at_least"), COSTS)
@torch.inference_mode()
def test_a_trained_decoder_keeps_its_logits_in_fewer_bits(trained, precision, error_at_most, same_at_least):
    decoder, arguments = trained
    expected, copied = logits(decoder, *arguments), copy.deepcopy(decoder)
    fewer = copied.bfloat16() if precision == "bfloat16" else packing.pack(copied, precision)
    found = logits(fewer, *arguments)
    error = (found - expected).pow(2).mean().sqrt() / expected.std()
    same = (found.argmax(-1) == expected.argmax(-1)).float().mean()
    assert 0 < error < error_at_most
    assert same > same_at_least


@pytest.mark.parametrize("bits", BITS)
@torch.inference_mode()
def test_a_layer_packed_in_fewer_bits_keeps_its_bias_and_shape(bits):
    linear = torch.nn.Linear(24, 40)
    x = torch.randn(2, 3, 24, generator=torch.Generator().manual_seed(0))
    packed = packing.pack(torch.nn.Sequential(linear), bits)
    assert not isinstance(packed[0], torch.nn.Linear) and not list(packed.parameters())
    torch.testing.assert_close(packed(x), linear(x), rtol=0, atol=0.05)


@needs_bits("float16")
@torch.inference_mode()
def test_weights_that_float16_holds_draw_the_same_tokens():
    rounded = model()
    for parameter in rounded.parameters():
        parameter.copy_(parameter.half())
    assert torch.equal(greedy(packing.pack(copy.deepcopy(rounded), "float16")), greedy(rounded))


def test_a_torch_without_the_kernels_for_fewer_bits_says_so(monkeypatch):
    monkeypatch.setattr(packing, "can_pack_in", lambda bits: False)
    with pytest.raises(ValueError, match="Weights in int8 need .* Use float32"):
        packing.pack(model(), "int8")


@needs_bits("int8")
@torch.inference_mode()
def test_a_row_of_zeros_stays_zero_in_8_bits():
    linear = torch.nn.Linear(16, 4, bias=False)
    linear.weight[2] = 0
    packed = packing.pack(torch.nn.Sequential(linear), "int8")
    assert packed(torch.randn(3, 16))[:, 2].eq(0).all()


def test_only_float32_layers_take_fewer_bits(monkeypatch):
    monkeypatch.setattr(packing, "can_pack_in", lambda bits: True)
    with pytest.raises(ValueError, match="Only float32 layers on the CPU"):
        packing.pack(model(torch.bfloat16), "float16")
