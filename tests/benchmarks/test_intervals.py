"""The statistics of the quality report are those of the textbooks."""

import numpy as np
import pytest
from quality.intervals import Reference, difference, mean_interval, ratio_interval, square_root, wilson


@pytest.mark.parametrize(
    "right, count, low, high",
    [(0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0), (95, 100, 0.88825, 0.97846), (1, 2, 0.09453, 0.90547)],
)
def test_wilson_intervals_are_those_of_the_textbook(right, count, low, high):
    assert wilson(right, count) == pytest.approx((right / count, low, high), abs=1e-5)


def test_a_share_of_nothing_is_refused():
    with pytest.raises(ValueError, match="0 of 0"):
        wilson(0, 0)


def random_covariance(size: int, seed: int) -> np.ndarray:
    factors = np.random.default_rng(seed).normal(size=(size, size))
    return factors @ factors.T / size


def test_the_square_root_of_a_covariance_squares_to_it():
    matrix = random_covariance(8, 0)
    root = square_root(matrix)
    np.testing.assert_allclose(root @ root, matrix, atol=1e-10)


def test_the_frechet_distance_of_known_gaussians():
    mean, covariance = np.arange(8.0), random_covariance(8, 1)
    reference = Reference(mean, covariance)
    assert reference.frechet(mean, covariance) == pytest.approx(0, abs=1e-8)
    assert reference.frechet(mean + 0.5, covariance) == pytest.approx(8 * 0.25)
    # Where the covariances commute, the distance is the sum of (√a − √b)² over the eigenvalues.
    assert reference.frechet(mean, 9 * covariance) == pytest.approx(4 * np.trace(covariance))


def test_the_frechet_distance_is_symmetric_where_covariances_do_not_commute():
    a, b = random_covariance(6, 2), random_covariance(6, 3)
    zero = np.zeros(6)
    assert Reference(zero, a).frechet(zero, b) == pytest.approx(Reference(zero, b).frechet(zero, a))


def test_equal_sets_have_no_distance_and_more_pictures_a_narrower_interval():
    features = np.random.default_rng(4).normal(size=(2000, 5))
    reference = Reference(features.mean(0), np.cov(features, rowvar=False))
    assert reference.distance(features) == pytest.approx(0, abs=1e-8)
    widths = []
    for count in (50, 1000):
        value, low, high = reference.interval(1 + features[:count], np.arange(count) % 5, resamples=40)
        assert low <= value <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_what_parts_the_classes_is_no_uncertainty_where_each_has_its_share():
    classes = np.arange(240) % 12
    features = 10 * np.eye(12)[classes] + np.random.default_rng(6).normal(size=(240, 12))
    reference = Reference(features.mean(0), np.cov(features, rowvar=False))
    _, _, apart = reference.interval(features, classes, resamples=40)
    _, _, together = reference.interval(features, np.zeros(240), resamples=40)
    assert apart < together / 2


@pytest.mark.parametrize("each", [1, 2, 5])
def test_a_few_pictures_have_a_wide_interval(each):
    """As wide as the distances of such sets differ, or wider: a bootstrap within one picture would have no width."""
    draw = np.random.default_rng(7).normal
    features = draw(size=(4000, 8))
    reference = Reference(features.mean(0), np.cov(features, rowvar=False))
    values, reaches = [], []
    for _ in range(40):
        value, _, high = reference.interval(draw(size=(12 * each, 8)), np.arange(12 * each) % 12, resamples=40)
        values.append(value)
        reaches.append(high - value)
    assert np.mean(reaches) > 0.8 * 1.96 * np.std(values)


def test_bootstrap_intervals_hold_the_mean_and_are_as_wide_as_the_normal_one():
    values = np.random.default_rng(5).normal(3, 2, size=400)
    value, low, high = mean_interval(values)
    assert value == pytest.approx(values.mean())
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)
    assert ratio_interval(2 * values, values) == pytest.approx((2, 2, 2))


def test_the_interval_of_a_difference_is_that_of_newcombe():
    # Newcombe 1998, table II: 56 of 70 against 48 of 80, method 10.
    found = difference(wilson(56, 70), wilson(48, 80))
    assert found == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
