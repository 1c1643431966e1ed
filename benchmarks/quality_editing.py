"""Sections of the quality report on the editing tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache

import numpy as np
import torch
from einops import reduce
from quality_bench import Bench, Counts, Row, Scenes, classes_of
from quality_statistics import Interval, mean_interval, ratio_interval
from torch import Tensor

from randar_core.decoding.canvas import Canvas
from randar_core.decoding.guidance import UNGUIDED, Guidance, Linear, class_guidance, spatial_guidance
from randar_core.decoding.options import DecodingOptions
from randar_core.decoding.windows import OVERLAP, fill, window_parts
from randar_core.tasks.confidence import sureness
from randar_core.tasks.extrapolate import extrapolate
from randar_core.tasks.inpaint import inpaint
from randar_core.tasks.outpaint import outpaint
from randar_core.tasks.refine import refine
from randar_core.training.pictures import CLASSES, FREE, PORTRAIT, Bounds

CLASS_WEIGHT, SPATIAL_WEIGHT = Linear(3.0, 3.0), Linear(2.5, 2.5)
"""The authors' defaults for extrapolation, the same throughout (RandAR, section 3.4)."""

MARGIN = 1 / 16
"""What a mask takes around the object, in sides of the picture: its shadow, and no outline that tells its shape."""


# --- masks and classes -----------------------------------------------------------------------------------------------


def around_objects(objects: Tensor) -> Tensor:
    """The boxes about `objects` `[B, H, W]` bool, grown by the margin: `[B, H, W]` bool."""
    grow = round(MARGIN * objects.shape[2])
    boxes = torch.zeros_like(objects)
    for box, own in zip(boxes, objects, strict=True):
        rows, columns = own.any(1).nonzero(), own.any(0).nonzero()
        top, left = max(0, int(rows[0]) - grow), max(0, int(columns[0]) - grow)
        box[top : int(rows[-1]) + 1 + grow, left : int(columns[-1]) + 1 + grow] = True
    return boxes


def halves(objects: Tensor, pictures: range) -> Tensor:
    """One half of each object's box: left, right, top and bottom in turn, cut through the middle of the object."""
    masks = around_objects(objects)
    # Each class must meet each side.
    for mask, own, picture in zip(masks, objects, pictures, strict=True):
        axis, later = divmod(picture // len(CLASSES) % 4, 2)
        places = own.any(axis).nonzero()
        middle = int(places[0] + places[-1] + 1) // 2
        kept = mask if axis else mask.T
        if later:
            kept[:middle] = False
        else:
            kept[middle:] = False
    return masks


def other_classes(pictures: range) -> Tensor:
    """Another class than the picture's own; all of them in turn."""
    count = len(CLASSES)
    return torch.tensor([(i + 1 + i // count % (count - 1)) % count for i in pictures])


# --- inpainting ------------------------------------------------------------------------------------------------------


def inpainting(bench: Bench, counts: Counts) -> Iterator[Row]:
    """Half of the object is masked and drawn again; all of it becomes another class; what mask and tokenizer leave."""

    def repainted(
        title: str,
        masks: Callable[[Scenes, range], Tensor],
        classes: Callable[[Scenes, range], Tensor],
        count: int = counts.some,
        denoise: float = 1.0,
        bounds: Bounds = PORTRAIT,
    ) -> dict:
        def made() -> Iterator[tuple[Tensor, Tensor]]:
            for pictures in bench.pieces(count, title):
                scenes = bench.scenes(pictures, bounds)
                wanted = classes(scenes, pictures)
                mask = masks(scenes, pictures).float()
                decoder, tokenizer = bench.model.transformer, bench.model.tokenizer
                options = bench.options(pictures)
                painted = inpaint(decoder, tokenizer, scenes.pixels, mask, wanted, options, denoise)
                yield painted.pixels, wanted

        return bench.judged(made())

    def hidden() -> Iterator[tuple[Tensor, Tensor]]:
        for pictures in bench.pieces(counts.some, "half of the object hidden"):
            scenes = bench.scenes(pictures)
            mask = halves(scenes.objects, pictures)[:, None]
            grey = scenes.pixels.mean((2, 3), keepdim=True)
            yield torch.where(mask, grey, scenes.pixels), scenes.labels

    def box(scenes: Scenes, pictures: range) -> Tensor:
        return around_objects(scenes.objects)

    def half(scenes: Scenes, pictures: range) -> Tensor:
        return halves(scenes.objects, pictures)

    def own(scenes: Scenes, pictures: range) -> Tensor:
        return scenes.labels

    def other(scenes: Scenes, pictures: range) -> Tensor:
        return other_classes(pictures)

    count = counts.some
    yield Row("half of the object hidden", count, lambda: bench.judged(hidden()))
    yield Row("half of the object inpainted", count, lambda: repainted("inpaint a half", half, own))
    yield Row("the whole object inpainted", count, lambda: repainted("inpaint the object", box, own))
    yield Row("class edit of the whole object", count, lambda: repainted("class edit", box, other))
    for denoise in (0.8, 0.6):
        name = f"class edit, denoise {denoise}"
        yield Row(name, counts.few, lambda n=name, d=denoise: repainted(n, box, other, counts.few, d))
    # Pictures of another kind than the model ended with, but that its tokenizer knows: such as users may bring.
    name = "half inpainted, any size, turn and facing"
    yield Row(name, count, lambda: repainted("inpaint a half, free", half, own, bounds=FREE))


# --- seams -----------------------------------------------------------------------------------------------------------


def border_columns(known: Tensor, grid: int, overlap: int) -> list[int]:
    """Cell columns whose left edge parts what was known or drawn by one window from what another drew.

    `known` `[h, w]` bool.
    """
    drawn_by = torch.where(known, 0, -1)
    for number, (_, top, left, given) in enumerate(window_parts(known, grid, overlap), 1):
        drawn_by[top : top + grid, left : left + grid][~given] = number
    return (drawn_by.diff(dim=1) != 0).any(0).nonzero().flatten().add(1).tolist()


def column_steps(pictures: Iterable[Tensor]) -> Tensor:
    """Mean absolute steps between neighbouring pixel columns of `pictures`, `[B, 3, H, W]` each: `[all B, W − 1]`."""
    return torch.cat([reduce(p.diff(dim=3).abs(), "b c h w -> b w", "mean") for p in pictures]).double()


def seam_ratios(pictures: Iterable[Tensor], borders: list[int], cell: int, period: int) -> dict:
    """The mean step between neighbouring pixel columns across `borders`, as a ratio to the step elsewhere.

    `pictures` are `[B, 3, H, W]`; a border x lies between the pixel columns x − 1 and x. "Near" compares with the
    columns within a cell of a border, since objects gather in the middle of a picture and steps with them; "phase" with
    those `period` pixels and its multiples away, where patterns are at the same place of theirs (if there are several).
    """
    steps = column_steps(pictures)
    places = torch.arange(1, steps.shape[1] + 1)
    away = (places[:, None] - torch.tensor(borders)).abs().amin(1)
    across = steps[:, away == 0].mean(1).numpy()
    others = {
        "inside": away > 0,
        "near": (away > 0) & (away <= cell),
        "phase": (away > 0) & ((places[:, None] - torch.tensor(borders)) % period == 0).any(1),
    }
    if others["phase"].sum() < 2:  # the middle of a picture alone says nothing
        del others["phase"]
    return {
        "across": float(across.mean()),
        "inside": float(steps[:, away > 0].mean()),
        **{f"ratio_{name}": ratio_interval(across, steps[:, where].mean(1).numpy()) for name, where in others.items()},
    }


def across_same_places(pictures: Iterable[Tensor], others: Iterable[Tensor], borders: list[int]) -> Interval:
    """The steps across `borders` in `pictures` as a ratio to those at the same places of `others`, picture by picture.

    Steps differ from place to place without any window: objects gather in the middle, and the periods of patterns, an
    eighth and a quarter of a side, put steps onto the borders of cells. The same place of a picture that has no border
    there is what a border that can't be seen is equal to.
    """
    places = torch.tensor(borders) - 1
    return ratio_interval(*(column_steps(each)[:, places].mean(1).numpy() for each in (pictures, others)))


def drawn_across(bench: Bench, ids: Tensor, border: int, classes: Tensor, options: DecodingOptions) -> Tensor:
    """`ids` `[B, h, w]` with an eighth of a window to either side of the cell column `border` drawn again.

    One window that has the border near its middle, as far as the canvas allows, draws both sides at once. It begins
    with a whole period of the patterns, as pictures do; else it would draw them out of step. A wider band would show
    other objects, and steps with them.
    """
    grid, reach = bench.model.transformer.config.grid, bench.model.transformer.config.grid // 8
    period = grid // 4  # the longest
    left = min(max((border - grid // 2) // period * period, 0), ids.shape[2] - grid)
    again = ids.clone()
    window = again[:, :, left : left + grid]
    known = torch.ones_like(window, dtype=torch.bool)
    known[:, :, border - reach - left : border + reach - left] = False
    window.copy_(fill(bench.model.transformer, Canvas(window.clone(), known), classes, options, round=1).ids)
    return again


def seams(bench: Bench, counts: Counts) -> Iterator[Row]:
    """Steps in the pixels across the borders of windows, in panoramas and in outpainted pictures."""
    grid, cell = bench.model.transformer.config.grid, bench.model.tokenizer.factor
    width, more = grid * 5 // 2, grid * cell // 2
    period = bench.side // 4  # the longest one of the procedural patterns

    columns = border_columns(torch.zeros(grid, width, dtype=torch.bool), grid, int(OVERLAP * grid))
    borders = [column * cell for column in columns]

    @cache
    def panoramas() -> tuple[list[Tensor], list[Tensor]]:
        """As they are drawn, and with what lies about their borders drawn again across these."""
        drawn, without = [], []
        for pictures in bench.pieces(counts.compared, "panoramas", max(1, bench.batch // 2)):
            ids = bench.generate(pictures, canvas=(grid, width)).ids
            drawn.append(bench.decode(ids))
            for column in columns:
                ids = drawn_across(bench, ids, column, classes_of(pictures), bench.options(pictures))
            without.append(bench.decode(ids))
        return drawn, without

    def panorama() -> dict:
        drawn, without = panoramas()
        return seam_ratios(drawn, borders, cell, period) | {"ratio_same": across_same_places(drawn, without, borders)}

    def drawn_again() -> dict:
        return seam_ratios(panoramas()[1], borders, cell, period)

    def outpainted() -> dict:
        def made() -> Iterator[Tensor]:
            for pictures in bench.pieces(counts.compared, "outpainting", max(1, bench.batch // 2)):
                scenes = bench.scenes(pictures)
                decoder, tokenizer = bench.model.transformer, bench.model.tokenizer
                yield outpaint(
                    decoder, tokenizer, scenes.pixels, scenes.labels, bench.options(pictures), left=more, right=more
                ).pixels

        # Each side is drawn by one window: the borders are the edges of the original.
        return seam_ratios(made(), [more, more + bench.side], cell, period)

    def far_outpainted() -> dict:
        """Several windows to either side: borders of windows with one another, most of them."""
        beyond = grid * 3 // 2
        known = torch.zeros(grid, grid + 2 * beyond, dtype=torch.bool)
        known[:, beyond:-beyond] = True
        borders = [column * cell for column in border_columns(known, grid, int(OVERLAP * grid))]

        def made() -> Iterator[Tensor]:
            for pictures in bench.pieces(counts.compared, "outpainting far", max(1, bench.batch // 4)):
                scenes = bench.scenes(pictures)
                decoder, tokenizer = bench.model.transformer, bench.model.tokenizer
                sides = {"left": beyond * cell, "right": beyond * cell}
                yield outpaint(
                    decoder, tokenizer, scenes.pixels, scenes.labels, bench.options(pictures), **sides
                ).pixels

        return seam_ratios(made(), borders, cell, period)

    def outpainted_again() -> dict:
        """The outer quarters of real pictures are cut away and drawn again, then held against what stood there."""
        cut = bench.side // 4
        borders = [cut, bench.side - cut]
        found, true = [], []
        for pictures in bench.pieces(counts.compared, "outpainting cut pictures", max(1, bench.batch // 2)):
            scenes = bench.scenes(pictures)
            middle = scenes.pixels[:, :, :, cut:-cut]
            decoder, tokenizer = bench.model.transformer, bench.model.tokenizer
            options = bench.options(pictures)
            drawn = outpaint(decoder, tokenizer, middle, scenes.labels, options, left=cut, right=cut)
            found.append(drawn.pixels)
            true.append(scenes.pixels)
        return seam_ratios(found, borders, cell, period) | {"ratio_same": across_same_places(found, true, borders)}

    def real() -> dict:
        """What the measure says of pictures that have no windows, at the places where half a window would end."""
        pixels = (bench.scenes(pictures).pixels for pictures in bench.pieces(counts.compared, "real pictures"))
        return seam_ratios(pixels, [bench.side // 4, bench.side * 3 // 4], cell, period)

    yield Row(f"panorama of {width * cell}×{grid * cell} pixels", counts.compared, panorama)
    yield Row("the same, borders drawn again by one window", counts.compared, drawn_again)
    yield Row(f"outpainted by {more} pixels left and right", counts.compared, outpainted)
    yield Row(f"outpainted by {grid * cell * 3 // 2} pixels left and right", counts.compared, far_outpainted)
    yield Row("outer quarters cut away and outpainted", counts.compared, outpainted_again)
    yield Row("real pictures, at a quarter and three quarters", counts.compared, real)


# --- extrapolation and refining --------------------------------------------------------------------------------------


def extrapolation(bench: Bench, counts: Counts) -> Iterator[Row]:
    """Pictures of several times the trained size, from a class alone or from a picture, scaled down for the judge."""
    spatial = spatial_guidance(CLASS_WEIGHT, SPATIAL_WEIGHT)

    def measure(factor: int, count: int, title: str, spatial: Guidance | None, from_picture: bool) -> dict:
        def made() -> Iterator[tuple[Tensor, Tensor]]:
            for pictures in bench.pieces(count, title, max(1, bench.batch // (2 * factor**2))):
                classes, ids = classes_of(pictures), None
                if from_picture:
                    scenes = bench.scenes(pictures)
                    classes, ids = scenes.labels, bench.model.tokenizer.encode(scenes.pixels)
                options = bench.options(pictures, guidance=class_guidance(CLASS_WEIGHT))
                boundary = bench.model.defaults.boundary
                large = extrapolate(bench.model.transformer, classes, factor, options, spatial, ids, boundary=boundary)
                yield bench.decode(large.ids), classes

        return bench.judged(made())

    cases = [
        ("×2, without spatial guidance", 2, counts.few, None, False),
        ("×2, with spatial guidance", 2, counts.few, spatial, False),
        ("×2 of a given picture, with spatial guidance", 2, counts.few, spatial, True),
        ("×3, with spatial guidance", 3, counts.large, spatial, False),
        ("×4, with spatial guidance", 4, counts.large, spatial, False),
    ]
    for name, factor, count, guidance, from_picture in cases:
        yield Row(
            name,
            count,
            lambda name=name, factor=factor, count=count, guidance=guidance, from_picture=from_picture: measure(
                factor, count, name, guidance, from_picture
            ),
        )


def refining(bench: Bench, counts: Counts) -> Iterator[Row]:
    """Pictures drawn in many and in few calls, before and after the least sure quarter was drawn again."""

    def measure(title: str, calls: int, rounds: int) -> dict:
        def made() -> Iterator[tuple[Tensor, Tensor]]:
            for pictures in bench.pieces(counts.some, title):
                classes = classes_of(pictures)
                ids = bench.generate(pictures, steps=calls).ids
                if rounds:
                    options = bench.options(pictures)
                    ids = refine(bench.model.transformer, ids, classes, options, share=0.25, rounds=rounds).ids
                yield bench.decode(ids), classes

        return bench.judged(made())

    for calls in (bench.model.defaults.steps, 16):
        for rounds in (0, 1, 2):
            name = f"{calls} calls, " + ("as drawn" if not rounds else f"refined, rounds: {rounds}")
            yield Row(name, counts.some, lambda name=name, calls=calls, rounds=rounds: measure(name, calls, rounds))


# --- confidence ------------------------------------------------------------------------------------------------------


def exchanged(ids: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`ids` `[B, h, w]` with a share of each picture's cells as the next picture has them, and which differ now."""
    rank = torch.rand(ids.shape, generator=generator).flatten(1).argsort(1).argsort(1).view(ids.shape)
    mixed = torch.where(rank < share * ids[0].numel(), ids.roll(1, 0), ids)
    return mixed, mixed != ids


def told_apart(sure: Tensor, wrong: Tensor) -> tuple[float, float]:
    """How well `sure` `[h, w]` tells the cells that are `wrong` `[h, w]` bool from the others.

    The share of pairs of a wrong cell and another in which it is lower for the wrong one, equals half; and the share of
    wrong cells among as many that it is lowest for.
    """
    low, high = sure[wrong][:, None], sure[~wrong][None]
    pairs = (low < high).double() + (low == high).double() / 2
    lowest = sure.flatten().argsort()[: int(wrong.sum())]
    return float(pairs.mean()), float(wrong.flatten()[lowest].double().mean())


def confidence(bench: Bench, counts: Counts) -> Iterator[Row]:
    """Whether the model is less sure of cells that belong to another picture."""

    def measure(share: float, title: str) -> dict:
        generator, values = torch.Generator().manual_seed(bench.seed), []
        for pictures in bench.pieces(counts.few, title, max(2, bench.batch // 2)):
            scenes = bench.scenes(pictures)
            mixed, wrong = exchanged(bench.model.tokenizer.encode(scenes.pixels), share, generator)
            canvas = Canvas(mixed, torch.zeros_like(wrong))
            options = bench.options(pictures, guidance=UNGUIDED)
            sure = sureness(bench.model.transformer, canvas, scenes.labels, options)
            values += [told_apart(own, of) for own, of in zip(sure, wrong, strict=True) if of.any()]
        apart, found = np.array(values).T
        return {"told_apart": mean_interval(apart), "found": mean_interval(found)}

    for share in (0.02, 0.1, 0.25):
        title = f"{100 * share:g} % of the cells exchanged"
        yield Row(title, counts.few, lambda share=share, title=title: measure(share, title))
