"""RandAR: a causal transformer that draws image tokens in any order (arXiv 2412.01827, CVPR 2025).

The sequence is `[cls, p₁, x₁, p₂, x₂, …]`: each image token `xₖ` follows a position instruction token `pₖ` that
says which cell comes next, and the logits for `xₖ` are read at `pₖ` (section 3.1). Parameter names are those of
the released checkpoints.
"""

import copy
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor, nn

from . import layers
from .attention import CausalMask, attend
from .family import Call, Learning, Traits, TransformerConfig, check_layer, of_rows
from .feed_forward import FeedForward
from .kv_cache import KVCache
from .rope import extrapolated_table, rope_of, rotate, trained_table, with_values


@dataclass(frozen=True)
class RandARConfig(TransformerConfig):
    """Size of a RandAR transformer."""


@dataclass
class DecodeState:
    """What one decode keeps between steps: R rows, N cells."""

    inputs: Tensor  # [R, 1 + 2N, D]: class, then instruction and token of each cell; a token once it is known
    rope: Tensor  # [2, R, 1 + 2N, 3, 1, d / 2, 2] of the same positions, see `rope.with_values`
    context_mask: Tensor | None  # [R, N, 1] along the order, 0 where the embedding of a token is set to zero
    cache: KVCache  # of 1 + 2N slots
    mask: CausalMask
    done: int = 0  # tokens fed so far


class Attention(nn.Module):
    def __init__(self, config: RandARConfig, operations, **factory):
        super().__init__()
        self.heads = config.heads
        self.wqkv = operations.Linear(config.width, 3 * config.width, bias=False, **factory)
        self.wo = operations.Linear(config.width, config.width, bias=False, **factory)

    def forward(
        self, x: Tensor, rope: Tensor, layer: int, cache: KVCache | None, mask: Tensor | None, queries: int
    ) -> Tensor:
        """Attention of the last `queries` positions of `x` to the cache of `layer` and to `x`: `[R, queries, D]`.

        x: `[R, T, D]`.
        rope: rotations of the T positions, as `rope_of` gives them.
        layer: of `cache`, from 0.
        cache: keys and values of the positions before; None where there are none.
        mask: `[queries, S]`, added to the scores. Without one, `queries` must be T, which see causally, or 1, which
            sees every key.
        queries: at most T.
        """
        # One product and one copy: in a call of a small model an operation costs as much as its arithmetic.
        qkv = rotate(self.wqkv(x).unflatten(-1, (3, self.heads, -1)), rope)
        query, key_value = qkv[:, -queries:, 0].transpose(1, 2), qkv[:, :, 1:].permute(2, 0, 3, 1, 4)
        key, value = key_value if cache is None else cache.update_pair(layer, key_value)
        out = attend(query, key, value, mask, causal=mask is None and queries > 1)
        return self.wo(out.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, config: RandARConfig, operations, **factory):
        super().__init__()
        self.attention = Attention(config, operations, **factory)
        self.feed_forward = FeedForward(config.width, operations, **factory)
        self.attention_norm = operations.RMSNorm(config.width, eps=1e-5, **factory)
        self.ffn_norm = operations.RMSNorm(config.width, eps=1e-5, **factory)

    def forward(
        self, x: Tensor, rope: Tensor, layer: int, cache: KVCache | None, mask: Tensor | None, queries: int
    ) -> Tensor:
        """The last `queries` positions of `x` after this layer; the others only add keys and values.

        x, rope, layer, cache, mask, queries: see `Attention.forward`.
        """
        attended = self.attention(self.attention_norm(x), rope, layer, cache, mask, queries)
        x = x[:, -queries:] + attended
        return x + self.feed_forward(self.ffn_norm(x))


class ClassEmbedding(nn.Module):
    """One row for each class; the last row is the null class of guidance."""

    def __init__(self, config: RandARConfig, operations, **factory):
        super().__init__()
        self.embedding_table = operations.Embedding(config.classes + 1, config.width, **factory)


class RandAR(nn.Module):
    """The transformer. `operations` supplies the layers: `layers`, or a host's own that cast their weights."""

    traits = Traits(
        parallel=True,
        order="random",
        schedule="cosine",
        guidance_progress="before call",
        steps=88,
        learning=Learning(
            "tokens",
            output="output.weight",
            into_stream=("attention.wo.weight", "feed_forward.w2.weight"),
            layers=("layers",),
            classes="cls_embedding.embedding_table.weight",
            rows_after_classes=1,
        ),
    )

    def __init__(self, config: RandARConfig, device=None, dtype=None, operations=layers):
        super().__init__()
        if config.width % config.heads or config.head_width % 4:
            raise ValueError(
                f"A RandAR transformer of width {config.width} can't have {config.heads} heads: "
                "the width of a head must be whole and a multiple of 4."
            )
        factory = {"device": device, "dtype": dtype}
        self.config = config
        self.trained_grid, self.boundary = config.grid, 0
        self.pos_instruct_embeddings = nn.Parameter(torch.empty(1, config.width, **factory))
        self.cls_embedding = ClassEmbedding(config, operations, **factory)
        self.tok_embeddings = operations.Embedding(config.codebook_size, config.width, **factory)
        self.layers = nn.ModuleList(Block(config, operations, **factory) for _ in range(config.layers))
        self.norm = operations.RMSNorm(config.width, eps=1e-5, **factory)
        self.output = operations.Linear(config.width, config.codebook_size, bias=False, **factory)

    @property
    def null_class(self) -> int:
        return self.config.classes

    def class_embedding(self, classes: Tensor) -> Tensor:
        """Embeddings `[P, D]` of class ids `[P]`."""
        return self.cls_embedding.embedding_table(classes)

    def enlarged(self, factor: int, boundary: int) -> "RandAR":
        """This model for a grid `factor` times as large: the same weights, another rotary table (section 3.4)."""
        model = copy.copy(self)
        model.config = replace(self.config, grid=factor * self.trained_grid)
        model.boundary = boundary
        return model

    def rope_table(self) -> Tensor:
        """Rotary table of the grid, `[1 + N, d / 2, 2]`."""
        if self.config.grid == self.trained_grid:
            return trained_table(self.trained_grid, self.config.head_width)
        factor = self.config.grid // self.trained_grid
        return extrapolated_table(self.trained_grid, factor, self.boundary, self.config.head_width)

    def position_instructions(self, rope: Tensor) -> Tensor:
        """Position instruction tokens `[R, N, D]` of cells with `rope` `[2, R, N, 1, d / 2, 2]`: one rotated vector."""
        vector = self.pos_instruct_embeddings.to(rope.device)
        return rotate(rearrange(vector, "one (h d) -> one h d", h=self.config.heads), rope).flatten(2)

    def sequence_rope(self, cell_rope: Tensor) -> Tensor:
        """Rope `[2, R, 1 + 2N, 3, 1, d / 2, 2]` of a whole sequence, of that of its cells `[2, R, N, 1, d / 2, 2]`."""
        pairs = cell_rope.repeat_interleave(2, 2)
        return with_values(torch.cat([torch.zeros_like(pairs[:, :, :1]), pairs], 2))

    def blocks(
        self,
        x: Tensor,
        rope: Tensor,
        cache: KVCache | None = None,
        mask: Tensor | None = None,
        queries: int | None = None,
        query_mask: Tensor | None = None,
    ) -> Tensor:
        """All layers over `x`; of the last layer only the last `queries` positions.

        x, rope, cache, mask: see `Attention.forward`; `mask` is that of all T positions.
        queries: positions to give; None: all T.
        query_mask: `[queries, S]`, the mask of the last layer.
        """
        last = len(self.layers) - 1
        for index, block in enumerate(self.layers):
            if index == last and queries is not None:
                x = block(x, rope, index, cache, query_mask, queries)
            else:
                x = block(x, rope, index, cache, mask, x.shape[1])
        return x

    def head(self, x: Tensor) -> Tensor:
        return self.output(self.norm(x)).float()

    def forward(
        self,
        condition: Tensor,
        tokens: Tensor,
        order: Tensor,
        context_mask: Tensor | None = None,
        row: Tensor | None = None,
    ) -> Tensor:
        """Teacher-forced logits `[R, N, V]` in float32, see `TokenModel`."""
        x, rope = self.interleaved(of_rows(condition, row), tokens, order, context_mask)
        x = self.blocks(x[:, :-1], rope[:, :, :-1])  # the last token predicts nothing
        return self.head(x[:, 1::2])

    def interleaved(
        self, condition: Tensor, tokens: Tensor, order: Tensor, context_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The sequence `[cls, p₁, x₁, …]` `[R, 1 + 2N, D]`, and its rope `[2, R, 1 + 2N, 3, 1, d / 2, 2]`."""
        rope = rope_of(order, self.rope_table())
        embedded = self.tok_embeddings(tokens)
        if context_mask is not None:
            embedded = embedded * context_mask.unsqueeze(-1).to(embedded.dtype)
        instructions = self.position_instructions(rope).to(embedded.dtype)
        pairs = rearrange([instructions, embedded], "two r n d -> r (n two) d")
        return torch.cat([condition.unsqueeze(1), pairs], 1), self.sequence_rope(rope)

    @property
    def feature_layers(self) -> int:
        return self.config.layers

    def hidden_states(self, condition: Tensor, tokens: Tensor, order: Tensor, layer: int) -> Tensor:
        """Hidden states `[R, M, D]` at the tokens after `layer`, see `TokenModel`."""
        check_layer(layer, self.feature_layers)
        x, rope = self.interleaved(condition, tokens, order)
        for index, block in enumerate(self.layers[:layer]):
            x = block(x, rope, index, None, None, x.shape[1])
        return x[:, 2::2]

    def start(
        self, condition: Tensor, order: Tensor, context_mask: Tensor | None = None, row: Tensor | None = None
    ) -> DecodeState:
        """The state of a decode, see `TokenModel`."""
        (rows, cells), config = order.shape, self.config
        condition = of_rows(condition, row)
        cell_rope = rope_of(order, self.rope_table())
        positions = 1 + 2 * cells
        inputs = condition.new_empty(rows, positions, config.width)
        inputs[:, 0], inputs[:, 1::2] = condition, self.position_instructions(cell_rope)
        return DecodeState(
            inputs=inputs,
            rope=self.sequence_rope(cell_rope),
            context_mask=None if context_mask is None else context_mask.unsqueeze(-1).to(condition),
            cache=KVCache.allocate(condition, config.layers, rows, config.heads, positions, config.head_width),
            mask=CausalMask(condition, positions),
        )

    def step(self, state: DecodeState, tokens: Tensor, queries: int) -> Tensor:
        """Feed `tokens` `[R, m]` and ask for the `queries` cells after them, see `TokenModel`.

        The tokens overwrite the queries of the call before, which had not seen the tokens drawn in the same call, so
        that the cache holds the clean interleave (section 3.3).
        """
        done, known = state.done, state.done + tokens.shape[1]
        embedded = self.tok_embeddings(tokens)
        if state.context_mask is not None:
            embedded = embedded * state.context_mask[:, done:known]
        state.inputs[:, 2 + 2 * done : 2 + 2 * known : 2] = embedded
        # All positions that are final after this call and are not in the cache yet, up to the instruction of the first
        # query; then the instructions of the other queries.
        before = state.cache.length
        final, rest = slice(before, 2 + 2 * known), slice(3 + 2 * known, 1 + 2 * (known + queries), 2)
        x, rope = state.inputs[:, final], state.rope[:, :, final]
        if queries > 1:
            x = torch.cat([x, state.inputs[:, rest]], 1)
            rope = torch.cat([rope, state.rope[:, :, rest]], 2)
        fed = x.shape[1]
        mask = state.mask(fed, before) if before > 0 and fed > 1 else None
        if 2 * queries <= fed:
            query_mask = state.mask(queries, before + fed - queries) if queries > 1 else None
            x = self.blocks(x, rope, state.cache, mask, queries, query_mask)
        else:  # it isn't worth a mask, which is large where one call asks for a whole picture
            x = self.blocks(x, rope, state.cache, mask)
        state.cache.advance(final.stop - before)
        state.done = known
        return self.head(x[:, -queries:])

    def state_bytes(self, rows: int, cells: int, element_bytes: int, conditions: int | None = None) -> int:
        """Bytes of the KV cache, the inputs and the rope, which is in float32."""
        config, positions = self.config, 1 + 2 * cells
        elements = (2 * config.layers + 1) * config.width
        return rows * positions * (elements * element_bytes + 24 * config.head_width)

    def call_bytes(self, call: Call, element_bytes: int) -> int:
        """Bytes of a block's intermediates, as measured, with rotation in float32, and of the mask of later calls."""
        slots = 1 + 2 * call.cells
        fed = min(2 * call.tokens + call.queries, slots)
        mask = (CausalMask.numbers(fed, slots) + fed * slots) * element_bytes if call.earlier else 0
        return int(call.rows * fed * self.config.width * (27 + 6.5 * element_bytes)) + mask
