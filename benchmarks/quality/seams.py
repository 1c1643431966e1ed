"""The section of the quality report on seams: steps in the pixels across the borders of windows."""

from collections.abc import Iterable, Iterator
from functools import cache

import torch
from einops import reduce
from quality.bench import Bench, Row, Scope, classes_of
from quality.intervals import Interval, ratio_interval
from quality.report import Found, Records, Section, Target, interval, table
from quality.sheets import OUTPAINTED, PANORAMAS
from torch import Tensor

from randar_core.decoding.canvas import Canvas
from randar_core.decoding.options import DecodingOptions
from randar_core.decoding.windows import default_overlap, window_parts
from randar_core.tasks.fill import fill
from randar_core.tasks.outpaint import outpaint


def border_columns(known: Tensor, grid: int, overlap: int) -> list[int]:
    """Cell columns whose left edge separates cells that are known, or drawn by one window, from those of another.

    `known` `[h, w]` bool.
    """
    drawn_by = torch.where(known, 0, -1)
    for number, (_, top, left, window_known) in enumerate(window_parts(known, grid, overlap), 1):
        drawn_by[top : top + grid, left : left + grid][~window_known] = number
    return (drawn_by.diff(dim=1) != 0).any(0).nonzero().flatten().add(1).tolist()


def column_steps(pictures: Iterable[Tensor]) -> Tensor:
    """Mean absolute steps between neighbouring pixel columns of `pictures`, `[B, 3, H, W]` each: `[all B, W − 1]`."""
    return torch.cat([reduce(p.diff(dim=3).abs(), "b c h w -> b w", "mean") for p in pictures]).double()


def seam_ratios(pictures: Iterable[Tensor], borders: list[int], cell: int) -> dict:
    """The mean step between neighbouring pixel columns across `borders`, as ratios to steps elsewhere.

    `pictures` are `[B, 3, H, W]`; a border x lies between the pixel columns x − 1 and x. "near" compares with the
    columns within a cell of a border, since things, and steps with them, are mostly in the middle of a picture.
    """
    steps = column_steps(pictures)
    columns = torch.arange(1, steps.shape[1] + 1)
    away = (columns[:, None] - torch.tensor(borders)).abs().amin(1)
    across = steps[:, away == 0].mean(1).numpy()
    others = {"inside": away > 0, "near": (away > 0) & (away <= cell)}
    return {
        "across": float(across.mean()),
        "inside": float(steps[:, away > 0].mean()),
        **{f"ratio_{name}": ratio_interval(across, steps[:, mask].mean(1).numpy()) for name, mask in others.items()},
    }


def ratio_to_same_columns(pictures: Iterable[Tensor], others: Iterable[Tensor], borders: list[int]) -> Interval:
    """The steps across `borders` in `pictures` as a ratio to those at the same columns of `others`, paired.

    Steps differ from column to column even without windows, since things are mostly in the middle. An invisible border
    equals the same column of a picture without a border.
    """
    columns = torch.tensor(borders) - 1
    return ratio_interval(*(column_steps(each)[:, columns].mean(1).numpy() for each in (pictures, others)))


def redrawn_across(bench: Bench, ids: Tensor, border: int, classes: Tensor, options: DecodingOptions) -> Tensor:
    """`ids` `[B, h, w]` with an eighth of a window on both sides of the cell column `border` drawn again.

    One window, which has the border in its middle as far as the canvas allows, draws both sides at once. A wider band
    would show other things, and steps with them.
    """
    grid, depth = bench.grid, bench.grid // 8
    left = min(max(border - grid // 2, 0), ids.shape[2] - grid)
    redrawn = ids.clone()
    window = redrawn[:, :, left : left + grid]
    known = torch.ones_like(window, dtype=torch.bool)
    known[:, :, border - depth - left : border + depth - left] = False
    canvas = Canvas(window.clone(), known)
    window.copy_(fill(bench.model.transformer, canvas, classes, options, pass_index=1).ids)
    return redrawn


def seams_rows(bench: Bench, scope: Scope) -> Iterator[Row]:
    """Steps in the pixels across the borders of windows, in panoramas and in outpainted pictures."""
    grid, cell, count = bench.grid, bench.model.tokenizer.factor, scope.compared
    width, margin, far = grid * 5 // 2, grid * cell // 2, grid * 3 // 2
    overlap = default_overlap(grid)

    columns = border_columns(torch.zeros(grid, width, dtype=torch.bool), grid, overlap)
    panorama_borders = [column * cell for column in columns]

    @cache
    def panoramas() -> tuple[list[Tensor], list[Tensor]]:
        """As they are generated, and with all borders redrawn across."""
        generated, redrawn = [], []
        for pictures in bench.batches(count, "panoramas", bench.batch // 2):
            ids = bench.generate(pictures, canvas=(grid, width)).ids
            generated.append(bench.decode(ids))
            for column in columns:
                ids = redrawn_across(bench, ids, column, classes_of(pictures), bench.options(pictures))
            redrawn.append(bench.decode(ids))
        return generated, redrawn

    def panorama() -> dict:
        generated, redrawn = panoramas()
        ratios = seam_ratios(generated, panorama_borders, cell)
        return ratios | {"ratio_same": ratio_to_same_columns(generated, redrawn, panorama_borders)}

    def outpainted(title: str, pixels: int, borders: list[int], batch: int) -> dict:
        def made() -> Iterator[Tensor]:
            for pictures in bench.batches(count, title, batch):
                scenes, model = bench.scenes(pictures), bench.model
                options = bench.options(pictures)
                yield outpaint(
                    model.transformer, model.tokenizer, scenes.pixels, scenes.labels, options, left=pixels, right=pixels
                ).pixels

        return seam_ratios(made(), borders, cell)

    def far_borders() -> list[int]:
        """Several windows on each side: most borders are between windows."""
        known = torch.zeros(grid, grid + 2 * far, dtype=torch.bool)
        known[:, far:-far] = True
        return [column * cell for column in border_columns(known, grid, overlap)]

    def cut_and_outpainted() -> dict:
        """The outer quarters of real pictures are cut away, outpainted, and compared with the original."""
        cut = bench.side // 4
        borders = [cut, bench.side - cut]
        found, true = [], []
        for pictures in bench.batches(count, "outpainting cut pictures", bench.batch // 2):
            scenes, model = bench.scenes(pictures), bench.model
            middle, options = scenes.pixels[:, :, :, cut:-cut], bench.options(pictures)
            result = outpaint(model.transformer, model.tokenizer, middle, scenes.labels, options, left=cut, right=cut)
            found.append(result.pixels)
            true.append(scenes.pixels)
        return seam_ratios(found, borders, cell) | {"ratio_same": ratio_to_same_columns(found, true, borders)}

    def real() -> dict:
        """The measure on pictures without windows, at the columns where half a window would end."""
        pixels = (bench.scenes(pictures).pixels for pictures in bench.batches(count, "real pictures"))
        return seam_ratios(pixels, [bench.side // 4, bench.side * 3 // 4], cell)

    yield Row("panorama", f"panorama of {width * cell}×{grid * cell} pixels", count, panorama)
    yield Row(
        "panorama-redrawn",
        "the same, borders redrawn by one window",
        count,
        lambda: seam_ratios(panoramas()[1], panorama_borders, cell),
    )
    yield Row(
        "outpainted",
        f"outpainted by {margin} pixels left and right",
        count,
        # One window draws each side: the borders are the edges of the original.
        lambda: outpainted("outpainting", margin, [margin, margin + bench.side], bench.batch // 2),
    )
    yield Row(
        "outpainted-far",
        f"outpainted by {far * cell} pixels left and right",
        count,
        lambda: outpainted("outpainting far", far * cell, far_borders(), bench.batch // 4),
    )
    yield Row("cut", "outer quarters cut away and outpainted", count, cut_and_outpainted)
    yield Row("real", "real pictures, at a quarter and three quarters", count, real)


def seams_text(records: Records) -> str:
    def rows() -> Iterator[tuple]:
        for record in records.values():
            ratios = (record.get(f"ratio_{name}") for name in ("inside", "near", "same"))
            words = (interval(ratio, 2) if ratio else "" for ratio in ratios)
            yield record["title"], record["count"], f"{record['across']:.4f}", *words

    others = ("to all others", "to those within a cell", "to the same columns")
    header = ("what", "pictures", "across", *others)
    return f"""The mean absolute step between neighbouring pixel columns across the borders of windows, and its ratio to
other steps. Steps are not uniform even without windows, since things are mostly in the middle. The last row shows the
measure on real pictures, which have no borders. The last column compares with the same columns without a border. For
panoramas, one window draws these again, an eighth of its width on both sides of the border; they have a row of their
own. So narrow a band has to fit two sides, and has larger steps because of that. Where the outer quarters of a real
picture are cut away and outpainted, the last column compares with this real picture.

{table(header, rows())}"""


def seamless(ratio: str):
    """Whether the steps across borders are within 10 % of other steps; if not, whether they are smaller."""

    def found(record: dict) -> Found:
        value = record[ratio][0]
        return interval(record[ratio], 2), "**no**, smaller" if value < 0.9 else value <= 1.1

    return found


SEAMS = Section(
    "seams",
    "Seams",
    seams_rows,
    seams_text,
    (
        Target(
            "no seam in panoramas: gradient across window borders within 10 % of the gradient inside",
            ("panorama",),
            seamless("ratio_inside"),
        ),
        Target("no seam in outpainted pictures, likewise", ("outpainted",), seamless("ratio_inside")),
        Target("the same of pictures outpainted by several windows", ("outpainted-far",), seamless("ratio_inside")),
        Target(
            "the same of panoramas, against the same columns redrawn by one window",
            ("panorama",),
            seamless("ratio_same"),
        ),
        Target(
            "the same of outpainted pictures, against the real picture that was cut away",
            ("cut",),
            seamless("ratio_same"),
        ),
    ),
    sheets=(PANORAMAS, OUTPAINTED),
)
