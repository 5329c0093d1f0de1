"""Makes the weights of `digits-cnn-v1`: `python -m bench.metrics.train_digits_cnn [--output FILE]`.

The network sees the training split of `digits` alone, shifted by up to one pixel, under a pinned seed. It is frozen:
scores compare over time only while the file stays the same, so a retrained network gets a new name.
"""

from __future__ import annotations

import argparse
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

SEED = 20240822
EPOCHS = 20
BATCH = 64
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-2
THREADS = 1


def train(pixels: Any, labels: Any) -> Any:
    """A DigitsCNN fitted to uint8 images (N, 3, 16, 16): AdamW, one learning-rate cycle, cross entropy."""
    import torch
    from torch.nn.functional import cross_entropy

    from retable.bench.metrics.digits_cnn import DigitsCNN

    torch.set_num_threads(THREADS)  # sums over batches are split by thread: one thread gives the same bits anywhere
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    images, targets = torch.from_numpy(pixels).float() / 127.5 - 1, torch.from_numpy(labels)
    model = DigitsCNN().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    batches = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=EPOCHS * batches)
    for _ in range(EPOCHS):
        order = torch.randperm(len(images), generator=generator)[: batches * BATCH]
        for indices in order.split(BATCH):
            _, logits = model(shifted(images[indices], generator))
            loss = cross_entropy(logits, targets[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def shifted(images: Any, generator: Any) -> Any:
    """Each image moved by -1, 0 or 1 pixel along both axes; border pixels are repeated."""
    import torch
    from torch.nn.functional import pad

    height, width = images.shape[-2:]
    padded = pad(images, (1, 1, 1, 1), mode="replicate")
    offsets = torch.randint(0, 3, (len(images), 2), generator=generator).tolist()
    return torch.stack([padded[i, :, y : y + height, x : x + width] for i, (y, x) in enumerate(offsets)])


def accuracy(model: Any, pixels: Any, labels: Any) -> float:
    """Share of uint8 images that the model classifies correctly."""
    import torch

    with torch.inference_mode():
        _, logits = model(torch.from_numpy(pixels).float() / 127.5 - 1)
    return float((logits.argmax(1).numpy() == labels).mean())


def main() -> None:
    import numpy as np
    import torch
    from safetensors.torch import save

    from retable.bench.datasets.digits import Digits
    from retable.bench.metrics.features import DIGITS_CNN_FILE

    parser = argparse.ArgumentParser(description="Train and freeze the feature network digits-cnn-v1.")
    parser.add_argument("--output", type=Path, default=DIGITS_CNN_FILE, help="weight file to write")
    output: Path = parser.parse_args().output

    digits = Digits(size=16)
    data = digits.load()
    train_pixels, test_pixels = (split.images(np.arange(len(split))) for split in (data.train, data.held_out))
    model = train(train_pixels, data.train.labels)
    recipe = {
        "data": f"digits, 16 pixels, {len(data.train)} training images",
        "data_digest": digits.digest(),
        "seed": SEED,
        "epochs": EPOCHS,
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "torch": torch.__version__,
        "train_accuracy": accuracy(model, train_pixels, data.train.labels),
        "held_out_accuracy": accuracy(model, test_pixels, data.held_out.labels),
    }
    # one metadata entry: the order of several would differ from run to run, and with it the digest
    content = save(model.state_dict(), metadata={"recipe": json.dumps(recipe, sort_keys=True)})
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(content)
    print(json.dumps(recipe | {"file": str(output), "bytes": len(content), "sha256": sha256(content).hexdigest()}))


if __name__ == "__main__":
    main()
