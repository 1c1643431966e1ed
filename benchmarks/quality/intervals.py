"""Statistics of the quality report: shares, means, ratios and Fréchet distances with 95 % confidence intervals.

Every interval is `(value, low, high)`.
"""

import math

import numpy as np

NORMAL_95 = 1.959963984540054

Interval = tuple[float, float, float]


def wilson(right: int, count: int) -> Interval:
    """A share and its Wilson score interval (Wilson 1927)."""
    if not 0 <= right <= count or count == 0:
        raise ValueError(f"{right} of {count} is not a share: expected 0 to the count, of at least one picture.")
    share, z = right / count, NORMAL_95
    middle = share + z * z / (2 * count)
    half_width = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    # Rounding must not push the ends past the share at 0 and at `count`.
    low, high = ((middle - half_width) / (1 + z * z / count), (middle + half_width) / (1 + z * z / count))
    return share, max(0.0, min(low, share)), min(1.0, max(high, share))


def difference(new: Interval, old: Interval) -> Interval:
    """`new − old`, with an interval from theirs (Newcombe 1998, method 10, for shares; Zou and Donner 2008 for others).

    Holds for independent sets of pictures. If both sets began with the same pictures, it is wider than necessary.
    """
    value = new[0] - old[0]
    return (
        value,
        value - math.hypot(new[0] - new[1], old[2] - old[0]),
        value + math.hypot(new[2] - new[0], old[0] - old[1]),
    )


def square_root(matrix: np.ndarray) -> np.ndarray:
    """The square root of a symmetric positive semidefinite matrix `[D, D]`. Negative eigenvalues are rounding."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


class Reference:
    """The reference distribution: `mean` `[D]` and `covariance` `[D, D]`."""

    def __init__(self, mean: np.ndarray, covariance: np.ndarray):
        self.mean, self.covariance = mean, covariance
        self.root = square_root(covariance)

    @classmethod
    def of_classes(cls, means: np.ndarray, covariances: np.ndarray) -> "Reference":
        """Of pictures of several classes, as many of each, from `means` `[C, D]` and `covariances` `[C, D, D]`."""
        between = means - means.mean(0)
        return cls(means.mean(0), covariances.mean(0) + between.T @ between / len(means))

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
        """The distance, and 1.96 standard deviations of its bootstrap on both sides.

        Resampling is within `classes` `[B]`, which every set holds in equal numbers by design; over the whole set if a
        class has fewer than 5 pictures. The interval is widened by √(n / (n − 1)), because a bootstrap of n is too
        narrow by that factor. Percentiles would be wrong here: a resample holds fewer different pictures, so its
        distance is biased upwards, and the percentiles may not contain the value.
        """
        generator = np.random.default_rng(seed)
        members = [np.flatnonzero(classes == label) for label in np.unique(classes)]
        if min(map(len, members)) < 5:
            members = [np.arange(len(features))]
        least = min(map(len, members))
        distances = []
        for _ in range(resamples):
            chosen = np.concatenate([generator.choice(indices, len(indices)) for indices in members])
            distances.append(self.distance(features[chosen]))
        value, half_width = self.distance(features), NORMAL_95 * float(np.std(distances, ddof=1))
        half_width *= math.sqrt(least / (least - 1))
        return value, max(0.0, value - half_width), value + half_width


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
