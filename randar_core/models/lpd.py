"""LPD: a transformer that draws groups of cells in few calls, in any order (arXiv 2507.01957, ICLR 2026).

A call feeds the tokens of the group before and one *position query* for each cell of the next group (section 3.1).
Tokens see the class, all earlier groups and their own group. Queries see these and the queries of their own group, and
nothing else ever sees a query, so that the cache holds class and tokens alone. Positions are learnt, one for each cell.
Parameter names are those of the released checkpoints.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from . import layers
from .attention import aligned, attend
from .family import Call, Learning, Traits, TransformerConfig, check_layer, of_rows
from .kv_cache import KVCache


@dataclass(frozen=True)
class LPDConfig(TransformerConfig):
    """Size of an LPD transformer."""


@dataclass
class DecodeState:
    """What one decode keeps between steps: R rows, N cells."""

    condition: Tensor  # [R, 1, D]
    positions: Tensor  # [R, 1 + N, D], of the class and along the order
    context_mask: Tensor | None  # [R, N, 1] along the order, 0 where the embedding of a token is set to zero
    cache: KVCache  # of 1 + N slots


class Attention(nn.Module):
    def __init__(self, config: LPDConfig, operations, **factory):
        super().__init__()
        self.heads = config.heads
        self.qkv = operations.Linear(config.width, 3 * config.width, **factory)
        self.proj = operations.Linear(config.width, config.width, **factory)

    def forward(self, x: Tensor, layer: int, cache: KVCache | None, mask: Tensor) -> Tensor:
        """Attention of the last Q positions of `x` `[R, T, D]` to the cache of `layer` and to all of `x`: `[R, Q, D]`.

        `mask` `[Q, S]` is added to the scores.
        """
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key_value = qkv[0, :, :, -len(mask) :], qkv[1:]
        key, value = key_value if cache is None else cache.update_pair(layer, key_value)
        return self.proj(attend(query, key, value, mask).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, config: LPDConfig, operations, **factory):
        super().__init__()
        self.norm1 = operations.LayerNorm(config.width, eps=1e-6, **factory)
        self.attn = Attention(config, operations, **factory)
        self.norm2 = operations.LayerNorm(config.width, eps=1e-6, **factory)
        fc1 = operations.Linear(config.width, 4 * config.width, **factory)
        fc2 = operations.Linear(4 * config.width, config.width, **factory)
        self.mlp = nn.Sequential(OrderedDict(fc1=fc1, act=nn.GELU(), fc2=fc2))

    def forward(self, x: Tensor, layer: int, cache: KVCache | None, mask: Tensor) -> Tensor:
        """The last Q positions of `x` `[R, T, D]`, see `Attention`. The others only add keys and values."""
        x = x[:, -len(mask) :] + self.attn(self.norm1(x), layer, cache, mask)
        return x + self.mlp(self.norm2(x))


class LPD(nn.Module):
    """The transformer. `operations` supplies the layers: `layers`, or a host's own that cast their weights."""

    traits = Traits(
        parallel=True,
        order="proximity",
        schedule="lpd",
        guidance_progress="token",
        steps=20,
        learning=Learning(
            "groups",
            output="head.weight",
            into_stream=("attn.proj.weight", "mlp.fc2.weight"),
            layers=("blocks",),
            classes="class_emb.weight",
            rows_after_classes=0,
        ),
    )

    def __init__(self, config: LPDConfig, device=None, dtype=None, operations=layers):
        super().__init__()
        if config.width % config.heads:
            raise ValueError(
                f"An LPD transformer of width {config.width} can't have {config.heads} heads of whole width."
            )
        factory = {"device": device, "dtype": dtype}
        self.config = config
        self.class_emb = operations.Embedding(config.classes, config.width, **factory)
        self.fake_latent = nn.Parameter(torch.empty(1, config.width, **factory))  # the null class
        self.token_emb = operations.Embedding(config.codebook_size, config.width, **factory)
        self.mask_token = nn.Parameter(torch.empty(1, 1, config.width, **factory))  # a query
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + config.cells, config.width, **factory))
        self.z_proj_ln = operations.LayerNorm(config.width, eps=1e-6, **factory)
        self.blocks = nn.ModuleList(Block(config, operations, **factory) for _ in range(config.layers))
        self.norm = operations.LayerNorm(config.width, eps=1e-6, **factory)
        self.head = operations.Linear(config.width, config.codebook_size, bias=False, **factory)

    @property
    def null_class(self) -> int:
        return self.config.classes

    def class_embedding(self, classes: Tensor) -> Tensor:
        """Embeddings `[P, D]` of class ids `[P]`."""
        embedded = self.class_emb(classes.clamp(max=self.null_class - 1))
        is_null = (classes == self.null_class).unsqueeze(1)
        return torch.where(is_null, self.fake_latent.to(embedded), embedded)

    def enlarged(self, factor: int, boundary: int) -> "LPD":
        side = f"{self.config.grid} × {self.config.grid}"
        raise ValueError(
            f"LPD can't extrapolate: it has learnt a position for each of its own {side} cells and for no others. "
            "Take a RandAR model, or an LPD model for larger pictures."
        )

    @property
    def feature_layers(self) -> int:
        return self.config.layers

    def hidden_states(self, condition: Tensor, tokens: Tensor, order: Tensor, layer: int) -> Tensor:
        """Hidden states `[R, M, D]` at the tokens, each a group of its own, after `layer`, see `TokenModel`."""
        check_layer(layer, self.feature_layers)
        embedded = self.token_emb(tokens)
        x = self.z_proj_ln(torch.cat([condition.unsqueeze(1), embedded], 1) + self.positions(order, embedded))
        mask = call_mask(x, 0, x.shape[1], 0)
        for index, block in enumerate(self.blocks[:layer]):
            x = block(x, index, None, mask)
        return x[:, 1:]

    def positions(self, order: Tensor, like: Tensor) -> Tensor:
        """Position embeddings `[R, 1 + N, D]` of class and cells along `order` `[R, N]`, in dtype of `like`."""
        table = self.pos_embed[0].to(like)
        return table[torch.cat([torch.zeros_like(order[:, :1]), 1 + order], 1)]

    def logits(self, x: Tensor, queries: int, cache: KVCache | None, mask: Tensor) -> Tensor:
        """Logits in float32 of the last `queries` positions of the inputs `x` `[R, T, D]`."""
        x = self.z_proj_ln(x)
        last = len(self.blocks) - 1
        for layer, block in enumerate(self.blocks):
            x = block(x, layer, cache, mask[-queries:] if layer == last else mask)
        return self.head(self.norm(x)).float()

    def forward(
        self,
        condition: Tensor,
        tokens: Tensor,
        order: Tensor,
        context_mask: Tensor | None = None,
        row: Tensor | None = None,
        group_sizes: Sequence[int] | None = None,
    ) -> Tensor:
        """Teacher-forced logits `[R, N, V]` in float32, see `TokenModel`.

        `group_sizes` are those of the groups along the order (section 3.2); by default every cell is a group.
        """
        (rows, cells), condition = order.shape, of_rows(condition, row)
        sizes = [1] * cells if group_sizes is None else list(group_sizes)
        context = cells - sizes[-1]  # tokens of the last group predict nothing
        embedded = self.token_emb(tokens[:, :context])
        if context_mask is not None:
            embedded = embedded * context_mask[:, :context].unsqueeze(-1).to(embedded)
        queries = self.mask_token.to(embedded).expand(rows, cells, -1)
        positions = self.positions(order, embedded)
        x = torch.cat([condition.unsqueeze(1), embedded, queries], 1)
        x = x + torch.cat([positions[:, : 1 + context], positions[:, 1:]], 1)
        return self.logits(x, cells, None, group_mask(x, sizes))

    def start(
        self, condition: Tensor, order: Tensor, context_mask: Tensor | None = None, row: Tensor | None = None
    ) -> DecodeState:
        """The state of a decode, see `TokenModel`."""
        config, condition = self.config, of_rows(condition, row)
        return DecodeState(
            condition=condition.unsqueeze(1),
            positions=self.positions(order, condition),
            context_mask=None if context_mask is None else context_mask.unsqueeze(-1).to(condition),
            cache=KVCache.allocate(
                condition, config.layers, len(order), config.heads, 1 + order.shape[1], config.head_width
            ),
        )

    def step(self, state: DecodeState, tokens: Tensor, queries: int) -> Tensor:
        """Feed `tokens` `[R, m]` and ask for the `queries` cells after them, see `TokenModel`.

        Known tokens, which the first call feeds, are groups of one; the tokens of later calls are one group.
        """
        before = state.cache.length
        embedded = self.token_emb(tokens)
        if state.context_mask is not None:
            done = max(0, before - 1)
            embedded = embedded * state.context_mask[:, done : done + tokens.shape[1]]
        inputs = [embedded, self.mask_token.to(embedded).expand(len(tokens), queries, -1)]
        if before == 0:
            inputs.insert(0, state.condition)
        x = torch.cat(inputs, 1)
        x += state.positions[:, before : before + x.shape[1]]
        fed = x.shape[1] - queries
        logits = self.logits(x, queries, state.cache, call_mask(x, before, fed, queries))
        state.cache.advance(fed)
        return logits

    def state_bytes(self, rows: int, cells: int, element_bytes: int, conditions: int | None = None) -> int:
        """Bytes of the KV cache and of the position embeddings along the order."""
        return rows * (1 + cells) * (2 * self.config.layers + 1) * self.config.width * element_bytes

    def call_bytes(self, call: Call, element_bytes: int) -> int:
        """Bytes of a block's intermediates, as measured (benchmarks/speed/memory.py), and of the mask."""
        positions = min(1 + call.tokens + call.queries, 2 * call.cells)
        seen = max(positions, 1 + call.cells)
        return int(positions * (12.5 * call.rows * self.config.width + seen) * element_bytes)


def call_mask(like: Tensor, before: int, fed: int, queries: int) -> Tensor:
    """What the `fed` inputs and the `queries` of a call see of `before` earlier positions and of each other.

    `[fed + queries, before + fed + queries]`, 0 where seen and −∞ where not. Without earlier positions the inputs are
    the class and known tokens, each a group of its own; otherwise they are one group.
    """
    mask = like.new_zeros(fed + queries, before + fed + queries)
    if before:
        mask[:fed, before + fed :].fill_(-torch.inf)
    else:
        mask[:fed].fill_(-torch.inf).triu_(1)
    return aligned(mask) if mask.is_cuda else mask


def group_mask(like: Tensor, sizes: Sequence[int]) -> Tensor:
    """What class, tokens of all groups but the last, and all queries see of each other, 0 where seen and −∞ where not.

    `sizes` are those of the groups. Class and tokens see groups up to their own, queries the groups before theirs and
    the queries of their own.
    """
    numbers = torch.arange(1, 1 + len(sizes), dtype=torch.long, device="cpu")
    queries = numbers.repeat_interleave(torch.tensor(sizes, dtype=torch.long, device="cpu"))
    context = torch.cat([torch.zeros_like(queries[:1]), queries[: len(queries) - sizes[-1]]])
    by_context = [context[:, None] >= context, (context[:, None] < 0).expand(-1, len(queries))]
    by_queries = [queries[:, None] > context, queries[:, None] == queries]
    seen = torch.cat([torch.cat(by_context, 1), torch.cat(by_queries, 1)]).to(like.device)
    return like.new_zeros(seen.shape).masked_fill_(~seen, -torch.inf)
