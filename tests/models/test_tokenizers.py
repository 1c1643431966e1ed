import dataclasses
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from randar_core.checkpoints.families import family_of
from randar_core.models import codebook, tiling
from randar_core.models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from randar_core.models.maskgit import MaskGITConfig, MaskGITTokenizer
from randar_core.models.patches import PatchConfig, PatchTokenizer

RELEASED_KEYS = json.loads((Path(__file__).parents[1] / "golden" / "checkpoint_keys.json").read_text())
SMALL = {"channels": 8, "multipliers": (1, 2, 2), "res_blocks": 1, "codebook_size": 40, "norm_groups": 4}


def llamagen(**factory) -> LlamaGenTokenizer:
    return LlamaGenTokenizer(LlamaGenConfig(**SMALL, codebook_dim=4, z_channels=8), **factory)


def maskgit(**factory) -> MaskGITTokenizer:
    return MaskGITTokenizer(MaskGITConfig(**SMALL, codebook_dim=6), **factory)


def patches(**factory) -> PatchTokenizer:
    return PatchTokenizer(
        PatchConfig(40, factor=4, blocks=(4, 1), widths=(8, 4), res_blocks=(1, 1), margin=0), **factory
    )


@pytest.fixture(params=[llamagen, maskgit, patches], ids=["llamagen", "maskgit", "patches"], scope="module")
def build(request):
    return request.param


@pytest.fixture(scope="module")
def tokenizer(build):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().requires_grad_(False)


@pytest.fixture(autouse=True)
def _the_same_weights_every_time():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        yield


def picture(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# Names and sizes


@pytest.mark.parametrize(
    ("released", "tokenizer"),
    [
        ("llamagen_vq_ds16_c2i", LlamaGenTokenizer(LlamaGenConfig(), device="meta")),
        ("maskgit_vqgan_imagenet_f16_256", MaskGITTokenizer(MaskGITConfig(), device="meta")),
    ],
)
def test_the_default_configuration_has_the_released_keys_and_shapes(released, tokenizer):
    ignored = family_of(tokenizer.config).ignored_keys
    expected = {key: shape for key, shape in RELEASED_KEYS[released].items() if key not in ignored}
    assert {key: list(value.shape) for key, value in tokenizer.state_dict().items()} == expected
    assert set(RELEASED_KEYS[released]) - set(expected) == ignored
    assert tokenizer.factor == 16


def test_the_configuration_survives_json(tokenizer):
    config = tokenizer.config
    assert type(config)(**json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_factor_and_codebook_follow_the_configuration(tokenizer):
    assert tokenizer.factor == 4
    assert tokenizer.codebook_size == 40
    assert tokenizer.codebook_dim == tokenizer.config.codebook_dim


@pytest.mark.parametrize("margin", [1, 2])
@pytest.mark.parametrize("build", [llamagen, patches])
@given(rows=st.integers(1, 5), columns=st.integers(1, 5))
@settings(max_examples=10, deadline=None)
def test_a_margin_decodes_the_edge_repeated_and_cuts_it_off(build, margin, rows, columns):
    plain = build().requires_grad_(False)
    config = dataclasses.replace(plain.config, margin=margin)
    with_margin = type(plain)(config).requires_grad_(False)
    with_margin.load_state_dict(plain.state_dict())
    ids = torch.randint(40, (2, rows, columns), generator=torch.Generator().manual_seed(rows * 7 + columns))
    around = F.pad(ids[:, None].float(), (margin,) * 4, mode="replicate")[:, 0].long()
    cut = slice(margin * plain.factor, -margin * plain.factor)
    expected = plain.decode(around)[..., cut, cut]
    assert expected.shape == (2, 3, rows * plain.factor, columns * plain.factor)
    torch.testing.assert_close(with_margin.decode(ids), expected, rtol=1e-4, atol=1e-5)
    assert type(config)(**json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_a_half_for_pixels_may_be_wider():
    narrow = LlamaGenConfig(**SMALL, codebook_dim=4, z_channels=8)
    wide = dataclasses.replace(narrow, decoder_multipliers=[1, 4, 4])
    shapes = [LlamaGenTokenizer(config, device="meta").state_dict() for config in (narrow, wide)]
    changed = {name for name in shapes[0] if shapes[0][name].shape != shapes[1][name].shape}
    assert changed and all(name.startswith("decoder.") for name in changed)
    assert type(wide)(**json.loads(json.dumps(dataclasses.asdict(wide)))) == wide
    with pytest.raises(ValueError, match="decoder has 2 levels, its encoder 3"):
        dataclasses.replace(narrow, decoder_multipliers=(1, 2))
    with pytest.raises(ValueError, match="margin is -1 cells; it must be 0"):
        dataclasses.replace(narrow, margin=-1)
    with pytest.raises(ValueError, match="groups, which can't share .* channels evenly"):
        dataclasses.replace(narrow, channels=narrow.norm_groups + 1)


def test_stages_of_a_patch_decoder_must_fit():
    with pytest.raises(ValueError, match="Blocks of 3 pixels don't divide patches of 8"):
        PatchConfig(blocks=(8, 3))
    with pytest.raises(ValueError, match="has 2 blocks, 1 widths and 2 numbers"):
        PatchConfig(widths=(8,))
    with pytest.raises(ValueError, match="margin is -1 cells; it must be 0"):
        PatchConfig(margin=-1)
    for empty in ({"blocks": (), "widths": (), "res_blocks": ()}, {"widths": (8, 0)}, {"res_blocks": (0, 1)}):
        with pytest.raises(ValueError, match="needs a stage at least"):
            PatchConfig(**empty)


@given(batch=st.integers(1, 2), rows=st.integers(1, 5), columns=st.integers(1, 5))
@settings(max_examples=15, deadline=None)
def test_any_multiple_of_the_factor_is_encoded_and_decoded(tokenizer, batch, rows, columns):
    pixels = picture(batch, 3, rows * 4, columns * 4)
    ids = tokenizer.encode(pixels)
    assert ids.shape == (batch, rows, columns)
    assert ids.dtype == torch.long
    assert tokenizer.pre_quant(pixels).shape == (batch, tokenizer.codebook_dim, rows, columns)
    assert tokenizer.decode(ids).shape == pixels.shape


def test_rows_and_columns_are_not_mixed_up(tokenizer):
    wide = picture(1, 3, 8, 24)
    changed = wide.clone()
    changed[..., -4:] = 1 - changed[..., -4:]
    moved = (tokenizer.pre_quant(wide) - tokenizer.pre_quant(changed)).abs().sum((0, 1))
    assert moved.shape == (2, 6)
    assert moved[:, -1].min() > moved[:, 0].max()


# Ids, vectors and the nearest code


def test_a_training_in_16_bits_finds_the_same_codes():
    codebook = MaskGITTokenizer(MaskGITConfig(16, (1,), 1, 512, 256, norm_groups=8)).quantize
    torch.nn.init.normal_(codebook.embedding.weight, generator=torch.Generator().manual_seed(0))
    vectors = torch.randn(2, 256, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16):
        found = codebook.nearest(vectors)
    assert found.equal(codebook.nearest(vectors))


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_ids_to_vectors_to_nearest_gives_the_ids_back(tokenizer, data):
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)))
    ids = torch.randint(40, shape, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 2**32))))
    assert torch.equal(tokenizer.nearest(tokenizer.vectors(ids)), ids)


def test_every_code_of_a_bfloat16_tokenizer_comes_back(build):
    tokenizer = build(dtype=torch.bfloat16)
    ids = torch.arange(40).view(1, 5, 8)
    assert tokenizer.vectors(ids).dtype == torch.float32
    assert torch.equal(tokenizer.nearest(tokenizer.vectors(ids)), ids)


def test_codes_closer_than_the_rounding_of_a_matmul_come_back(build):
    tokenizer = build()
    with torch.no_grad():
        twin = tokenizer.quantize.embedding.weight[20:].mul_(100)
        tokenizer.quantize.embedding.weight[:20] = twin
        tokenizer.quantize.embedding.weight[:20, 0] *= 1 + 1e-5
    ids = torch.arange(40).view(1, 5, 8)
    assert torch.equal(tokenizer.nearest(tokenizer.vectors(ids)), ids)


def test_the_lowest_of_equal_codes_is_chosen(build):
    tokenizer = build()
    with torch.no_grad():
        tokenizer.quantize.embedding.weight[30] = tokenizer.quantize.embedding.weight[7]
    assert tokenizer.nearest(tokenizer.vectors(torch.tensor([[[30, 7]]]))).tolist() == [[[7, 7]]]


def test_nearest_is_nearest_by_euclidean_distance(tokenizer):
    vectors = torch.randn(2, tokenizer.codebook_dim, 3, 5, generator=torch.Generator().manual_seed(1))
    points, codes = vectors.permute(0, 2, 3, 1), tokenizer.quantize.embedding.weight
    if isinstance(tokenizer, LlamaGenTokenizer):
        points, codes = (x / x.norm(dim=-1, keepdim=True) for x in (points, codes))
    expected = (points[..., None, :] - codes).double().norm(dim=-1).argmin(-1)
    assert torch.equal(tokenizer.nearest(vectors), expected)


def test_a_large_picture_is_searched_in_chunks_with_the_same_result(tokenizer, monkeypatch):
    vectors = torch.randn(2, tokenizer.codebook_dim, 5, 7)
    expected = tokenizer.nearest(vectors)
    monkeypatch.setattr(codebook, "DISTANCES_AT_ONCE", 3 * tokenizer.codebook_size)
    assert torch.equal(tokenizer.nearest(vectors), expected)


def test_a_large_batch_goes_slice_by_slice_with_the_same_result(tokenizer, monkeypatch):
    pixels = picture(5, 3, 8, 16)
    ids = tokenizer.encode(pixels)
    whole = tokenizer.decode_vectors(tokenizer.vectors(ids))
    taken = []
    for name in ("pre_quant", "decode_vectors"):
        part = getattr(tokenizer, name)
        monkeypatch.setattr(tokenizer, name, lambda x, part=part: taken.append(len(x)) or part(x), raising=False)
    monkeypatch.setattr(tiling, "PIXELS_AT_ONCE_ON_CPU", 2 * 8 * 16)
    assert (tokenizer.encode(pixels) == ids).all()
    assert torch.allclose(tokenizer.decode(ids), whole, atol=1e-5)
    assert taken == [2, 2, 1, 2, 2, 1]


def test_a_picture_larger_than_a_slice_is_taken_whole(tokenizer, monkeypatch):
    monkeypatch.setattr(tiling, "PIXELS_AT_ONCE_ON_CPU", 1)
    assert tokenizer.decode(torch.zeros(2, 3, 4, dtype=torch.long)).shape == (2, 3, 12, 16)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 9), st.data())
def test_tiles_make_up_the_whole(rows, columns, side, data):
    overlap = data.draw(st.integers(0, side - 1))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"TILE_SIDE": side, "TILE_OVERLAP": overlap}.items():
            patch.setattr(tiling, name, value)
        seen = []

        def halved(x):
            seen.append(x.shape[2] * x.shape[3])
            return F.avg_pool2d(x, 2)

        pixels = torch.rand(2, 3, 2 * rows, 2 * columns, generator=torch.Generator().manual_seed(0))
        vectors = tiling.in_tiles_if_large(halved, pixels, 2, 1, 4 * side**2)
        torch.testing.assert_close(vectors, F.avg_pool2d(pixels, 2))
        # Never more at once than is allowed for.
        assert max(seen) <= 4 * side**2
        doubled = tiling.in_tiles_if_large(
            lambda x: x.repeat_interleave(2, 2).repeat_interleave(2, 3), vectors, 1, 2, 4 * side**2
        )
        torch.testing.assert_close(doubled, vectors.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_a_large_picture_goes_tile_by_tile_with_nearly_the_same_result(tokenizer, monkeypatch):
    factor = tokenizer.factor
    ids = torch.randint(tokenizer.codebook_size, (1, 6, 17), generator=torch.Generator().manual_seed(0))
    whole = tokenizer.decode(ids)
    for name, value in {
        "WHOLE_BYTES": tiling.TENSORS_AT_ONCE * 8 * 4 * (8 * factor) ** 2,
        "TILE_SIDE": 8,
        "TILE_OVERLAP": 4,
    }.items():
        monkeypatch.setattr(tiling, name, value)
    tiled = tokenizer.decode(ids)
    assert tiled.shape == whole.shape and not tiled.equal(whole)
    near, a_cell_off = ((tiled - other).abs().mean() for other in (whole, whole.roll(factor, 3)))
    assert near < 0.6 * a_cell_off
    encoded = tokenizer.encode(tiled)
    monkeypatch.setattr(tiling, "WHOLE_BYTES", 2**31)
    same = (encoded == tokenizer.encode(tiled)).float().mean()
    assert same > 0.5  # by chance one in forty


def test_tiles_fade_into_one_another_in_float32_whatever_they_are_drawn_in(monkeypatch):
    for name, value in {"TILE_SIDE": 16, "TILE_OVERLAP": 8}.items():
        monkeypatch.setattr(tiling, name, value)
    count = iter(range(100))
    numbered = tiling.in_tiles_if_large(lambda x: torch.full_like(x, next(count)), torch.zeros(1, 1, 8, 24), 1, 1, 128)
    steps = numbered.diff(dim=3)
    assert numbered[..., 0].eq(0).all() and numbered[..., -1].eq(1).all()
    assert steps.min() >= 0 and steps.max() < 0.2
    level = torch.full((1, 1, 8, 40), 0.7, dtype=torch.bfloat16)
    tiled = tiling.in_tiles_if_large(lambda x: x, level, 1, 1, 128)
    assert tiled.dtype == torch.bfloat16 and tiled.equal(level)


def test_a_codebook_of_one_code_works():
    tokenizer = MaskGITTokenizer(MaskGITConfig(**{**SMALL, "codebook_size": 1}, codebook_dim=6))
    assert tokenizer.encode(picture(1, 3, 4, 8)).tolist() == [[[0, 0]]]


def test_llamagen_vectors_have_length_one():
    lengths = llamagen().vectors(torch.arange(40).view(1, 5, 8)).norm(dim=1)
    assert torch.allclose(lengths, torch.ones_like(lengths))


def test_maskgit_pixels_stay_within_0_and_1():
    tokenizer = maskgit()
    with torch.no_grad():
        tokenizer.decoder.conv_out.bias.copy_(torch.tensor([9.0, -9.0, 0.5]))
        pixels = tokenizer.decode(torch.zeros(1, 2, 2, dtype=torch.long))
    assert pixels[:, 0].eq(1).all() and pixels[:, 1].eq(0).all()


def test_vectors_are_decoded_as_they_are(tokenizer):
    vectors = tokenizer.vectors(torch.tensor([[[3, 4]]]))
    between = vectors.mean(-1, keepdim=True)
    assert not torch.equal(tokenizer.decode_vectors(between), tokenizer.decode(tokenizer.nearest(between)))
    assert torch.equal(tokenizer.decode_vectors(vectors), tokenizer.decode(torch.tensor([[[3, 4]]])))


# What is refused


@pytest.mark.parametrize(("height", "width"), [(18, 16), (16, 18), (3, 4), (0, 4)])
def test_a_size_that_is_no_multiple_of_the_factor_is_named(tokenizer, height, width):
    with pytest.raises(ValueError, match=rf"{width}×{height}.*multiples of 4"):
        tokenizer.encode(torch.zeros(1, 3, height, width))


def test_the_size_error_proposes_the_next_size_that_works(tokenizer):
    with pytest.raises(ValueError, match="for example to 20×16"):
        tokenizer.encode(torch.zeros(1, 3, 17, 19))


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 4, 16, 16), (1, 16, 16, 3)])
def test_pixels_of_another_layout_are_refused(tokenizer, shape):
    with pytest.raises(ValueError, match=r"expected \[batch, 3, height, width\]"):
        tokenizer.encode(torch.zeros(shape))


@pytest.mark.parametrize("wrong", [-1, 40, 16383])
def test_ids_beyond_the_codebook_are_named(tokenizer, wrong):
    with pytest.raises(ValueError, match=rf"{wrong}\b.*0 to 39"):
        tokenizer.decode(torch.tensor([[[5, wrong]]]))


def test_ids_without_rows_and_columns_are_refused(tokenizer):
    with pytest.raises(ValueError, match=r"\[batch, rows, columns\]"):
        tokenizer.decode(torch.zeros(1, 4, dtype=torch.long))


def test_vectors_of_another_codebook_are_refused(tokenizer):
    vectors = torch.zeros(1, tokenizer.codebook_dim + 1, 2, 2)
    for function in (tokenizer.nearest, tokenizer.decode_vectors):
        with pytest.raises(ValueError, match=rf"\[batch, {tokenizer.codebook_dim}, rows, columns\]"):
            function(vectors)


# Training and the host's own layers


def test_every_parameter_gets_a_gradient_through_the_codebook(build):
    tokenizer = build()
    before = tokenizer.pre_quant(picture(2, 3, 8, 12))
    vectors = tokenizer.vectors(tokenizer.nearest(before))
    pixels = tokenizer.decode_vectors(before + vectors)
    pixels.square().mean().backward()
    without = [name for name, parameter in tokenizer.named_parameters() if parameter.grad is None]
    assert without == []


def test_every_weight_belongs_to_a_layer_of_the_host(build):
    class Host:
        Conv2d = type("Conv2d", (nn.Conv2d,), {})
        GroupNorm = type("GroupNorm", (nn.GroupNorm,), {})
        Embedding = type("Embedding", (nn.Embedding,), {})

    tokenizer = build(operations=Host)
    owners = {type(m) for m in tokenizer.modules() if list(m.parameters(recurse=False))}
    assert owners == {Host.Conv2d, Host.Embedding} | ({Host.GroupNorm} if build is not patches else set())


class Casting:
    """Layers that keep their weights in one dtype and compute in that of their input, as ComfyUI's do."""

    class Conv2d(nn.Conv2d):
        def forward(self, x):
            bias = None if self.bias is None else self.bias.to(x.dtype)
            return self._conv_forward(x, self.weight.to(x.dtype), bias)

    class GroupNorm(nn.GroupNorm):
        def forward(self, x):
            return nn.functional.group_norm(
                x, self.num_groups, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps
            )

    class Embedding(nn.Embedding):
        pass


def test_casting_layers_compute_in_the_dtype_of_the_pixels_and_vectors(build):
    tokenizer = build(dtype=torch.bfloat16, operations=Casting).requires_grad_(False)
    plain = build().requires_grad_(False)
    plain.load_state_dict(tokenizer.state_dict())
    pixels = picture(1, 3, 8, 12)
    assert torch.equal(tokenizer.pre_quant(pixels), plain.pre_quant(pixels))
    vectors = tokenizer.vectors(tokenizer.nearest(tokenizer.pre_quant(pixels)))
    assert torch.equal(tokenizer.decode_vectors(vectors), plain.decode_vectors(vectors))


def test_encode_and_decode_compute_in_the_dtype_of_the_weights(build):
    tokenizer = build(dtype=torch.bfloat16).requires_grad_(False)
    ids = tokenizer.encode(picture(1, 3, 8, 12))
    assert tokenizer.decode(ids).dtype == torch.bfloat16
