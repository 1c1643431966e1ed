"""How many tokens each call draws."""

import math


def call_sizes(cells: int, steps: int, known: int = 0, parallel: bool = True) -> list[int]:
    """Tokens drawn by each call, on a canvas of `cells` cells of which `known` are set: the paper's cosine.

    From an empty canvas `steps` calls (two for 1 step, `cells` for more steps than cells), the first of one token; on a
    partly known one the cosine is entered at the phase where it has drawn that share, and takes that share fewer calls.
    A model that is not `parallel` draws one token a call. The expressions sit on integer borders and are evaluated in
    Python floats exactly as written: another bracketing gives other counts (RandAR, section 3.3).
    """
    if steps < 1:
        raise ValueError(f"{steps} steps were asked for; at least 1 is needed.")
    if not 0 <= known <= cells:
        raise ValueError(f"{known} cells are said to be known on a canvas of {cells}.")
    if not parallel:
        return [1] * (cells - known)
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
