"""A classifier tuned for several numbers of shots: one frozen backbone, the trained numbers of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from retable.models.ept.analysis import concatenated, one_column, row_scales
from retable.models.ept.checkpoint import digest
from retable.models.ept.classifier import Prepared, TunedClassifier, changed
from retable.models.ept.recipe import Recipe
from retable.models.ept.training import Batches, fit_draw, loss_of, make_optimizer, predict, step
from retable.models.ept.tuning import EPT

Epoch = Literal["best", "last"]
EPOCHS: tuple[Epoch, ...] = ("best", "last")
CHANGED, DIGEST = "backbone.changed", "backbone.digest"


class FewShotModel(nn.Module):
    """`use(shots, epoch)` puts what was trained so into the classifier; the state is that of all shots.

    `untuned` is the backbone that tuning started from; `recipe` is how it was tuned. The state also has what tuning left of
    the backbone: how many of its tensors changed, and the digest of it.
    """

    def __init__(self, classifier: TunedClassifier, untuned: Prepared, recipe: Recipe) -> None:
        super().__init__()
        self.classifier, self.recipe = classifier, recipe
        self._untuned = (untuned,)  # not a part of this model
        self.tuned: dict[tuple[int, Epoch], Mapping[str, Tensor]] = {}
        self.tensors_changed = 0
        self.digest_after = ""

    @property
    def untuned(self) -> Prepared:
        return self._untuned[0]

    @property
    def shots(self) -> tuple[int, ...]:
        return tuple(sorted({shots for shots, _ in self.tuned}))

    def use(self, shots: int, epoch: Epoch) -> TunedClassifier:
        """The classifier after this training. Raises KeyError for shots it was not tuned for."""
        self.classifier.restore(self.tuned[shots, epoch])
        return self.classifier.eval()

    def probabilities(self, shots: int, epoch: Epoch, split: Any, device: str, multi_label: bool) -> Any:
        """float64 (N, K) of all images of a split."""
        return predict(self.use(shots, epoch), split, device, multi_label)

    def same_epoch(self, shots: int) -> bool:
        """Whether the best epoch was the last."""
        best, last = (self.tuned[shots, epoch] for epoch in EPOCHS)
        return all(torch.equal(best[name], last[name]) for name in best)

    @property
    def head(self) -> nn.Module:
        return self.classifier.head

    @property
    def prompt_length(self) -> int | None:
        """Columns or rows of prompts a layer; None for a tuning without."""
        prompt = getattr(self.classifier.tuning, "prompt", None)
        if prompt is None:
            return None
        return prompt.shape[-1] if isinstance(self.classifier.tuning, EPT) else prompt.shape[-2]

    def parameters_counted(self) -> Any:
        return self.classifier.parameters_counted()

    def digest_before(self) -> str:
        """Of the backbone that tuning started from."""
        return digest(self.untuned.network.state_dict())

    @torch.inference_mode()
    def untuned_features(self, x_BCHW: Tensor) -> Tensor:
        """Of the backbone as it was, (B, D)."""
        return self.untuned.network(x_BCHW)

    @torch.inference_mode()
    def row_scales(self, x_BCHW: Tensor) -> Tensor | None:
        """r of each prompted layer, image, head and token, (L, B, H, N); None without prompts beside the logits."""
        return row_scales(self.classifier, x_BCHW)

    @torch.inference_mode()
    def one_column_features(self, x_BCHW: Tensor) -> Tensor | None:
        """Features with the prompts replaced by the one column that does the same; None where there is no such column."""
        prompts = concatenated(self.classifier.tuning)
        return None if prompts is None else self.classifier.backbone(x_BCHW, one_column(prompts))

    def steps_on(self, draw: Any) -> int:
        """Of a whole tuning."""
        return self.recipe.epochs * len(Batches(draw.train, self.recipe.batch_size, 0))

    def timed_step(self, draw: Any) -> Callable[[], None]:
        """One step of tuning on the draw's images, as often as it is called; for a clock, on weights that are not kept."""
        batches = Batches(draw.train, self.recipe.batch_size, 0)
        pixels, labels = next(iter(batches))
        optimizer = make_optimizer(self.classifier, self.recipe)
        device = next(self.classifier.parameters()).device

        def once() -> None:
            self.classifier.train()
            loss = loss_of(self.classifier(self.classifier.prepare(pixels.to(device))), labels.to(device))
            step(self.classifier, optimizer, loss, self.recipe.clip, 0)

        return once

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        state = {
            f"{shots}.{epoch}.{name}": tensor
            for (shots, epoch), snapshot in self.tuned.items()
            for name, tensor in snapshot.items()
        }
        state[CHANGED] = torch.tensor(self.tensors_changed)
        state[DIGEST] = torch.frombuffer(bytearray.fromhex(self.digest_after), dtype=torch.uint8)
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        found: dict[tuple[int, Epoch], dict[str, Tensor]] = {}
        for key, tensor in state_dict.items():
            if key in (CHANGED, DIGEST):
                continue
            shots, epoch, name = key.split(".", 2)
            found.setdefault((int(shots), "best" if epoch == "best" else "last"), {})[name] = tensor
        self.tuned.update(found)
        self.tensors_changed = int(state_dict[CHANGED])
        self.digest_after = bytes(state_dict[DIGEST].tolist()).hex()


def fit_few_shot(
    classifier: TunedClassifier, untuned: Prepared, data: Any, recipe: Recipe, *, seed: int, device: str
) -> tuple[FewShotModel, dict[str, Any]]:
    """Tune anew, from the same start, on the draw of each of `data.shots`; the model and its log."""
    model = FewShotModel(classifier, untuned, recipe)
    start = classifier.to(device).snapshot()
    log: dict[str, Any] = {}
    for shots in data.shots:
        classifier.restore(start)
        draw = data.draw(shots, seed)
        found = fit_draw(classifier, draw, recipe, seed=seed, device=device)
        for epoch in EPOCHS:
            model.tuned[shots, epoch] = found.pop(epoch)
        log[str(shots)] = {**found, "rows": len(draw.train), "draw": draw.name}
    model.tensors_changed = changed(untuned.network, classifier.backbone)
    model.digest_after = classifier.backbone_digest()
    return model.eval(), {"backbone": model.digest_after, "tensors_changed": model.tensors_changed, **log}
