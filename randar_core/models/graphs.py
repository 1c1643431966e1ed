"""RandAR on a graphics card: each call of a decode is one CUDA graph, replayed from buffers of fixed shape.

A call launches hundreds of kernels, most of them shorter than their launch. A graph launches all of them at once, from
the embeddings of the last tokens to the choice of the next, but it reads and writes the very memory that it was
captured with: the weights where they lay, and the buffers here. So the buffers live as long as the graphs, from one
decode to the next, until other shapes are drawn or `release`.

Captures have not been run on a card yet; what is tested on the CPU are the calls of fixed shape that they hold, and
that nothing but these buffers goes in and out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor, nn

from .randar import Extend, RandAR, Wanted

# Places of a call, and its queries, padded to the next of these. A call that feeds more, such as the known cells', is
# run as it is: its arithmetic takes longer than its launches.
CALL_PLACES = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
CACHE_PLACES = 128  # the cache is read up to a multiple of so many places
ENDS_KEPT = 2  # such as those of a draft and of its refining, which sample otherwise
SHAPES_KEPT = 2  # extrapolation draws two in turn, and the last pictures of many may be fewer


@dataclass(frozen=True)
class CallShape:
    """What calls have in common that one graph serves."""

    places: int
    queries: int
    reach: int  # places of the cache that are read


Outputs = tuple[Tensor, ...]
"""What a call gives: `[·, Q, …]` each. Those of a graph last until it is replayed."""


@dataclass
class Call:
    """Inputs of the calls of one shape, T places and Q queries of R rows, and their graph where there is one.

    Padding stands before the true ones, and may hold anything.
    """

    index: Tensor  # [2T + T // 2]: of the places their inputs and their places in the cache, of the tokens their inputs
    tokens: Tensor  # [R, T // 2]
    given: tuple[Tensor, ...]  # [·, Q] each
    replay: Callable[[], Outputs] | None = None


@dataclass(eq=False)
class Buffers:
    """What the calls of R rows of N cells read and write.

    Place 0 holds nothing: calls that are padded write there. The sequence begins at place 1 with the class.
    """

    inputs: Tensor  # [R, 2 + 2N, D], embeddings of classes, instructions and tokens
    kept: Tensor  # [R, 2 + 2N, 1], what an embedding is multiplied by: 0 blanks a token of a dropped context
    angles: Tensor  # [2, R, 2 + 2N, 1, d], see `randar.rotate`
    cache: Tensor  # [layers, 2, R, heads, S, d], S a multiple of 8 as kernels like it
    capturable: bool  # whether all weights lie on the card: copies of others are no part of a graph
    calls: dict[Callable | None, dict[CallShape, Call]] = field(default_factory=dict)  # by what they end with
    pool: tuple[int, int] | None = None  # of memory for what is computed on the way in graphs
    pool_bytes: int = 0
    decode: int = 0  # number of the decode that has them

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (self.inputs, self.kept, self.angles, self.cache))

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
        self.table, self.extrapolated_table = model.table, model.extrapolated_table
        self.cache_bytes, self.input_bytes, self.block_bytes = model.cache_bytes, model.input_bytes, model.block_bytes
        self.kept: dict[tuple, Buffers] = {}  # by shape, that of the latest decode last
        self.weights: tuple[int, ...] = ()

    def forward(self, *arguments, **named) -> Tensor:
        return self.model(*arguments, **named)

    @property
    def kept_bytes(self) -> int:
        """Bytes of the buffers that are kept."""
        return sum(buffers.bytes for buffers in self.kept.values())

    @property
    def pool_bytes(self) -> int:
        """Bytes that torch keeps for what is computed on the way in graphs.

        Between runs it counts them as reserved and unused, though they serve these graphs alone until `release`.
        """
        return sum(buffers.pool_bytes for buffers in self.kept.values())

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
        buffers.kept[:, 3::2] = 1 if context_kept is None else context_kept.unsqueeze(-1).to(classes)
        return GraphedState(buffers, buffers.decode)

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
            classes.new_ones(rows, places, 1),
            torch.zeros(2, rows, places, 1, config.head_width, device=classes.device),
            classes.new_empty(config.layers, 2, rows, config.heads, -(-places // 8) * 8, config.head_width),
            classes.is_cuda and all(parameter.is_cuda for parameter in self.model.parameters()),
        )

    @torch.no_grad()
    def step(
        self,
        state: GraphedState,
        tokens: Tensor,
        queries: int,
        then: Callable | None = None,
        given: Sequence[Tensor] = (),
    ):
        """As `RandAR.step`. What is returned may be overwritten by the next call.

        `then` is a part of the graphs: another one, that isn't equal, means other graphs. `given` are `[·, queries]`,
        and it makes a tuple of `[·, queries, …]`. Raises RuntimeError where another decode has begun since.
        """
        buffers = state.buffers
        if state.decode != buffers.decode:
            raise RuntimeError("Another decode has begun in these buffers. Finish one before the next starts.")
        done, fed = state.done, state.done + tokens.shape[1]
        # All places that are final after this call but for those before it, then an instruction for each query.
        first, after = 1 + state.length, 2 + 2 * fed
        source = [*range(first, after), *range(after, after + 2 * queries, 2)]
        place, target = range(first, first + len(source)), range(3 + 2 * done, 3 + 2 * fed, 2)
        state.done, state.length = fed, after
        places = padded(len(source))
        reach = min(-(-place.stop // CACHE_PLACES) * CACHE_PLACES, buffers.cache.shape[-2])
        shape = CallShape(places, min(padded(queries), places), reach)
        try:
            call = self.call(buffers, shape, then, given)
            index = torch.tensor([*front(source, places), *front(place, places), *front(target, places // 2)])
            call.index.copy_(index.pin_memory() if call.index.is_cuda else index, non_blocking=True)
            call.tokens[:, places // 2 - tokens.shape[1] :] = tokens
            for own, its in zip(call.given, given, strict=True):
                own[:, -queries:] = its
            outputs = self.run(buffers, shape, then, call) if call.replay is None else call.replay()
        except Exception:
            # Where memory runs out, which a capture has many words for: fewer pictures, tried next, need other buffers.
            self.release()
            raise
        outputs = tuple(each[:, -queries:] for each in outputs)
        return outputs[0] if then is None else outputs

    def call(self, buffers: Buffers, shape: CallShape, then: Callable | None, given: Sequence[Tensor]) -> Call:
        """That of `shape`, with inputs like `given` `[·, q]`; captured where that can be, kept unless it is long."""
        calls = buffers.calls.pop(then, {})
        buffers.calls[then] = calls  # the latest is the last
        if len(buffers.calls) > ENDS_KEPT:
            del buffers.calls[next(iter(buffers.calls))]
        if shape in calls:
            return calls[shape]
        device = buffers.inputs.device
        call = Call(
            torch.zeros(2 * shape.places + shape.places // 2, dtype=torch.long, device=device),
            torch.zeros(len(buffers.inputs), shape.places // 2, dtype=torch.long, device=device),
            tuple(each.new_zeros(len(each), shape.queries) for each in given),
        )
        if shape.places <= CALL_PLACES[-1]:
            if buffers.capturable:
                call.replay = self.capture(buffers, lambda: self.run(buffers, shape, then, call))
            calls[shape] = call
        return call

    def run(self, buffers: Buffers, shape: CallShape, then: Callable | None, call: Call) -> Outputs:
        source, place, target = call.index.split([shape.places, shape.places, shape.places // 2])
        buffers.inputs.index_copy_(1, target, self.model.tok_embeddings(call.tokens) * buffers.kept[:, target])
        seen = torch.arange(shape.reach, device=place.device)
        # Padding sees the empty place alone; attention to nothing at all would be NaN.
        unseen = (seen > place[:, None]) | ((seen == 0) & (place[:, None] > 0))
        inputs, angles = buffers.inputs[:, source], buffers.angles[:, :, source]
        # As numbers, once for all layers: each would make them of a mask of bools.
        mask = inputs.new_zeros(unseen.shape).masked_fill_(unseen, -torch.inf)
        wanted = Wanted(shape.queries, mask[-shape.queries :])
        logits = self.model.head(self.model.blocks(inputs, angles, buffers.extend(place, shape.reach), mask, wanted))
        return (logits,) if then is None else then(logits, *call.given)

    def capture(self, buffers: Buffers, run: Callable[[], Outputs]) -> Callable[[], Outputs]:
        """`run` as one graph. It is run once beforehand, as libraries must be ready: of padding alone."""
        graph, device = torch.cuda.CUDAGraph(), buffers.inputs.device

        def write(outputs: Outputs) -> None:
            # Graphs of the same buffers never run at once, so they share the memory of what is computed on the way:
            # nothing that is allocated within outlives the capture.
            for kept, each in zip(outputs, run(), strict=True):
                kept.copy_(each)

        with torch.cuda.device(device):
            stream, current = capture_stream(device), torch.cuda.current_stream()
            stream.wait_stream(current)
            try:
                with torch.cuda.stream(stream):
                    outputs = run()
                    with torch.cuda.graph(graph, buffers.pool, stream, capture_error_mode="thread_local"):
                        before = torch.cuda.memory_reserved()
                        write(outputs)
                        buffers.pool_bytes += torch.cuda.memory_reserved() - before
            finally:
                current.wait_stream(stream)
        buffers.pool = graph.pool()

        def replay() -> Outputs:
            graph.replay()
            return outputs

        return replay


def unsuited_allocator() -> str | None:
    """The name of torch's CUDA allocator where it isn't its own: others keep or lose the memory of graphs."""
    name = torch.cuda.get_allocator_backend()
    return None if name == "native" else name


@cache
def capture_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all captures on `device`: libraries keep a workspace for each stream that they ever ran on."""
    return torch.cuda.Stream(device)


def padded(size: int) -> int:
    return next((places for places in CALL_PLACES if places >= size), size)


def front(places: Sequence[int], size: int) -> list[int]:
    """`places` with the empty place before them, `size` in all."""
    return [0] * (size - len(places)) + [*places]
