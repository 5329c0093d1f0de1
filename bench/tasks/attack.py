"""Task `attack`: fit, then attack held-out images in every way that a claim of robustness has to survive."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retable import units
from retable.bench.errors import BenchError
from retable.bench.metrics.budgets import WHOLE, at
from retable.bench.tasks.logits import of_images

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from retable.bench.datasets.images import ImageData

Extra = Literal["autoattack", "cw", "pgd-l2", "expected", "rate"]
UNUSABLE = -1
"""The predicted class where a logit is not finite."""
MOST_L2 = 10.0
"""Euclidean budgets that anybody attacks within are 0.25 to 5."""
STEP = 0.25
"""A gradient step moves every pixel by this share of the budget."""
APGD, APGD_STEPS, DLR_CLASSES = "apgd-", 100, 3
"""AutoAttack's iterations (arXiv 2003.01690); the difference-of-logits ratio divides by the third largest logit."""
SURFACE_IMAGES = 16
SURFACE_POINTS = 5


@dataclass(frozen=True, kw_only=True)
class Attack:
    """Attacks `images` held-out images, evenly spread, within `eps` (L-infinity, in units of pixels in [0, 1]).

    Always: fgsm; pgd of `steps` and of `more_steps`; pgd from one draw of the model's noise (one-draw); random corners
    (`tries`), square (`queries`) and a transfer of pgd from a plain network that the task trains for `source_epochs`; pgd at the
    budgets of `curve` and at 1. `also` adds autoattack (its version for random models), cw and pgd-l2 (within `eps_l2`), and
    pgd through the expected code or through the neurons' rates; `widths` adds pgd through other widths of the surrogate.

    AutoAttack for random models is APGD on the cross entropy and on the difference of logits (DLR, for three classes and
    more), 100 iterations each, every image judged as each of them left it. `autoattack: library` is what torchattacks makes
    of it: 10 iterations, and images that survive come back as they were.

    Gradients are means over `eot` draws of the noise, predictions come from mean logits over `votes` fresh ones; both are 1
    for a deterministic model. `width` is that of the surrogate for every attack, null the model's own.
    """

    NAME: ClassVar[str] = "attack"

    eps: float = 8 / 255
    steps: int = 7
    more_steps: tuple[int, ...] = (20, 100)
    curve: tuple[float, ...] = (2 / 255, 4 / 255, 16 / 255, 32 / 255)
    eot: int = 10
    votes: int = 10
    also: tuple[Extra, ...] = ("autoattack", "cw", "pgd-l2")
    autoattack: Literal["standard", "library"] = "standard"
    widths: tuple[float, ...] = ()
    width: float | None = None
    eps_l2: float = 0.5
    cw_c: float = 1.0
    cw_steps: int = 50
    queries: int = 1000
    tries: int = 50
    source_epochs: int = 5
    images: int = 500
    batch_size: int = 100

    FITS: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("steps", "eot", "votes", "cw_steps", "queries", "tries", "source_epochs", "images", "batch_size"):
            if getattr(self, name) < 1:
                raise BenchError(f"`{name}` must be at least 1, not {getattr(self, name)}")
        budgets = [("eps", self.eps, WHOLE), *(("curve", eps, WHOLE) for eps in self.curve)]
        for name, budget, most in (*budgets, ("eps_l2", self.eps_l2, MOST_L2)):
            if wrong := units.of_pixels(name, budget, most=most):
                raise BenchError(wrong)
        if not all(self.curve):
            raise BenchError(f"`curve` must hold budgets above 0, not {list(self.curve)}")
        if not self.more_steps or min(self.more_steps) <= self.steps:
            raise BenchError(f"`more_steps` must be above `steps` = {self.steps}, not {list(self.more_steps)}")
        if not all(width > 0 for width in (*self.widths, 1.0 if self.width is None else self.width)):
            raise BenchError(f"widths of the surrogate must be above 0, not {self.width} and {list(self.widths)}")

    def evidence(self, model: Any, data: ImageData, *, seed: int, device: str) -> AttackEvidence:
        """Predictions under every attack. Raises BenchError for a model without the gradients or pixels that one needs."""
        import numpy as np
        import torch

        from retable.bench.tasks.certify import evenly_spread
        from retable.bench.tasks.perturb import Pixels
        from retable.bench.tasks.transfer_source import fit_source

        if not len(data.held_out):
            raise BenchError(f"{data.name} has no held-out images to attack")
        if len(data.image_shape) != 3:
            raise BenchError(f"attacks move pixels of images, and {data.name} has event frames")
        model.eval()
        chosen = evenly_spread(len(data.held_out), self.images)
        x = torch.from_numpy(data.held_out.images(chosen)).to(device).float() / 255
        labels = torch.from_numpy(data.held_out.labels[chosen]).to(device)
        source = fit_source(data, epochs=self.source_epochs, seed=seed, device=device)
        stochastic = _draws_noise(model, x[:2], data.num_classes)
        batches = [
            _Battery(self, model, source, seed + i, stochastic, data.num_classes).run(x_B, labels_B)
            for i, (x_B, labels_B) in enumerate(
                zip(x.split(self.batch_size), labels.split(self.batch_size), strict=True)
            )
        ]
        with torch.no_grad():
            hits = Pixels(source)(x).argmax(-1) == labels
        return AttackEvidence(
            model=model,
            data=data,
            task=self,
            stochastic=stochastic,
            source_accuracy=100 * float(hits.float().mean()),
            labels=data.held_out.labels[chosen],
            predictions={
                name: np.concatenate([b.predictions[name] for b in batches]) for name in batches[0].predictions
            },
            gradient_norms=np.concatenate([batch.gradient_norms for batch in batches]),
            losses_AN=np.concatenate([batch.losses_AN for batch in batches], axis=1),
            surface=batches[0].surface,
        )


@dataclass(kw_only=True)
class _Outcome:
    """What one batch of images gave; see AttackEvidence."""

    predictions: dict[str, np.ndarray] = field(default_factory=dict)
    gradient_norms: np.ndarray
    losses_AN: np.ndarray
    surface: list[list[float]]


class _Battery:
    """All attacks of a task on one batch of images."""

    def __init__(self, task: Attack, model: Any, source: Any, seed: int, stochastic: bool, classes: int) -> None:
        from retable.bench.tasks.perturb import Perturber, Pixels

        self.task, self.model, self.seed, self.stochastic, self.classes = task, model, seed, stochastic, classes
        self.eot, self.votes = (task.eot, task.votes) if stochastic else (1, 1)
        self.single = Perturber(Pixels(model), seed=seed, draws=self.eot)
        self.averaged = Perturber(Pixels(model, self.eot), seed=seed)
        self.voting = Pixels(model, self.votes)
        self.source = Perturber(Pixels(source), seed=seed)

    def run(self, x: Tensor, labels: Tensor) -> _Outcome:
        task = self.task
        with self._through():
            found = self._white_box(x, labels)
            gradients, losses = self._gradient_norms(x, labels), self._losses(x, found["pgd"], labels)
            surface = self._surface(x[:SURFACE_IMAGES], found["pgd"][:SURFACE_IMAGES], labels[:SURFACE_IMAGES])
        found |= self._other_gradients(x, labels)
        found["random"] = self.single.random(x, labels, eps=task.eps, tries=task.tries)
        square = {"eps": task.eps, "n_queries": task.queries, "seed": self.seed % 2**31}
        found["square"] = self.averaged.last("Square", x, labels, **square)
        steps = {"eps": task.eps, "alpha": STEP * task.eps, "steps": max(task.more_steps), "random_start": False}
        found["transfer"] = self.source.strongest("PGD", x, labels, **steps)
        found |= {"clean": x, "pgd-again": found["pgd"]}
        return _Outcome(
            predictions={name: self._predicted(name, attacked) for name, attacked in found.items()},
            gradient_norms=gradients,
            losses_AN=losses,
            surface=surface,
        )

    def _white_box(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        task = self.task
        found = {"fgsm": self._fgsm(x, labels), "pgd": self._pgd(x, labels, task.eps, task.steps)}
        for steps in task.more_steps:
            found[f"pgd-{steps}"] = self._pgd(x, labels, task.eps, steps)
        found["one-draw"] = self._pgd(x, labels, task.eps, task.steps, draws=1) if self.stochastic else found["pgd"]
        for eps in task.curve:
            found[at(eps)] = self._pgd(x, labels, eps, task.steps)
        found[at(WHOLE)] = self._pgd(x, labels, WHOLE, max(task.more_steps))
        if "autoattack" in task.also:
            found |= self._autoattack(x, labels)
        found |= self._within_l2(x, labels)
        return found

    def _autoattack(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        eps = self.task.eps
        if self.task.autoattack == "library":
            if self.classes < DLR_CLASSES:
                raise BenchError(f"torchattacks' AutoAttack needs {DLR_CLASSES} classes: take `autoattack: standard`")
            return {"autoattack": self.averaged.last("AutoAttack", x, labels, eps=eps, n_classes=self.classes)}
        losses = ("ce", "dlr") if self.classes >= DLR_CLASSES else ("ce",)
        return {f"{APGD}{loss}": self.single.apgd(x, labels, eps=eps, loss=loss, steps=APGD_STEPS) for loss in losses}

    def _within_l2(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        from retable.bench.tasks.perturb import INSIDE, within_l2

        task, found = self.task, {}
        if "pgd-l2" in task.also:
            options = {"eps": task.eps_l2, "alpha": STEP * task.eps_l2, "steps": task.steps, "random_start": False}
            found["pgd-l2"] = self.averaged.strongest("PGDL2", x, labels, **options)
        if "cw" in task.also:
            inside = x.clamp(INSIDE, 1 - INSIDE)
            moved = self.averaged.last("CW", inside, labels, c=task.cw_c, steps=task.cw_steps)
            found["cw"] = within_l2(x, moved, task.eps_l2)
        return found

    def _other_gradients(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """PGD as attackers take it who pass the coding or the neurons in another way."""
        task = self.task
        ways: dict[str, dict[str, Any]] = {f"width-{width:g}": {"width": width} for width in task.widths}
        ways |= {name: {"code": "expected"} for name in ("expected",) if name in task.also}
        ways |= {name: {"neuron": "rate"} for name in ("rate",) if name in task.also}
        found = {}
        for name, way in ways.items():
            with self._through(**way):
                found[name] = self._pgd(x, labels, task.eps, task.steps)
        return found

    def _through(self, **way: Any) -> AbstractContextManager[Any]:
        """The derivatives that the attacker takes; a model says what it has to offer by `attacked_through`."""
        if self.task.width is not None:
            way.setdefault("width", self.task.width)
        if not way:
            return nullcontext()
        through: Callable[..., AbstractContextManager[Any]] | None = getattr(self.model, "attacked_through", None)
        if through is None:
            raise BenchError(f"{type(self.model).__name__} has only one gradient: leave out {', '.join(way)}")
        return through(**way)

    def _pgd(self, x: Tensor, labels: Tensor, eps: float, steps: int, draws: int | None = None) -> Tensor:
        options: dict[str, Any] = {"eps": eps, "alpha": STEP * eps, "steps": steps, "random_start": False}
        if not self.stochastic:
            return self.single.strongest("PGD", x, labels, **options)
        return self.single.strongest("EOTPGD", x, labels, eot_iter=draws or self.eot, **options)

    def _fgsm(self, x: Tensor, labels: Tensor) -> Tensor:
        eps = self.task.eps
        if not self.stochastic:
            return self.single.last("FGSM", x, labels, eps=eps)
        options = {"eps": eps, "alpha": eps, "steps": 1, "eot_iter": self.eot, "random_start": False}
        return self.single.last("EOTPGD", x, labels, **options)

    def _predicted(self, name: str, x: Tensor) -> np.ndarray:
        """Classes by the mean logits over fresh draws."""
        import torch

        with torch.no_grad(), self.single.seeded(f"{name} seen"):
            logits = self.voting(x)
        classes = logits.argmax(-1).masked_fill(~logits.isfinite().all(-1), UNUSABLE)
        found: np.ndarray = classes.cpu().numpy()
        return found

    def _loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the mean logits, (B,)."""
        import torch.nn.functional as F

        return F.cross_entropy(self.averaged.pixels(x), labels, reduction="none")

    def _gradient_norms(self, x: Tensor, labels: Tensor) -> np.ndarray:
        import torch

        x = x.clone().requires_grad_()
        with self.single.seeded("gradients"):
            (grad,) = torch.autograd.grad(self._loss(x, labels).sum(), x)
        norms: np.ndarray = grad.flatten(1).norm(dim=1).cpu().numpy()
        return norms

    def _losses(self, x: Tensor, attacked: Tensor, labels: Tensor) -> np.ndarray:
        """Loss of every image along the way from x to what the attack made of it."""
        import numpy as np
        import torch

        with torch.no_grad(), self.single.seeded("way"):
            ways = [x + share * (attacked - x) for share in np.linspace(0, 1, SURFACE_POINTS)]
            return np.stack([self._loss(way.clamp(0, 1), labels).cpu().numpy() for way in ways])

    def _surface(self, x: Tensor, attacked: Tensor, labels: Tensor) -> list[list[float]]:
        """Mean loss over the attack's direction (down, 0 to 1) and a random corner's (across, -1 to 1)."""
        import numpy as np
        import torch

        with torch.no_grad(), self.single.seeded("surface"):
            corner = self.task.eps * torch.empty_like(x).bernoulli_(0.5).mul_(2).sub_(1)
            rows = []
            for down in np.linspace(0, 1, SURFACE_POINTS):
                points = [x + down * (attacked - x) + across * corner for across in np.linspace(-1, 1, SURFACE_POINTS)]
                rows.append([float(self._loss(point.clamp(0, 1), labels).mean()) for point in points])
            return rows


def _draws_noise(model: Any, x: Tensor, classes: int) -> bool:
    """Whether two calls on the same images differ. Raises BenchError for logits of another shape than (B, classes)."""
    import torch

    from retable.bench.tasks.perturb import Pixels

    pixels = Pixels(model)
    with torch.no_grad():
        first = of_images(pixels(x), model, len(x), classes)
        return not torch.equal(first, pixels(x))


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackEvidence:
    """True classes (N,) and predicted ones under each attack; `pgd-again` are pgd's images seen through fresh noise.

    `gradient_norms` (N,) of the loss at the images; `losses_AN` along the way of pgd's perturbation; `surface` the mean loss of
    some images over that way and a random one.
    """

    model: Any
    data: ImageData
    task: Attack
    stochastic: bool
    source_accuracy: float
    labels: np.ndarray
    predictions: Mapping[str, np.ndarray]
    gradient_norms: np.ndarray
    losses_AN: np.ndarray
    surface: list[list[float]]

    OTHER_NORM: ClassVar[tuple[str, ...]] = ("cw", "pgd-l2")

    def correct(self, attack: str) -> np.ndarray:
        """bool (N,); `worst` is right where no attack within the same budget succeeded, `autoattack` where none of its own did.

        KeyError for one that was not run.
        """
        import numpy as np

        names = [n for n in self.predictions if "@" not in n and n not in self.OTHER_NORM]
        if attack == "autoattack" and attack not in self.predictions:
            names = [n for n in self.predictions if n.startswith(APGD)]
        if attack not in ("worst", "autoattack") or attack in self.predictions or not names:
            right: np.ndarray = self.predictions[attack] == self.labels
            return right
        return np.logical_and.reduce([self.correct(name) for name in names])

    @property
    def unusable(self) -> int:
        """How many predictions rest on logits that are not finite."""
        return int(sum((classes == UNUSABLE).sum() for classes in self.predictions.values()))

    def curve(self) -> list[tuple[float, float]]:
        """(eps, accuracy in per cent) of pgd, from no perturbation to `WHOLE`."""
        budgets = {0.0: "clean", self.task.eps: "pgd", WHOLE: at(WHOLE)} | {eps: at(eps) for eps in self.task.curve}
        return [(eps, 100 * float(self.correct(budgets[eps]).mean())) for eps in sorted(budgets)]

    @property
    def settings(self) -> dict[str, str | float | int]:
        """What the numbers rest on, for the details of metrics."""
        task = self.task
        draws = (task.eot, task.votes) if self.stochastic else (1, 1)
        return {"eps": task.eps, "eps_l2": task.eps_l2, "steps": task.steps, "eot": draws[0], "votes": draws[1]}

    def artefacts(self) -> Mapping[str, bytes]:
        """`attack.json`: accuracy under each attack and over eps, loss along the attack and its surface, the checklist."""
        from retable.bench.metrics.masking import CHECKS, check

        checklist = {
            name: {"passed": found.passed, **found.details} for name in CHECKS for found in [check(name, self)]
        }
        content = {
            "task": asdict(self.task),
            "stochastic": self.stochastic,
            "source_accuracy": self.source_accuracy,
            "accuracy": {name: 100 * float(self.correct(name).mean()) for name in (*self.predictions, "worst")},
            "curve": self.curve(),
            "loss_along_attack": self.losses_AN.mean(axis=1).tolist(),
            "loss_surface": self.surface,
            "checklist": checklist,
        }
        return {"attack.json": json.dumps(content, allow_nan=False).encode()}
