"""Sections of the quality report on the editing tasks: inpainting, extrapolation, refining, confidence."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from quality import plots
from quality.bench import EXTRAPOLATION_GUIDANCE, Bench, Row, Scenes, Scope, classes_of
from quality.intervals import mean_interval
from quality.masks import boxes_of, halves, halves_of, new_things, own_classes
from quality.parts import THINGS
from quality.report import Plot, Records, Section, Target, better, interval, judged_table, percent, recognised, table
from quality.sheets import CLASS_EDITS, ENLARGED
from torch import Tensor

from randar_core.decoding.canvas import Canvas
from randar_core.decoding.guidance import UNGUIDED, Guidance
from randar_core.procedural.landscape.pictures import CLASSES
from randar_core.tasks.confidence import score_confidence
from randar_core.tasks.extrapolate import extrapolate
from randar_core.tasks.inpaint import inpaint
from randar_core.tasks.refine import refine

# --- inpainting ------------------------------------------------------------------------------------------------------


def judged_inpainting(
    bench: Bench,
    count: int,
    title: str,
    masks: Callable[[Scenes, range], Tensor] = halves_of,
    classes: Callable[[Scenes, range], Tensor] = own_classes,
    denoise: float = 1.0,
    shown: Sequence[int] = range(len(CLASSES)),
    **changes,
) -> dict:
    """The judge's figures on fresh pictures that are partly inpainted.

    bench: the model under test.
    count: pictures.
    title: of the progress bar.
    masks: the mask `[B, H, W]` of a batch.
    classes: the class ids `[B]` of a batch.
    denoise: as in `inpaint`.
    shown: ids of the classes that the fresh pictures show, in turn.
    changes: to the decoding options.
    """

    def made() -> Iterator[tuple[Tensor, Tensor]]:
        for pictures in bench.batches(count, title):
            scenes = bench.scenes(pictures, shown)
            labels, mask = classes(scenes, pictures), masks(scenes, pictures).float()
            model, options = bench.model, bench.options(pictures, **changes)
            result = inpaint(model.transformer, model.tokenizer, scenes.pixels, mask, labels, options, denoise)
            yield result.pixels, labels

    return bench.judged(made())


def inpainting_rows(bench: Bench, scope: Scope) -> Iterator[Row]:
    """Half of the subject is masked and inpainted, and the whole subject; a thing also as another thing."""

    def hidden() -> Iterator[tuple[Tensor, Tensor]]:
        for pictures in bench.batches(scope.some, "half of the subject hidden"):
            scenes = bench.scenes(pictures)
            mask = halves(scenes.subjects, pictures)[:, None]
            grey = scenes.pixels.mean((2, 3), keepdim=True)
            yield torch.where(mask, grey, scenes.pixels), scenes.labels

    def row(key: str, title: str, count: int = scope.some, **setting) -> Row:
        return Row(key, title, count, lambda: judged_inpainting(bench, count, title, **setting))

    yield Row("hidden", "half of the subject hidden", scope.some, lambda: bench.judged(hidden()))
    yield row("half", "half of the subject inpainted")
    yield row("subject", "the whole subject inpainted", masks=boxes_of)
    edit = {"masks": boxes_of, "classes": new_things, "shown": THINGS}
    yield row("class-edit", "class edit of a thing", **edit)
    for denoise in (0.8, 0.6):
        yield row(f"class-edit-{denoise}", f"class edit, denoise {denoise}", scope.few, **edit, denoise=denoise)


def inpainting_text(records: Records) -> str:
    things = ", ".join(CLASSES[label] for label in THINGS)
    return f"""Fresh landscapes. The mask is the box around what the class is known by, such as the castle, the peaks or
the water of the sea, or the left, right, upper or lower half of that box. "Recognised" means: as the class that was
asked for. The first row shows what the judge makes of the visible half. A class edit puts one thing in the place of
another ({things}): all things of the old class are masked, and their scene stays.

{judged_table(records, "what")}"""


INPAINTING = Section(
    "inpainting",
    "Inpainting and class edits",
    inpainting_rows,
    inpainting_text,
    (
        Target("inpainting half of the subject keeps the class in at least 90 %", ("half",), recognised(0.9)),
        Target("a class edit of a thing reaches the new class in at least 90 %", ("class-edit",), recognised(0.9)),
    ),
    Plot(
        "editing",
        "Share recognised of every editing task",
        plots.editing,
        ("inpainting", "extrapolation", "refining"),
    ),
    (CLASS_EDITS,),
)


# --- extrapolation ---------------------------------------------------------------------------------------------------


def judged_extrapolation(
    bench: Bench, count: int, title: str, factor: int, guidance: Guidance, from_picture: bool = False
) -> dict:
    """The judge's figures on pictures of `factor` times the trained size, of a class alone or of a drawn picture."""

    def made() -> Iterator[tuple[Tensor, Tensor]]:
        model, boundary = bench.model, bench.model.defaults.boundary
        for pictures in bench.batches(count, title, bench.batch // (2 * factor**2)):
            labels, ids = classes_of(pictures), None
            if from_picture:
                scenes = bench.scenes(pictures)
                labels, ids = scenes.labels, model.tokenizer.encode(scenes.pixels)
            options = bench.options(pictures, guidance=guidance)
            large = extrapolate(model.transformer, labels, options, factor, ids=ids, boundary=boundary)
            yield bench.decode(large.ids), labels

    return bench.judged(made())


def extrapolation_rows(bench: Bench, scope: Scope) -> Iterator[Row]:
    """Pictures of several times the trained size, from a class alone or from a picture, scaled down for the judge."""
    spatial = EXTRAPOLATION_GUIDANCE
    plain = replace(spatial, spatial=None)
    cases = (
        ("x2-plain", "×2, without spatial guidance", 2, scope.few, plain, False),
        ("x2", "×2, with spatial guidance", 2, scope.few, spatial, False),
        ("x2-picture", "×2 of a picture, with spatial guidance", 2, scope.few, spatial, True),
        ("x3", "×3, with spatial guidance", 3, scope.large, spatial, False),
        ("x4", "×4, with spatial guidance", 4, scope.large, spatial, False),
    )
    for key, title, factor, count, *setting in cases:
        yield Row(
            key,
            title,
            count,
            lambda factor=factor, count=count, title=title, setting=setting: judged_extrapolation(
                bench, count, title, factor, *setting
            ),
        )


def extrapolation_text(records: Records) -> str:
    return f"""Several times the trained size, scaled down for the judge.

{judged_table(records, "what")}"""


EXTRAPOLATION = Section(
    "extrapolation",
    "Extrapolation",
    extrapolation_rows,
    extrapolation_text,
    (
        Target("×2 pictures, scaled down, keep the class in at least 85 %", ("x2",), recognised(0.85)),
        Target("what spatial guidance adds at ×2", ("x2", "x2-plain"), better),
    ),
    sheets=(ENLARGED,),
)


# --- refining --------------------------------------------------------------------------------------------------------


def refining_rows(bench: Bench, scope: Scope) -> Iterator[Row]:
    """Pictures in many and in few calls, before and after the least confident quarter is remasked and drawn again."""

    def measure(title: str, calls: int, rounds: int) -> dict:
        def made() -> Iterator[tuple[Tensor, Tensor]]:
            for pictures in bench.batches(scope.some, title):
                labels = classes_of(pictures)
                ids = bench.generate(pictures, steps=calls).ids
                if rounds:
                    options = bench.options(pictures)
                    ids = refine(bench.model.transformer, ids, labels, options, share=0.25, rounds=rounds).ids
                yield bench.decode(ids), labels

        return bench.judged(made())

    for name, calls in (("default", bench.model.defaults.steps), ("16", 16)):
        for rounds in (0, 1, 2):
            title = f"{calls} calls, " + ("as generated" if not rounds else f"refined, rounds: {rounds}")
            yield Row(
                f"{name}-{rounds}",
                title,
                scope.some,
                lambda title=title, calls=calls, rounds=rounds: measure(title, calls, rounds),
            )


def refining_text(records: Records) -> str:
    return f"""The least confident quarter of the cells is remasked and drawn again; all others are known.

{judged_table(records, "what")}"""


REFINING = Section(
    "refining",
    "Refining",
    refining_rows,
    refining_text,
    (
        Target(
            "refining raises the share recognised or lowers the Fréchet distance", ("default-1", "default-0"), better
        ),
    ),
)


# --- confidence ------------------------------------------------------------------------------------------------------


def exchanged(ids: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`ids` `[B, h, w]` with a share of each picture's cells from the next picture, and which cells differ now."""
    rank = torch.rand(ids.shape, generator=generator).flatten(1).argsort(1).argsort(1).view(ids.shape)
    mixed = torch.where(rank < share * ids[0].numel(), ids.roll(1, 0), ids)
    return mixed, mixed != ids


def separation(confidence: Tensor, wrong: Tensor) -> tuple[float, float]:
    """How well `confidence` `[h, w]` separates the cells that are `wrong` `[h, w]` bool from the others.

    The share of pairs of a wrong and a right cell in which the wrong one has the lower confidence (ties count half),
    and the share of wrong cells among the same number of least confident cells.
    """
    low, high = confidence[wrong][:, None], confidence[~wrong][None]
    pairs = (low < high).double() + (low == high).double() / 2
    lowest = confidence.flatten().argsort()[: int(wrong.sum())]
    return float(pairs.mean()), float(wrong.flatten()[lowest].double().mean())


def confidence_rows(bench: Bench, scope: Scope) -> Iterator[Row]:
    """Whether the model is less confident of cells that belong to another picture."""

    def measure(share: float, title: str) -> dict:
        generator, values = torch.Generator().manual_seed(bench.seed), []
        for pictures in bench.batches(scope.few, title, max(2, bench.batch // 2)):
            scenes = bench.scenes(pictures)
            mixed, wrong = exchanged(bench.model.tokenizer.encode(scenes.pixels), share, generator)
            canvas = Canvas(mixed, torch.zeros_like(wrong))
            options = bench.options(pictures, guidance=UNGUIDED)
            scores = score_confidence(bench.model.transformer, canvas, scenes.labels, options)
            values += [separation(score, cells) for score, cells in zip(scores, wrong, strict=True) if cells.any()]
        separated, found = np.array(values).T
        return {"separated": mean_interval(separated), "found": mean_interval(found)}

    for share in (0.02, 0.1, 0.25):
        title = f"{100 * share:g} % of the cells exchanged"
        yield Row(f"{share:g}", title, scope.few, lambda share=share, title=title: measure(share, title))


def confidence_text(records: Records) -> str:
    rows = (
        (record["title"], record["count"], interval(record["separated"], 3), percent(record["found"]))
        for record in records.values()
    )
    header = ("what", "pictures", "separated", "found")
    return f"""Fresh pictures of which a few cells show what another picture has there. "Separated" is the share of
pairs of such a cell and a true one of its picture in which the model is less confident of the former (0.5 by chance);
"found" is the share of such cells among the same number of least confident cells, which are those that refining draws
again.

{table(header, rows)}"""


CONFIDENCE = Section("confidence", "Confidence", confidence_rows, confidence_text)
