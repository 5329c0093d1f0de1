"""Frechet distance between Gaussians fitted to features of generated and real images (FID, arXiv 1706.08500, eq. 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from retable.bench.metrics.features import Features, require_network
from retable.bench.metrics.measured import absent, measured, unusable
from retable.bench.metrics.rows import Rows, blocks
from retable.bench.record import Direction, Measurement

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class FrechetDistance:
    """`fd[network]`: the distance in the feature space of `network`; its floor is held-out against reference images."""

    NAME: ClassVar[str] = "fd"

    network: str

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _measure(self, evidence, self.network)

    def ready(self) -> None:
        """Raises MissingDataError where the network is not at hand."""
        require_network(self.network)


@dataclass(frozen=True, kw_only=True)
class FID:
    """`fid`: the distance in pool_3 of FID's own Inception-v3; the only name beside which a paper's FID may stand."""

    NAME: ClassVar[str] = "fid"

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _measure(self, evidence, "inception")

    def ready(self) -> None:
        """Raises MissingDataError where the network is not at hand."""
        require_network("inception")


@dataclass(frozen=True, kw_only=True, eq=False)
class Gaussian:
    """Mean (D,) and unbiased covariance (D, D) of features, with how many images they stand for and what those were."""

    mu: np.ndarray
    sigma: np.ndarray
    n: int | None
    source: str
    digest: str


def _measure(metric: Any, evidence: Any, network: str) -> Measurement:
    generated = evidence.features("generated", network)
    if reason := unusable(generated.activations, "generated images' features"):
        return absent(metric, reason)
    reference = _reference(evidence, network, generated.network.dim)
    if isinstance(reference, str):
        return absent(metric, reason=reference)
    value, root = frechet_distance(gaussian(generated, "generated"), reference)
    held_out = evidence.features("held_out", network)
    floor = None
    if not unusable(held_out.activations, "held-out images' features"):
        floor, _ = frechet_distance(gaussian(held_out, "held_out"), reference)
    return measured(
        metric,
        value,
        n=len(generated),
        floor=floor,
        details={
            **generated.network.details,
            "n_generated": len(generated),
            "n_reference": reference.n if reference.n is not None else "not stated by the statistics file",
            "n_floor": len(held_out),
            "reference": reference.source,
            "reference_digest": reference.digest,
            "matrix_root": root,
        },
    )


def _reference(evidence: Any, network: str, dim: int) -> Gaussian | str:
    """Published statistics of that network where the data set has them, else the training images; or what is wrong."""
    published = evidence.data.reference
    if published is not None and published.mu is not None and published.network == network:
        if published.mu.shape != (dim,) or published.sigma.shape != (dim, dim):
            return f"the published statistics have shape {published.mu.shape}, the network's features {(dim,)}"
        return Gaussian(
            mu=published.mu,
            sigma=published.sigma,
            n=None,
            source=f"published statistics (backend: {published.backend})",
            digest=_digest(published.mu, published.sigma),
        )
    train = evidence.features("train", network)
    return unusable(train.activations, "reference images' features") or gaussian(train, "train")


def gaussian(features: Features, source: str) -> Gaussian:
    """Moments of at least two images' features."""
    mu, sigma = moments(features.activations)
    return Gaussian(mu=mu, sigma=sigma, n=len(features), source=source, digest=features.pixels_sha256)


def moments(rows_ND: np.ndarray | Rows) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and unbiased covariance (D, D); of rows in a file by two passes over them, which keeps all digits."""
    import numpy as np

    if isinstance(rows_ND, np.ndarray):
        return rows_ND.mean(axis=0), np.atleast_2d(np.cov(rows_ND, rowvar=False))
    mu_D = sum(block.sum(axis=0) for block in blocks(rows_ND)) / len(rows_ND)
    sigma_DD = sum((block - mu_D).T @ (block - mu_D) for block in blocks(rows_ND)) / (len(rows_ND) - 1)
    return np.asarray(mu_D), np.asarray(sigma_DD)


def frechet_distance(a: Gaussian, b: Gaussian) -> tuple[float, str]:
    """|mu_a - mu_b|^2 + Tr(S_a + S_b - 2 (S_a S_b)^(1/2)) (arXiv 1706.08500, eq. 6), and how the matrix root came to be.

    As in pytorch-fid, 1e-6 is added to both diagonals where the root is not finite. Where it is complex by more than 1e-3
    (pytorch-fid refuses), its trace is taken from the eigenvalues of the symmetric S_a^(1/2) S_b S_a^(1/2), which exist for
    every pair of covariances.
    """
    import numpy as np

    product_root, how = _sqrtm(a.sigma @ b.sigma), "matrix root, nothing added"
    if not np.isfinite(product_root).all():
        eps = 1e-6 * np.eye(len(a.mu))
        product_root, how = _sqrtm((a.sigma + eps) @ (b.sigma + eps)), "matrix root, 1e-6 added to both diagonals"
    if np.isfinite(product_root).all() and np.allclose(np.diagonal(product_root).imag, 0, atol=1e-3):
        difference = a.mu - b.mu
        spread = np.trace(a.sigma) + np.trace(b.sigma) - 2 * np.trace(product_root.real)
        value = float(difference @ difference + spread)
    else:
        value, how = _by_eigenvalues(a, b), "symmetric eigenvalues, because the matrix root is complex"
    singular = [f"{g.source} has rank {rank} of {len(g.mu)}" for g in (a, b) if (rank := _rank(g)) < len(g.mu)]
    if singular:
        how += f"; singular covariance ({', '.join(singular)})"
    return max(value, 0.0), how  # rounding can leave equal Gaussians at -1e-13


def _sqrtm(product: np.ndarray) -> np.ndarray:
    import contextlib
    import io
    import warnings

    from scipy.linalg import sqrtm

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # of singular products, which SciPy warns of or prints; they are reported
        root: np.ndarray = sqrtm(product)
    return root


def _by_eigenvalues(a: Gaussian, b: Gaussian) -> float:
    import numpy as np

    values, vectors = np.linalg.eigh(a.sigma)
    root_a = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root_a @ b.sigma @ root_a).clip(min=0)).sum()
    return float((a.mu - b.mu) @ (a.mu - b.mu) + np.trace(a.sigma) + np.trace(b.sigma) - 2 * cross)


def _rank(g: Gaussian) -> int:
    import numpy as np

    return int(np.linalg.matrix_rank(g.sigma, hermitian=True))


def _digest(*arrays: np.ndarray) -> str:
    from hashlib import sha256

    import numpy as np

    return sha256(b"".join(np.ascontiguousarray(array, dtype=np.float64).tobytes() for array in arrays)).hexdigest()
