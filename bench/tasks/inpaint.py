"""Task `inpaint`: fit, then fill a black square in every held-out image, and say after which step each filling has settled."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retable.bench.accountant.names import RuleName
from retable.bench.errors import BenchError
from retable.bench.tasks.early_stop import Exits, Stop, changes, settled
from retable.bench.tasks.logits import prepared

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.images import ImageData
    from retable.bench.metrics.features import Features

SHOWN = 10
"""Images on the sheet."""
BLACK = -1.0
RELEASED = Stop(threshold=0.2)
"""For images of 32x32 pixels: changes are summed over pixels."""


@dataclass(frozen=True, kw_only=True)
class Inpaint:
    """Fills rows and columns `hole[0]` ... `hole[1] - 1` of `images` held-out images, evenly spread, from the image around them.

    The fitted model turns uint8 images into its own, (B, C, H, W) in [-1, 1], with `prepare(pixels)`, and damaged ones with
    `fillings(damaged, seeds, afresh=...)` into whole images after each step, (T, B, C, H, W); a sample's draws follow from
    its seed. `protocol` official is that of PRIME's released code: every number of steps is a run of its own (`afresh`),
    whose readout attenuates early ones; corrected reads one run after each of its steps. `stop` is the rule of the early
    stop. With `read_noise` every weight that the model reads off an array has that relative noise (`reading(noise)`, a context).
    """

    NAME: ClassVar[str] = "inpaint"

    hole: tuple[int, int] = (12, 20)
    stop: Stop = RELEASED
    protocol: Literal["corrected", "official"] = "corrected"
    read_noise: float | None = None
    images: int = 500
    batch_size: int = 100
    account_samples: int = 8
    rules: tuple[RuleName, ...] = ("full", "literature")

    FITS: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.hole[0] < self.hole[1]:
            raise BenchError(f"`hole` is its first row and the one behind its last, not {list(self.hole)}")
        for name in ("images", "batch_size"):
            if getattr(self, name) < 1:
                raise BenchError(f"`{name}` must be at least 1, not {getattr(self, name)}")
        if self.account_samples < 0 or not 0 <= (self.read_noise or 0.0) < math.inf:
            raise BenchError("`account_samples` and `read_noise` must be at least 0")

    def evidence(self, model: Any, data: ImageData, *, seed: int, device: str) -> InpaintEvidence:
        """Fillings after every step. Raises BenchError without held-out images or for a hole outside of them."""
        import numpy as np
        import torch

        if not len(data.held_out):
            raise BenchError(f"{data.name} has no held-out images to fill")
        if self.hole[1] > min(data.image_shape[-2:]):
            raise BenchError(f"`hole` {list(self.hole)} reaches beyond images of {data.image_shape[-2:]} pixels")
        model.eval()
        chosen = np.linspace(0, len(data.held_out) - 1, min(self.images, len(data.held_out))).astype(int)
        clean, fillings = [], []
        noisy = nullcontext() if self.read_noise is None else model.reading(self.read_noise)
        with torch.inference_mode(), torch.random.fork_rng(), noisy:
            for indices in np.array_split(chosen, -(-len(chosen) // self.batch_size)):
                x_BCHW = self._prepared(model, data.held_out, indices, device)
                seeds_B = torch.tensor([_seed(f"{seed}:{index}") for index in indices])
                torch.manual_seed(seed)  # all batches see the same noise
                afresh = self.protocol == "official"
                fillings.append(model.fillings(self._damaged(x_BCHW), seeds_B, afresh=afresh).cpu().numpy())
                clean.append(x_BCHW.cpu().numpy())
        fillings_TN = np.concatenate(fillings, axis=1)
        D_TN = changes(fillings_TN)
        account, why_not = self._account(model, data, chosen, device)
        return InpaintEvidence(
            model=model,
            data=data,
            hole=self.hole,
            clean=np.concatenate(clean),
            labels=data.held_out.labels[chosen],
            mean_image=self._mean_image(model, data, device),
            fillings_TN=fillings_TN,
            exits=Exits.of(self.stop, len(D_TN), lambda threshold: settled(D_TN, threshold)),
            account=account,
            why_no_account=why_not,
            device=device,
        )

    def _prepared(self, model: Any, split: Any, indices: np.ndarray, device: str) -> Any:
        import torch

        return prepared(model, torch.from_numpy(split.images(indices)).to(device))

    def _damaged(self, x_BCHW: Any) -> Any:
        first, behind = self.hole
        x_BCHW = x_BCHW.clone()
        x_BCHW[..., first:behind, first:behind] = BLACK
        return x_BCHW

    def _mean_image(self, model: Any, data: ImageData, device: str) -> np.ndarray:
        """Of the training images, (C, H, W): what a filling has to beat."""
        import numpy as np

        total, count = 0.0, len(data.train)
        for indices in np.array_split(np.arange(count), -(-count // self.batch_size)):
            total = total + self._prepared(model, data.train, indices, device).double().sum(0).cpu().numpy()
        mean: np.ndarray = np.asarray(total) / max(1, count)
        return mean

    def _account(self, model: Any, data: ImageData, chosen: np.ndarray, device: str) -> tuple[Any, str]:
        """The account of one run of all steps, or None and why there is none."""
        import torch

        if not self.account_samples:
            return None, "the task counts no operations (account_samples is 0)"
        from retable.bench.accountant import Accountant

        indices = chosen[: self.account_samples]
        x_BCHW = self._damaged(self._prepared(model, data.held_out, indices, device))
        seeds_B = torch.arange(len(indices))
        with torch.no_grad(), Accountant(model, rules=self.rules) as accountant:
            model(x_BCHW, seeds_B)
        return accountant.result(samples=len(indices)), ""


def _seed(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:6], "big")


@dataclass(frozen=True, kw_only=True, eq=False)
class InpaintEvidence:
    """Clean images (N, C, H, W) in [-1, 1], the images that the model gives for damaged ones after each step, and its exits."""

    model: Any
    data: ImageData
    hole: tuple[int, int]
    clean: np.ndarray
    labels: np.ndarray
    mean_image: np.ndarray
    fillings_TN: np.ndarray
    exits: Exits
    account: Any = None
    why_no_account: str = "nothing was counted"
    device: str = "cpu"
    _features: dict[tuple[str, str], Features] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        return len(self.fillings_TN)

    def errors(self, images_N: np.ndarray, region: str) -> np.ndarray:
        """Mean squared error of each image, (N,), `inside` the hole, `outside` of it, or of the `whole`."""
        import numpy as np

        first, behind = self.hole
        inside = np.zeros(self.clean.shape[-2:], bool)
        inside[first:behind, first:behind] = True
        where = {"inside": inside, "outside": ~inside, "whole": np.ones_like(inside)}[region]
        wrong = (images_N.astype(np.float64) - self.clean) ** 2
        mean: np.ndarray = wrong[..., where].mean((1, 2))
        return mean

    @property
    def filled(self) -> np.ndarray:
        """After all steps, (N, C, H, W)."""
        last: np.ndarray = self.fillings_TN[-1]
        return last

    def filled_at(self, exits_N: np.ndarray) -> np.ndarray:
        """After each sample's own exit, (N, C, H, W)."""
        chosen: np.ndarray = self.fillings_TN[exits_N - 1, range(len(exits_N))]
        return chosen

    @cached_property
    def damaged(self) -> np.ndarray:
        first, behind = self.hole
        images = self.clean.copy()
        images[..., first:behind, first:behind] = BLACK
        return images

    def features(self, which: str, network: str) -> Features:
        """Features of the `generated` images (whole reconstructions after all steps) or of the clean `held_out` ones."""
        from retable.bench.metrics.features import load_network

        images = {"generated": self.filled, "held_out": self.clean}[which]
        if (which, network) not in self._features:
            found = load_network(network, device=self.device)
            self._features[which, network] = found.extract(to_uint8(images))
        return self._features[which, network]

    def artefacts(self) -> Mapping[str, bytes]:
        """`samples.png`: rows of damaged images, fillings at their exits and after all steps, clean ones; and the exits."""
        files = {"samples.png": self._sheet()}
        exits = {"threshold": self.exits.threshold, "steps": self.exits.at.tolist()}
        content: dict[str, Any] = {"exits.json": exits}
        if self.account is not None:
            content["account.json"] = self.account.as_dict()
        return files | {name: json.dumps(value, allow_nan=False).encode() for name, value in content.items()}

    def _sheet(self) -> bytes:
        import numpy as np

        from retable.bench.tasks.pictures import contact_sheet

        first, behind = self.hole
        chosen = [int(np.flatnonzero(self.labels == label)[0]) for label in np.unique(self.labels)][:SHOWN]
        rows = [self.damaged]
        for images in (self.filled_at(self.exits.at), self.filled):
            repaired = self.clean.copy()
            repaired[..., first:behind, first:behind] = images[..., first:behind, first:behind]
            rows.append(repaired)
        rows += [self.filled, self.clean]
        tiles = [image for images in rows for image in to_uint8(images[chosen])]
        return contact_sheet(tiles, [()] * len(tiles), columns=len(chosen))


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Images in [-1, 1] as 0 ... 255, rounded."""
    import numpy as np

    pixels: np.ndarray = np.rint(127.5 * (np.asarray(images, np.float64) + 1)).clip(0, 255).astype(np.uint8)
    return pixels
