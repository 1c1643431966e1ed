"""The families of networks that can be loaded. A new family is an entry here, and its releases in `releases.py`."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from torch import nn

from ..models.arpg import ARPG, ARPGConfig
from ..models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from ..models.lpd import LPD, LPDConfig
from ..models.maskgit import MaskGITConfig, MaskGITTokenizer
from ..models.patches import PatchConfig, PatchTokenizer
from ..models.randar import RandAR, RandARConfig
from ..models.rar import RAR, RARConfig

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Family:
    """A kind of network.

    name: its name in messages and in the metadata of bundles.
    role: what it is in a model.
    network: the class; `network(config, device=, dtype=, operations=)` builds it.
    config: the class of its configuration.
    signature: keys that only this family has; any of them identifies it.
    ignored_keys: keys that its files may have and the network doesn't need.
    """

    name: str
    role: Literal["transformer", "tokenizer"]
    network: type[nn.Module]
    config: type
    signature: frozenset[str]
    ignored_keys: frozenset[str] = frozenset()

    @lru_cache(maxsize=64)  # noqa: B019  families live as long as the program
    def shapes(self, config) -> Shapes:
        """Every key and shape of the network of `config`. Nothing is allocated."""
        return {key: tuple(value.shape) for key, value in self.network(config, device="meta").state_dict().items()}


FAMILIES = (
    Family(
        "randar",
        "transformer",
        RandAR,
        RandARConfig,
        frozenset({"pos_instruct_embeddings", "cls_embedding.embedding_table.weight", "tok_embeddings.weight"}),
    ),
    Family(
        "rar",
        "transformer",
        RAR,
        RARConfig,
        frozenset({"target_aware_pos_embed", "timesteps_embeddings", "adaln_before_head.adaLN_modulation.1.weight"}),
    ),
    Family("lpd", "transformer", LPD, LPDConfig, frozenset({"token_emb.weight"})),  # other keys are those of MAR too
    Family(
        "arpg",
        "transformer",
        ARPG,
        ARPGConfig,
        frozenset({"layers.cross_dec.0.attn.to_q.weight", "layers.to_k.weight"}),
    ),
    Family(
        "llamagen",
        "tokenizer",
        LlamaGenTokenizer,
        LlamaGenConfig,
        frozenset({"quant_conv.weight", "post_quant_conv.weight", "encoder.conv_blocks.0.res.0.conv1.weight"}),
        frozenset({"quantize.codebook_used"}),  # statistics of training
    ),
    Family(
        "maskgit",
        "tokenizer",
        MaskGITTokenizer,
        MaskGITConfig,
        frozenset({"encoder.down.0.block.0.conv1.weight", "decoder.up.0.block.0.conv1.weight"}),
    ),
    Family(
        "patches",
        "tokenizer",
        PatchTokenizer,
        PatchConfig,
        frozenset({"decoder.stages.0.conv_in.weight"}),
    ),
)


def family_of(config) -> Family:
    """The family that a configuration belongs to."""
    return next(family for family in FAMILIES if isinstance(config, family.config))
