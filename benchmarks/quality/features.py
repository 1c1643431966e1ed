"""The section of the quality report on features: a linear probe of parts, and matches between pictures, by layer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from quality import plots
from quality.bench import EVALUATION_PICTURES, Bench, Row, Scope
from quality.intervals import Interval, difference, ratio_interval
from quality.parts import THING_PARTS, Part, picture_with_parts
from quality.plots import MEASURES
from quality.report import Found, Plot, Records, Section, Target, percent, table
from torch import Tensor

from randar_core.decoding.conditions import row_embeddings
from randar_core.decoding.seeding import generator_for
from randar_core.procedural.landscape.pictures import CLASSES

FOLDS = 5
"""The probe of a fold's pictures learns from those of all other folds."""

PARTNERS = 3
"""Pictures of the same class in which each picture's points are searched."""

ORDERS = 4
"""Random orders that are averaged."""

READINGS = {
    "codebook": ("codebook vectors", None),
    "embedding": ("token embeddings of the transformer", None),
    "one": ("one pass", "embedding"),
    "two": ("two passes, the second in reverse", "one"),
    "two-random": ("two passes, the second in random order", "two"),
    "one-4": (f"one pass, mean of {ORDERS} orders", "one"),
    "two-4": (f"two passes, mean of {ORDERS} orders", "two"),
}
"""What is read of each cell: its title, and the reading that it is compared with, picture by picture."""

Counts = dict[str, tuple[np.ndarray, np.ndarray]]
"""By measure: how many cells or points of each picture `[P]` are right, of how many `[P]`."""


# --- parts -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CellParts:
    """What most pixels of each cell show, `[P, N]` each: numbers of `pieces` and of `kinds`, and whether of a thing.

    A kind is sky, hills, a castle …; a piece is a kind of scenery, or a thing's roof, wall, sail …
    """

    pieces: Tensor
    kinds: Tensor
    things: Tensor


def cell_parts(index: int, size: int, factor: int) -> list[Part]:
    """The part that most pixels of each cell of an evaluation picture belong to, cells in raster order."""
    _, numbers, parts, _ = picture_with_parts(EVALUATION_PICTURES, index, size=size)
    cells = rearrange(torch.from_numpy(numbers), "(h a) (w b) -> (h w) (a b)", a=factor, b=factor).mode(-1).values
    return [parts[number] for number in cells.tolist()]


def parts_of(pictures: list[list[Part]]) -> CellParts:
    """The parts of all cells, numbered as they are met."""
    pieces: dict[Part, int] = {}
    kinds: dict[str, int] = {}
    numbers = [
        [(pieces.setdefault(part, len(pieces)), kinds.setdefault(part[0], len(kinds))) for part in cells]
        for cells in pictures
    ]
    things = [[name in THING_PARTS for name, _ in cells] for cells in pictures]
    return CellParts(*torch.tensor(numbers).unbind(-1), torch.tensor(things))


# --- readings --------------------------------------------------------------------------------------------------------


def layer_states(model, ids: Tensor, along: Tensor) -> Tensor:
    """Hidden states `[L, B, M, D]` in float16 of all layers, of `ids` `[B, N]` read along the cells `along` `[M]`.

    The same as `hidden_states` of every layer, in one pass.
    """
    found = []
    hooks = [
        layer.register_forward_hook(lambda _layer, _inputs, out: found.append(out[:, 2::2].to(torch.float16)))
        for layer in model.layers
    ]
    condition = row_embeddings(model, [None] * len(ids), ids.device)
    model.hidden_states(condition, ids[:, along], along.expand(len(ids), -1), model.feature_layers)
    for hook in hooks:
        hook.remove()
    return torch.stack(found)


def by_cell(states: Tensor, order: Tensor) -> Tensor:
    """`states` `[L, B, N, D]` along `order` `[N]`, in the order of the cells."""
    return states[:, :, order.argsort()]


def mean_of(states: list[Tensor]) -> Tensor:
    return (sum(each.to(torch.float32) for each in states) / len(states)).to(torch.float16)


def read(bench: Bench, count: int) -> tuple[dict[str, Tensor], CellParts]:
    """Each reading `[L, P, N, D]` of `count` pictures, of one layer where it has none, and the parts of their cells."""
    model, tokenizer, cells = bench.model.transformer, bench.model.tokenizer, bench.grid**2
    orders = [
        torch.randperm(cells, generator=generator_for(0, "features", index), dtype=torch.long, device="cpu")
        for index in range(ORDERS)
    ]
    other = torch.randperm(cells, generator=torch.Generator().manual_seed(bench.seed), dtype=torch.long, device="cpu")
    found = {key: [] for key in READINGS}
    for pictures in bench.batches(count, "features", 12):
        ids = tokenizer.encode(bench.scenes(pictures).pixels)
        found["codebook"].append(tokenizer.vectors(ids).flatten(2).transpose(1, 2)[None])
        ids = ids.flatten(1)
        found["embedding"].append(model.tok_embeddings(ids).float()[None])
        firsts, seconds = [], []
        for order in orders:
            states = layer_states(model, ids, torch.cat([order, order.flip(0)]))
            firsts.append(by_cell(states[:, :, :cells], order))
            seconds.append(by_cell(states[:, :, cells:], order.flip(0)))
        found["one"].append(firsts[0])
        found["two"].append(seconds[0])
        found["one-4"].append(mean_of(firsts))
        found["two-4"].append(mean_of(seconds))
        states = layer_states(model, ids, torch.cat([orders[0], other]))
        found["two-random"].append(by_cell(states[:, :, cells:], other))
    parts = parts_of([cell_parts(index, bench.side, tokenizer.factor) for index in range(count)])
    return {key: torch.cat(each, 1) for key, each in found.items()}, parts


# --- the probe and the matches ---------------------------------------------------------------------------------------


def probe(features: Tensor, parts: Tensor) -> Tensor:
    """The part of each cell `[P, N]` by linear discriminant analysis, learnt from the pictures of the other folds.

    features: `[P, N, D]`.
    parts: `[P, N]`.

    Its weights are those of a multinomial regression whose classes are Gaussians of one covariance, in closed form.
    """
    predicted = torch.empty_like(parts)
    # Every class is in every fold: pictures of a class follow each other at a distance of the number of classes.
    picture = torch.arange(len(features))
    fold = (picture + picture // len(CLASSES)) % FOLDS
    for held_out in range(FOLDS):
        known, asked = features[fold != held_out].flatten(0, 1).double(), features[fold == held_out].double()
        one_hot = F.one_hot(parts[fold != held_out].flatten(), 1 + int(parts.max())).double()
        counts = one_hot.sum(0)
        means = one_hot.T @ known / counts.clamp(min=1)[:, None]
        within = (known.T @ known - means.T @ (counts[:, None] * means)) / len(known)
        within += 1e-3 * within.diagonal().mean() * torch.eye(len(within), dtype=within.dtype)
        weights = torch.linalg.solve(within, means.T)
        bias = (counts / len(known)).log() - (means.T * weights).sum(0) / 2
        predicted[fold == held_out] = (asked @ weights + bias).argmax(-1)
    return predicted


def of_partners(values: Tensor) -> Tensor:
    """The values `[P, N]` of each picture's partners, pictures of its class: `[P, PARTNERS, N]`."""
    return torch.stack([values.roll(-(number + 1) * len(CLASSES), 0) for number in range(PARTNERS)], 1)


def matches(features: Tensor) -> Tensor:
    """For each picture and partner the cell that is most alike each cell: `[P, PARTNERS, N]` long.

    As `match` finds them: by the cosine of features `[P, N, D]`, centred on the mean of both pictures.
    """
    found = torch.empty(len(features), PARTNERS, features.shape[1], dtype=torch.long)
    for index, source in enumerate(features.float()):
        for number in range(PARTNERS):
            target = features[(index + (number + 1) * len(CLASSES)) % len(features)].float()
            centre = torch.cat([source, target]).mean(0)
            cosine = F.normalize(source - centre, dim=-1) @ F.normalize(target - centre, dim=-1).T
            found[index, number] = cosine.argmax(1)
    return found


def matches_by_position(parts: CellParts) -> Tensor:
    """As `matches`, where every cell is matched with the cell at its own position."""
    return torch.arange(parts.kinds.shape[1]).expand(len(parts.kinds), PARTNERS, -1)


def counts_of_matches(matched: Tensor, parts: CellParts) -> Counts:
    """Of all cells by their kinds, and of things' cells by their pieces, where the partner shows the like at all."""

    def counted(values: Tensor, points: Tensor) -> tuple[np.ndarray, np.ndarray]:
        partners = of_partners(values)
        there = torch.stack(
            [
                torch.stack([torch.isin(own, partner) for partner in each])
                for own, each in zip(values, partners, strict=True)
            ]
        )
        asked = there & points[:, None]
        right = (partners.gather(2, matched) == values[:, None]) & asked
        return right.sum((1, 2)).numpy(), asked.sum((1, 2)).numpy()

    return {
        "match": counted(parts.kinds, torch.ones_like(parts.things)),
        "parts": counted(parts.pieces, parts.things),
    }


def counts_of(features: Tensor, parts: CellParts) -> Counts:
    """All measures of one reading of one layer: `[P, N, D]`."""
    right, things = probe(features, parts.pieces) == parts.pieces, parts.things
    of_kind = probe(features, parts.kinds) == parts.kinds
    cells = np.full(len(things), things.shape[1])
    return {
        "cells": (right.sum(1).numpy(), cells),
        "things": ((right & things).sum(1).numpy(), things.sum(1).numpy()),
        "kinds": (of_kind.sum(1).numpy(), cells),
    } | counts_of_matches(matches(features), parts)


def share_of(counts: tuple[np.ndarray, np.ndarray]) -> Interval:
    """The share that is right, with the bootstrap over pictures."""
    right, count = counts
    return ratio_interval(right[count > 0], count[count > 0])


def gain_of(new: tuple[np.ndarray, np.ndarray], old: tuple[np.ndarray, np.ndarray]) -> Interval:
    """By how much the share is larger than another one of the same pictures, with the bootstrap over pictures."""
    return share_of((new[0] - old[0], new[1]))


def features_rows(bench: Bench, scope: Scope) -> Iterator[Row]:
    """The probe and the matches of every reading, by layer."""
    count = scope.few

    @cache
    def readings() -> tuple[dict[str, Tensor], CellParts]:
        return read(bench, count)

    @cache
    def counts(key: str) -> list[Counts]:
        found, parts = readings()
        return [counts_of(layer, parts) for layer in found[key]]

    def measure(key: str, against: str | None) -> dict:
        layers = counts(key)
        figures = {"layers": [{name: share_of(each[name]) for name in MEASURES} for each in layers]}
        if against is None:
            return figures
        before = counts(against)
        before = before * len(layers) if len(before) == 1 else before
        gains = [
            {name: gain_of(new[name], old[name]) for name in MEASURES} for new, old in zip(layers, before, strict=True)
        ]
        return figures | {"gains": gains}

    def by_position() -> dict:
        _, parts = readings()
        found = counts_of_matches(matches_by_position(parts), parts)
        return {"layers": [{name: share_of(each) for name, each in found.items()}]}

    yield Row("position", "the cell at the same position", count, by_position)
    for key, (title, against) in READINGS.items():
        yield Row(key, title, count, lambda key=key, against=against: measure(key, against))


# --- the text --------------------------------------------------------------------------------------------------------


def best_layer(record: dict, measure: str = "parts") -> int:
    """The layer, from 1, with the largest share."""
    return 1 + max(range(len(record["layers"])), key=lambda index: record["layers"][index][measure][0])


def points(values: Interval) -> str:
    """A difference in percentage points."""
    value, low, high = (100 * x for x in values)
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})".replace("-", "−")


def verdict(values: Interval) -> str:
    return "yes" if values[1] > 0 else "**no**, worse" if values[2] < 0 else "no difference shown"


def layers_table(records: Records, measure: str) -> str:
    one, two = records["one"], records["two"]
    rows = (
        (
            layer + 1,
            *(percent(record["layers"][layer][measure]) for record in (one, two)),
            points(two["gains"][layer][measure]),
        )
        for layer in range(len(two["layers"]))
    )
    return table(("layer", "one pass", "two passes", "gain of the second"), rows)


def baselines(records: Records, measure: str) -> str:
    found = [
        f"{records[key]['title']} {percent(records[key]['layers'][0][measure])}"
        for key in ("codebook", "embedding", "position")
        if measure in records[key]["layers"][0]
    ]
    return "Without the model: " + ", ".join(found) + "."


def gains_table(records: Records, layer: int) -> str:
    rows = (
        (
            records[key]["title"],
            records[READINGS[key][1]]["title"],
            *(points(records[key]["gains"][layer - 1][name]) for name in MEASURES),
        )
        for key in ("two", "two-random", "one-4", "two-4")
    )
    return table(("what", "against", *MEASURES.values()), rows)


def largest_gain(records: Records) -> str:
    """The most that the second pass gains, in words."""
    gains = [
        (gain[name], f"layer {layer}, {title}")
        for layer, gain in enumerate(records["two"]["gains"], 1)
        for name, title in MEASURES.items()
    ]
    most, where = max(gains, key=lambda each: each[0][0])
    return f"{points(most)} points ({where})"


def features_text(records: Records) -> str:
    two = records["two"]
    layer = best_layer(two)
    best = ", ".join(f"{best_layer(two, name)} ({title})" for name, title in MEASURES.items())
    tables = "\n\n".join(
        f"### {title[0].upper()}{title[1:]}\n\n{baselines(records, name)}\n\n{layers_table(records, name)}"
        for name, title in MEASURES.items()
    )
    return f"""What the hidden states of the transformer say about each cell of {two["count"]} fresh pictures, under the
null class. The first pass reads the tokens in a random order, so that a cell has seen those before it. The second pass
reads them again, so that every cell has seen all. Intervals are bootstraps over pictures. Gains are in percentage
points, picture by picture.

The probe is a linear discriminant analysis of what a cell shows. Its kind is sky, sun, cloud, water, hills, rock,
peaks, dunes, firs, towers, aurora, a lighthouse's beam, or a thing: a house, lighthouse, castle, tree, boat or balloon.
A thing has pieces, such as roof, wall, door, sail and hull; of all else the piece is the kind. The probe learns from
four fifths of the pictures and is tested on the others, in turn. A match takes a cell to the most alike cell of another
picture of the same class, where that picture shows the like at all. It is right where that cell is of the same kind,
or, of things, the same piece. Each picture is matched with {PARTNERS} others. Sky is above and ground below, so that
the cell at the same position is often right.

The most that the second pass gains, of all layers and measures: {largest_gain(records)}.

The best layer of two passes: {best}. By default features are read from layer {layer}, the best one for matches of
things' pieces. There:

{gains_table(records, layer)}

{tables}"""


def second_pass_gains(measure: str) -> Callable[[dict], Found]:
    """Whether the second pass gains at the layer at which two passes are best."""

    def found(two: dict) -> Found:
        layer = best_layer(two, measure)
        gain = two["gains"][layer - 1][measure]
        return f"layer {layer}: {percent(two['layers'][layer - 1][measure])}, {points(gain)} points", verdict(gain)

    return found


def against_position(two: dict, position: dict) -> Found:
    """Whether matches of the best layer are right more often than those of the same position."""
    new, old = two["layers"][best_layer(two) - 1]["parts"], position["layers"][0]["parts"]
    return f"{percent(new)} against {percent(old)}", verdict(difference(new, old))


FEATURES = Section(
    "features",
    "Features",
    features_rows,
    features_text,
    tuple(
        Target(f"features of two passes against one ({title})", ("two",), second_pass_gains(name))
        for name, title in MEASURES.items()
    )
    + (
        Target(
            "matches of things' pieces by features against the cell at the same position",
            ("two", "position"),
            against_position,
        ),
    ),
    Plot("features", "Probe and matches by layer, of one pass and of two", plots.features, ("features",)),
)
