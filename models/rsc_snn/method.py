"""RSC-SNN and what it is compared with as methods (arXiv 2407.20099, re-implemented from its abstract). Torch only when used.

One network behind one of three codings; with `spiking: false` its ANN twin (ReLU, T = 1), whose coding rsc is the classical
randomised smoothing of arXiv 1902.02918. Networks, constants and training are those of the published rate-coded SNN
(Mukhoty et al., ICLR 2024), because the paper's own were not found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retable import units
from retable.models.vision.network import IMAGENET, Network

if TYPE_CHECKING:
    from torch import nn

    from retable.models.rsc_snn.classifier import CodedClassifier

VGG11: tuple[int | Literal["A"], ...] = (64, "A", 128, 256, "A", 512, 512, 512, "A", 512, 512)


@dataclass(frozen=True, kw_only=True)
class RSCSNN(Network):
    """`coding` direct, poisson or rsc with noise of deviation `sigma`, drawn anew in each step unless `per_step` is false.

    `plan` (channels of 3x3 convolutions, A for pooling) and `hidden` belong to the body vgg, `widen` to wrn-16. Neurons leak
    by `tau` (1 integrates) and learn through a triangle of half-width `width`. With an `adversary` training images are
    perturbed within `adv_eps` first: by Gaussian noise of that deviation, or in `adv_steps` steps of `adv_alpha`.
    """

    NAME: ClassVar[str] = "rsc-snn"

    coding: Literal["direct", "poisson", "rsc"] = "rsc"
    sigma: float = 0.0
    per_step: bool = True
    body: Literal["vgg", "wrn-16", "sew-resnet-34"] = "vgg"
    plan: tuple[int | Literal["A"], ...] = VGG11
    hidden: tuple[int, ...] = (4096, 4096)
    widen: int = 4
    tau: float = 1.0
    width: float = 1.0
    adversary: Literal["none", "gaussian", "fgsm", "pgd"] = "none"
    adv_eps: float = 8 / 255
    adv_alpha: float = 2 / 255
    adv_steps: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, most in (("sigma", 2.0), ("adv_eps", 1.0), ("adv_alpha", 1.0)):
            if wrong := units.of_pixels(name, getattr(self, name), most=most):
                raise ValueError(wrong)
        if self.sigma and self.coding != "rsc":
            raise ValueError(
                f"`sigma` is the noise of the coding rsc; {self.coding} has none, so it cannot be {self.sigma}"
            )
        if not all(layer == "A" or int(layer) >= 1 for layer in self.plan) or not self.plan:
            raise ValueError(
                f"`plan` must hold numbers of channels of at least 1 and A for pooling, not {list(self.plan)}"
            )
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"`hidden` must be widths of at least 1, not {list(self.hidden)}")
        if not 0 <= self.tau <= 1:
            raise ValueError(f"`tau` must lie between 0 and 1, not be {self.tau}")
        for name in ("width", "adv_eps", "adv_alpha"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be above 0, not {getattr(self, name)}")
        for name in ("widen", "adv_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, not {getattr(self, name)}")

    def build(self, images: Any) -> CodedClassifier:
        """Random weights from torch's own generator; without data, for what the parameters say, else ImageNet's sizes."""
        from retable.models.rsc_snn.classifier import CodedClassifier
        from retable.models.rsc_snn.coding import Coding

        places = IMAGENET | self._places(images)
        coding = Coding(self.coding, self.steps, self.sigma, self.per_step)
        return CodedClassifier(self.network(**places, T=self.steps), places["in_channels"], coding)

    def network(self, **arguments: Any) -> nn.Module:
        """The body that `body` names, with neurons or, in an ANN twin, ReLU."""
        from retable.models.rsc_snn.network import VGG, WideResNet
        from retable.models.rsc_snn.neuron import TriangleNeuron
        from retable.models.vision.layers import relu
        from retable.models.vision.sew_resnet import SEWResNet

        def fires(threshold: float = 1.0) -> nn.Module:
            return TriangleNeuron(self.tau, self.width)

        image_size = arguments.pop("image_size")
        arguments["neuron"] = fires if self.spiking else relu
        if self.body == "vgg":
            return VGG(image_size=image_size, plan=self.plan, hidden=self.hidden, **arguments)
        if self.body == "wrn-16":
            return WideResNet(widen=self.widen, **arguments)
        return SEWResNet(layers=(3, 4, 6, 3), connect="add", **arguments)

    def train(self, data: Any, *, seed: int, device: str) -> tuple[CodedClassifier, dict[str, Any]]:
        from retable.models.rsc_snn.training import perturbed
        from retable.models.vision.training import fit_classifier

        model = self.build(data)
        objective = None if self.adversary == "none" else perturbed(self.perturbation(), self)
        return model, fit_classifier(model, data.train, self, seed=seed, device=device, objective=objective)

    def perturbation(self) -> Any:
        """What the adversary of the training does."""
        from retable.models.rsc_snn.training import Perturbation

        return Perturbation(adversary=self.adversary, eps=self.adv_eps, alpha=self.adv_alpha, steps=self.adv_steps)


@dataclass(frozen=True, kw_only=True)
class ERSCT(RSCSNN):
    """E-RSCT: the same, taught by a fitted ANN twin that sees the clean image.

    `kd` weighs the divergence of the softened outputs (`temperature`), `pre` the squared differences of the neurons' mean input
    currents from the teacher's. Form and weights are choices made here: the paper's were not found.
    """

    NAME: ClassVar[str] = "e-rsct"

    kd: float = 1.0
    pre: float = 0.1
    temperature: float = 4.0

    NEEDS: ClassVar[tuple[str, ...]] = ("teacher",)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("kd", "pre"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be at least 0, not {getattr(self, name)}")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"`temperature` must be above 0, not {self.temperature}")

    def fit(
        self, data: Any, needs: Mapping[str, Any], *, seed: int, device: str
    ) -> tuple[CodedClassifier, dict[str, Any]]:
        """Trained on `data.train`. Raises ValueError for a teacher of other layers, FloatingPointError for a broken loss."""
        import torch

        from retable.models.rsc_snn.training import distilled
        from retable.models.vision.training import fit_classifier

        with torch.random.fork_rng():
            torch.manual_seed(seed)  # initial weights, noise
            model = self.build(data)
            perturb = None if self.adversary == "none" else self.perturbation()
            objective = distilled(needs["teacher"], self, self.kd, self.pre, self.temperature, perturb)
            return model, fit_classifier(model, data.train, self, seed=seed, device=device, objective=objective)
