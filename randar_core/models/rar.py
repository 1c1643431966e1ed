"""RAR: a causal transformer trained on random orders that anneal to raster (arXiv 2411.00776, ICCV 2025).

The sequence is `[cls, condition, x₁, x₂, …]`, causal, one position a token. Every position carries the position
embedding of its own cell and a *target-aware* embedding of the cell that is predicted next (section 3.2). Every block
is modulated by the condition and the position in the sequence. Parameter names are those of the released checkpoints.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from einops import rearrange
from torch import Tensor, nn

from . import layers
from .attention import CausalMask, attend
from .family import Call, Traits, TransformerConfig, of_rows
from .kv_cache import KVCache

MODULATED_AHEAD = 32  # positions whose modulation is computed in one product while decoding


@dataclass(frozen=True)
class RARConfig(TransformerConfig):
    """Size of a RAR transformer. `mlp_width` is that inside its feed-forward layers."""

    codebook_size: int = 1024
    mlp_width: int = field(kw_only=True)


@dataclass
class DecodeState:
    """What one decode keeps between steps: R rows of U distinct conditions, N cells.

    `modulation` holds that of `MODULATED_AHEAD` positions from `first` on: of all layers, then of the head.
    """

    prefix: Tensor  # [R, 2, D], the positions before the image tokens
    row: Tensor  # [R], which of the U conditions
    signal: Tensor  # [U, 1 + N, D], what the modulation is computed from
    positions: Tensor  # [R, 1 + N, D], what is added to the embeddings
    context_mask: Tensor | None  # [R, N, 1] along the order, 0 where the embedding of a token is set to zero
    cache: KVCache  # of 1 + N slots
    mask: CausalMask
    modulation: Tensor  # [U, MODULATED_AHEAD, 6 layers + 2, D]
    first: int = -MODULATED_AHEAD


class Attention(nn.Module):
    def __init__(self, config: RARConfig, operations, **factory):
        super().__init__()
        self.heads = config.heads
        self.qkv = operations.Linear(config.width, 3 * config.width, **factory)
        self.q_norm = operations.LayerNorm(config.head_width, eps=1e-6, **factory)
        self.k_norm = operations.LayerNorm(config.head_width, eps=1e-6, **factory)
        self.proj = operations.Linear(config.width, config.width, **factory)

    def forward(self, x: Tensor, layer: int, cache: KVCache | None, mask: Tensor | None) -> Tensor:
        """Attention of `x` `[R, T, D]` to the cache of `layer` and to `x`. Without a mask it is causal or T is 1."""
        query, key, value = rearrange(self.qkv(x), "r t (three h d) -> three r h t d", three=3, h=self.heads)
        query, key = self.q_norm(query), self.k_norm(key)
        if cache is not None:
            key, value = cache.update(layer, key, value)
        out = attend(query, key, value, mask, causal=mask is None and x.shape[1] > 1)
        return self.proj(rearrange(out, "r h t d -> r t (h d)"))


class Block(nn.Module):
    def __init__(self, config: RARConfig, operations, **factory):
        super().__init__()
        self.attn = Attention(config, operations, **factory)
        fc1 = operations.Linear(config.width, config.mlp_width, **factory)
        fc2 = operations.Linear(config.mlp_width, config.width, **factory)
        self.mlp = nn.Sequential(OrderedDict(fc1=fc1, act=nn.GELU(), fc2=fc2))
        self.norm1 = operations.LayerNorm(config.width, eps=1e-6, **factory)
        self.norm2 = operations.LayerNorm(config.width, eps=1e-6, **factory)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), operations.Linear(config.width, 6 * config.width, **factory))

    def modulation(self, signal: Tensor) -> Tensor:
        """Shift, 1 + scale and gate for the attention, then for the MLP: `[U, T, 6, D]` of `[U, T, D]`."""
        modulation = self.adaLN_modulation(signal).unflatten(-1, (6, -1))
        modulation[:, :, 1::3] += 1
        return modulation

    def forward(self, x: Tensor, modulation: Tensor, layer: int, cache: KVCache | None, mask: Tensor | None) -> Tensor:
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = modulation.unbind(2)
        attended = self.attn(torch.addcmul(shift, self.norm1(x), scale), layer, cache, mask)
        x = torch.addcmul(x, gate, attended)
        return torch.addcmul(x, mlp_gate, self.mlp(torch.addcmul(mlp_shift, self.norm2(x), mlp_scale)))


class HeadNorm(nn.Module):
    def __init__(self, config: RARConfig, operations, **factory):
        super().__init__()
        self.norm = operations.LayerNorm(config.width, eps=1e-6, elementwise_affine=False, **factory)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), operations.Linear(config.width, 2 * config.width, **factory))

    def modulation(self, signal: Tensor) -> Tensor:
        """1 + scale and shift: `[U, T, 2, D]` of `[U, T, D]`."""
        modulation = self.adaLN_modulation(signal).unflatten(-1, (2, -1))
        modulation[:, :, 0] += 1
        return modulation

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        scale, shift = modulation.unbind(2)
        return torch.addcmul(shift, self.norm(x), scale)


class RAR(nn.Module):
    """The transformer. `operations` supplies the layers: `layers`, or a host's own that cast their weights."""

    # The query is the last token, which carries one target. Training ends with raster order.
    traits = Traits(parallel=False, order="raster", schedule="cosine", guidance_progress="before call", steps=256)

    def __init__(self, config: RARConfig, device=None, dtype=None, operations=layers):
        super().__init__()
        if config.width % config.heads:
            raise ValueError(
                f"A RAR transformer of width {config.width} can't have {config.heads} heads of whole width."
            )
        factory = {"device": device, "dtype": dtype}

        def table(rows: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(1, rows, config.width, **factory))

        self.config = config
        self.cls_token = table(1)
        # The releases have more rows than a picture has positions.
        self.pos_embed = table(config.cells + 1024)
        self.target_aware_pos_embed = table(config.cells + 1024)
        self.timesteps_embeddings = table(config.cells + 100)
        # The image tokens, a mask token that drawing never uses, the classes, the null class.
        rows = config.codebook_size + 1 + config.classes + 1
        self.embeddings = operations.Embedding(rows, config.width, **factory)
        self.blocks = nn.ModuleList(Block(config, operations, **factory) for _ in range(config.layers))
        self.adaln_before_head = HeadNorm(config, operations, **factory)
        self.lm_head = operations.Linear(config.width, config.codebook_size, **factory)

    @property
    def null_class(self) -> int:
        return self.config.classes

    def class_embedding(self, classes: Tensor) -> Tensor:
        """Embeddings `[P, D]` of class ids `[P]`."""
        return self.embeddings(self.config.codebook_size + 1 + classes)

    def enlarged(self, factor: int, boundary: int) -> "RAR":
        side = f"{self.config.grid} × {self.config.grid}"
        raise ValueError(
            f"RAR can't extrapolate: it has learnt a position for each of its own {side} cells and for no others. "
            "Take a RandAR model."
        )

    @property
    def feature_layers(self) -> int:
        return 0

    def hidden_states(self, condition: Tensor, tokens: Tensor, order: Tensor, layer: int) -> Tensor:
        raise ValueError(
            "RAR has no two-sided features: it has learnt one pass over its cells, with a position for each. Take a "
            "RandAR model."
        )

    def prefix(self, condition: Tensor) -> Tensor:
        """The two positions before the image tokens, `[R, 2, D]`."""
        embedded = condition.unsqueeze(1)
        return torch.cat([self.cls_token.to(embedded).expand_as(embedded), embedded], 1)

    def signal(self, condition: Tensor) -> Tensor:
        """What the modulation of every position is computed from: `[U, 1 + N, D]` of conditions `[U, D]`."""
        timesteps = self.timesteps_embeddings[:, : 1 + self.config.cells].to(condition)
        return condition.unsqueeze(1) + timesteps

    def positions(self, order: Tensor, like: Tensor) -> Tensor:
        """What is added to the embeddings, `[R, 1 + N, D]` for `order` `[R, N]`, in dtype and device of `like`.

        At cls, condition and every token but the last, which predicts nothing. All but cls know the next cell.
        """
        cells = order + 2
        own = torch.cat([torch.arange(2, device=order.device).expand(len(order), 2), cells[:, :-1]], 1)
        positions = self.pos_embed[0].to(like)[own]
        positions[:, 1:] += self.target_aware_pos_embed[0].to(like)[cells]
        return positions

    def modulate(self, signal: Tensor) -> Iterator[Tensor]:
        """Modulation by `signal` `[U, T, D]`: `[U, T, 6, D]` for each block, then `[U, T, 2, D]` for the head."""
        for layer in [*self.blocks, self.adaln_before_head]:
            yield layer.modulation(signal)

    def logits(
        self,
        x: Tensor,
        modulation: Iterator[Tensor],
        first: int,
        cache: KVCache | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Logits in float32 of the positions of `x` `[R, T, D]` from `first` on; `modulation` of the R rows."""
        for index, block in enumerate(self.blocks):
            x = block(x, next(modulation), index, cache, mask)
        return self.lm_head(self.adaln_before_head(x[:, first:], next(modulation)[:, first:])).float()

    def forward(
        self,
        condition: Tensor,
        tokens: Tensor,
        order: Tensor,
        context_mask: Tensor | None = None,
        row: Tensor | None = None,
    ) -> Tensor:
        """Teacher-forced logits `[R, N, V]` in float32, see `TokenModel`."""
        embedded = self.embeddings(tokens[:, :-1])
        if context_mask is not None:
            embedded = embedded * context_mask[:, :-1].unsqueeze(-1).to(embedded.dtype)
        x = torch.cat([self.prefix(of_rows(condition, row)), embedded], 1)
        modulation = (of_rows(values, row) for values in self.modulate(self.signal(condition)))
        return self.logits(x + self.positions(order, x), modulation, first=1)

    def start(
        self, condition: Tensor, order: Tensor, context_mask: Tensor | None = None, row: Tensor | None = None
    ) -> DecodeState:
        """The state of a decode of R rows of U conditions, see `TokenModel`.

        The modulation depends on condition and position alone: 6 D numbers a block, three times what the KV cache holds
        for a position. It is computed once, for `MODULATED_AHEAD` positions in one product and once for rows of one
        condition, which takes `U MODULATED_AHEAD (6 layers + 2) D` numbers, at most 0.38 of the cache of 16 × 16 cells.
        """
        config, rows, slots = self.config, len(order), 1 + self.config.cells
        row = torch.arange(rows, device=order.device) if row is None else row
        return DecodeState(
            prefix=self.prefix(condition[row]),
            row=row,
            signal=self.signal(condition),
            positions=self.positions(order, condition),
            context_mask=None if context_mask is None else context_mask.unsqueeze(-1).to(condition),
            cache=KVCache.allocate(condition, config.layers, rows, config.heads, slots, config.head_width),
            mask=CausalMask(condition, slots),
            modulation=condition.new_empty(len(condition), MODULATED_AHEAD, 6 * config.layers + 2, config.width),
        )

    def step(self, state: DecodeState, tokens: Tensor, queries: int) -> Tensor:
        """Feed `tokens` `[R, m]` and ask for the one cell after them, see `TokenModel`.

        Raises ValueError for more than one query: a token carries the embedding of one target.
        """
        if queries != 1:
            raise ValueError(f"RAR draws one token a call; {queries} were asked for. Plan calls of one token.")
        start, x = state.cache.length, self.embeddings(tokens)
        if state.context_mask is not None:
            done = max(0, start - 2)
            x = x * state.context_mask[:, done : done + tokens.shape[1]]
        if start == 0:
            x = torch.cat([state.prefix, x], 1)
        fed = x.shape[1]
        mask = state.mask(fed, start) if start > 0 and fed > 1 else None
        modulation = self.modulation_of(state, start, start + fed)
        logits = self.logits(x + state.positions[:, start : start + fed], modulation, -1, state.cache, mask)
        state.cache.advance(fed)
        return logits

    def modulation_of(self, state: DecodeState, start: int, stop: int) -> Iterator[Tensor]:
        """Modulation of the positions `start` to `stop` for the R rows, as `modulate` gives it."""
        if stop - start > 1:
            return (values[state.row] for values in self.modulate(state.signal[:, start:stop]))
        if start >= state.first + MODULATED_AHEAD:
            state.first = start
            ahead = state.signal[:, start : start + MODULATED_AHEAD]
            slots = state.modulation[:, : ahead.shape[1]].split(6, 2)
            for slot, values in zip(slots, self.modulate(ahead), strict=True):
                slot.copy_(values)
        here = state.modulation[state.row, start - state.first].unsqueeze(1)
        return iter(here.split(6, 2))  # what is left after those of the blocks are the two of the head

    def state_bytes(self, rows: int, cells: int, element_bytes: int, conditions: int | None = None) -> int:
        """Bytes of the KV cache and of what is added to the embeddings, and of each condition's modulation ahead."""
        of_row = (2 * self.config.layers + 1) * (1 + cells)
        of_condition = 1 + cells + (6 * self.config.layers + 2) * MODULATED_AHEAD
        conditions = rows if conditions is None else conditions
        return (rows * of_row + conditions * of_condition) * self.config.width * element_bytes

    def call_bytes(self, call: Call, element_bytes: int) -> int:
        """Bytes of a block's intermediates, as measured, or of two layers' modulation while it is computed ahead."""
        fed = min(call.tokens + 2, 1 + call.cells)
        block, ahead = fed * (20 * call.rows + 6 * call.conditions), 13 * MODULATED_AHEAD * call.conditions
        return max(block, ahead) * self.config.width * element_bytes
