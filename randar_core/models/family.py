"""The contract of a model family. The decode loop, the tasks, scoring, memory and the nodes know nothing else of it."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from torch import Tensor


@dataclass(frozen=True)
class Learning:
    """How a family learns here, in the names of its parameters."""

    objective: Literal["tokens", "groups"]
    """What is learnt: every token from those before it, or the tokens of every group from the groups before it. For
    groups the teacher-forced pass takes `group_sizes`."""
    output: str
    """The weight of the output layer."""
    into_stream: tuple[str, ...]
    """Endings of the weights in a layer that add to the residual stream."""
    layers: tuple[str, ...]
    """The lists of layers; each of them holds an equal share. They lie in one of `training.optimizers.LAYERS`."""
    classes: str
    """The table with a row for each class, by its id. Other rows may lie before and after them."""
    rows_after_classes: int
    """Of that table: the null class, where it lies there, and rows that nothing uses."""


@dataclass(frozen=True)
class Traits:
    """What decoding and training have to know of a family, as data."""

    parallel: bool
    """Whether one call may draw several tokens."""
    order: str
    """The order that its releases are sampled in, a key of `decoding.orders.ORDERS`."""
    schedule: str
    """The call sizes that its releases are sampled with, a key of `decoding.schedule.SCHEDULES`."""
    guidance_progress: Literal["before call", "after call", "token"]
    """Where the guidance weight of a token is taken: at the share of tokens that are set before its call, at the share
    that is set after its call, or at the share of tokens before it in the order."""
    steps: int
    """The calls that its paper draws a picture of 256 cells in."""
    learning: Learning | None = None
    """None: it doesn't learn here. Only families that learn in random orders throughout do."""


@dataclass(frozen=True)
class TransformerConfig:
    """Size of a transformer of any family. `grid` is the side, in cells, of the square grid that it draws."""

    width: int
    layers: int
    heads: int
    codebook_size: int
    classes: int = 1000
    grid: int = 16

    @property
    def cells(self) -> int:
        return self.grid**2

    @property
    def head_width(self) -> int:
        return self.width // self.heads


class TokenModel(Protocol):
    """A transformer that draws image tokens in any order it is told.

    R rows are decoded together: a row is a picture under one condition. N is the number of cells, D the width, V the
    codebook size. A new family is one file with these members, an entry in `checkpoints/families.py` and its releases.
    """

    config: TransformerConfig
    traits: ClassVar[Traits]

    @property
    def null_class(self) -> int:
        """The class id of the null condition, which guidance steers away from."""

    def class_embedding(self, classes: Tensor) -> Tensor:
        """Embeddings `[P, D]` of class ids `[P]`, in the dtype that the model computes in. The null class is one."""

    def __call__(
        self,
        condition: Tensor,
        tokens: Tensor,
        order: Tensor,
        context_mask: Tensor | None = None,
        row: Tensor | None = None,
    ) -> Tensor:
        """Teacher-forced logits `[R, N, V]` in float32.

        `condition` `[U, D]` are class embeddings or mixtures of them, and `row` `[R]` says which of them each row has;
        None: there are as many as rows. `tokens` `[R, N]` are along `order` `[R, N]`, which holds cell indices. Row k
        of the result predicts `tokens[:, k]`. Where `context_mask` `[R, N]` (along the order) is 0, the embedding of
        the token is set to zero.
        """

    def start(
        self, condition: Tensor, order: Tensor, context_mask: Tensor | None = None, row: Tensor | None = None
    ) -> Any:
        """The state of a decode of R rows, with its KV cache. It lives as long as the decode.

        The arguments are those of the teacher-forced pass. The host knows which rows share a condition: a family that
        computes something once for all of them need not ask the device for it.
        """

    def step(self, state: Any, tokens: Tensor, queries: int) -> Tensor:
        """Feed `tokens` `[R, m]`, the ids of the next m cells of the order, and ask for the `queries` cells after them.

        Returns the logits `[R, queries, V]` in float32. The first call feeds the condition and all known cells; m may
        be 0 in that call alone.
        """

    def hidden_states(self, condition: Tensor, tokens: Tensor, order: Tensor, layer: int) -> Tensor:
        """Hidden states `[R, M, D]` at `tokens` `[R, M]` along `order` `[R, M]` after `layer` (counted from 1).

        Each token has seen the tokens before it. Cells may come more than once. Layers above are not computed. Raises
        ValueError, in a user's words, for a layer that isn't there and where the family has no such sequence.
        """

    @property
    def feature_layers(self) -> int:
        """How many layers `hidden_states` can read; 0 where the family has no such sequence."""

    def enlarged(self, factor: int, boundary: int) -> "TokenModel":
        """This model for a grid `factor` times as wide and as high, with the same weights.

        `boundary` is for rotary tables, see `rope.extrapolated_table`. Raises ValueError, in a user's words, where the
        family has no positions for a larger grid.
        """

    def state_bytes(self, rows: int, cells: int, element_bytes: int, conditions: int | None = None) -> int:
        """Bytes that `start` allocates for `rows` rows of `cells` cells and of so many distinct `conditions`.

        None: every row has a condition of its own.
        """

    def call_bytes(self, call: "Call", element_bytes: int) -> int:
        """Bytes that a call takes at most next to the state and the logits."""


@dataclass(frozen=True)
class Call:
    """What decides how much memory a call takes: `rows` feed `tokens` and ask for `queries`, after `earlier` tokens.

    A row draws a picture of `cells`; the rows have so many distinct `conditions`. With `tokens` and `queries` at all
    cells it is the teacher-forced pass.
    """

    rows: int
    cells: int
    conditions: int
    tokens: int
    queries: int
    earlier: int = 0


def of_rows(condition: Tensor, row: Tensor | None) -> Tensor:
    """The condition of every row, `[R, D]`, of conditions `[U, D]`; `row` `[R]` or None, see `TokenModel`."""
    return condition if row is None else condition[row]


def check_layer(layer: int, layers: int) -> None:
    """ValueError unless `layer` is one of 1 … `layers`."""
    if not 1 <= layer <= layers:
        raise ValueError(f"The features of layer {layer} were asked for; this model has the layers 1 to {layers}.")
