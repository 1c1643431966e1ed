"""RAR: a decoder-only transformer trained on random orders that anneal to raster (arXiv 2411.00776, ICCV 2025).

The sequence is `[cls, condition, x₁, x₂, …]`, causal, one place a token. Every place carries the position of its own
cell and a *target-aware* embedding of the cell that is predicted next (section 3.2), and every block is modulated by
the class and the place in the sequence. Parameter names are those of the released checkpoints.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from .attention import attend

WINDOW = 32  # places whose adaptive-norm parts are computed together while decoding


@dataclass(frozen=True)
class RARConfig:
    """Size of a RAR decoder. `grid` is the side, in cells, of the square grid it was trained on."""

    width: int
    layers: int
    heads: int
    mlp_width: int
    codebook_size: int = 1024
    classes: int = 1000
    grid: int = 16

    @property
    def cells(self) -> int:
        return self.grid**2

    @property
    def head_width(self) -> int:
        return self.width // self.heads


@dataclass
class DecodeState:
    """What one decode keeps between steps: R rows of U distinct classes, N cells, and the KV cache.

    `parts` holds the adaptive-norm parts of the places from `window` on, all layers and then the head.
    """

    classes: Tensor  # [R]
    row: Tensor  # [R], which of the U classes
    condition: Tensor  # [U, 1 + N, D]
    positions: Tensor  # [R, 1 + N, D], what is added to the embeddings
    cache: Tensor  # [layers, 2, R, heads, 1 + N, d]
    parts: Tensor  # [U, WINDOW, 6 layers + 2, D]
    window: int = -WINDOW
    length: int = 0  # places in the cache


class Attention(nn.Module):
    def __init__(self, config: RARConfig, **kwargs):
        super().__init__()
        operations = kwargs.pop("operations")
        self.heads = config.heads
        self.qkv = operations.Linear(config.width, 3 * config.width, **kwargs)
        self.q_norm = operations.LayerNorm(config.head_width, eps=1e-6, **kwargs)
        self.k_norm = operations.LayerNorm(config.head_width, eps=1e-6, **kwargs)
        self.proj = operations.Linear(config.width, config.width, **kwargs)

    def forward(self, x: Tensor, cache: Tensor | None, start: int, mask: Tensor | None) -> Tensor:
        """Causal attention of `x` `[R, T, D]`; with a cache `[2, R, H, S, d]` also to the `start` places before it."""
        query, key, value = rearrange(self.qkv(x), "r t (three h d) -> three r h t d", three=3, h=self.heads)
        query, key = self.q_norm(query), self.k_norm(key)
        if cache is not None:
            end = start + x.shape[1]
            cache[0, :, :, start:end], cache[1, :, :, start:end] = key, value
            key, value = cache[:, :, :, :end]
        out = attend(query, key, value, mask, causal=start == 0)
        return self.proj(rearrange(out, "r h t d -> r t (h d)"))


class Block(nn.Module):
    def __init__(self, config: RARConfig, **kwargs):
        super().__init__()
        self.attn = Attention(config, **kwargs)
        operations = kwargs.pop("operations")
        fc1 = operations.Linear(config.width, config.mlp_width, **kwargs)
        fc2 = operations.Linear(config.mlp_width, config.width, **kwargs)
        self.mlp = nn.Sequential(OrderedDict(fc1=fc1, act=nn.GELU(), fc2=fc2))
        self.norm1 = operations.LayerNorm(config.width, eps=1e-6, **kwargs)
        self.norm2 = operations.LayerNorm(config.width, eps=1e-6, **kwargs)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), operations.Linear(config.width, 6 * config.width, **kwargs))

    def parts(self, condition: Tensor) -> Tensor:
        """Shift, 1 + scale and gate for the attention, then for the MLP: `[U, T, 6, D]` of `[U, T, D]`."""
        parts = self.adaLN_modulation(condition).unflatten(-1, (6, -1))
        parts[:, :, 1::3] += 1
        return parts

    def forward(self, x: Tensor, parts: Tensor, cache: Tensor | None, start: int, mask: Tensor | None) -> Tensor:
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = parts.unbind(2)
        attended = self.attn(torch.addcmul(shift, self.norm1(x), scale), cache, start, mask)
        x = torch.addcmul(x, gate, attended)
        return torch.addcmul(x, mlp_gate, self.mlp(torch.addcmul(mlp_shift, self.norm2(x), mlp_scale)))


class HeadNorm(nn.Module):
    def __init__(self, config: RARConfig, **kwargs):
        super().__init__()
        operations = kwargs.pop("operations")
        self.norm = operations.LayerNorm(config.width, eps=1e-6, elementwise_affine=False, **kwargs)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), operations.Linear(config.width, 2 * config.width, **kwargs))

    def parts(self, condition: Tensor) -> Tensor:
        """1 + scale and shift: `[U, T, 2, D]` of `[U, T, D]`."""
        parts = self.adaLN_modulation(condition).unflatten(-1, (2, -1))
        parts[:, :, 0] += 1
        return parts

    def forward(self, x: Tensor, parts: Tensor) -> Tensor:
        scale, shift = parts.unbind(2)
        return torch.addcmul(shift, self.norm(x), scale)


class RAR(nn.Module):
    """The decoder. `operations` supplies the layers (`torch.nn`, or a host's own that cast their weights)."""

    parallel = False  # the query is the last token, which carries one target
    trained_order = "raster"  # where the random orders of the training end

    def __init__(self, config: RARConfig, device=None, dtype=None, operations=nn):
        super().__init__()
        if config.width % config.heads:
            raise ValueError(f"A RAR decoder of width {config.width} can't have {config.heads} heads of whole width.")
        kwargs = {"device": device, "dtype": dtype, "operations": operations}
        layer_kwargs = {"device": device, "dtype": dtype}

        def table(rows: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(1, rows, config.width, **layer_kwargs))

        self.config = config
        self.cls_token = table(1)
        # The releases have more rows than a picture has places.
        self.pos_embed = table(config.cells + 1024)
        self.target_aware_pos_embed = table(config.cells + 1024)
        self.timesteps_embeddings = table(config.cells + 100)
        # The image tokens, a mask token that drawing never uses, the classes, the null class.
        rows = config.codebook_size + 1 + config.classes + 1
        self.embeddings = operations.Embedding(rows, config.width, **layer_kwargs)
        self.blocks = nn.ModuleList(Block(config, **kwargs) for _ in range(config.layers))
        self.adaln_before_head = HeadNorm(config, **kwargs)
        self.lm_head = operations.Linear(config.width, config.codebook_size, **layer_kwargs)

    @property
    def null_class(self) -> int:
        """The class id of the unconditional rows of guidance."""
        return self.config.classes

    def class_embedding(self, classes: Tensor) -> Tensor:
        """`[R, 1, D]` of class ids `[R]`."""
        return self.embeddings(self.config.codebook_size + 1 + classes.unsqueeze(1))

    def prefix(self, classes: Tensor) -> Tensor:
        """The two places before the image tokens, `[R, 2, D]`."""
        embedded = self.class_embedding(classes)
        return torch.cat([self.cls_token.to(embedded).expand_as(embedded), embedded], 1)

    def condition(self, classes: Tensor) -> Tensor:
        """What modulates the norms at every place: `[U, 1 + N, D]` of class ids `[U]`."""
        embedded = self.class_embedding(classes)
        return embedded + self.timesteps_embeddings[:, : 1 + self.config.cells].to(embedded)

    def positions(self, order: Tensor, like: Tensor) -> Tensor:
        """What is added to the embeddings, `[R, 1 + N, D]` for `order` `[R, N]`, in dtype and device of `like`.

        At cls, condition and every token but the last, which predicts nothing. All but cls know the next cell.
        """
        cells = order + 2
        own = torch.cat([torch.arange(2, device=order.device).expand(len(order), 2), cells[:, :-1]], 1)
        positions = self.pos_embed[0].to(like)[own]
        positions[:, 1:] += self.target_aware_pos_embed[0].to(like)[cells]
        return positions

    def modulate(self, condition: Tensor) -> Iterator[Tensor]:
        """Adaptive-norm parts for `condition` `[U, T, D]`: `[U, T, 6, D]` a block, then `[U, T, 2, D]` for the head."""
        for layer in [*self.blocks, self.adaln_before_head]:
            yield layer.parts(condition)

    def logits(self, x: Tensor, parts: Iterator[Tensor], first: int, cache=None, start: int = 0, mask=None) -> Tensor:
        """Logits in float32 of the places of `x` `[R, T, D]` from `first` on; `parts` as in `modulate`, for R rows."""
        for index, block in enumerate(self.blocks):
            x = block(x, next(parts), None if cache is None else cache[index], start, mask)
        return self.lm_head(self.adaln_before_head(x[:, first:], next(parts)[:, first:])).float()

    def check(self, order: Tensor, table: Tensor | None, context_kept: Tensor | None) -> None:
        """ValueError for what RAR can't draw: its positions are learnt one by one, for its own grid."""
        side = f"{self.config.grid} × {self.config.grid}"
        if table is not None or context_kept is not None:
            raise ValueError(
                f"RAR can't extrapolate: it knows no places but those of its own {side} cells. Take a RandAR model."
            )
        if order.shape[1] != self.config.cells:
            raise ValueError(
                f"RAR draws pictures of {side} = {self.config.cells} cells, the size it was trained on; "
                f"{order.shape[1]} cells were asked for. Draw that size, or take a RandAR model."
            )

    def forward(self, classes: Tensor, tokens: Tensor, order: Tensor, table=None, context_kept=None) -> Tensor:
        """Teacher-forced logits `[R, N, V]` in float32.

        `classes` `[R]`; `tokens` `[R, N]` along `order` `[R, N]`, which holds cell indices. Row k of the result
        predicts `tokens[:, k]`. ValueError for another grid than the trained one, a `table` or a `context_kept`.
        """
        self.check(order, table, context_kept)
        distinct, row = classes.unique(return_inverse=True)
        x = torch.cat([self.prefix(classes), self.embeddings(tokens[:, :-1])], 1)
        parts = (part[row] for part in self.modulate(self.condition(distinct)))
        return self.logits(x + self.positions(order, x), parts, first=1)

    def start(self, classes: Tensor, order: Tensor, table=None, context_kept=None) -> DecodeState:
        """Begin decoding R rows: `classes` `[R]`, `order` `[R, N]` (cell indices). Raises as `forward` does.

        The adaptive-norm parts depend on class and place alone: 6 D numbers a block, three times what the KV cache
        holds a place. They are computed once, for `WINDOW` places in one product and once for rows of the same class,
        which takes `U WINDOW (6 layers + 2) D` numbers, at most 0.38 of the cache of 16 × 16 cells.
        """
        self.check(order, table, context_kept)
        distinct, row = classes.unique(return_inverse=True)
        condition = self.condition(distinct)  # in the dtype that a host's layers compute in
        width, layers, places = self.config.width, self.config.layers, 1 + self.config.cells
        return DecodeState(
            classes=classes,
            row=row,
            condition=condition,
            positions=self.positions(order, condition),
            cache=condition.new_empty(layers, 2, len(classes), self.config.heads, places, self.config.head_width),
            parts=condition.new_empty(len(distinct), WINDOW, 6 * layers + 2, width),
        )

    def step(
        self,
        state: DecodeState,
        tokens: Tensor,
        queries: int = 1,
        then: Callable | None = None,
        given: Sequence[Tensor] = (),
    ):
        """Feed `tokens` `[R, m]`, the ids of the next m cells of the order, and ask for the cell after them.

        Returns `then(logits, *given)` of the logits `[R, 1, V]` in float32, by default these. Known cells come first in
        the order and go in with the first call.
        """
        if queries != 1:
            raise ValueError(f"RAR draws one token a call; {queries} were asked for. Plan with `parallel=False`.")
        x = self.embeddings(tokens)
        if state.length == 0:
            x = torch.cat([self.prefix(state.classes), x], 1)
        start, stop = state.length, state.length + x.shape[1]
        mask = None
        if start > 0 and x.shape[1] > 1:  # the decode loop never does: it knows all but one from the first call
            mask = torch.ones(stop - start, stop, dtype=torch.bool, device=x.device).tril_(start)
        parts = self.parts(state, start, stop)
        state.length = stop
        logits = self.logits(x + state.positions[:, start:stop], parts, -1, state.cache, start, mask)
        return logits if then is None else then(logits, *given)

    def parts(self, state: DecodeState, start: int, stop: int) -> Iterator[Tensor]:
        """Adaptive-norm parts of the places `start` to `stop` for the R rows, as `modulate` gives them."""
        if stop - start > 1:
            return (part[state.row] for part in self.modulate(state.condition[:, start:stop]))
        if start >= state.window + WINDOW:
            state.window = start
            ahead = state.condition[:, start : start + WINDOW]
            slots = state.parts[:, : ahead.shape[1]].split(6, 2)
            for slot, part in zip(slots, self.modulate(ahead), strict=True):
                slot.copy_(part)
        here = state.parts[state.row, start - state.window].unsqueeze(1)
        return iter(here.split(6, 2))  # what is left after the blocks' are the head's two

    def cache_bytes(self, rows: int, cells: int, element_bytes: int) -> int:
        """Bytes that `start` allocates for `rows` rows of `cells` cells, at most: where every row has its own class.

        The KV cache, the adaptive-norm parts of a window, and what is added to embeddings and norms at every place.
        """
        places = (2 * self.config.layers + 2) * (1 + cells)
        parts = (6 * self.config.layers + 2) * WINDOW
        return rows * self.config.width * (places + parts) * element_bytes

    def input_bytes(self, rows: int, cells: int, element_bytes: int) -> int:
        """Nothing beside what `cache_bytes` counts."""
        return 0

    @staticmethod
    def block_bytes(element_bytes: int) -> float:
        """Bytes that a block's intermediates take at most for each channel of a place, as measured."""
        return 13.5 * element_bytes
