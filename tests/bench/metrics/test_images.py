"""Image metrics against closed forms, independent packages and brute force; and what they must not depend on."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pytorch_fid.fid_score import calculate_frechet_distance
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors

from retable.bench.datasets.images import Reference
from retable.bench.metrics.class_accuracy import ClassAccuracy
from retable.bench.metrics.frechet import FID, FrechetDistance, Gaussian, frechet_distance
from retable.bench.metrics.inception_score import InceptionScore, inception_scores
from retable.bench.metrics.kernel_distance import KernelDistance, kernel_distance
from retable.bench.metrics.precision_recall import Precision, Recall, _squared_distances, coverage
from tests.bench.metrics.metric_evidence import GenerateEvidence, as_features, gaussian_features, plain_evidence

IMAGE_METRICS = [
    FrechetDistance(network="hand-made"),
    KernelDistance(network="hand-made"),
    InceptionScore(network="hand-made"),
    Precision(network="hand-made"),
    Recall(network="hand-made"),
    ClassAccuracy(network="hand-made"),
]
SMALL = settings(max_examples=25, deadline=None)


def normal(mu: Any, sigma: Any, source: str = "hand") -> Gaussian:
    return Gaussian(mu=np.array(mu, float), sigma=np.array(sigma, float), n=None, source=source, digest="")


# Frechet distance


def pytorch_fid_distance(*moments: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of an argument to scipy
        return float(calculate_frechet_distance(*moments))


@given(
    means=arrays(float, (2, 4), elements=st.floats(-3, 3)),
    deviations=arrays(float, (2, 4), elements=st.floats(0.1, 3)),
)
@SMALL
def test_distance_of_axis_aligned_gaussians_has_a_closed_form(means: np.ndarray, deviations: np.ndarray) -> None:
    value, _ = frechet_distance(*(normal(m, np.diag(s**2)) for m, s in zip(means, deviations, strict=True)))
    expected = ((means[0] - means[1]) ** 2).sum() + ((deviations[0] - deviations[1]) ** 2).sum()
    assert value == pytest.approx(expected, abs=1e-8)


def test_distance_of_rotated_gaussians() -> None:
    a, b = np.array([[2.0, 0.8], [0.8, 1.0]]), np.array([[1.0, -0.5], [-0.5, 3.0]])
    trace_of_root = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))  # 2x2, any pair that is positive
    value, root = frechet_distance(normal([0, 0], a), normal([3, 4], b))
    assert value == pytest.approx(25 + np.trace(a) + np.trace(b) - 2 * trace_of_root)
    assert root == "matrix root, nothing added"


def test_distance_is_symmetric_and_that_of_pytorch_fid() -> None:
    x, y = gaussian_features(80, seed=3).activations, gaussian_features(90, seed=4, shift=0.5).activations
    evidence = plain_evidence(as_features(x), train=as_features(y))
    forward = FrechetDistance(network="hand-made").measure(evidence)
    backward = FrechetDistance(network="hand-made").measure(plain_evidence(as_features(y), train=as_features(x)))
    theirs = pytorch_fid_distance(x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T))
    assert forward.value == pytest.approx(theirs)
    assert backward.value == pytest.approx(theirs)


@pytest.mark.parametrize("images", [3, 12])
def test_singular_covariance_is_measured_and_said(images: int, capsys: pytest.CaptureFixture[str]) -> None:
    generated, train = gaussian_features(images, seed=5, dim=20), gaussian_features(200, seed=6, dim=20)
    measurement = FrechetDistance(network="hand-made").measure(plain_evidence(generated, train=train, held_out=train))
    x, y = generated.activations, train.activations
    a, b = np.cov(x.T), np.cov(y.T)
    root_b = np.linalg.cholesky(b)
    trace_of_root = np.sqrt(np.linalg.eigvalsh(root_b.T @ a @ root_b).clip(0)).sum()
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * trace_of_root
    assert measurement.value == pytest.approx(expected, rel=1e-5)
    assert f"generated has rank {images - 1} of 20" in str(measurement.details["matrix_root"])
    assert capsys.readouterr().out == ""


def test_complex_root_is_replaced_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = normal([0, 1], [[2.0, 0.8], [0.8, 1.0]]), normal([1, 0], [[1.0, -0.5], [-0.5, 3.0]])
    expected, _ = frechet_distance(a, b)
    monkeypatch.setattr("retable.bench.metrics.frechet._sqrtm", lambda product: product + 0.1j)
    value, root = frechet_distance(a, b)
    assert value == pytest.approx(expected)
    assert "symmetric eigenvalues" in root


def test_what_is_added_is_said_and_nothing_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def root_of_regular(product: np.ndarray) -> np.ndarray:
        return np.sqrt(product) if product[0, 0] > 1 else np.full_like(product, np.nan)

    monkeypatch.setattr("retable.bench.metrics.frechet._sqrtm", root_of_regular)
    value, root = frechet_distance(normal([0], [[1]]), normal([0], [[1]]))
    assert value == 0
    assert root == "matrix root, 1e-6 added to both diagonals"
    assert capsys.readouterr().out == ""


def published(network: str, images: Any = None) -> Reference:
    return Reference(network=network, backend="TensorFlow", mu=np.ones(5), sigma=2 * np.eye(5), images=images)


def test_fid_takes_the_published_statistics_of_its_network() -> None:
    evidence = plain_evidence(gaussian_features(50, seed=7))
    evidence.reference = published("inception")
    x = evidence.sets["generated"].activations
    measurement = FID().measure(evidence)
    assert measurement.value == pytest.approx(pytorch_fid_distance(x.mean(0), np.cov(x.T), np.ones(5), 2 * np.eye(5)))
    assert ("train", "inception") not in evidence.asked
    assert measurement.details["reference"] == "published statistics (backend: TensorFlow)"
    assert measurement.floor is not None


def test_statistics_of_another_size_are_refused() -> None:
    evidence = plain_evidence(gaussian_features(50, seed=7, dim=4))
    evidence.reference = published("inception")
    measurement = FID().measure(evidence)
    assert measurement.reason == "the published statistics have shape (5,), the network's features (4,)"


def test_statistics_of_another_network_are_not_mixed_in() -> None:
    evidence = plain_evidence(gaussian_features(50, seed=7))
    evidence.reference = published("inception")
    assert FrechetDistance(network="digits-cnn-v1").measure(evidence).details["reference"] == "train"


# kernel distance


def test_kernel_distance_is_the_sum_over_pairs() -> None:
    x, y = gaussian_features(40, seed=8).activations, gaussian_features(30, seed=9, shift=0.4).activations
    kernel = {"degree": 3, "gamma": 1 / 5, "coef0": 1}
    xx, yy, xy = (polynomial_kernel(a, b, **kernel) for a, b in ((x, x), (y, y), (x, y)))
    np.fill_diagonal(xx, 0)
    np.fill_diagonal(yy, 0)
    assert kernel_distance(x, y) == pytest.approx(xx.sum() / (40 * 39) + yy.sum() / (30 * 29) - 2 * xy.mean())


def test_kernel_distance_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = gaussian_features(40, seed=8).activations, gaussian_features(30, seed=9).activations
    whole = kernel_distance(x, y)
    monkeypatch.setattr("retable.bench.metrics.kernel_distance.CHUNK", 7)
    assert kernel_distance(x, y) == pytest.approx(whole)


def test_kernel_distance_is_unbiased_where_frechet_is_not() -> None:
    pairs = [(gaussian_features(25, seed=2 * i), gaussian_features(25, seed=2 * i + 1)) for i in range(60)]
    kernel = np.array([kernel_distance(a.activations, b.activations) for a, b in pairs])
    frechet = [FrechetDistance(network="hand-made").measure(plain_evidence(a, train=b)).value or 0 for a, b in pairs]
    assert abs(kernel.mean()) < 3 * kernel.std() / np.sqrt(len(kernel))
    assert np.mean(frechet) > 0.3


# Inception Score


def test_inception_score_by_hand() -> None:
    assert inception_scores(np.eye(4)) == pytest.approx([4.0])  # sure of each, all classes alike
    assert inception_scores(np.full((6, 4), 0.25)) == pytest.approx([1.0])
    assert inception_scores(np.tile([1.0, 0, 0], (6, 1))) == pytest.approx([1.0])  # one class only
    p = np.array([[0.9, 0.1], [0.5, 0.5]])  # marginal (0.7, 0.3)
    divergence = (0.9 * np.log(9 / 7) + 0.1 * np.log(1 / 3) + 0.5 * np.log(5 / 7) + 0.5 * np.log(5 / 3)) / 2
    assert inception_scores(p) == pytest.approx([np.exp(divergence)])


def test_inception_score_is_the_mean_over_splits() -> None:
    sure, vague = np.eye(2)[[0, 1] * 2500], np.full((5000, 2), 0.5)
    evidence = plain_evidence(as_features(np.zeros((10000, 1)), np.concatenate([sure, vague])))
    measurement = InceptionScore(network="hand-made").measure(evidence)
    assert measurement.value == pytest.approx((2.0 + 1.0) / 2)
    assert measurement.details["splits"] == 2
    assert measurement.details["splits_spread"] == pytest.approx(0.5)


def test_few_images_are_one_split_and_it_is_said() -> None:
    measurement = InceptionScore(network="hand-made").measure(plain_evidence(gaussian_features(30, seed=1)))
    assert (measurement.details["splits"], measurement.details["images_per_split"]) == (1, 30)


# precision and recall


def brute_force(points: np.ndarray, manifold: np.ndarray, k: int) -> float:
    radii = NearestNeighbors(n_neighbors=k + 1).fit(manifold).kneighbors(manifold)[0][:, k]
    return float(
        np.mean([any(np.linalg.norm(p - m) <= r for m, r in zip(manifold, radii, strict=True)) for p in points])
    )


@given(st.integers(0, 10**6), st.floats(0, 3), st.integers(1, 5))
@SMALL
def test_coverage_is_that_of_brute_force(seed: int, shift: float, k: int) -> None:
    points = gaussian_features(20, seed=seed, shift=shift, dim=3).activations
    manifold = gaussian_features(25, seed=seed + 1, dim=3).activations
    assert coverage(points, manifold, k) == brute_force(points, manifold, k)


def test_coverage_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    points, manifold = (gaussian_features(n, seed=n, shift=n / 50).activations for n in (30, 40))
    whole = coverage(points, manifold)
    monkeypatch.setattr("retable.bench.metrics.precision_recall.CHUNK_ELEMENTS", 100)
    assert coverage(points, manifold) == whole


def test_precision_and_recall_tell_apart_what_they_should() -> None:
    """Half of a two-cluster world, well drawn: everything generated is real, half of the real is missing."""
    rng = np.random.default_rng(0)
    left, right = rng.normal(0, 1, (200, 2)), rng.normal(50, 1, (200, 2))
    real = as_features(np.concatenate([left, right]))
    evidence = plain_evidence(as_features(rng.normal(0, 0.5, (100, 2))), train=real, held_out=real)
    precision, recall = (m(network="hand-made").measure(evidence) for m in (Precision, Recall))
    assert precision.value is not None
    assert precision.value > 0.95
    assert recall.value is not None
    assert recall.value < 0.5
    assert (precision.floor, recall.floor) == (1.0, 1.0)
    assert (precision.n, recall.n) == (100, 400)


def test_equal_points_lie_in_a_ball_without_radius() -> None:
    """Rounding of |x|^2 + |y|^2 - 2 x.y must not push a copy out of the ball of its original."""
    points = np.random.default_rng(0).normal(0, 1e3, (40, 64))
    copies = np.repeat(points, 5, axis=0)  # each one's three nearest others are itself: radius 0
    assert coverage(points, copies) == 1.0
    assert coverage(points + 1e-2, copies) == 0.0
    distances = np.concatenate(list(_squared_distances(points, copies)))
    assert (distances.reshape(40, 40, 5)[np.arange(40), np.arange(40)] == 0).all()


def test_reference_images_replace_the_training_images() -> None:
    evidence = plain_evidence(gaussian_features(50, seed=7))
    evidence.reference = published("inception", images=object())
    evidence.sets = {**evidence.sets, "reference": gaussian_features(33, seed=10)}
    measurement = Precision().measure(evidence)
    assert (measurement.details["reference"], measurement.details["n_reference"]) == ("reference", 33)
    assert ("train", "inception") not in evidence.asked


# class accuracy


def test_class_accuracy_counts_hits() -> None:
    p = np.eye(3)[[0, 1, 2, 2]]
    evidence = GenerateEvidence(
        sets={"generated": as_features(np.zeros((4, 1)), p), "held_out": as_features(np.zeros((4, 1)), p)},
        labels=np.array([0, 1, 2, 0]),
        held_out_labels=np.array([0, 0, 0, 0]),
    )
    measurement = ClassAccuracy(network="hand-made").measure(evidence)
    assert (measurement.value, measurement.floor, measurement.samples) == (0.75, 0.25, (1, 1, 1, 0))


def test_class_accuracy_refuses_other_classes() -> None:
    evidence = plain_evidence(gaussian_features(10, seed=0))
    evidence.num_classes = 1000
    measurement = ClassAccuracy(network="hand-made").measure(evidence)
    assert measurement.value is None
    assert measurement.reason == "hand-made distinguishes 3 classes, the data set has 1000"


# all of them


def test_a_set_compared_with_itself() -> None:
    same = gaussian_features(60, seed=11)
    evidence = plain_evidence(same, train=same, held_out=same)
    values = {type(m).__name__: m.measure(evidence) for m in IMAGE_METRICS}
    assert values["FrechetDistance"].value == pytest.approx(0, abs=1e-9)
    assert values["Precision"].value == 1
    assert values["Recall"].value == 1
    assert all(measurement.value == measurement.floor for measurement in values.values())


@pytest.mark.parametrize("metric", IMAGE_METRICS, ids=lambda m: type(m).__name__)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_the_order_of_images_does_not_matter(metric: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    generated, train = gaussian_features(40, seed=12, shift=0.3), gaussian_features(50, seed=13)
    labels, order = rng.integers(0, 3, 40), rng.permutation(40)
    straight, mixed = (
        plain_evidence(generated, train=train),
        plain_evidence(
            as_features(generated.activations[order], generated.probabilities[order]),
            train=as_features(train.activations[::-1], train.probabilities[::-1]),
        ),
    )
    straight.labels, mixed.labels = labels, labels[order]
    assert metric.measure(mixed).value == pytest.approx(metric.measure(straight).value, rel=1e-9)


def test_distances_grow_with_the_distance() -> None:
    for metric in (FrechetDistance(network="hand-made"), KernelDistance(network="hand-made")):
        values = [metric.measure(plain_evidence(gaussian_features(60, 3, shift=s))).value or 0 for s in (0, 0.5, 1, 2)]
        assert values == sorted(values)
        assert values[0] < values[1]


def test_floor_is_the_held_out_set_in_the_place_of_the_generated() -> None:
    held_out = gaussian_features(40, seed=14)
    for metric in (*IMAGE_METRICS[:2], *IMAGE_METRICS[2:5]):
        floor = metric.measure(plain_evidence(gaussian_features(40, seed=15), held_out=held_out)).floor
        assert floor == metric.measure(plain_evidence(held_out)).value


def test_neighbours_are_counted_in_exact_distances() -> None:
    """The expanded square |x|^2 + |y|^2 - 2xy agrees with differences taken one by one."""
    x, y = gaussian_features(30, seed=16, shift=100).activations, gaussian_features(20, seed=17, shift=100).activations
    assert np.concatenate(list(_squared_distances(x, y))) == pytest.approx(cdist(x, y) ** 2, rel=1e-10)
