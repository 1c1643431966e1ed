"""What a tokenizer learns."""

import pytest
import torch
from einops import rearrange
from tiny_trainings import TOKENIZER

from randar_core.io.images import to_float
from randar_core.models.llamagen import LlamaGenTokenizer
from randar_core.training.patches import MeanPatches
from randar_core.training.tokenizer_objective import TokenizerObjective, TokenizerRecipe


def test_dead_codes_move_onto_vectors_of_the_batch():
    tokenizer = LlamaGenTokenizer(TOKENIZER)
    objective = TokenizerObjective(tokenizer, TokenizerRecipe(free_steps=0, revive_every=1), steps=10, seed=0)
    optimizer = torch.optim.AdamW(tokenizer.parameters())
    with torch.no_grad():
        tokenizer.quantize.embedding.weight[1:] = -tokenizer.quantize.embedding.weight[:1]
    loss, _ = objective({"pixels": torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))}, step=1)
    loss.backward()
    optimizer.step()
    uses = objective.uses.clone()
    figures = objective.after_step(1, optimizer)
    dead = (uses == 0).nonzero().squeeze(1)
    assert len(dead) >= 6 and figures["usage"] == pytest.approx(1 - len(dead) / 8)
    rows = tokenizer.quantize.embedding.weight[dead]
    assert all((objective.latest - row).norm(dim=1).min() < 1e-6 for row in rows)


def pictures_of(patches: torch.Tensor, count: int) -> list[tuple]:
    """`count` pictures of 4×4 of the `patches` [V, f, f, 3], uint8, at random, with a label as a set has it."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(len(patches), (count, 4, 4), generator=generator)
    pixels = rearrange(patches[ids], "n h w p q c -> n (h p) (w q) c")
    return [(each.numpy(), 0) for each in pixels]


def test_mean_patches_find_the_patches_that_pictures_are_made_of():
    patches = torch.randint(256, (6, 4, 4, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pictures = pictures_of(patches, 40)
    found = MeanPatches(8, 4)
    found.find(pictures, seed=0)
    pixels = torch.stack([to_float(each) for each, _ in pictures])
    drawn = found.means[found.ids(pixels)]
    torch.testing.assert_close(drawn, rearrange(pixels, "b c (h p) (w q) -> b h w (c p q)", p=4, q=4))
    # Where patches are alike their codes' vectors are.
    vectors, distances = found.vectors(5), torch.cdist(found.means, found.means)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(8))
    alike = distances + 100 * torch.eye(8)
    pair = divmod(int(alike.argmin()), 8)
    assert torch.cdist(vectors, vectors)[pair] == pytest.approx(0, abs=1e-3) and alike[pair] < 1e-5


def test_an_encoder_that_is_taught_learns_the_ids_of_mean_patches():
    torch.manual_seed(0)
    tokenizer = LlamaGenTokenizer(TOKENIZER)
    patches = torch.randint(256, (8, tokenizer.factor, tokenizer.factor, 3), dtype=torch.uint8)
    pictures = pictures_of(patches, 16)
    objective = TokenizerObjective(tokenizer, TokenizerRecipe(taught=150), steps=150, seed=0)
    objective.find_patches(pictures)
    pixels = torch.stack([to_float(each) for each, _ in pictures])
    optimizer = torch.optim.AdamW(tokenizer.parameters(), 3e-3)
    losses = []
    for step in range(150):
        loss, _ = objective({"pixels": pixels}, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step(step, optimizer)
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3
    assert (tokenizer.encode(pixels) == objective.patches.ids(pixels)).float().mean() > 0.95
