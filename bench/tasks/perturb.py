"""Adversarial images: torchattacks on models of pixels in [0, 1], stochastic ones too, with the strongest image so far kept.

Normalisation and noise live inside the model, so budgets are in units of the pixels whatever it does with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn

from retable.bench.errors import BenchError
from retable.bench.tasks.logits import prepared

INSIDE = 1e-4
"""CW moves pixels in the space of tanh, where 0 and 1 are infinitely far: it starts this far inside."""


class Pixels(nn.Module):
    """Logits (B, K) of pixels (B, C, H, W) in [0, 1]: of a fitted model, as the mean of `draws` forward passes.

    The model prepares pixels in [0, 255] (`prepare`), as it does for classification.
    """

    def __init__(self, model: Any, draws: int = 1) -> None:
        super().__init__()
        self.model, self.draws = model, draws
        self.eval()  # torchattacks puts a wrapper's model back into the mode of the wrapper, which a new module has wrong

    def forward(self, x: Tensor) -> Tensor:
        many = x if self.draws == 1 else x.repeat(self.draws, *[1] * (x.dim() - 1))
        logits: Tensor = self.model(prepared(self.model, 255 * many))
        return logits if self.draws == 1 else logits.unflatten(0, (self.draws, -1)).mean(0)


class Watched(nn.Module):
    """Passes images through and keeps, of all that were shown while `labels` are set, each one's input of the largest margin.

    The margin is the largest other logit less the true one; draws of the same tensor, one after the other, are averaged.
    """

    def __init__(self, pixels: nn.Module) -> None:
        super().__init__()
        self.pixels = pixels
        self.labels: Tensor | None = None
        self._shown: Tensor | None = None
        self._sum: Tensor
        self._draws = 0

    def watch(self, x: Tensor, labels: Tensor) -> None:
        self.labels, self.best = labels, x.clone()
        self.margin = x.new_full((len(x),), -float("inf"))
        self._shown = None

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.pixels(x)
        if x.requires_grad and not logits.requires_grad and torch.is_grad_enabled():
            raise BenchError("the attack needs gradients, and the model's logits have none by its input: use square")
        if self.labels is not None:
            if x is not self._shown:
                self._settle()
                self._shown, self._sum, self._draws = x, torch.zeros_like(logits), 0
            self._sum = self._sum + logits.detach()
            self._draws += 1
        return logits

    def strongest(self) -> Tensor:
        """The images kept since `watch`, and no more watching."""
        self._settle()
        self.labels = self._shown = None
        return self.best

    def _settle(self) -> None:
        if self._shown is None or self.labels is None:
            return
        margin = margins(self._sum / self._draws, self.labels)
        better = margin > self.margin
        self.margin = torch.where(better, margin, self.margin)
        self.best[better] = self._shown.detach()[better]


class Perturber:
    """Attacks one model; `seed` gives every attack its own random state, and torch's is left as it was."""

    def __init__(self, pixels: nn.Module, *, seed: int, draws: int = 1) -> None:
        self.pixels, self.seed, self.draws = pixels, seed, draws
        self._watched = Watched(pixels).eval()

    def last(self, name: str, x: Tensor, labels: Tensor, **options: Any) -> Tensor:
        """What the attack of that name in torchattacks returns. Raises BenchError for impossible requests."""
        check_budget(x, **options)
        with self.seeded(name):
            return self._attack(name, x, labels, options)

    def strongest(self, name: str, x: Tensor, labels: Tensor, **options: Any) -> Tensor:
        """The same, but of all images that the attack tried each one's strongest: for attacks that would return their last."""
        check_budget(x, **options)
        self._watched.watch(x, labels)
        with self.seeded(name):
            last = self._attack(name, x, labels, options)
            with torch.no_grad():
                for _ in range(self.draws):
                    self._watched(last)
        return self._watched.strongest()

    def apgd(self, x: Tensor, labels: Tensor, *, eps: float, loss: str, steps: int) -> Tensor:
        """The image of the largest mean loss that APGD (arXiv 2003.01690) met on its way, whether it survives or not."""
        check_budget(x, eps=eps)
        attack = import_torchattacks().APGD(self._watched, eps=eps, steps=steps, loss=loss, eot_iter=self.draws)
        attack.set_device(x.device)
        with self.seeded(f"apgd {loss}"):
            found: Tensor = attack.attack_single_run(x, labels)[0].detach()
        return found

    def random(self, x: Tensor, labels: Tensor, *, eps: float, tries: int) -> Tensor:
        """The strongest of x and `tries` random corners of the L-infinity ball."""
        check_budget(x, eps=eps)
        self._watched.watch(x, labels)
        with self.seeded("random"), torch.no_grad():
            for i in range(tries + 1):
                corner = x if i == 0 else (x + eps * torch.empty_like(x).bernoulli_(0.5).mul_(2).sub_(1)).clamp(0, 1)
                for _ in range(self.draws):
                    self._watched(corner)
        return self._watched.strongest()

    def _attack(self, name: str, x: Tensor, labels: Tensor, options: dict[str, Any]) -> Tensor:
        torchattacks = import_torchattacks()
        if name == "AutoAttack":
            attack = torchattacks.AutoAttack(self._watched, version="rand", seed=self.seed % 2**31, **options)
            for (
                part
            ) in attack._autoattack.attacks:  # the library fixes 20 draws, which a deterministic model need not pay
                part.eot_iter = self.draws
        else:
            attack = getattr(torchattacks, name)(self._watched, **options)
        attack.set_device(x.device)
        found: Tensor = attack(x, labels).detach()
        return found

    @contextmanager
    def seeded(self, name: str) -> Iterator[None]:
        with torch.random.fork_rng():
            torch.manual_seed(crc32(f"{self.seed}:{name}".encode()))
            yield


def margins(logits_BK: Tensor, labels_B: Tensor) -> Tensor:
    """Largest other logit less the true one, (B,): above 0 where the class is wrong."""
    true = logits_BK.gather(1, labels_B[:, None])
    others = logits_BK.scatter(1, labels_B[:, None], -float("inf"))
    return others.max(1).values - true[:, 0]


def within_l2(x: Tensor, attacked: Tensor, eps: float) -> Tensor:
    """Perturbations shortened to an L2 norm of `eps` where they are longer."""
    delta = attacked - x
    norm = delta.flatten(1).norm(dim=1).view(-1, *[1] * (x.dim() - 1))
    return x + delta * (eps / norm.clamp(min=1e-12)).clamp(max=1)


def check_budget(x: Tensor, *, eps: float = 0.0, **_: Any) -> None:
    """Raises BenchError for pixels outside [0, 1] (NaN too) or a budget below 0."""
    if not bool(((x >= 0) & (x <= 1)).all()):
        raise BenchError(f"attacked pixels must lie in [0, 1], not in [{float(x.min()):g}, {float(x.max()):g}]")
    if not eps >= 0:
        raise BenchError(f"`eps` must be at least 0, not {eps}")


def import_torchattacks() -> Any:
    """Raises BenchError that says what to install."""
    try:
        import torchattacks
    except ModuleNotFoundError as error:
        raise BenchError("attacks need torchattacks: `pip install --no-deps torchattacks==3.5.1`") from error
    return torchattacks
