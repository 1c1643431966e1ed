"""The share of a run's time that its previews may take, by what they took so far."""

import math
import time

SHARE = 0.1  # of the run's time
PAINTING_SHARE = 0.05  # of the run's time, for all but decoding: decoding has at least the rest
SECONDS_BETWEEN = 0.2
FOR_LAST = 0.1  # seconds that the decoding of the last preview may take in any case: it stays on the node


class PreviewTime:
    """The seconds that the previews of a run took: for decoding, and for painting, which is all else."""

    def __init__(self):
        self.began: float | None = None  # when the first call of the model ended
        self.calls = 0  # that ended since
        self.painting = self.decoding = 0.0
        self.next_preview = -math.inf

    def count_call(self) -> None:
        """A call of the model has ended."""
        if self.began is None:
            self.began = time.perf_counter()
        else:
            self.calls += 1

    def is_due(self, calls_left: int) -> bool:
        """Whether to show a preview now: after the first and the last call always."""
        now = time.perf_counter()
        in_share = self.painting <= PAINTING_SHARE * (now - self.began)
        return not calls_left or (now >= self.next_preview and in_share)

    def left_to_decode(self, calls_left: int, for_last: float) -> float:
        """Seconds that decoding may take now; none where it is below 0.

        The last preview is decoded too, which takes `for_last` seconds: of these is kept what the `calls_left` will not
        bring. It may take `FOR_LAST` whatever the share: a picture that is drawn in a moment has no share to speak of.
        """
        elapsed = time.perf_counter() - self.began
        left = SHARE * elapsed - self.painting - self.decoding
        if not calls_left:
            return max(left, FOR_LAST)
        coming = (SHARE - PAINTING_SHARE) * elapsed / max(1, self.calls) * calls_left
        return left + min(0.0, coming - for_last)

    def add(self, seconds: float, decoding: float) -> None:
        """A preview took `seconds`, `decoding` of them in the decoder."""
        self.painting += seconds - decoding
        self.decoding += decoding
        self.next_preview = time.perf_counter() + SECONDS_BETWEEN
