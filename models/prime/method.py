"""PRIME's two halves as methods (arXiv 2407.18625). Torch only when used.

`synapses` is the topology of random conductances that the paper learns; `random` leaves the masks as they start, and
`weights` is the software twin of the same shape, trained in ordinary units without masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retable.models.prime.config import (
    CLASSIFICATION,
    INPAINTING,
    NMNIST_CONV,
    Array,
    Convolution,
    Kind,
    Recipe,
    VAEConfig,
)

if TYPE_CHECKING:
    from retable.models.prime.classifier import PrimeClassifier
    from retable.models.prime.inpainter import Inpainter


@dataclass(frozen=True, kw_only=True)
class _Prime(Recipe):
    """What both halves share. `weights` names a released state dict below $BENCH_DATA; nothing is trained then."""

    synapses: Kind = "topology"
    sparsity: float = 0.5
    read_noise: float = 0.0
    weights: str | None = None

    NEEDS: ClassVar[tuple[str, ...]] = ()

    def build(self, images: Any) -> Any:
        raise NotImplementedError

    def train(self, model: Any, data: Any, *, seed: int, device: str) -> dict[str, Any]:
        raise NotImplementedError

    def fit(self, data: Any, needs: Mapping[str, Any], *, seed: int, device: str) -> tuple[Any, dict[str, Any]]:
        """Trained on `data.train`, or read from `weights`.

        Raises FloatingPointError when the loss is not finite, MissingWeights, CheckpointError.
        """
        import torch

        if self.weights is not None:
            from retable.models.common.weights import weights_file
            from retable.models.prime.checkpoint import load_published

            model = self.build(data)
            load_published(weights_file(self.weights), model.network)
            return model.to(device).eval(), {"weights": self.weights}
        with torch.random.fork_rng():
            torch.manual_seed(seed)  # conductances, scores, random choices in training
            model = self.build(data)
            return model, self.train(model, data, seed=seed, device=device)

    def load(self, state: Mapping[str, Any], data: Any, needs: Mapping[str, Any], *, device: str) -> Any:
        """The model that `state` came from."""
        model = self.build(data)
        model.load_state_dict(state)
        return model.to(device).eval()

    def weights_digest(self) -> str | None:
        """Digest of the released weights, None where it trains. Raises MissingWeights."""
        if self.weights is None:
            return None
        from retable.models.common.weights import weights_digest

        return weights_digest(self.weights)

    def array(self, base: Array) -> Array:
        return replace(base, kind=self.synapses, sparsity=self.sparsity, read_noise=self.read_noise)


@dataclass(frozen=True, kw_only=True)
class Prime(_Prime):
    """The classifier of event frames; by default NMNIST_CONV and its training, with `hidden` and no convolutions NMNIST_MLP."""

    NAME: ClassVar[str] = "prime"

    convolutions: tuple[Convolution, ...] = NMNIST_CONV
    hidden: tuple[int, ...] = ()
    T: int = 10
    loss: Literal["ce", "tet"] = "ce"
    epochs: int = 14
    batch_size: int = 128
    lr: float = 1e-3
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        self.array(CLASSIFICATION)
        if min(self.T, *self.hidden, *(c.out_channels for c in self.convolutions), 1) < 1:
            raise ValueError("`T`, `hidden` widths and channels must be at least 1")

    def build(self, images: Any) -> PrimeClassifier:
        """Random weights from torch's own generator; without data, for N-MNIST. Raises ValueError for still images."""
        from retable.models.prime.classifier import PrimeClassifier
        from retable.models.prime.network import Network

        in_shape, classes = (2, 34, 34), 10
        if images is not None:
            if len(images.image_shape) != 4:
                raise ValueError(f"{images.name} holds still images; prime takes frames of events (T, 2, H, W)")
            in_shape, classes = images.image_shape[1:], images.num_classes
        network = Network(in_shape, classes, self.convolutions, self.hidden, self.array(CLASSIFICATION))
        return PrimeClassifier(network, self.T)

    def train(self, model: PrimeClassifier, data: Any, *, seed: int, device: str) -> dict[str, Any]:
        from retable.models.prime.training import fit_classifier

        return fit_classifier(model, data.train, self, self.loss, seed=seed, device=device)


@dataclass(frozen=True, kw_only=True)
class PrimeInpainting(_Prime):
    """The spiking autoencoder that fills a square hole; by default Pruning_FSVAE and its training.

    Rows and columns `hole[0]` ... `hole[1] - 1` are black in training. `image_size` and the hole follow from nothing: they
    must fit the data.
    """

    NAME: ClassVar[str] = "prime-inpainting"

    channels: tuple[int, ...] = (32, 32, 32)
    latent: int = 128
    k: int = 20
    T: int = 16
    hole: tuple[int, int] = (12, 20)
    divergence: Literal["mmd", "kld"] = "mmd"
    epochs: int = 150
    batch_size: int = 250
    lr: float = 1e-3
    weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        self.array(INPAINTING)
        if not 0 <= self.hole[0] < self.hole[1]:
            raise ValueError(f"`hole` is its first row and the one behind its last, not {list(self.hole)}")
        self.sizes(None)

    def sizes(self, images: Any) -> VAEConfig:
        """For the data's square images in one grey channel; without data for MNIST at 32x32."""
        side = 2 ** len(self.channels) * 4 if images is None else images.image_shape[-1]
        return VAEConfig(T=self.T, channels=self.channels, latent=self.latent, k=self.k, image_size=side)

    def build(self, images: Any) -> Inpainter:
        """Random weights from torch's own generator. Raises ValueError for frames of events and a hole outside of the image."""
        from retable.models.prime.inpainter import Inpainter
        from retable.models.prime.vae import SpikingVAE

        if images is not None and (len(images.image_shape) != 3 or len(set(images.image_shape[1:])) > 1):
            raise ValueError(f"{images.name} must hold square still images, not {images.image_shape}")
        sizes = self.sizes(images)
        if self.hole[1] > sizes.image_size:
            raise ValueError(f"`hole` {list(self.hole)} reaches beyond images of {sizes.image_size} pixels a side")
        return Inpainter(SpikingVAE(sizes, self.array(INPAINTING)))

    def train(self, model: Inpainter, data: Any, *, seed: int, device: str) -> dict[str, Any]:
        from retable.models.prime.training import fit_inpainter

        return fit_inpainter(model, data.train, self, self.divergence, self.hole, seed=seed, device=device)
