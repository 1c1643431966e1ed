"""RandAR on a graphics card: each call of a decode is one CUDA graph, replayed from buffers of fixed shape.

A call launches hundreds of kernels, most of them shorter than their launch. A graph launches all of them at once, but
it reads and writes the very memory that it was captured with: the weights where they lay, and the buffers here. So the
buffers live as long as the graphs, from one decode to the next, until `release`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .randar import Extend, RandAR

# Places of a call, padded to the next of these. A call that feeds more, such as the known cells', is run as it is.
CALL_PLACES = (1, 2, 4, 6, 8, 12, 16, 24, 32)
CACHE_PLACES = 128  # the cache is read up to a multiple of so many places
SHAPES_KEPT = 2  # sets of buffers; extrapolation takes turns between a small canvas and a large one


@dataclass
class Replay:
    """A captured call: write `index`, replay `graph`, read `hidden`."""

    graph: torch.cuda.CUDAGraph
    index: Tensor  # [2, T]
    hidden: Tensor  # [R, T, D]


@dataclass(eq=False)
class Buffers:
    """What the calls of R rows of N cells read and write.

    Place 0 holds nothing: calls that are padded write there. The sequence begins at place 1 with the class.
    """

    inputs: Tensor  # [R, 2 + 2N, D], embeddings of classes, instructions and tokens
    angles: Tensor  # [2, R, 2 + 2N, 1, d], see `randar.rotate`
    cache: Tensor  # [layers, 2, R, heads, S, d], S a multiple of 8 as kernels like it
    replays: dict[tuple[int, int], Replay] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in (self.inputs, self.angles, self.cache))

    def extend(self, place: Tensor, reach: int) -> Callable[[int], Extend]:
        """Write keys and values at `place` [T] of a layer's cache, and attend to its first `reach` places."""

        def of_layer(layer: int) -> Extend:
            def write(key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
                keys, values = self.cache[layer, :, :, :, :reach]
                return keys.index_copy_(2, place, key), values.index_copy_(2, place, value)

            return write

        return of_layer


@dataclass
class DecodeState:
    """Where a decode in `buffers` stands, as `randar.DecodeState` has it."""

    buffers: Buffers
    context_kept: Tensor | None  # [R, N, 1] along the order
    done: int = 0
    length: int = 0


class GraphedRandAR:
    """A RandAR whose `start` and `step` go through CUDA graphs; all else is the model's own.

    On another device, where there are no graphs, the same calls are run one by one. For inference alone. One decode at
    a time: `start` takes the buffers of the one before.
    """

    def __init__(self, model: RandAR):
        self.model = model
        self.kept: dict[tuple, Buffers] = {}
        self.weights: tuple[int, ...] = ()
        self.pool = None

    def __getattr__(self, name: str):
        return getattr(self.model, name)

    def __call__(self, *arguments, **named) -> Tensor:
        return self.model(*arguments, **named)

    @property
    def graph_bytes(self) -> int:
        """Bytes of the buffers that are kept. What graphs need for themselves is in torch's pool."""
        return sum(buffers.bytes for buffers in self.kept.values())

    def release(self, beyond: int = 0) -> None:
        """Let go of graphs and buffers if they take more than `beyond` bytes: where their memory is wanted."""
        if self.graph_bytes > beyond:
            self.kept.clear()
            self.pool = None

    @torch.no_grad()
    def start(
        self, classes: Tensor, order: Tensor, table: Tensor | None = None, context_kept: Tensor | None = None
    ) -> DecodeState:
        """As `RandAR.start`."""
        weights = tuple(parameter.data_ptr() for parameter in self.model.parameters())
        if weights != self.weights:  # graphs read the weights where they were
            self.release()
            self.weights = weights
        angles = self.model.cell_angles(order, table)
        classes = self.model.cls_embedding.embedding_table(classes)
        buffers = self.buffers(classes, order.shape[1])
        buffers.inputs[:, 1] = classes
        buffers.inputs[:, 2::2] = self.model.instructions(angles)
        buffers.angles[:, :, 2::2] = angles
        buffers.angles[:, :, 3::2] = angles
        if context_kept is not None:
            context_kept = context_kept.unsqueeze(-1).to(classes)
        return DecodeState(buffers, context_kept)

    def buffers(self, classes: Tensor, cells: int) -> Buffers:
        """Those for rows like `classes` [R, D] of `cells` cells: kept ones, or new ones in place of the oldest."""
        config, (rows, width) = self.model.config, classes.shape
        shape = (rows, cells, classes.dtype, classes.device, torch.is_inference_mode_enabled())
        buffers = self.kept.pop(shape, None)
        if buffers is None:
            if len(self.kept) == SHAPES_KEPT:
                self.kept.pop(next(iter(self.kept)))
            places = 2 + 2 * cells
            # Zeros: what is never written is masked, and may be no NaN.
            buffers = Buffers(
                classes.new_zeros(rows, places, width),
                torch.zeros(2, rows, places, 1, config.head_width, device=classes.device),
                classes.new_zeros(config.layers, 2, rows, config.heads, -(-places // 8) * 8, config.head_width),
            )
        self.kept[shape] = buffers
        return buffers

    @torch.no_grad()
    def step(self, state: DecodeState, tokens: Tensor, queries: int) -> Tensor:
        """As `RandAR.step`."""
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
        hidden = self.hidden(state.buffers, source, place)
        return self.model.head(hidden[:, -queries:])

    def hidden(self, buffers: Buffers, source: list[int], place: range) -> Tensor:
        """Hidden states [R, T', D] of inputs at `source` that take `place` in the cache, T' ≥ T: the last T count."""
        padded = next((size for size in CALL_PLACES if size >= len(source)), len(source))
        padding = [0] * (padded - len(source))
        index = torch.tensor([padding + source, [*padding, *place]])
        if buffers.cache.is_cuda:
            index = index.pin_memory().to(buffers.cache.device, non_blocking=True)
        reach = min(-(-place.stop // CACHE_PLACES) * CACHE_PLACES, buffers.cache.shape[-2])
        if not buffers.cache.is_cuda or padded > CALL_PLACES[-1]:
            return self.run(buffers, index, reach)
        replay = buffers.replays.get((padded, reach))
        if replay is None:
            replay = buffers.replays[padded, reach] = self.capture(buffers, index, reach)
        replay.index.copy_(index)
        replay.graph.replay()
        return replay.hidden

    def run(self, buffers: Buffers, index: Tensor, reach: int) -> Tensor:
        source, place = index
        seen = torch.arange(reach, device=place.device)
        # Padding sees the empty place alone; attention to nothing at all would be NaN.
        mask = (seen <= place[:, None]) & ((seen > 0) | (place[:, None] == 0))
        inputs, angles = buffers.inputs[:, source], buffers.angles[:, :, source]
        return self.model.blocks(inputs, angles, buffers.extend(place, reach), mask)

    def capture(self, buffers: Buffers, index: Tensor, reach: int) -> Replay:
        """The graph of a call like this one, which is run once beforehand, as libraries must be ready."""
        if self.pool is None:
            self.pool = torch.cuda.graph_pool_handle()
        index = index.clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.run(buffers, index, reach)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Another thread may use the card meanwhile, as a host's previews do.
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            hidden = self.run(buffers, index, reach)
        return Replay(graph, index, hidden)
