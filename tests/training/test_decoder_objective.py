"""What a tokenizer's decoder learns."""

import torch
from tiny_trainings import TOKENIZER

from randar_core.models.llamagen import LlamaGenTokenizer
from randar_core.training.decoder_objective import DecoderObjective, DecoderRecipe
from randar_core.training.reconstruction import reconstruction_loss


def test_a_decoder_learns_pixels_of_the_exchanged_codes():
    torch.manual_seed(0)
    objectives = [DecoderObjective(LlamaGenTokenizer(TOKENIZER), DecoderRecipe(border=border)) for border in (1.0, 4.0)]
    objectives[1].model.load_state_dict(objectives[0].model.state_dict())
    model, pixels = objectives[0].model, torch.rand(2, 3, 16, 16)
    ids = model.encode(pixels)
    ranks = torch.zeros_like(ids)
    ranks[:, 0, 0] = 2
    drawn = objectives[0].ranked[ids, ranks]
    assert (drawn != ids).sum() == 2
    batch = {"pixels": pixels, "ranks": ranks}
    with torch.no_grad():
        losses = [objective(batch, 0)[0] for objective in objectives]
        torch.testing.assert_close(losses[0], reconstruction_loss(model.decode(drawn), pixels, 1.0))
        torch.testing.assert_close(
            objectives[0](batch | {"ranks": 0 * ranks}, 0)[0], reconstruction_loss(model.decode(ids), pixels, 1.0)
        )
    assert losses[1] != losses[0]
