"""RandAR: a decoder-only transformer that draws image tokens in any order (arXiv 2412.01827, CVPR 2025).

The sequence is `[cls, p₁, x₁, p₂, x₂, …]`: before each image token `xₖ` stands a position instruction token `pₖ`
that says which cell comes next, and the logits for `xₖ` are read at `pₖ` (section 3.1). Parameter names are those of
the released checkpoints.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .attention import aligned, attend


@dataclass(frozen=True)
class RandARConfig:
    """Size of a RandAR decoder. `grid` is the side, in cells, of the square grid it was trained on."""

    width: int
    layers: int
    heads: int
    codebook_size: int
    classes: int = 1000
    grid: int = 16

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def hidden_width(self) -> int:
        """Width inside the feed-forward part: two thirds of four widths, rounded up to a multiple of 256."""
        return -(-int(2 * 4 * self.width / 3) // 256) * 256


def rotary_table(rows: Tensor, columns: Tensor, head_width: int, base: float = 10000.0) -> Tensor:
    """Two-dimensional rotary table: `[1 + N, head_width / 2, 2]` float32, cosine and sine.

    `rows` and `columns` hold the places of the N cells, each `[N]` or, where every frequency has places of its own (as
    resolution extrapolation needs), `[N, head_width / 4]`. The first half of the angles turns with the row, the second
    with the column. Row 0 belongs to the class token and is zero throughout: its query and key vanish, its value stays.
    """
    bands = head_width // 4
    frequencies = 1.0 / base ** (torch.arange(0, head_width // 2, 2)[:bands].float() / (head_width // 2))
    places = torch.stack([axis.float().reshape(len(axis), -1).expand(-1, bands) for axis in (rows, columns)], 1)
    angles = (places * frequencies).flatten(1)
    table = torch.stack([angles.cos(), angles.sin()], -1)
    return torch.cat([torch.zeros_like(table[:1]), table])


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn neighbouring pairs of `x` `[..., d]` by `angles` `[2, ..., d]`, in float32.

    `angles` has a cosine for each element, and a sine that is negative for the first element of a pair.
    """
    cosine, sine = angles
    wide = x.float()
    swapped = wide.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return torch.addcmul(wide * cosine, swapped, sine).to(x.dtype)


Extend = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Keys and values `[R, H, T, d]` of new places -> those of all places that are attended to, `[R, H, S, d]`."""


@dataclass(frozen=True)
class Wanted:
    """The last `places` of a call, which alone go through the last layer; others add only their keys and values there.

    `mask` `[places, S]` says what they see; None where it is one place, which sees everything.
    """

    places: int
    mask: Tensor | None


@dataclass
class DecodeState:
    """What one decode keeps between steps: R rows, N cells, and the KV cache, which lives as long as this does."""

    inputs: Tensor  # [R, 1 + 2N, D]: class, then instruction and token of each cell; a token once it is known
    angles: Tensor  # [2, R, 1 + 2N, 1, d], of the same places, see `rotate`
    context_kept: Tensor | None  # [R, N, 1] along the order, 1 where a token's embedding is fed, 0 where it is blanked
    cache: Tensor  # [layers, 2, R, heads, 1 + 2N, d]
    mask: Tensor  # [T, 1 + 2N + T], see `causal_mask`
    done: int = 0  # tokens fed so far
    length: int = 0  # places of the cache that are final

    def causal_mask(self, tokens: int, before: int) -> Tensor:
        """What `tokens` T places see of the `before` ones before them and of themselves: `[T, before + T]`, 0 or −∞.

        A window into one mask for all calls, which grows only when a call feeds more tokens than any before it.
        """
        places = self.cache.shape[-2]
        if tokens > len(self.mask):
            blind = self.mask.new_full((2 * tokens, places + 2 * tokens), -torch.inf)
            self.mask = blind.triu_(places + 1)
        mask = self.mask[:tokens, places - before : places + tokens]
        return aligned(mask) if mask.is_cuda else mask

    def extend(self, layer: int) -> Extend:
        def after_what_is_there(key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
            end = self.length + key.shape[2]
            cache = self.cache[layer]
            cache[0, :, :, self.length : end], cache[1, :, :, self.length : end] = key, value
            return cache[0, :, :, :end], cache[1, :, :, :end]

        return after_what_is_there


class Attention(nn.Module):
    def __init__(self, config: RandARConfig, **kwargs):
        super().__init__()
        operations = kwargs.pop("operations")
        self.heads = config.heads
        self.wqkv = operations.Linear(config.width, 3 * config.width, bias=False, **kwargs)
        self.wo = operations.Linear(config.width, config.width, bias=False, **kwargs)

    def forward(
        self, x: Tensor, angles: Tensor, extend: Extend | None, mask: Tensor | None, wanted: int | None
    ) -> Tensor:
        """Attention of the last `wanted` of `x` `[R, T, D]`, by default all, to what `extend` makes of keys and values.

        Without a mask `wanted` must be all of them, which see causally, or one, which sees every key.
        """
        query_key, value = rearrange(self.wqkv(x), "r t (three h d) -> r t (three h) d", three=3, h=self.heads).split(
            [2 * self.heads, self.heads], 2
        )
        query_key, value = rotate(query_key, angles).transpose(1, 2), value.transpose(1, 2)
        query, key = query_key.chunk(2, 1)
        if wanted is not None:
            query = query[:, :, -wanted:]
        if extend is not None:
            key, value = extend(key, value)
        causal = mask is None and query.shape[2] > 1
        out = attend(query, key, value, mask, causal)
        return self.wo(rearrange(out, "r h t d -> r t (h d)"))


class FeedForward(nn.Module):
    def __init__(self, config: RandARConfig, **kwargs):
        super().__init__()
        operations = kwargs.pop("operations")
        self.w1 = operations.Linear(config.width, config.hidden_width, bias=False, **kwargs)
        self.w3 = operations.Linear(config.width, config.hidden_width, bias=False, **kwargs)
        self.w2 = operations.Linear(config.hidden_width, config.width, bias=False, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    def __init__(self, config: RandARConfig, **kwargs):
        super().__init__()
        self.attention = Attention(config, **kwargs)
        self.feed_forward = FeedForward(config, **kwargs)
        operations = kwargs.pop("operations")
        self.attention_norm = operations.RMSNorm(config.width, eps=1e-5, **kwargs)
        self.ffn_norm = operations.RMSNorm(config.width, eps=1e-5, **kwargs)

    def forward(
        self, x: Tensor, angles: Tensor, extend: Extend | None, mask: Tensor | None, wanted: int | None
    ) -> Tensor:
        attended = self.attention(self.attention_norm(x), angles, extend, mask, wanted)
        x = (x if wanted is None else x[:, -wanted:]) + attended
        return x + self.feed_forward(self.ffn_norm(x))


class ClassEmbedding(nn.Module):
    """One row a class, and the null class of guidance in the last row."""

    def __init__(self, config: RandARConfig, **kwargs):
        super().__init__()
        operations = kwargs.pop("operations")
        self.embedding_table = operations.Embedding(config.classes + 1, config.width, **kwargs)


class RandAR(nn.Module):
    """The decoder. `operations` supplies the layers (`torch.nn`, or a host's own that cast their weights)."""

    parallel = True  # several tokens may be drawn a call
    trained_order = "random"

    def __init__(self, config: RandARConfig, device=None, dtype=None, operations=nn):
        super().__init__()
        if config.width % config.heads or config.head_width % 4:
            raise ValueError(
                f"A RandAR decoder of width {config.width} can't have {config.heads} heads: "
                "the width of a head must be whole and a multiple of 4."
            )
        kwargs = {"device": device, "dtype": dtype, "operations": operations}
        layer_kwargs = {"device": device, "dtype": dtype}
        self.config = config
        self.pos_instruct_embeddings = nn.Parameter(torch.empty(1, config.width, **layer_kwargs))
        self.cls_embedding = ClassEmbedding(config, **kwargs)
        self.tok_embeddings = operations.Embedding(config.codebook_size, config.width, **layer_kwargs)
        self.layers = nn.ModuleList(Block(config, **kwargs) for _ in range(config.layers))
        self.norm = operations.RMSNorm(config.width, eps=1e-5, **layer_kwargs)
        self.output = operations.Linear(config.width, config.codebook_size, bias=False, **layer_kwargs)

    @property
    def null_class(self) -> int:
        """The class id of the unconditional rows of guidance."""
        return self.config.classes

    def table(self) -> Tensor:
        """Rotary table of the trained grid, `[1 + N, d / 2, 2]`."""
        cells = torch.arange(self.config.grid**2)
        return rotary_table(cells // self.config.grid, cells % self.config.grid, self.config.head_width)

    def extrapolated_table(self, factor: int, boundary: int = 2) -> Tensor:
        """Rotary table of a grid `factor` times the trained one, `[1 + (factor g)², d / 2, 2]` (section 3.4).

        The `boundary` fastest frequencies of each axis turn with the true places, the others with places squeezed into
        the trained range.
        """
        side = self.config.grid * factor
        true = torch.arange(side).float()
        squeezed = torch.linspace(0, self.config.grid - 1, side)
        fast = torch.arange(self.config.head_width // 4) < boundary
        places = torch.where(fast, true[:, None], squeezed[:, None])
        cells = torch.arange(side**2)
        return rotary_table(places[cells // side], places[cells % side], self.config.head_width)

    def instructions(self, angles: Tensor) -> Tensor:
        """Position instruction tokens `[R, N, D]` for cells with `angles` `[2, R, N, 1, d]`: one vector, turned."""
        vector = self.pos_instruct_embeddings.to(angles.device)
        return rotate(rearrange(vector, "one (h d) -> one h d", h=self.config.heads), angles).flatten(2)

    def cell_angles(self, order: Tensor, table: Tensor | None) -> Tensor:
        """Angles `[2, R, N, 1, d]` of the cells along `order` `[R, N]`, as `rotate` takes them."""
        table = self.table() if table is None else table
        cosine, sine = table.to(order.device)[order + 1].unsqueeze(2).unbind(-1)
        return torch.stack([torch.stack([cosine, cosine], -1), torch.stack([-sine, sine], -1)]).flatten(-2)

    def blocks(
        self,
        x: Tensor,
        angles: Tensor,
        extend: Callable[[int], Extend] | None = None,
        mask: Tensor | None = None,
        wanted: Wanted | None = None,
    ) -> Tensor:
        """All layers; `extend` gives the one of each layer's cache. Returns all of x, or the part that is wanted."""
        last = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            own_extend = None if extend is None else extend(index)
            if index == last and wanted is not None:
                x = layer(x, angles, own_extend, wanted.mask, wanted.places)
            else:
                x = layer(x, angles, own_extend, mask, None)
        return x

    def head(self, x: Tensor) -> Tensor:
        return self.output(self.norm(x)).float()

    def forward(
        self,
        classes: Tensor,
        tokens: Tensor,
        order: Tensor,
        table: Tensor | None = None,
        context_kept: Tensor | None = None,
    ) -> Tensor:
        """Teacher-forced logits `[R, N, V]` in float32.

        `classes` `[R]`; `tokens` `[R, N]` along `order` `[R, N]`, which holds cell indices. Row k of the result
        predicts `tokens[:, k]`. `context_kept` `[R, N]` blanks the embeddings of tokens where it is 0.
        """
        angles = self.cell_angles(order, table)
        embedded = self.tok_embeddings(tokens)
        if context_kept is not None:
            embedded = embedded * context_kept.unsqueeze(-1).to(embedded.dtype)
        instructions = self.instructions(angles).to(embedded.dtype)
        pairs = rearrange([instructions, embedded], "two r n d -> r (n two) d")
        # The last token predicts nothing.
        x = torch.cat([self.cls_embedding.embedding_table(classes).unsqueeze(1), pairs[:, :-1]], 1)
        pair_angles = angles.repeat_interleave(2, 2)[:, :, :-1]
        x = self.blocks(x, torch.cat([torch.zeros_like(pair_angles[:, :, :1]), pair_angles], 2))
        return self.head(x[:, 1::2])

    def start(
        self, classes: Tensor, order: Tensor, table: Tensor | None = None, context_kept: Tensor | None = None
    ) -> DecodeState:
        """Begin decoding R rows: `classes` `[R]`, `order` `[R, N]` (cell indices), the rest as in `forward`."""
        rows, cells = order.shape
        cell_angles = self.cell_angles(order, table)
        embedded = self.cls_embedding.embedding_table(classes)  # its dtype is what a host's layers compute in
        places = 1 + 2 * cells
        inputs = embedded.new_empty(rows, places, self.config.width)
        inputs[:, 0], inputs[:, 1::2] = embedded, self.instructions(cell_angles)
        angles = cell_angles.new_zeros(2, rows, places, 1, self.config.head_width)
        angles[:, :, 1::2] = angles[:, :, 2::2] = cell_angles
        return DecodeState(
            inputs=inputs,
            angles=angles,
            context_kept=None if context_kept is None else context_kept.unsqueeze(-1).to(embedded),
            cache=embedded.new_empty(self.config.layers, 2, rows, self.config.heads, places, self.config.head_width),
            mask=embedded.new_empty(0, 0),
        )

    def step(
        self,
        state: DecodeState,
        tokens: Tensor,
        queries: int,
        then: Callable | None = None,
        given: Sequence[Tensor] = (),
    ):
        """Feed `tokens` `[R, m]`, the ids of the next m cells of the order, and ask for the `queries` cells after them.

        Returns `then(logits, *given)` of the logits `[R, queries, V]` in float32, by default these. The tokens
        overwrite the queries of the call before, which had not seen the tokens drawn beside them, so that the cache
        holds the clean interleave (section 3.3).
        """
        done, known = state.done, state.done + tokens.shape[1]
        embedded = self.tok_embeddings(tokens)
        if state.context_kept is not None:
            embedded = embedded * state.context_kept[:, done:known]
        state.inputs[:, 2 + 2 * done : 2 + 2 * known : 2] = embedded
        # All places that are final after this call but for those before it, then an instruction for each other query.
        final, rest = slice(state.length, 2 + 2 * known), slice(3 + 2 * known, 1 + 2 * (known + queries), 2)
        x, angles = state.inputs[:, final], state.angles[:, :, final]
        if queries > 1:
            x = torch.cat([x, state.inputs[:, rest]], 1)
            angles = torch.cat([angles, state.angles[:, :, rest]], 2)
        fed, before = x.shape[1], state.length
        mask = state.causal_mask(fed, before) if before > 0 and fed > 1 else None
        wanted = None
        if 2 * queries <= fed:  # else it isn't worth a mask, which is large where a call asks for a whole picture
            wanted = Wanted(queries, state.causal_mask(queries, before + fed - queries) if queries > 1 else None)
        x = self.blocks(x, angles, state.extend, mask, wanted)
        state.done, state.length = known, final.stop
        logits = self.head(x[:, -queries:])
        return logits if then is None else then(logits, *given)

    def cache_bytes(self, rows: int, cells: int, element_bytes: int) -> int:
        """Bytes of the KV cache that `start` allocates for `rows` rows of `cells` cells."""
        return 2 * self.config.layers * rows * self.config.width * (1 + 2 * cells) * element_bytes

    def input_bytes(self, rows: int, cells: int, element_bytes: int) -> int:
        """Bytes of the inputs and angles that `start` prepares beside the cache."""
        return rows * (1 + 2 * cells) * (self.config.width * element_bytes + 8 * self.config.head_width)

    @staticmethod
    def block_bytes(element_bytes: int) -> float:
        """Bytes that a block's intermediates take at most for each channel of a place, as measured.

        Queries and keys are turned in float32, whatever the dtype.
        """
        return 42 + 2 * element_bytes
