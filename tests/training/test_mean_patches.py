"""The codes of a patch tokenizer."""

from dataclasses import replace

import pytest
import torch
from einops import rearrange
from tiny_trainings import CPU

from randar_core.io.images import to_float
from randar_core.models.maskgit import MaskGITConfig, MaskGITTokenizer
from randar_core.models.patches import PatchConfig
from randar_core.training.decoder_objective import DecoderRecipe
from randar_core.training.mean_patches import mean_patches, nearest, patch_tokenizer
from randar_core.training.settings import LoopSetting, PictureSet, Reporting, Run
from randar_core.training.train import train_decoder

CONFIG = PatchConfig(codebook_size=8, factor=4, blocks=(4, 2), widths=(16, 8), res_blocks=(1, 1))


def pictures_of(patches: torch.Tensor, count: int) -> list[tuple]:
    """`count` pictures of 4×4 of the `patches` [V, f, f, 3], uint8, at random, with a label as a set has it."""
    ids = torch.randint(len(patches), (count, 4, 4), generator=torch.Generator().manual_seed(1))
    pixels = rearrange(patches[ids], "n h w p q c -> n (h p) (w q) c")
    return [(each.numpy(), 0) for each in pixels]


@pytest.fixture
def patches() -> torch.Tensor:
    return torch.randint(256, (6, 4, 4, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_codes_are_the_patches_that_pictures_are_made_of(patches):
    pictures = pictures_of(patches, 40)
    tokenizer = patch_tokenizer(pictures, CONFIG, seed=0)
    pixels = torch.stack([to_float(each) for each, _ in pictures])
    # More codes than patches, and a decoder that corrects nothing yet: pictures come back as they are.
    ids = tokenizer.encode(pixels)
    assert ids.shape == (40, 4, 4) and len(ids.unique()) == 6
    torch.testing.assert_close(tokenizer.decode(ids), pixels)


def test_the_same_seed_finds_the_same_codes_and_other_pictures_others(patches):
    found = [patch_tokenizer(pictures_of(patches[:5], n), CONFIG, s).state_dict() for n, s in ((8, 1), (8, 1), (9, 1))]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not torch.equal(found[0]["quantize.embedding.weight"], found[2]["quantize.embedding.weight"])


def test_means_are_those_of_the_patches_that_are_nearest_to_them():
    patches = torch.randn(3000, 5, generator=torch.Generator().manual_seed(0))
    means = mean_patches(patches, 4, seed=0)
    ids = nearest(patches, means)
    assert torch.equal(ids, torch.cdist(patches, means).argmin(1))
    for number in range(4):  # k-means has come to rest, but for a few patches between two means
        torch.testing.assert_close(patches[ids == number].mean(0), means[number], atol=0.05, rtol=0)


def test_the_decoder_learns_to_correct_patches_and_the_ids_stay(tmp_path, patches):
    pictures = pictures_of(patches, 12)
    tokenizer = patch_tokenizer(pictures, replace(CONFIG, codebook_size=3), seed=0)
    setting = LoopSetting(steps=60, batch=4, learning_rate=3e-3, warmup=5, weight_decay=0.0)
    run = Run(setting, Reporting(tmp_path), CPU)
    learnt = train_decoder(tokenizer, PictureSet(pictures, {}, ("one",)), DecoderRecipe(exchanged=0.0), run)
    pixels = torch.stack([to_float(each) for each, _ in pictures])
    ids = tokenizer.encode(pixels)
    assert torch.equal(learnt.encode(pixels), ids)
    before, after = ((each.decode(ids) - pixels).square().mean() for each in (tokenizer, learnt))
    assert after < 0.95 * before


def test_a_tokenizer_that_cannot_be_trained_is_refused(tmp_path, patches):
    tokenizer = MaskGITTokenizer(MaskGITConfig(8, (1, 2), 1, 8, 4, 4))
    run = Run(LoopSetting(steps=1, batch=1, learning_rate=1e-3), Reporting(tmp_path), CPU)
    with pytest.raises(ValueError, match="family maskgit can't be trained here"):
        train_decoder(tokenizer, PictureSet(pictures_of(patches, 4), {}, ("one",)), DecoderRecipe(), run)


def test_its_decoder_cannot_be_widened(tmp_path, patches):
    pictures = pictures_of(patches, 4)
    run = Run(LoopSetting(steps=1, batch=1, learning_rate=1e-3), Reporting(tmp_path), CPU)
    with pytest.raises(ValueError, match="family patches can't be widened"):
        train_decoder(
            patch_tokenizer(pictures, CONFIG, 0), PictureSet(pictures, {}, ("one",)), DecoderRecipe(), run, (1, 2)
        )
