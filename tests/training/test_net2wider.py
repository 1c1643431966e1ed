"""A wider decoder that begins as a narrower one."""

from dataclasses import replace

import pytest
import torch
from tiny_trainings import TOKENIZER

from randar_core.models.llamagen import LlamaGenTokenizer
from randar_core.training.net2wider import widen


def test_a_wider_decoder_begins_with_the_pixels_of_the_narrower_one():
    narrow = LlamaGenTokenizer(TOKENIZER).double()
    wide = LlamaGenTokenizer(replace(TOKENIZER, decoder_multipliers=(2, 6))).double()
    widen(wide, narrow, seed=0)
    ids = torch.randint(TOKENIZER.codebook_size, (2, 5, 3), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(wide.decode(ids), narrow.decode(ids), rtol=1e-5, atol=1e-6)
    # Weights of a file are of fewer bits; what sums up to one isn't rounded to them.
    few_bits = LlamaGenTokenizer(TOKENIZER).bfloat16()
    grown = LlamaGenTokenizer(replace(TOKENIZER, decoder_multipliers=(2, 6)))
    widen(grown, few_bits, seed=0)
    with torch.no_grad():
        torch.testing.assert_close(grown.decode(ids), few_bits.float().decode(ids), rtol=1e-4, atol=1e-5)
    # Copies that read the same and are read alike would stay copies for ever.
    wide.decode_vectors(wide.vectors(ids).double()).square().mean().backward()
    gradient = wide.decoder.mid[0].conv1.weight.grad.view(-1, 3, *wide.decoder.mid[0].conv1.weight.shape[1:])
    assert not torch.allclose(gradient[:, 0], gradient[:, 1], rtol=1e-3)


def test_levels_of_one_width_can_grow_apart():
    narrow = LlamaGenTokenizer(replace(TOKENIZER, decoder_multipliers=(2, 2))).double()
    wide = LlamaGenTokenizer(replace(TOKENIZER, decoder_multipliers=(2, 6))).double()
    widen(wide, narrow, seed=0)
    ids = torch.randint(TOKENIZER.codebook_size, (2, 5, 3), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(wide.decode(ids), narrow.decode(ids), rtol=1e-5, atol=1e-6)


def test_a_decoder_grows_by_whole_times():
    narrow = LlamaGenTokenizer(replace(TOKENIZER, decoder_multipliers=(2, 4)))
    with pytest.raises(ValueError, match="can't grow from .* to .*: each level must"):
        widen(LlamaGenTokenizer(replace(TOKENIZER, decoder_multipliers=(3, 4))), narrow, seed=0)
    with pytest.raises(ValueError, match=r"from the widths \[8, 16\] to \[16, 16\]: neighbouring levels of two"):
        widen(LlamaGenTokenizer(replace(TOKENIZER, decoder_multipliers=(4, 4))), narrow, seed=0)
