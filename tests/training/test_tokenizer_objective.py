"""What a tokenizer learns."""

import pytest
import torch
from tiny_trainings import TOKENIZER

from randar_core.models.llamagen import LlamaGenTokenizer
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
