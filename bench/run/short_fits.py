"""Short fits: some twenty training steps of every method at its smallest, whose weights tell whether machines train alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from retable.bench.declare.params import build
from retable.bench.run.seeds import seeded
from retable.bench.suite import Component

SEED = 20


@dataclass(frozen=True, kw_only=True)
class ShortFit:
    """A method with small parameters on a small data set; `needs` names other short fits by role."""

    dataset: Component
    params: Mapping[str, Any]
    needs: Mapping[str, str] = field(default_factory=dict)
    use: str = ""


def _images(**params: Any) -> ShortFit:
    """One pass over 1200 digits of 16 x 16 in 20 batches or a few less."""
    return ShortFit(dataset=DIGITS, params={"epochs": 1, "batch_size": 64, **params})


def _graph(**params: Any) -> ShortFit:
    """Twenty steps on the one graph."""
    return ShortFit(dataset=BLOCKS, params={"epochs": 20, "hidden": 16, **params})


def _tuned(**params: Any) -> ShortFit:
    """A small transformer of images tuned on five of each class."""
    given = {"epochs": 5, "batch_size": 4, "lr": 0.02, **params}
    return ShortFit(dataset=TISSUE, params=given, needs={"backbone": "vit"})


def _quantised(**params: Any) -> ShortFit:
    """A small language model, calibrated on two windows."""
    return ShortFit(dataset=AUSTEN, params={"samples": 2, "window": 32, **params}, needs={"base": "tiny-llama"})


DIGITS = Component(use="digits", params={"size": 16})
BLOCKS = Component(use="block-model", params={"nodes": 500})
TISSUE = Component(use="tissue", params={"shots": (5,)})
FEW_EVENTS = Component(use="small-event-digits", params={"steps": 4, "train": 320, "held_out": 10})
SPOKEN = Component(use="espeak-sentences", params={"train": 6, "held_out": 1, "speed": 230})
AUSTEN = Component(use="austen")
SCENES = Component(use="scenes", params={"size": 48, "classes": 1, "most": 1, "train": 40, "held_out": 2})
EVENT_SCENES = Component(use="event-scenes", params={"size": 48, "steps": 2, "train": 20, "held_out": 2})
EVENTS = Component(use="event-digits", params={"size": 34, "steps": 2, "train": 320, "held_out": 10})
SNIPPETS = Component(use="movie-snippets", params={"train": 160, "held_out": 16})
VGG = {"T": 2, "plan": (4, "A", 8, "A"), "hidden": (), "coding": "direct"}
YOLO = {"width": 0.0625, "depth": 0.1, "epochs": 1, "warmup": 0.5, "batch_size": 2, "prior_side": 640}
STAGE_2 = {"steps": 20, "batch_size": 4, "d_model": 16, "n_layer": 1}

SHORT_FITS: Mapping[str, ShortFit] = {
    "spikformer": _images(T=2, dim=16, depth=1, heads=2),
    "sdt": _images(T=2, dim=16, depth=1, heads=2),
    "qkformer": _images(T=2, dim=16, heads=2, layout="imagenet"),
    "meta-spikeformer": _images(T=2, widths=(8, 8, 16, 16), depths=(1, 1), heads=2),
    "spikingresformer": _images(T=2, widths=(16, 32), blocks=(1, 1), heads=(1, 2), patches=(2, 1), stem="imagenet"),
    "sew-resnet": _images(T=2, widths=(4, 8, 16)),
    "ms-resnet": _images(T=2, widths=(4, 8, 16)),
    "qcfs": _images(T=4, widths=(4, 8, 16), hidden=(16,)),
    "rsc-snn": _images(**VGG),
    "e-rsct": ShortFit(dataset=DIGITS, params={"epochs": 1, "batch_size": 64, **VGG}, needs={"teacher": "rsc-snn"}),
    "spikeyolo": ShortFit(dataset=SCENES, params={**YOLO, "T": 1, "D": 2}),
    "plain-spiking-yolo": ShortFit(dataset=SCENES, params={**YOLO, "T": 2}),
    "spikeyolo-binary-steps": ShortFit(dataset=SCENES, params={}, needs={"trained": "spikeyolo"}),
    "spikeyolo of events": ShortFit(
        use="spikeyolo", dataset=EVENT_SCENES, params={**YOLO, "batch_size": 1, "T": 2, "D": 2}
    ),
    "sew-resnet of events": ShortFit(
        use="sew-resnet", dataset=EVENTS, params={"epochs": 1, "batch_size": 16, "T": 2, "widths": (4, 8, 16)}
    ),
    "rsc-snn of digits drawn as spikes": ShortFit(
        use="rsc-snn",
        dataset=Component(use="small-mnist", params={"low": 0.3, "high": 0.7}),
        params={"epochs": 1, "batch_size": 64, **VGG, "coding": "rsc", "sigma": 0.25},
    ),
    "spiking-bert": ShortFit(
        dataset=SNIPPETS,
        params={"T": 2, "width": 16, "layers": 1, "heads": 2, "hidden": 32, "vocabulary": 500, "length": 12}
        | {"pretrain_steps": 10, "pretrain_batch": 8, "epochs": 1, "batch_size": 16},
    ),
    "gcn": _graph(),
    "gat": _graph(),
    "gc-snn": _graph(T=4),
    "ga-snn": _graph(T=4),
    "prime": ShortFit(
        dataset=FEW_EVENTS,
        params={"epochs": 1, "batch_size": 16, "T": 4}
        | {"convolutions": ({"out_channels": 4, "kernel": 5, "padding": 1}, {"out_channels": 8, "kernel": 5})},
    ),
    "prime-inpainting": ShortFit(
        dataset=DIGITS,
        params={"epochs": 1, "batch_size": 64, "channels": (8, 8), "latent": 8, "k": 4, "T": 4, "hole": (6, 10)},
    ),
    "spikevoice": ShortFit(
        dataset=SPOKEN,
        params={"d": 16, "encoder_blocks": 1, "decoder_blocks": 1, "filter": 16, "predictor": 16, "postnet": 16}
        | {"steps": 20, "batch_size": 1, "warmup": 5, "lr": 1e-2, "standardise": True, "T": 2},
    ),
    "vit": ShortFit(
        dataset=TISSUE,
        params={
            "width": 16,
            "depth": 2,
            "heads": 2,
            "mlp": 32,
            "patch": 7,
            "images": 320,
            "epochs": 1,
            "batch_size": 16,
        },
    ),
    **{name: _tuned() for name in ("linear-probe", "mlp-3", "partial-1", "bias-tuning", "full-tuning")},
    **{name: _tuned(length=3) for name in ("visual-prompting", "vpt", "ept")},
    "lora": _tuned(rank=2),
    "adaptformer": _tuned(reduction=4),
    "vq-tokenizer": ShortFit(
        dataset=DIGITS,
        params={"ch": 32, "ch_mult": (1, 1), "num_res_blocks": 1, "z_channels": 32, "codes": 32}
        | {"steps": 20, "batch_size": 4, "reseed_step": 10},
    ),
    "aim": ShortFit(
        dataset=DIGITS, params={**STAGE_2, "d_state": 8, "headdim": 16}, needs={"tokenizer": "vq-tokenizer"}
    ),
    "aim of Mamba-1 layers": ShortFit(
        use="aim",
        dataset=DIGITS,
        params={**STAGE_2, "d_state": 8, "layer": "Mamba1"},
        needs={"tokenizer": "vq-tokenizer"},
    ),
    "transformer": ShortFit(dataset=DIGITS, params=STAGE_2 | {"n_head": 2}, needs={"tokenizer": "vq-tokenizer"}),
    "tiny-llama": ShortFit(
        dataset=AUSTEN,
        params={"width": 32, "layers": 1, "heads": 2, "hidden": 48, "steps": 20, "batch_size": 4, "window": 32},
    ),
    "rtn": _quantised(samples=1),
    "gptq": _quantised(),
    "pb-llm": _quantised(),
    "smoothquant": _quantised(),
    "omniquant": _quantised(epochs=10),
    "spikellm": _quantised(epochs=10),
    "spikellm-ternary": _quantised(),
}

UNTRAINED = {
    "recording": "nothing of it is trained",
    "hf-lm": "its weights are published, and not here",
    "omniquant-published": "its clipping is published; omniquant's short fit runs what is done with it",
    "smollm2-135m": "its weights are published; the quantisers' short fits run what it is used with",
}
"""Methods without a short fit, and why."""


def short_fits() -> dict[str, Callable[[], Any]]:
    """Weights after each short fit, by `training of METHOD`."""
    return {f"training of {name}": _weights_of(name) for name in SHORT_FITS}


def _weights_of(name: str) -> Callable[[], Any]:
    def weights() -> list[Any]:
        state = _model(name).state_dict()
        return [state[key] for key in sorted(state)]

    return weights


@cache
def _model(name: str) -> Any:
    short = SHORT_FITS[name]
    needs = {role: deepcopy(_model(other)) for role, other in short.needs.items()}
    method: Any = build("method", Component(use=short.use or name, params=short.params))
    with seeded(SEED):
        model, _ = method.fit(_data(short.dataset.use), needs, seed=SEED, device="cpu")
    return model


@cache
def _data(use: str) -> Any:
    (component,) = {
        short.dataset.use: short.dataset for short in SHORT_FITS.values() if short.dataset.use == use
    }.values()
    dataset: Any = build("dataset", component)
    return dataset.load()
