"""What the survey's methods share: sizes from the data, fit, load (arXiv 2409.02111). Imports torch only when used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from retable.models.vision.checks import at_least_one
from retable.models.vision.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

    from retable.models.vision.classifier import Classifier

IMAGENET = {"in_channels": 3, "image_size": 224, "num_classes": 1000}
"""What a network is built for where neither the data nor the parameters say."""


@dataclass(frozen=True, kw_only=True)
class Network(Recipe):
    """What all methods share; `in_channels`, `image_size` and `num_classes` follow from the data where not given."""

    T: int = 4
    spiking: bool = True
    weights: str | None = None
    in_channels: int | None = None
    image_size: int | None = None
    num_classes: int | None = None

    NEEDS: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(self, "T", "in_channels", "image_size", "num_classes")

    @property
    def steps(self) -> int:
        """T of the network that is built: 1 for an ANN."""
        return self.T if self.spiking else 1

    def architecture(self) -> dict[str, Any]:
        """The network's own arguments; a published size may say what it is for (`image_size`, `num_classes`) too."""
        return {}

    def network(self, **arguments: Any) -> nn.Module:
        """The network with random weights: `forward(x) -> logits_BK`, `steps(x) -> logits_TBK`."""
        raise NotImplementedError

    def build(self, images: Any) -> Classifier:
        """Random weights from torch's own generator; without data, for what the size or the parameters say, else ImageNet."""
        from retable.models.vision.classifier import Classifier
        from retable.models.vision.layers import relu

        arguments = IMAGENET | self.architecture() | self._places(images) | {"T": self.steps}
        if not self.spiking:
            arguments["neuron"] = relu
        return Classifier(self.network(**arguments), channels=arguments["in_channels"], T=self.steps)

    def fit(self, data: Any, needs: Mapping[str, Any], *, seed: int, device: str) -> tuple[Classifier, dict[str, Any]]:
        """Trained on `data.train`, or read from `weights`.

        Raises FloatingPointError when the loss is not finite, MissingWeights, CheckpointError.
        """
        import torch

        if self.weights is not None:
            from retable.models.common.checkpoint import load_strictly, read_tensors
            from retable.models.common.weights import weights_file

            model, path = self.build(data), weights_file(self.weights)
            load_strictly(path, model.network, self.published_keys(read_tensors(path)))
            model.standardise_as_imagenet()
            return model.to(device).eval(), {"weights": self.weights}

        with torch.random.fork_rng():
            torch.manual_seed(seed)  # initial weights, dropout
            return self.train(data, seed=seed, device=device)

    def train(self, data: Any, *, seed: int, device: str) -> tuple[Classifier, dict[str, Any]]:
        """What `fit` does once torch's own generator is seeded."""
        from retable.models.vision.training import fit_classifier

        model = self.build(data)
        return model, fit_classifier(model, data.train, self, seed=seed, device=device)

    def load(self, state: Mapping[str, Any], data: Any, needs: Mapping[str, Any], *, device: str) -> Classifier:
        """The model that `state` came from."""
        model = self.build(data)
        model.load_state_dict(state)
        return model.to(device).eval()

    def published_keys(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """A published state dict under this network's names."""
        return official_keys(state)

    def weights_digest(self) -> str | None:
        """Digest of the published weights, None where it trains. Raises MissingWeights."""
        if self.weights is None:
            return None
        from retable.models.common.weights import weights_digest

        return weights_digest(self.weights)

    def _places(self, images: Any) -> dict[str, int]:
        """Of the data, else of the parameters. Raises ValueError for images that are not square or a contradiction."""
        given = {name: value for name in IMAGENET if (value := getattr(self, name)) is not None}
        if images is None:
            return given
        *_, channels, height, width = images.image_shape
        if height != width:
            raise ValueError(f"{images.name} has images of {height}x{width} pixels; the networks take square ones")
        found = {"in_channels": channels, "image_size": height, "num_classes": images.num_classes}
        for name, value in given.items():
            if value != found[name]:
                raise ValueError(f"`{name}` is {value}, but {images.name} has {found[name]}")
        return found


def official_keys(state: Mapping[str, Any]) -> dict[str, Any]:
    """A published state dict without the `module.` that SpikingJelly's containers and data-parallel training put into keys."""
    return {key.removeprefix("module.").replace(".module.", "."): tensor for key, tensor in state.items()}
