"""Training under attack and E-RSCT's distillation, as objectives of `models.vision.training.fit_classifier`.

The paper's losses and their weights were not found; the forms are those that its abstract describes in words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from retable.models.rsc_snn.classifier import CodedClassifier
from retable.models.rsc_snn.network import kl_divergence, pre_synaptic
from retable.models.vision.recipe import Recipe
from retable.models.vision.training import Objective, loss_of

Adversary = Literal["none", "gaussian", "fgsm", "pgd"]


@dataclass(frozen=True, kw_only=True)
class Perturbation:
    """What training images suffer: Gaussian noise of deviation `eps`, or steps of `alpha` up the loss within `eps` (L-infinity)."""

    adversary: Adversary
    eps: float
    alpha: float
    steps: int

    def __call__(self, model: CodedClassifier, x: Tensor, labels_B: Tensor) -> Tensor:
        """Images in [0, 1]; gradients are taken in eval mode, as an attacker would, and the model's mode is restored."""
        if self.adversary == "gaussian":
            return (x + self.eps * torch.randn_like(x)).clamp(0, 1)
        alpha, steps = (self.eps, 1) if self.adversary == "fgsm" else (self.alpha, self.steps)
        training = model.training
        model.eval()
        attacked = x
        for _ in range(steps):
            attacked = attacked.detach().requires_grad_()
            (grad,) = torch.autograd.grad(F.cross_entropy(model(attacked), labels_B), attacked)
            moved = attacked.detach() + alpha * grad.sign()
            attacked = (x + (moved - x).clamp(-self.eps, self.eps)).clamp(0, 1)
        model.train(training)
        return attacked.detach()


def perturbed(perturbation: Perturbation, recipe: Recipe) -> Objective:
    """The recipe's loss on perturbed images."""

    def objective(model: CodedClassifier, x: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        logits_TBK = model.steps(perturbation(model, x, labels_B))
        return loss_of(logits_TBK, labels_B, recipe), logits_TBK

    return objective  # type: ignore[return-value]


def distilled(
    teacher: CodedClassifier,
    recipe: Recipe,
    kd: float,
    pre: float,
    temperature: float,
    perturb: Callable[..., Tensor] | None,
) -> Objective:
    """CE + kd KL(teacher || student) + pre sum over layers of the mean squared difference of their time-mean currents.

    The teacher sees the clean image, whatever noise its own coding has; the student the coded (and perturbed) one.
    """
    teacher.eval()

    def objective(model: CodedClassifier, x: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), teacher.attacked_through("expected"):
            taught_TBK, wanted = pre_synaptic(teacher.network, teacher.coded(x).transpose(0, 1))
        seen = x if perturb is None else perturb(model, x, labels_B)
        logits_TBK, currents = pre_synaptic(model.network, model.coded(seen).transpose(0, 1))
        if [current.shape for current in currents] != [current.shape for current in wanted]:
            raise ValueError(
                "the teacher must have the student's layers: give both the same `body`, `plan` and `hidden`"
            )
        apart = torch.stack([F.mse_loss(own, theirs) for own, theirs in zip(currents, wanted, strict=True)]).sum()
        near = kl_divergence(taught_TBK.mean(0), logits_TBK.mean(0), temperature)
        return loss_of(logits_TBK, labels_B, recipe) + kd * near + pre * apart, logits_TBK

    return objective  # type: ignore[return-value]
