"""Pretraining of a small backbone on generated shapes, once for all that is tuned."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from retable.models.common.resume import Resume
from retable.models.ept.classifier import Prepared
from retable.models.ept.shapes import SHAPES, pictures
from retable.progress import tell

HELD_OUT = 512
WEIGHT_DECAY = 0.05


def pretrain(
    model: Prepared, *, images: int, epochs: int, batch_size: int, lr: float, seed: int, device: str
) -> dict[str, Any]:
    """Fit the backbone with a head of its own, which is thrown away, by AdamW in one cycle; the log has its accuracy in per cent."""
    size = model.network.size
    pixels, labels = (torch.from_numpy(part) for part in pictures(images + HELD_OUT, size.image_size, seed))
    head = torch.nn.Linear(size.width, len(SHAPES))
    model.to(device).train()
    head.to(device)
    parameters = [*model.network.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=WEIGHT_DECAY)
    steps = epochs * (images // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    resume = Resume(model=model, head=head, optimizer=optimizer, schedule=schedule, order=generator)
    before = resume.take_up()
    losses: list[float] = before.get("losses", [])
    for epoch in range(before.get("epochs", 0), epochs):
        order_N = torch.randperm(images, generator=generator)
        for chosen in order_N[: images // batch_size * batch_size].split(batch_size):
            logits = head(model.network(model.prepare(pixels[chosen].to(device))))
            loss = F.cross_entropy(logits, labels[chosen].to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
            tell(len(losses), steps, losses[-1], epoch=epoch + 1, epochs=epochs)
        resume.offer(losses=losses, epochs=epoch + 1)
    model.eval()
    with torch.inference_mode():
        right = [
            head(model.network(model.prepare(some.to(device)))).argmax(-1).cpu() for some in pixels[images:].split(256)
        ]
    accuracy = 100 * float((torch.cat(right) == labels[images:]).double().mean())
    return {"steps": len(losses), "loss": losses[-1], "held_out_accuracy": accuracy, "classes": len(SHAPES)}
