"""RandAR on a graphics card: each call of a decode is one CUDA graph, replayed from buffers of fixed shape.

A call launches hundreds of kernels, most of them shorter than their launch. A graph launches all of them at once, but
it reads and writes the very memory that it was captured with: the weights where they lay, and the buffers here. So the
buffers live as long as the graphs, from one decode to the next, until other shapes are drawn or `release`.

Captures have not been run on a card yet; what is tested on the CPU are the calls of fixed shape that they hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .randar import Extend, RandAR

# Places of a call, padded to the next of these. A call that feeds more, such as the known cells', is run as it is.
CALL_PLACES = (1, 2, 4, 6, 8, 12, 16, 24, 32)
CACHE_PLACES = 128  # the cache is read up to a multiple of so many places
SHAPES_KEPT = 2  # extrapolation draws two in turn, and the last pictures of many may be fewer


@dataclass
class Replay:
    """A captured call: write `index` `[2, T]`, replay `graph`, read the buffers' `hidden`."""

    graph: torch.cuda.CUDAGraph
    index: Tensor


@dataclass(eq=False)
class Buffers:
    """What the calls of R rows of N cells read and write.

    Place 0 holds nothing: calls that are padded write there. The sequence begins at place 1 with the class.
    """

    inputs: Tensor  # [R, 2 + 2N, D], embeddings of classes, instructions and tokens
    angles: Tensor  # [2, R, 2 + 2N, 1, d], see `randar.rotate`
    cache: Tensor  # [layers, 2, R, heads, S, d], S a multiple of 8 as kernels like it
    hidden: Tensor  # [R, CALL_PLACES[-1], D], what a graph gives
    capturable: bool  # whether all weights lie on the card: copies of others are no part of a graph
    replays: dict[tuple[int, int], Replay] = field(default_factory=dict)
    decode: int = 0  # number of the decode that has them

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (self.inputs, self.angles, self.cache, self.hidden))

    def extend(self, place: Tensor, reach: int) -> Callable[[int], Extend]:
        """Write keys and values at `place` `[T]` of a layer's cache, and attend to its first `reach` places."""

        def of_layer(layer: int) -> Extend:
            def write(key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
                keys, values = self.cache[layer, :, :, :, :reach]
                return keys.index_copy_(2, place, key), values.index_copy_(2, place, value)

            return write

        return of_layer


@dataclass
class GraphedState:
    """Where decode number `decode` stands in `buffers`, as `randar.DecodeState` has it."""

    buffers: Buffers
    decode: int
    context_kept: Tensor | None  # [R, N, 1] along the order
    done: int = 0
    length: int = 0


class GraphedRandAR(nn.Module):
    """A RandAR whose `start` and `step` go through CUDA graphs; all else is the model's own. For inference alone.

    One decode of a shape at a time: `start` takes the buffers of the one before. On another device, where there are no
    graphs, or with weights that lie elsewhere, the same calls are run as they are.
    """

    parallel = RandAR.parallel
    trained_order = RandAR.trained_order

    def __init__(self, model: RandAR):
        super().__init__()
        self.model = model
        self.config, self.null_class = model.config, model.null_class
        self.table, self.extrapolated_table, self.cache_bytes = model.table, model.extrapolated_table, model.cache_bytes
        self.kept: dict[tuple, Buffers] = {}  # by shape, that of the latest decode last
        self.weights: tuple[int, ...] = ()
        self.stream: torch.cuda.Stream | None = None

    def forward(self, *arguments, **named) -> Tensor:
        return self.model(*arguments, **named)

    @property
    def kept_bytes(self) -> int:
        """Bytes of the buffers that are kept. What kernels of a graph need on their way is in torch's pool."""
        return sum(buffers.bytes for buffers in self.kept.values())

    def release(self) -> None:
        """Let go of graphs and buffers."""
        self.kept.clear()

    @torch.no_grad()
    def start(
        self, classes: Tensor, order: Tensor, table: Tensor | None = None, context_kept: Tensor | None = None
    ) -> GraphedState:
        """As `RandAR.start`."""
        angles = self.model.cell_angles(order, table)
        classes = self.model.cls_embedding.embedding_table(classes)
        buffers = self.buffers(classes, order.shape[1])
        buffers.decode += 1
        # A masked value still counts as nothing times itself, and that is NaN where a broken decode left a NaN.
        buffers.cache.zero_()
        buffers.inputs[:, 1] = classes
        buffers.inputs[:, 2::2] = self.model.instructions(angles)
        buffers.angles[:, :, 2::2] = angles
        buffers.angles[:, :, 3::2] = angles
        if context_kept is not None:
            context_kept = context_kept.unsqueeze(-1).to(classes)
        return GraphedState(buffers, buffers.decode, context_kept)

    def buffers(self, classes: Tensor, cells: int) -> Buffers:
        """Those for rows like `classes` `[R, D]` of `cells` cells: the kept ones of this shape, else new ones.

        New ones take the place of the shape that was drawn longest ago, and of all where there is no room beside them.
        """
        weights = tuple(parameter.data_ptr() for parameter in self.model.parameters())
        if weights != self.weights:
            self.release()
            self.weights = weights
        shape = (*classes.shape, cells, classes.dtype, classes.device, torch.is_inference_mode_enabled())
        buffers = self.kept.pop(shape, None)
        if buffers is None:
            while len(self.kept) >= SHAPES_KEPT:
                del self.kept[next(iter(self.kept))]
            try:
                buffers = self.new_buffers(classes, cells)
            except torch.OutOfMemoryError:
                if not self.kept:
                    raise
                self.release()
                buffers = self.new_buffers(classes, cells)
        self.kept[shape] = buffers
        return buffers

    def new_buffers(self, classes: Tensor, cells: int) -> Buffers:
        """Empty ones for rows like `classes` `[R, D]` of `cells` cells."""
        config, rows, places = self.model.config, len(classes), 2 + 2 * cells
        return Buffers(
            classes.new_zeros(rows, places, config.width),
            torch.zeros(2, rows, places, 1, config.head_width, device=classes.device),
            classes.new_empty(config.layers, 2, rows, config.heads, -(-places // 8) * 8, config.head_width),
            classes.new_empty(rows, CALL_PLACES[-1], config.width),
            classes.is_cuda and all(parameter.is_cuda for parameter in self.model.parameters()),
        )

    @torch.no_grad()
    def step(self, state: GraphedState, tokens: Tensor, queries: int) -> Tensor:
        """As `RandAR.step`. Raises RuntimeError where another decode has begun since."""
        if state.decode != state.buffers.decode:
            raise RuntimeError("Another decode has begun in these buffers. Finish one before the next starts.")
        done, fed = state.done, state.done + tokens.shape[1]
        embedded = self.model.tok_embeddings(tokens)
        if state.context_kept is not None:
            embedded = embedded * state.context_kept[:, done:fed]
        state.buffers.inputs[:, 3 + 2 * done : 3 + 2 * fed : 2] = embedded
        # All places that are final after this call but for those before it, then an instruction for each query.
        first, after = 1 + state.length, 2 + 2 * fed
        source = [*range(first, after), *range(after, after + 2 * queries, 2)]
        place = range(first, first + len(source))
        state.done, state.length = fed, after
        return self.model.head(self.hidden(state.buffers, source, place)[:, -queries:])

    def hidden(self, buffers: Buffers, source: list[int], place: range) -> Tensor:
        """Hidden states `[R, T', D]` of inputs at `source` that take `place` in the cache, T' ≥ T: the last T count.

        All of them go through the last layer, wanted or not: so one graph serves any number of queries.
        """
        padded = next((size for size in CALL_PLACES if size >= len(source)), len(source))
        padding = [0] * (padded - len(source))
        index = torch.tensor([padding + source, [*padding, *place]])
        reach = min(-(-place.stop // CACHE_PLACES) * CACHE_PLACES, buffers.cache.shape[-2])
        if not buffers.cache.is_cuda:
            return self.run(buffers, index.to(buffers.cache.device), reach)
        index = index.pin_memory().to(buffers.cache.device, non_blocking=True)
        if padded > CALL_PLACES[-1] or not buffers.capturable:
            return self.run(buffers, index, reach)
        if (padded, reach) not in buffers.replays:
            buffers.replays[padded, reach] = self.capture(buffers, index, reach)
        replay = buffers.replays[padded, reach]
        replay.index.copy_(index)
        replay.graph.replay()
        return buffers.hidden[:, :padded]

    def run(self, buffers: Buffers, index: Tensor, reach: int) -> Tensor:
        source, place = index
        seen = torch.arange(reach, device=place.device)
        # Padding sees the empty place alone; attention to nothing at all would be NaN.
        unseen = (seen > place[:, None]) | ((seen == 0) & (place[:, None] > 0))
        inputs, angles = buffers.inputs[:, source], buffers.angles[:, :, source]
        # As numbers, once for all layers: each would make them of a mask of bools.
        mask = inputs.new_zeros(unseen.shape).masked_fill_(unseen, -torch.inf)
        return self.model.blocks(inputs, angles, buffers.extend(place, reach), mask)

    def capture(self, buffers: Buffers, index: Tensor, reach: int) -> Replay:
        """The graph of a call like this one, which is run once beforehand, as libraries must be ready."""
        graph, index, hidden = torch.cuda.CUDAGraph(), index.clone(), buffers.hidden[:, : index.shape[1]]
        # Graphs of the same buffers never run at once, so they share the memory of what is computed on the way.
        pool = next((replay.graph.pool() for replay in buffers.replays.values()), None)
        with torch.cuda.device(hidden.device):
            # One stream for all: libraries keep a workspace for each that they ever ran on.
            self.stream = self.stream or torch.cuda.Stream()
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                self.run(buffers, index, reach)
                # Nothing that is allocated within outlives the capture.
                with torch.cuda.graph(graph, pool, self.stream, capture_error_mode="thread_local"):
                    hidden.copy_(self.run(buffers, index, reach))
            torch.cuda.current_stream().wait_stream(self.stream)
        return Replay(graph, index)
