"""The numbers of the quality report: shares, means, ratios and Fréchet distances, each with a 95 % confidence interval.

Every interval is `(value, low, high)`.
"""

from __future__ import annotations

import math

import numpy as np

NORMAL_95 = 1.959963984540054

Interval = tuple[float, float, float]


def wilson(right: int, count: int) -> Interval:
    """A share and its Wilson score interval (Wilson 1927)."""
    if not 0 <= right <= count or count == 0:
        raise ValueError(f"{right} of {count} is no share.")
    share, z = right / count, NORMAL_95
    middle = share + z * z / (2 * count)
    reach = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    # Rounding must not carry the ends beyond the share at 0 and at `count`.
    low, high = ((middle - reach) / (1 + z * z / count), (middle + reach) / (1 + z * z / count))
    return share, max(0.0, min(low, share)), min(1.0, max(high, share))


def difference(new: Interval, old: Interval) -> Interval:
    """`new − old`, with an interval from theirs (Newcombe 1998, method 10, for shares; Zou and Donner 2008 for others).

    Holds for sets of pictures that are independent. Where both began with the same, it is wider than it need be.
    """
    value = new[0] - old[0]
    return (
        value,
        value - math.hypot(new[0] - new[1], old[2] - old[0]),
        value + math.hypot(new[2] - new[0], old[0] - old[1]),
    )


def square_root(matrix: np.ndarray) -> np.ndarray:
    """The root of a symmetric matrix `[D, D]` without negative eigenvalues but for rounding."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


class Reference:
    """The distribution that others are measured against: `mean` `[D]` and `covariance` `[D, D]`."""

    def __init__(self, mean: np.ndarray, covariance: np.ndarray):
        self.mean, self.covariance = mean, covariance
        self.root = square_root(covariance)

    def frechet(self, mean: np.ndarray, covariance: np.ndarray) -> float:
        """The Fréchet distance of two Gaussians (Dowson and Landau 1982), squared as FID is (arXiv 1706.08500).

        The trace of the root of `C₁ C₂` is that of the symmetric `√C₁ C₂ √C₁`, which has the same eigenvalues.
        """
        values = np.linalg.eigvalsh(self.root @ covariance @ self.root)
        cross = np.sqrt(np.maximum(values, 0)).sum()
        return float(((self.mean - mean) ** 2).sum() + np.trace(self.covariance) + np.trace(covariance) - 2 * cross)

    def distance(self, features: np.ndarray) -> float:
        """The Fréchet distance of `features` `[B, D]` from the reference."""
        return self.frechet(features.mean(0), np.cov(features, rowvar=False))

    def interval(self, features: np.ndarray, classes: np.ndarray, resamples: int = 200, seed: int = 0) -> Interval:
        """The distance, and 1.96 standard deviations of its bootstrap to either side.

        Resampled within `classes` `[B]`, of which every set has as many by design, or where these are fewer than 5
        each, over all; and widened by √(n / (n − 1)), by which a bootstrap of n is too narrow. Not its percentiles: a
        resample holds fewer different pictures, so that its distance is too large by as much again as the sample's own,
        and the percentiles may not hold the value at all.
        """
        generator = np.random.default_rng(seed)
        members = [np.flatnonzero(classes == label) for label in np.unique(classes)]
        if min(map(len, members)) < 5:
            members = [np.arange(len(features))]
        least = min(map(len, members))
        distances = []
        for _ in range(resamples):
            chosen = np.concatenate([generator.choice(own, len(own)) for own in members])
            distances.append(self.distance(features[chosen]))
        value, reach = self.distance(features), NORMAL_95 * float(np.std(distances, ddof=1))
        reach *= math.sqrt(least / (least - 1))
        return value, max(0.0, value - reach), value + reach


def mean_interval(values: np.ndarray, resamples: int = 1000, seed: int = 0) -> Interval:
    """The mean of `values` `[B]` and the 95 % percentiles of its bootstrap."""
    return ratio_interval(values, np.ones_like(values), resamples, seed)


def ratio_interval(above: np.ndarray, below: np.ndarray, resamples: int = 1000, seed: int = 0) -> Interval:
    """`Σ above / Σ below` over pictures `[B]`, and the 95 % percentiles of its bootstrap."""
    generator = np.random.default_rng(seed)
    chosen = generator.integers(0, len(above), (resamples, len(above)))
    ratios = above[chosen].sum(1) / below[chosen].sum(1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return float(above.sum() / below.sum()), float(low), float(high)
