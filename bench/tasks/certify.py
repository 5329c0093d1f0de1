"""Task `certify`: fit, then certify held-out images by randomised smoothing over the noise of the model, or over added noise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retable import units
from retable.bench.errors import BenchError
from retable.bench.metrics.certificates import ABSTAIN, Law, certify, check_noise, lower_bound, radius
from retable.bench.tasks.logits import of_images, prepared

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.images import ImageData
    from retable.bench.metrics.certified import Norm

BLOCK = 100
"""Draws that share a forward pass and a generator, so that no batch size changes a certificate."""
CURVE_POINTS = 41
MOST_NOISE = 2.0
"""Deviations that anybody smooths with are 0.12 to 1; beyond this nothing is left of an image."""


@dataclass(frozen=True, kw_only=True)
class Certify:
    """CERTIFY of arXiv 1902.02918 on `images` held-out images, evenly spread: `n0` draws choose the class, `n` fresh ones bound it.

    A certificate errs with probability `alpha`, image by image. A model that draws noise says so in `noise` (law, sigma,
    copies of the image a forward pass) and takes a generator; to a deterministic one the task adds Gaussian noise of deviation
    `sigma` in units of pixels in [0, 1]. `protocol` official is the rule of the rate-coded SNN's code, which takes T copies of
    the image for one: it over-certifies, and is measured only to say by how much.
    """

    NAME: ClassVar[str] = "certify"

    n0: int = 100
    n: int = 100_000
    alpha: float = 0.001
    sigma: float | None = None
    images: int = 500
    protocol: Literal["corrected", "official"] = "corrected"

    FITS: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("n0", "n", "images"):
            if getattr(self, name) < 1:
                raise BenchError(f"`{name}` must be at least 1, not {getattr(self, name)}")
        if wrong := units.of_risk("alpha", self.alpha):
            raise BenchError(wrong)
        if self.sigma is not None:
            if wrong := units.of_pixels("sigma", self.sigma, most=MOST_NOISE, closed=True):
                raise BenchError(wrong)
            if not self.sigma:
                raise BenchError("`sigma` must be above 0")

    def evidence(self, model: Any, data: ImageData, *, seed: int, device: str) -> CertifyEvidence:
        """Counts of classes for each image. Raises BenchError for a model that has no certificate or draws unknown noise."""
        import numpy as np
        import torch

        if not len(data.held_out):
            raise BenchError(f"{data.name} has no held-out images to certify")
        model.eval()
        chosen = evenly_spread(len(data.held_out), self.images)
        labels = data.held_out.labels[chosen]
        with torch.no_grad():
            law, sigma, copies = self._noise(model, data, chosen, device)
            counts = {"selection": self.n0, "estimation": self.n}
            found: dict[str, list[np.ndarray]] = {stage: [] for stage in counts}
            for index in chosen:
                pixels = torch.from_numpy(data.held_out.images(np.array([index]))).to(device)
                for stage, draws in counts.items():
                    count = self._count(model, pixels, draws, f"{seed}:{index}:{stage}", data.num_classes)
                    found[stage].append(count)
        return CertifyEvidence(
            model=model,
            data=data,
            labels=labels,
            selection_NK=np.stack(found["selection"]),
            estimation_NK=np.stack(found["estimation"]),
            alpha=self.alpha,
            law=law,
            sigma=sigma,
            copies=copies if self.protocol == "corrected" else 1,
        )

    def _noise(self, model: Any, data: ImageData, chosen: np.ndarray, device: str) -> tuple[Law, float, int]:
        """Law, deviation and copies of the noise that smooths."""
        import torch

        own = getattr(model, "noise", None)
        if own is not None and own.law != "none":
            if self.sigma is not None:
                raise BenchError(
                    f"the model draws {own.law} noise itself, so `sigma` must be left out, not {self.sigma}"
                )
            check_noise(own.law, own.sigma, own.copies)
            return own.law, own.sigma, own.copies
        if self.sigma is None:
            raise BenchError(
                "the model draws no noise of its own to certify: give `sigma`, the deviation of the noise to add"
            )
        x = prepared(model, torch.from_numpy(data.held_out.images(chosen[:2])).to(device))
        if not torch.equal(model(x), model(x)):
            raise BenchError(
                "smoothing by `sigma` asks for a deterministic model, and this one's logits change from call to call"
            )
        return "gaussian", self.sigma, 1

    def _count(self, model: Any, pixels: Any, draws: int, salt: str, classes: int) -> np.ndarray:
        """int64 (K,): how often each class was named over `draws` noisy copies of one image, uint8 (1, C, H, W)."""
        import numpy as np
        import torch

        count = np.zeros(classes, np.int64)
        for start in range(0, draws, BLOCK):
            size = min(BLOCK, draws - start)
            generator = torch.Generator(pixels.device).manual_seed(_seed(f"{salt}:{start}"))
            many = pixels.expand(size, *pixels.shape[1:])
            if self.sigma is None:
                logits = model(prepared(model, many), generator=generator)
            else:
                noise = torch.randn(many.shape, generator=generator, device=pixels.device)
                logits = model(prepared(model, many + 255 * self.sigma * noise))
            logits = of_images(logits, model, len(many), classes)
            if not bool(logits.isfinite().all()):
                raise BenchError("the model's logits are not finite under noise, so no class can be counted")
            count += np.bincount(logits.argmax(-1).cpu().numpy(), minlength=classes)
        return count


def evenly_spread(available: int, wanted: int) -> np.ndarray:
    """As many indices as `wanted` at most: every k-th where that leaves at most an eighth out at the end, else as even as can be."""
    import numpy as np

    step, count = max(1, available // wanted), min(available, wanted)
    if 8 * (available - step * count) <= available:
        return np.arange(count) * step
    return np.arange(count) * available // count


def _seed(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:7], "big")


@dataclass(frozen=True, kw_only=True, eq=False)
class CertifyEvidence:
    """Labels (N,), counts of classes (N, K) of both stages, and the law of the noise that they were drawn under."""

    model: Any
    data: ImageData
    labels: np.ndarray
    selection_NK: np.ndarray
    estimation_NK: np.ndarray
    alpha: float
    law: Law
    sigma: float
    copies: int

    @property
    def norm(self) -> Norm:
        """Of the distance that certificates speak of."""
        return "L2" if self.law == "gaussian" else "L1"

    @cached_property
    def certified(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(prediction or ABSTAIN, radius, lower bound), each (N,)."""
        return certify(
            self.selection_NK,
            self.estimation_NK,
            alpha=self.alpha,
            law=self.law,
            sigma=self.sigma,
            copies=self.copies,
        )

    @property
    def radius(self) -> np.ndarray:
        return self.certified[1]

    @property
    def correct(self) -> np.ndarray:
        """bool (N,)."""
        right: np.ndarray = self.certified[0] == self.labels
        return right

    @property
    def abstained(self) -> np.ndarray:
        """bool (N,)."""
        none: np.ndarray = self.certified[0] == ABSTAIN
        return none

    @property
    def draws(self) -> int:
        return int(self.estimation_NK[0].sum())

    @cached_property
    def largest_radius(self) -> float:
        """What a class that every draw names would be certified for."""
        import numpy as np

        best = lower_bound(np.array([self.draws]), self.draws, self.alpha)
        return float(radius(best, self.law, self.sigma, self.copies)[0])

    @property
    def settings(self) -> dict[str, str | float | int]:
        """What the certificates rest on, for the details of metrics."""
        return {
            "law": self.law,
            "norm": self.norm,
            "sigma": self.sigma,
            "copies": self.copies,
            "n0": int(self.selection_NK[0].sum()),
            "n": self.draws,
            "alpha": self.alpha,
        }

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Radii up to the largest attainable, and the share of images certified right within each."""
        import numpy as np

        from retable.bench.metrics.certified import curve

        radii = np.linspace(0, self.largest_radius, CURVE_POINTS)
        return radii, curve(self.correct, self.certified[1], radii)

    def artefacts(self) -> Mapping[str, bytes]:
        """`certificates.json`: image by image, and certified accuracy in per cent over radii up to the largest attainable."""
        prediction, within, p_lower = self.certified
        radii, certified = self.curve()
        content = {
            **self.settings,
            "label": self.labels.tolist(),
            "prediction": prediction.tolist(),
            "radius": within.tolist(),
            "p_lower": p_lower.tolist(),
            "curve": {"radius": radii.tolist(), "certified": (100 * certified).tolist()},
        }
        return {"certificates.json": json.dumps(content, allow_nan=False).encode()}
