"""ARPG: guided by position queries, image tokens in any order (arXiv 2503.10568, ICLR 2026).

A content stack of self-attention layers reads the class and the known tokens; its output gives one set of keys and
values. A query stack of cross-attention layers starts from one mask token for every cell that is asked for, and reads
those keys and values. Queries know their cell by rotation alone and never see each other (section 3.2). Parameter names
are those of the released checkpoints.
"""

import copy
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import layers
from .attention import attend
from .family import Call, Learning, Traits, TransformerConfig, check_layer, of_rows
from .feed_forward import FeedForward, hidden_width
from .kv_cache import KVCache
from .rope import extrapolated_table, rope_of, rotate, trained_table

CLASS_CELL = -1  # the cell index by which `rope_of` finds the row of the class, before those of all cells


@dataclass(frozen=True)
class ARPGConfig(TransformerConfig):
    """Size of an ARPG transformer. `layers` counts both stacks."""


@dataclass
class DecodeState:
    """What one decode keeps between steps: R rows, N cells.

    The cache has a layer for each layer of the content stack, then that of the keys and values for all queries. The
    last token of the order is never fed, so that it has N slots: the class, then N − 1 tokens.
    """

    condition: Tensor  # [R, D]
    query: Tensor  # [1, 1, D], the mask token
    rope: Tensor  # [2, R, 1 + N, 1, d / 2, 2], the class, then the cells along the order
    context_mask: Tensor | None  # [R, N] along the order, 1 where a token's embedding is fed, 0 where it is zero
    cache: KVCache


class SelfAttention(nn.Module):
    def __init__(self, config: ARPGConfig, operations, **factory):
        super().__init__()
        self.heads = config.heads
        self.to_q = operations.Linear(config.width, config.width, bias=False, **factory)
        self.to_k = operations.Linear(config.width, config.width, bias=False, **factory)
        self.to_v = operations.Linear(config.width, config.width, bias=False, **factory)
        self.proj = operations.Linear(config.width, config.width, bias=False, **factory)

    def forward(self, x: Tensor, rope: Tensor, cache: KVCache | None, layer: int, causal: bool) -> Tensor:
        """Attention of `x` `[R, T, D]` to itself and, with a cache, to all that is in its layer number `layer`."""
        query_key = torch.cat([self.to_q(x), self.to_k(x)], -1).unflatten(-1, (2 * self.heads, -1))
        query, key = rotate(query_key, rope).transpose(1, 2).chunk(2, 1)
        value = self.to_v(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        if cache is not None:
            key, value = cache.update(layer, key, value)
        return self.proj(attend(query, key, value, causal=causal).transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    def __init__(self, config: ARPGConfig, operations, **factory):
        super().__init__()
        self.heads = config.heads
        self.to_q = operations.Linear(config.width, config.width, bias=False, **factory)
        self.proj = operations.Linear(config.width, config.width, bias=False, **factory)

    def forward(self, x: Tensor, rope: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tensor:
        """Attention of `x` `[R, T, D]` to `key` and `value` `[R, H, S, d]`."""
        query = rotate(self.to_q(x).unflatten(-1, (self.heads, -1)), rope).transpose(1, 2)
        return self.proj(attend(query, key, value, causal=causal).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A layer of either stack; `attention` is its attention's class, `forward` hands on what that takes."""

    def __init__(self, attention: type[nn.Module], config: ARPGConfig, operations, **factory):
        super().__init__()
        self.attn = attention(config, operations, **factory)
        self.ffn = FeedForward(config.width, operations, **factory)
        self.attn_norm = operations.RMSNorm(config.width, eps=1e-5, **factory)
        self.ffn_norm = operations.RMSNorm(config.width, eps=1e-5, **factory)

    def forward(self, x: Tensor, rope: Tensor, *attended) -> Tensor:
        x = x + self.attn(self.attn_norm(x), rope, *attended)
        return x + self.ffn(self.ffn_norm(x))


class Stacks(nn.Module):
    """The content stack, the keys and values made of what it gives, and the query stack."""

    def __init__(self, config: ARPGConfig, operations, **factory):
        super().__init__()
        half = config.layers // 2
        self.heads = config.heads
        self.self_dec = nn.ModuleList(Block(SelfAttention, config, operations, **factory) for _ in range(half))
        self.cross_dec = nn.ModuleList(Block(CrossAttention, config, operations, **factory) for _ in range(half))
        self.norm = operations.RMSNorm(config.width, eps=1e-5, **factory)
        self.to_k = operations.Linear(config.width, config.width, bias=False, **factory)
        self.to_v = operations.Linear(config.width, config.width, bias=False, **factory)

    def read(self, x: Tensor, rope: Tensor, cache: KVCache | None, causal: bool) -> tuple[Tensor, Tensor]:
        """Keys and values `[R, H, S, d]` for the queries, of `x` `[R, T, D]` and, with a cache, of all before it."""
        for layer, block in enumerate(self.self_dec):
            x = block(x, rope, cache, layer, causal)
        x = self.norm(x)
        key = rotate(self.to_k(x).unflatten(-1, (self.heads, -1)), rope).transpose(1, 2)
        value = self.to_v(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return (key, value) if cache is None else cache.update(len(self.self_dec), key, value)

    def ask(self, query: Tensor, rope: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tensor:
        """Output `[R, T, D]` for the T cells of `rope` `[2, R, T, 1, d / 2, 2]`.

        `query` `[1, 1, D]` becomes `[R, T, D]` by the first rotation: until then all queries are one vector.
        """
        for block in self.cross_dec:
            query = block(query, rope, key, value, causal)
        return query


class ARPG(nn.Module):
    """The transformer. `operations` supplies the layers: `layers`, or a host's own that cast their weights."""

    traits = Traits(
        parallel=True,
        order="random",
        schedule="arccos",
        guidance_progress="after call",
        steps=64,
        learning=Learning(
            "tokens",
            output="head.weight",
            into_stream=("proj.weight", "ffn.w2.weight"),
            layers=("layers.self_dec", "layers.cross_dec"),
            classes="embeddings.weight",
            rows_after_classes=2,
        ),
    )

    def __init__(self, config: ARPGConfig, device=None, dtype=None, operations=layers):
        super().__init__()
        if config.width % config.heads or config.head_width % 4:
            raise ValueError(
                f"An ARPG transformer of width {config.width} can't have {config.heads} heads: "
                "the width of a head must be whole and a multiple of 4."
            )
        if config.layers % 2:
            raise ValueError(
                f"An ARPG transformer can't have {config.layers} layers: one half of them read tokens, the other "
                "half answer queries. Take an even number."
            )
        factory = {"device": device, "dtype": dtype}
        self.config, self.trained_grid = config, config.grid
        self.rope_table = trained_table(config.grid, config.head_width)  # [1 + N, d / 2, 2]
        # The image tokens, the mask token, the classes, the null class, and a row that drawing never uses.
        rows = config.codebook_size + 1 + config.classes + 1 + 1
        self.embeddings = operations.Embedding(rows, config.width, **factory)
        self.layers = Stacks(config, operations, **factory)
        self.norm = operations.RMSNorm(config.width, eps=1e-5, **factory)
        self.head = operations.Linear(config.width, config.codebook_size, bias=False, **factory)

    @property
    def null_class(self) -> int:
        return self.config.classes

    def class_embedding(self, classes: Tensor) -> Tensor:
        return self.embeddings(self.config.codebook_size + 1 + classes)

    def mask_token(self, device: torch.device) -> Tensor:
        """The vector `[1, 1, D]` that every query begins as."""
        return self.embeddings(torch.full((1, 1), self.config.codebook_size, dtype=torch.long, device=device))

    def rope(self, order: Tensor) -> Tensor:
        """Rope `[2, R, 1 + N, 1, d / 2, 2]` of the class and of the cells along `order` `[R, N]`."""
        return rope_of(F.pad(order, (1, 0), value=CLASS_CELL), self.rope_table)

    def embed(self, tokens: Tensor, context_mask: Tensor | None) -> Tensor:
        """Embeddings `[R, m, D]` of `tokens` `[R, m]`, zero where `context_mask` `[R, m]` is 0."""
        embedded = self.embeddings(tokens)
        return embedded if context_mask is None else embedded * context_mask.unsqueeze(-1).to(embedded)

    def logits(self, x: Tensor) -> Tensor:
        return self.head(self.norm(x)).float()

    def forward(
        self,
        condition: Tensor,
        tokens: Tensor,
        order: Tensor,
        context_mask: Tensor | None = None,
        row: Tensor | None = None,
    ) -> Tensor:
        """Teacher-forced logits `[R, N, V]`, see `TokenModel`: causal in both stacks, as in training (section 3.3)."""
        # The last token predicts nothing.
        mask = None if context_mask is None else context_mask[:, :-1]
        x = torch.cat([of_rows(condition, row).unsqueeze(1), self.embed(tokens[:, :-1], mask)], 1)
        rope = self.rope(order)
        key, value = self.layers.read(x, rope[:, :, :-1], None, causal=True)
        return self.logits(self.layers.ask(self.mask_token(order.device), rope[:, :, 1:], key, value, causal=True))

    def start(
        self, condition: Tensor, order: Tensor, context_mask: Tensor | None = None, row: Tensor | None = None
    ) -> DecodeState:
        """The state of a decode, see `TokenModel`."""
        config, (rows, cells) = self.config, order.shape
        layers = len(self.layers.self_dec) + 1
        return DecodeState(
            condition=of_rows(condition, row),
            query=self.mask_token(order.device),
            rope=self.rope(order),
            context_mask=context_mask,
            cache=KVCache.allocate(condition, layers, rows, config.heads, cells, config.head_width),
        )

    def step(self, state: DecodeState, tokens: Tensor, queries: int) -> Tensor:
        """Logits `[R, queries, V]` of the cells after `tokens` `[R, m]`, see `TokenModel`.

        Tokens of one call see each other in both directions, which they never do in training: the authors draw so, and
        their figures hold for it. Known tokens, which may be many, are fed causally, as in training.
        """
        start, first = state.cache.length, state.cache.length == 0
        mask = None
        if state.context_mask is not None:
            done = 0 if first else start - 1
            mask = state.context_mask[:, done : done + tokens.shape[1]]
        x = self.embed(tokens, mask)
        if first:
            x = torch.cat([state.condition.unsqueeze(1), x], 1)
        stop = start + x.shape[1]
        key, value = self.layers.read(x, state.rope[:, :, start:stop], state.cache, causal=first)
        state.cache.advance(x.shape[1])
        rope = state.rope[:, :, stop : stop + queries]
        return self.logits(self.layers.ask(state.query, rope, key, value, causal=False))

    @property
    def feature_layers(self) -> int:
        return len(self.layers.self_dec)

    def hidden_states(self, condition: Tensor, tokens: Tensor, order: Tensor, layer: int) -> Tensor:
        """Hidden states `[R, M, D]` of the content stack, causal, after `layer`, see `TokenModel`."""
        check_layer(layer, self.feature_layers)
        x, rope = torch.cat([condition.unsqueeze(1), self.embed(tokens, None)], 1), self.rope(order)
        for index, block in enumerate(self.layers.self_dec[:layer]):
            x = block(x, rope, None, index, True)
        return x[:, 1:]

    def enlarged(self, factor: int, boundary: int) -> "ARPG":
        """This model for a grid `factor` times as wide and as high, with RandAR's extrapolated rotary table.

        Its authors show larger grids and published no code for them.
        """
        model = copy.copy(self)
        model.config = replace(self.config, grid=factor * self.trained_grid)
        model.rope_table = extrapolated_table(self.trained_grid, factor, boundary, self.config.head_width)
        return model

    def state_bytes(self, rows: int, cells: int, element_bytes: int, conditions: int | None = None) -> int:
        """Bytes of the cache, the rope (float32) and the condition."""
        config = self.config
        cache = 2 * (config.layers // 2 + 1) * cells * config.width * element_bytes
        return rows * (cache + 2 * (1 + cells) * config.head_width * 4 + config.width * element_bytes)

    def call_bytes(self, call: Call, element_bytes: int) -> int:
        """Bytes of the intermediates of the larger stack's layer, see `TokenModel`.

        In numbers a channel: the feed-forward part holds three vectors of the width (the input of the layer, its own,
        and that normalised) and three hidden ones; a rotation holds two copies in float32. The input of the content
        stack and, in a teacher-forced pass, its keys and values last until the queries are answered.
        """
        config, rotation = self.config, 2 * 4
        feed_forward = (3 + 3 * hidden_width(config.width) / config.width) * element_bytes
        content = element_bytes + max(feed_forward, 4 * element_bytes + 2 * rotation)  # queries and keys turn together
        answer = max(feed_forward, 3 * element_bytes + rotation)
        tokens, answers = max(1, call.tokens) * content, call.queries * answer + call.tokens * 3 * element_bytes
        return int(call.rows * config.width * max(tokens, answers))
