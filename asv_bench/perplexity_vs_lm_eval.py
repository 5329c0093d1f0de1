"""Perplexity of SmolLM2-135M on the same text: this project's protocol against lm-eval's own, in turn.

    OMP_NUM_THREADS=1 python asv_bench/perplexity_vs_lm_eval.py

Needs the extra `language`. Both sides run the same module in float32 over windows of equal length that do not overlap, in
batches of equal size. lm-eval also predicts each window's first token, so the sums of nats differ by about 1 in `window`;
they are printed, and a difference of more than 5 % ends the script with 1: then the sides did not do the same work.
"""

from __future__ import annotations

import argparse
import logging
import sys
from contextlib import redirect_stderr
from io import StringIO

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from measure import interleaved, interval

from retable.bench.datasets.texts.austen import Austen
from retable.bench.tasks.language import losses
from retable.models.spikellm.method import SmolLM2


def main() -> int:
    options = parse()
    torch.set_num_threads(options.threads)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    model = SmolLM2().read()
    text, windows_WN = cut(model.tokenizer, options.windows, options.window)
    harness = HFLM(
        pretrained=model.lm,
        tokenizer=model.tokenizer,
        backend="causal",
        device="cpu",
        batch_size=options.batch,
        max_length=options.window,
    )
    request = Instance(request_type="loglikelihood_rolling", doc={}, arguments=(text,), idx=0)

    def ours() -> float:
        with torch.inference_mode():
            return float(losses(model.lm, windows_WN, options.batch, "cpu").sum()) * (options.window - 1)

    def theirs() -> float:
        with redirect_stderr(StringIO()):  # its progress bar
            return -harness.loglikelihood_rolling([request])[0]

    nats = {"ours": ours(), "lm-eval": theirs()}
    rounds = interleaved({"ours": ours, "lm-eval": theirs}, budget=options.budget)
    ratio = interval(rounds.ratios("lm-eval", "ours"))
    print(
        f"{windows_WN.numel()} tokens in windows of {options.window}, batch {options.batch}, {options.threads} thread(s)"
    )
    print(f"nats: ours {nats['ours']:.1f}, lm-eval {nats['lm-eval']:.1f} (it predicts {options.windows} tokens more)")
    print(f"seconds: ours {rounds.median('ours'):.2f}, lm-eval {rounds.median('lm-eval'):.2f}")
    print(f"lm-eval / ours: {ratio.median:.3f} in [{ratio.low:.3f}, {ratio.high:.3f}] over {ratio.n} rounds")
    return int(abs(nats["lm-eval"] / nats["ours"] - 1) > 0.05)


def cut(tokenizer: object, windows: int, window: int) -> tuple[str, torch.Tensor]:
    """A text of exactly so many windows, and its tokens (W, N)."""
    tokens = tokenizer(Austen().load().held_out[: 10 * windows * window])["input_ids"][: windows * window]  # type: ignore[operator]
    text = tokenizer.decode(tokens)  # type: ignore[attr-defined]
    if tokenizer(text)["input_ids"] != tokens:  # type: ignore[operator]
        raise SystemExit("the cut text has other tokens than the whole: choose another number of windows")
    return text, torch.tensor(tokens).view(windows, window)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--budget", type=float, default=90.0, help="seconds")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
