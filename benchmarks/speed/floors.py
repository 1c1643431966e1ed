"""What a decode takes at least: the positions that each call feeds, and their bytes and multiplications."""

from collections.abc import Sequence

from randar_core.models.arpg import ARPGConfig
from randar_core.models.family import TransformerConfig
from randar_core.models.feed_forward import hidden_width


def call_positions(
    sizes: Sequence[int], known: int, parallel: bool, queries_apart: bool = False
) -> list[tuple[int, int]]:
    """For each call, the positions in the cache before it and those it feeds; the calls draw `sizes` tokens.

    A sequence of RandAR and RAR begins with two positions. In RandAR's, the `parallel` one, a cell takes two more, and
    a call asks at as many positions as it draws tokens; RAR asks at the last token. Where queries are apart, in LPD and
    ARPG, the sequence is the class and one position a cell, and a call feeds its queries in addition.
    """
    positions, before, done = [], 0, known
    for size in sizes:
        if queries_apart:
            after, queries = 1 + done, size
        else:
            after, queries = 2 + (2 if parallel else 1) * done, size - 1
        positions.append((before, after - before + queries))
        before, done = after, done + size
    return positions


def multiplications(
    config: TransformerConfig, elements: int, positions: list[tuple[int, int]], sizes: Sequence[int]
) -> int:
    """Of one row in a whole decode with `elements` weights in the layers and the head.

    The head, and in the last layer everything after keys and values, are for the positions that are asked for.
    Attention multiplies twice, scores and values, for every position that a position sees.
    """
    if isinstance(config, ARPGConfig):
        return arpg_multiplications(config, positions, sizes)
    head = config.width * config.codebook_size
    after_keys = (elements - head) // config.layers - 3 * config.width**2

    count = 0
    for (before, fed), asked in zip(positions, sizes, strict=True):
        count += (elements - head - after_keys) * fed + (after_keys + head) * asked
        pairs = (config.layers - 1) * seen(before, fed) + seen(before + fed - asked, asked)
        count += 2 * config.width * pairs
    return count


def seen(before: int, fed: int) -> int:
    """Positions that `fed` positions see in all, each of which sees those before it and itself."""
    return fed * before + fed * (fed + 1) // 2


def arpg_multiplications(config: ARPGConfig, positions: list[tuple[int, int]], sizes: Sequence[int]) -> int:
    """As `multiplications`: tokens go through the content stack, queries through the query stack and the head.

    All queries are one vector until the first attention.
    """
    layers, square = config.layers // 2, config.width**2
    feed_forward = 3 * config.width * hidden_width(config.width)
    content = layers * (4 * square + feed_forward) + 2 * square
    query = layers * (2 * square + feed_forward) - square + config.width * config.codebook_size
    count = 0
    for (before, positions_fed), asked in zip(positions, sizes, strict=True):
        fed = positions_fed - asked
        pairs = seen(before, fed) + asked * (before + fed)
        count += content * fed + query * asked + 2 * config.width * layers * pairs
    return count


def projected(seconds: float, first: float, timed_calls: int, work: Sequence[float]) -> float:
    """Seconds of all calls, of which `timed_calls` took `seconds` and the first of them `first`.

    Each call takes at least its `work` in seconds. The calls that were not timed are assumed to exceed it by the same
    factor as those after the first did. Later calls draw more tokens and find a longer cache.
    """
    remaining = sum(work[timed_calls:])
    if timed_calls == 1:
        return seconds + seconds * remaining / work[0]
    return seconds + (seconds - first) * remaining / sum(work[1:timed_calls])


def floors(result: dict, machine: dict) -> tuple[float, float]:
    """Milliseconds a call that reading and that multiplying take at least; the latter of int8 as if in float32."""
    read = (result["read"] + result["cache_read"]) / machine["bandwidth"] / 1e6
    multiply = 2 * result["multiplications"] / result["whole_calls"] / machine["rates"][result["arithmetic"]] / 1e6
    return read, multiply
