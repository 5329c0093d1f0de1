"""Time of one decoded token: this project's Mamba-2 against `transformers`, same weights, same process, in turn.

    OMP_NUM_THREADS=1 python asv_bench/decode_vs_transformers.py

The default is AiM-B's stack (24 layers of width 768, state 128, head size 64, 16384 tokens, float32) at batch 8. Both
sides first decode a few tokens and must give the same logits. The floor is what any implementation has to do to memory:
read every weight once, read and write every state once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from measure import Rounds, interleaved, interval
from torch import Tensor, nn

from retable.models.ssm.linear import few_row_linear
from retable.models.ssm.mamba2 import Mamba2
from retable.models.ssm.norm import RMSNorm


class Layer(nn.Module):
    """x + Mamba2(RMSNorm(x)), one token at a time."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.norm = RMSNorm(d_model)
        self.mixer = Mamba2(d_model)


class Stack(nn.Module):
    """A Mamba-2 language model with a tied head, under the parameter names of `Mamba2ForCausalLM.backbone`."""

    def __init__(self, d_model: int, layers: int, vocabulary: int) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(vocabulary, d_model)
        self.layers = nn.ModuleList(Layer(d_model) for _ in range(layers))
        self.norm_f = RMSNorm(d_model)

    def empty_cache(self, batch: int) -> list[Any]:
        return [layer.mixer.empty_cache(batch) for layer in self.layers]

    def head(self, batch: int) -> Callable[[Tensor], Tensor]:
        linear = nn.Linear(*self.embeddings.weight.shape[::-1], bias=False, device="meta")
        linear.weight = self.embeddings.weight
        return few_row_linear(linear.weight, linear.bias, batch)

    def step(self, tokens_B: Tensor, caches: list[Any], head: Callable[[Tensor], Tensor]) -> Tensor:
        x_BD = self.embeddings(tokens_B)
        for layer, cache in zip(self.layers, caches, strict=True):
            x_BD = x_BD + layer.mixer.step(layer.norm(x_BD), cache)
        return head(self.norm_f(x_BD))


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    theirs = their_model(options)
    ours = Stack(options.width, options.layers, options.vocabulary).eval()
    ours.load_state_dict(theirs.backbone.state_dict())
    with torch.inference_mode():
        steps = {"retable": our_decoder(ours, options.batch), "transformers": their_decoder(theirs, options.batch)}
        difference = largest_difference(steps, options)
        sides = {**steps, "floor": memory_floor(ours, options.batch)}
        tokens_B = random_tokens(options)
        calls = {name: lambda step=step: step(tokens_B) for name, step in sides.items()}
        rounds = interleaved(calls, budget=0, least=options.rounds)
    report(rounds, difference)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, default in (("batch", 8), ("layers", 24), ("width", 768), ("vocabulary", 16384)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds of all sides")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def their_model(options: argparse.Namespace) -> Any:
    """`transformers`' model of the official defaults, random weights."""
    from transformers import Mamba2Config, Mamba2ForCausalLM

    config = Mamba2Config(
        hidden_size=options.width,
        num_hidden_layers=options.layers,
        vocab_size=options.vocabulary,
        state_size=128,
        head_dim=64,
        num_heads=2 * options.width // 64,
        expand=2,
        n_groups=1,
        layer_norm_epsilon=1e-5,
        tie_word_embeddings=True,
    )
    return Mamba2ForCausalLM(config).eval()


Step = Callable[[Tensor], Any]


def our_decoder(model: Stack, batch: int) -> Step:
    caches, head = model.empty_cache(batch), model.head(batch)
    return lambda tokens_B: model.step(tokens_B, caches, head)


def their_decoder(model: Any, batch: int) -> Step:
    cache = None

    def step(tokens_B: Tensor) -> Tensor:
        nonlocal cache
        output = model(tokens_B[:, None], cache_params=cache, use_cache=True)
        cache = output.cache_params
        return output.logits[:, -1]

    return step


def memory_floor(model: Stack, batch: int) -> Step:
    """Read every weight once, read and write every state once."""
    weights = list(model.parameters())
    states = [cache.ssm_state for cache in model.empty_cache(batch)]

    def touch(_: Tensor) -> None:
        for weight in weights:
            weight.sum()
        for state in states:
            state.mul_(1.0)

    return touch


def random_tokens(options: argparse.Namespace) -> Tensor:
    return torch.randint(options.vocabulary, (options.batch,))


def largest_difference(steps: dict[str, Step], options: argparse.Namespace, count: int = 4) -> float:
    """Of the sides' first logits, relative to the largest one; also warms up. Refuses to time models that differ."""
    worst = 0.0
    for _ in range(count):
        tokens_B = random_tokens(options)
        ours, theirs = (step(tokens_B) for step in steps.values())
        worst = max(worst, float((ours - theirs).abs().max() / theirs.abs().max()))
    if not worst < 1e-4:  # float32 rounding through 24 layers is about 2e-5
        raise SystemExit(f"the logits of the two sides differ by {worst:.1e} of the largest: nothing to compare")
    return worst


def report(rounds: Rounds, difference: float) -> None:
    for name, seconds in rounds.seconds.items():
        print(f"{name:14s} median {1e3 * rounds.median(name):8.1f} ms/token   minimum {1e3 * min(seconds):8.1f}")
    for text, above, below in (
        ("speed-up over transformers (median of paired ratios)", "transformers", "retable"),
        ("distance to the memory floor", "retable", "floor"),
    ):
        ratio = interval(rounds.ratios(above, below))
        print(f"{text:52s} {ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]")
    print(f"largest difference of the logits, relative           {difference:.1e}")


if __name__ == "__main__":
    main()
