"""Hashes of weights: whether a file was made by the same networks."""

import hashlib
from collections.abc import Mapping

from torch import Tensor

from ..models.tokenizer import Tokenizer

DECODER_WEIGHTS = ("decoder.", "post_quant_conv.")


def hash_of(weights: Mapping[str, Tensor]) -> str:
    hashed = hashlib.blake2b(digest_size=8)
    for value in weights.values():
        hashed.update(value.detach().float().cpu().numpy().tobytes())
    return hashed.hexdigest()


def fingerprint(tokenizer: Tokenizer) -> str:
    """A hash of all weights that make ids of pixels: of encoder and codebook, without the decoder's."""
    return hash_of(encoding_weights(tokenizer))


def makes_same_ids(one: Tokenizer, other: Tokenizer) -> bool:
    """Whether two tokenizers are the same but for their decoders, and for a rounding to bfloat16."""
    rounded = ({name: value.bfloat16() for name, value in encoding_weights(each).items()} for each in (one, other))
    return hash_of(next(rounded)) == hash_of(next(rounded))


def encoding_weights(tokenizer: Tokenizer) -> dict[str, Tensor]:
    return {name: value for name, value in tokenizer.state_dict().items() if not name.startswith(DECODER_WEIGHTS)}
