"""How many tokens each call draws. A schedule maps (cells, steps, known cells) to the sizes of the calls."""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

from .lpd_groups import LPD_GROUPS


def call_sizes(cells: int, steps: int, known: int = 0, schedule: str = "cosine", parallel: bool = True) -> list[int]:
    """Tokens drawn by each call on a canvas of `cells` cells of which `known` are set, by a key of `SCHEDULES`.

    From an empty canvas `steps` calls (`cells` for more steps than cells), on a partly known canvas fewer. All but
    "arccos" begin with a call of one token, and so take two calls for 1 step. A model that is not `parallel` draws one
    token a call.
    """
    if steps < 1:
        raise ValueError(f"{steps} steps were asked for; at least 1 is needed.")
    if not 0 <= known <= cells:
        raise ValueError(f"{known} cells are said to be known on a canvas of {cells}.")
    if schedule not in SCHEDULES:
        raise ValueError(f"There is no schedule {schedule!r}; choose one of {', '.join(SCHEDULES)}.")
    if not parallel:
        return [1] * (cells - known)
    return SCHEDULES[schedule](cells, steps, known)


def cosine(cells: int, steps: int, known: int) -> list[int]:
    """RandAR's cosine (arXiv 2412.01827, section 3.3).

    On a partly known canvas the cosine is entered at the phase where it has drawn that share, and takes that share
    fewer calls. The expressions sit on integer borders and are evaluated in Python floats exactly as written: another
    bracketing gives other counts.
    """
    sizes: list[int] = []
    done = known
    while done < cells:
        call = len(sizes) + 1
        if known:
            entry = 2 / math.pi * math.acos(1 - known / cells)
            calls = max(1, math.ceil(steps * (1 - entry)))
            phase = entry + (1 - entry) * call / calls
            target = min(int((1 - math.cos(math.pi / 2 * phase)) * cells + 1), cells)
        elif call == 1:
            target = 1
        else:
            target = min(int((1 - math.cos(math.pi / 2 * call / steps)) * cells + 1), cells)
        sizes.append(min(max(target - done, 1), cells - done))
        done += sizes[-1]
    return sizes


def sorted_cosine(cells: int, steps: int, known: int) -> list[int]:
    """Shares of a cosine, rounded and sorted: calls that never shrink, the rule that most of LPD's groups follow."""
    steps = min(max(steps, 2), cells)
    ends = [math.cos(math.pi / 2 * step / steps) for step in range(steps + 1)]
    sizes = [max(1, round(cells * (before - after))) for before, after in pairwise(ends)]
    sizes[-1] += cells - sum(sizes)
    sizes.sort()
    surplus, sizes[0] = sizes[0] - 1, 1
    for index in range(surplus):
        sizes[-1 - index % (steps - 1)] += 1
    for _ in range(-surplus):
        sizes[sizes.index(max(sizes))] -= 1
    return after_known(sizes, known)


def lpd(cells: int, steps: int, known: int) -> list[int]:
    """The groups that LPD was published with (arXiv 2507.01957), for other numbers of calls the sorted cosine."""
    if (cells, steps) in LPD_GROUPS:
        return after_known(LPD_GROUPS[cells, steps], known)
    return sorted_cosine(cells, steps, known)


def arccos(cells: int, steps: int, known: int) -> list[int]:
    """ARPG's default (arXiv 2503.10568): nearly even calls, the last ones much larger. The first may be of several.

    A partly known canvas enters it at the phase where that share is drawn, as with the cosine. The expressions are
    evaluated in Python floats as the authors write them.
    """
    entry = math.sin(math.pi / 2 * known / cells)
    calls = math.ceil(min(steps, cells) * (1 - entry))
    sizes: list[int] = []
    done = known
    for call in range(1, calls):
        phase = entry + (1 - entry) * call / calls
        left = max(1, min(cells - done - 1, int(cells * (math.acos(phase) / (math.pi * 0.5)))))
        sizes.append(cells - done - left)
        done = cells - left
    return [*sizes, cells - done] if done < cells else sizes


SCHEDULES: dict[str, Callable[[int, int, int], list[int]]] = {
    "cosine": cosine,
    "sorted cosine": sorted_cosine,
    "lpd": lpd,
    "arccos": arccos,
}


def after_known(sizes: Sequence[int], known: int) -> list[int]:
    """What is left of the calls `sizes` where the first `known` tokens are set; the call they end in is cut short."""
    ends = [end for end in accumulate(sizes) if end > known]
    return [after - before for before, after in pairwise([known, *ends])]
