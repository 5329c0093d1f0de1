"""Names to components: methods, datasets, tasks and metrics, resolved only when used.

A component is a frozen dataclass whose fields are its parameters. Its module must import nothing heavy at the top, so that
a suite can be checked without torch. Built-in names are strings; a user's package adds names through the entry points
`retable.methods`, `retable.datasets`, `retable.tasks`, `retable.metrics`, and a single file through `register`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Literal, get_args

from bench.errors import BenchError, BrokenComponentError, UnknownNameError, nearest

Kind = Literal["method", "dataset", "task", "metric"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_TARGETS: dict[Kind, dict[str, str | type]] = {
    "method": {
        "adaptformer": "models.ept.method:Adapter",
        "bias-tuning": "models.ept.method:BiasTuning",
        "ept": "models.ept.method:EmbeddedPrompts",
        "full-tuning": "models.ept.method:FullTuning",
        "linear-probe": "models.ept.method:LinearProbe",
        "lora": "models.ept.method:LowRank",
        "mlp-3": "models.ept.method:MLP3",
        "partial-1": "models.ept.method:Partial1",
        "visual-prompting": "models.ept.method:VisualPrompting",
        "vit": "models.ept.method:ViT",
        "vpt": "models.ept.method:VisualPromptTuning",
        "aim": "models.aim.method:AiM",
        "e-rsct": "models.rsc_snn.method:ERSCT",
        "gptq": "models.spikellm.method:GPTQ",
        "hf-lm": "models.spikellm.method:PublishedLM",
        "meta-spikeformer": "models.vision.method:MetaSpikeformer",
        "ms-resnet": "models.vision.method:MSResNet",
        "omniquant": "models.spikellm.method:OmniQuant",
        "pb-llm": "models.spikellm.method:PBLLM",
        "qcfs": "models.vision.method:QCFS",
        "qkformer": "models.vision.method:QKFormer",
        "rsc-snn": "models.rsc_snn.method:RSCSNN",
        "rtn": "models.spikellm.method:RoundToNearest",
        "sdt": "models.vision.method:SpikeDrivenTransformer",
        "sew-resnet": "models.vision.method:SEWResNet",
        "smollm2-135m": "models.spikellm.method:SmolLM2",
        "smoothquant": "models.spikellm.method:SmoothQuant",
        "spiking-bert": "models.spikelm.method:SpikingBert",
        "spikellm": "models.spikellm.method:SpikeLLM",
        "spikellm-ternary": "models.spikellm.method:SpikeLLMTernary",
        "spikformer": "models.vision.method:Spikformer",
        "plain-spiking-yolo": "models.spikeyolo.method:PlainYOLO",
        "spikeyolo": "models.spikeyolo.method:SpikeYOLO",
        "spikeyolo-binary-steps": "models.spikeyolo.method:BinarySteps",
        "spikingresformer": "models.vision.method:SpikingResformer",
        "tiny-llama": "models.spikellm.method:TinyLlama",
        "transformer": "models.transformer.method:Transformer",
        "vq-tokenizer": "models.aim.method:VQTokenizer",
    },
    "dataset": {
        "austen": "bench.datasets.texts.austen:Austen",
        "cifar-10": "bench.datasets.cifar:Cifar10",
        "cifar-100": "bench.datasets.cifar:Cifar100",
        "coco": "bench.datasets.coco:Coco",
        "digits": "bench.datasets.digits:Digits",
        "event-digits": "bench.datasets.event_digits:EventDigits",
        "event-scenes": "bench.datasets.event_scenes:EventScenes",
        "gen1": "bench.datasets.gen1:Gen1",
        "help-topics": "bench.datasets.texts.help_topics:HelpTopics",
        "mnist-5k": "bench.datasets.mnist5k:Mnist5k",
        "n-mnist": "bench.datasets.events:NMnist",
        "photo-patches": "bench.datasets.photo_patches:PhotoPatches",
        "small-mnist": "bench.datasets.small_mnist:SmallMnist",
        "scenes": "bench.datasets.scenes:Scenes",
        "imagenet": "bench.datasets.imagenet:ImageNet",
        "glue": "bench.datasets.texts.glue:Glue",
        "movie-snippets": "bench.datasets.texts.movie_snippets:MovieSnippets",
        "wikitext-2": "bench.datasets.texts.wikitext2:WikiText2",
    },
    "task": {
        "attack": "bench.tasks.attack:Attack",
        "certify": "bench.tasks.certify:Certify",
        "classify": "bench.tasks.classify:Classify",
        "count": "bench.tasks.count:Count",
        "decode": "bench.tasks.decode:Decode",
        "detect": "bench.tasks.detect:Detect",
        "finetune-text": "bench.tasks.finetune_text:FinetuneText",
        "generate": "bench.tasks.generate:Generate",
        "language": "bench.tasks.language:Language",
    },
    "metric": {
        "abstained": "bench.metrics.certified:Abstained",
        "ace": "bench.metrics.language:ArithmeticEffort",
        "accuracy": "bench.metrics.accuracy:Accuracy",
        "accuracy_at_step": "bench.metrics.accuracy:AccuracyAtStep",
        "acs": "bench.metrics.operations:Accumulates",
        "average_radius_l1": "bench.metrics.certified:AverageRadiusL1",
        "average_radius_l2": "bench.metrics.certified:AverageRadiusL2",
        "certified_accuracy_l1": "bench.metrics.certified:CertifiedAccuracyL1",
        "certified_accuracy_l2": "bench.metrics.certified:CertifiedAccuracyL2",
        "ar": "bench.metrics.mean_average_precision:MeanAverageRecall",
        "class_accuracy": "bench.metrics.class_accuracy:ClassAccuracy",
        "clean_accuracy": "bench.metrics.robustness:CleanAccuracy",
        "energy_mj": "bench.metrics.operations:Energy",
        "error": "bench.metrics.accuracy:Error",
        "fd": "bench.metrics.frechet:FrechetDistance",
        "fid": "bench.metrics.frechet:FID",
        "firing_rate": "bench.metrics.operations:FiringRate",
        "images_per_second": "bench.metrics.basic:ImagesPerSecond",
        "inception_score": "bench.metrics.inception_score:InceptionScore",
        "joules": "bench.metrics.operations:Joules",
        "kd": "bench.metrics.kernel_distance:KernelDistance",
        "macs": "bench.metrics.operations:MultiplyAccumulates",
        "masking": "bench.metrics.masking:Masking",
        "masking_failures": "bench.metrics.masking:MaskingFailures",
        "map": "bench.metrics.mean_average_precision:MeanAveragePrecision",
        "map50": "bench.metrics.mean_average_precision:MeanAveragePrecision50",
        "nll": "bench.metrics.basic:HeldOutNLL",
        "nll_unconditional": "bench.metrics.basic:UnconditionalNLL",
        "operations": "bench.metrics.operations:Operations",
        "params": "bench.metrics.basic:Parameters",
        "params_non_embedding": "bench.metrics.basic:NonEmbeddingParameters",
        "f1": "bench.metrics.sentences:F1",
        "glue": "bench.metrics.sentences:Glue",
        "matthews": "bench.metrics.sentences:Matthews",
        "pearson": "bench.metrics.sentences:Pearson",
        "spearman": "bench.metrics.sentences:Spearman",
        "perplexity": "bench.metrics.language:Perplexity",
        "precision": "bench.metrics.precision_recall:Precision",
        "recall": "bench.metrics.precision_recall:Recall",
        "robust_accuracy": "bench.metrics.robustness:RobustAccuracy",
        "robust_area": "bench.metrics.robustness:RobustArea",
        "robust_share": "bench.metrics.robustness:RobustShare",
        "spikes_per_sample": "bench.metrics.operations:SpikesPerSample",
        "time_steps": "bench.metrics.basic:TimeSteps",
        "zero_shot": "bench.metrics.language:ZeroShotAccuracy",
        "decode_ms": "bench.metrics.decode:DecodeMilliseconds",
        "decode_growth": "bench.metrics.decode:DecodeGrowth",
        "decode_ratio": "bench.metrics.decode:DecodeRatio",
        "crossover_length": "bench.metrics.decode:CrossoverLength",
    },
}
_TIMINGS = {
    "crossover_length",
    "decode_growth",
    "decode_ms",
    "decode_ratio",
    "images_per_second",
    "joules",
}
"""Metrics whose numbers the machine's clock or counters make: no two runs give the same."""
_entry_points_read: set[Kind] = set()
_KERNELS = "models.backends"


def register(kind: Kind, name: str) -> Callable[[type], type]:
    """Class decorator: makes `name` available to suites, for a file loaded with `--plugin`."""

    def add(component: type) -> type:
        _TARGETS[kind][name] = component
        return component

    return add


def names(kind: Kind) -> list[str]:
    """All known names of a kind, sorted; reads the installed entry points once."""
    if kind not in _entry_points_read:
        from importlib.metadata import entry_points

        for point in entry_points(group=f"retable.{kind}s"):
            _TARGETS[kind].setdefault(point.name, point.value)
        _entry_points_read.add(kind)
    return sorted(_TARGETS[kind])


def resolve(kind: Kind, name: str) -> type:
    """The component class behind a name.

    Raises UnknownNameError for a name nobody registered, BrokenComponentError for a module that does not import.
    """
    target = _TARGETS[kind].get(name)
    if target is None and name in names(kind):
        target = _TARGETS[kind][name]
    if target is None:
        raise UnknownNameError(f"unknown {kind} {name!r}{nearest(name, names(kind))}")
    if isinstance(target, str):
        module, _, attribute = target.partition(":")
        try:
            component: type = getattr(importlib.import_module(module), attribute)
        except Exception as error:
            raise BrokenComponentError(f"{kind} {name!r} cannot be loaded from {target}: {error}") from error
        return component
    return target


def is_timing(metric: str) -> bool:
    """Whether a metric (`decode_ms[64]`) is a clock's or a counter's; one of a user's own says so by `TIMED = True`."""
    name = metric.partition("[")[0]
    if name in _TIMINGS:
        return True
    try:
        return bool(getattr(resolve("metric", name), "TIMED", False))
    except BenchError:
        return False


def kernels() -> Any:
    """The module that chooses the operators' backends: `using(name)` and `observe()` are context managers."""
    return importlib.import_module(_KERNELS)


def load_plugin(path: str) -> None:
    """Run a Python file or import a module whose decorators register components."""
    import sys
    from importlib.util import module_from_spec, spec_from_file_location
    from pathlib import Path

    try:
        if not path.endswith(".py"):
            importlib.import_module(path)
            return
        file = Path(path).resolve()
        spec = spec_from_file_location(file.stem, file)
        if spec is None or spec.loader is None:
            raise ImportError("not a Python file")
        module = module_from_spec(spec)
        sys.modules[file.stem] = module
        spec.loader.exec_module(module)
    except Exception as error:
        raise BenchError(f"plugin {path} cannot be loaded: {type(error).__name__}: {error}") from error
