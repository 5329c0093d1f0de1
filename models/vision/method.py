"""The survey's networks as methods: sizes, fit, load (arXiv 2409.02111). Imports torch only when used.

Every method is a recipe with a network. `T` time steps; an image is shown at each of them, event frames are grouped into
them. With `spiking: false` the network is its ANN twin: ReLU for every neuron and T = 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from models.vision.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

    from models.vision.classifier import Classifier

IMAGENET = {"in_channels": 3, "image_size": 224, "num_classes": 1000}
"""What a network is built for where neither the data nor the parameters say."""


@dataclass(frozen=True, kw_only=True)
class Network(Recipe):
    """What all methods share; `in_channels`, `image_size` and `num_classes` follow from the data where not given."""

    T: int = 4
    spiking: bool = True
    in_channels: int | None = None
    image_size: int | None = None
    num_classes: int | None = None

    NEEDS: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("T", "in_channels", "image_size", "num_classes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, not {value}")

    @property
    def steps(self) -> int:
        """T of the network that is built: 1 for an ANN."""
        return self.T if self.spiking else 1

    def network(self, **places: Any) -> nn.Module:
        """The network with random weights for `in_channels`, `image_size`, `num_classes`, `T` and maybe `neuron`."""
        raise NotImplementedError

    def build(self, images: Any) -> Classifier:
        """Random weights from torch's own generator; without data, for ImageNet at 224 pixels unless parameters say else."""
        from models.vision.classifier import Classifier

        places = self._places(images)
        twin = {} if self.spiking else {"neuron": relu}
        return Classifier(self.network(T=self.steps, **places, **twin), channels=places["in_channels"], T=self.steps)

    def fit(self, data: Any, needs: Mapping[str, Any], *, seed: int, device: str) -> tuple[Classifier, dict[str, Any]]:
        """Trained on `data.train`. Raises FloatingPointError when the loss is not finite."""
        import torch

        from models.vision.training import fit_classifier

        with torch.random.fork_rng():
            torch.manual_seed(seed)  # initial weights, dropout
            model = self.build(data)
            log = fit_classifier(model, data.train, self, seed=seed, device=device)
        return model, log

    def load(self, state: Mapping[str, Any], data: Any, needs: Mapping[str, Any], *, device: str) -> Classifier:
        """The model that `state` came from."""
        model = self.build(data)
        model.load_state_dict(state)
        return model.to(device).eval()

    def _places(self, images: Any) -> dict[str, int]:
        """Raises ValueError for images that are not square or for a parameter that contradicts the data."""
        if images is None:
            return {name: getattr(self, name) or value for name, value in IMAGENET.items()}
        *_, channels, height, width = images.image_shape
        if height != width:
            raise ValueError(f"{images.name} has images of {height}x{width} pixels; the networks take square ones")
        found = {"in_channels": channels, "image_size": height, "num_classes": images.num_classes}
        for name, value in found.items():
            if getattr(self, name) not in (None, value):
                raise ValueError(f"`{name}` is {getattr(self, name)}, but {images.name} has {value}")
        return found


def relu(*_: Any, **__: Any) -> nn.Module:
    """What stands for every neuron in an ANN twin."""
    from torch.nn import ReLU

    return ReLU()
