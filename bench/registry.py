"""Names to components: methods, datasets, tasks and metrics, resolved only when used.

A component is a frozen dataclass whose fields are its parameters. Its module must import nothing heavy at the top, so that
a suite can be checked without torch. Built-in names are strings; a user's package adds names through the entry points
`retable.methods`, `retable.datasets`, `retable.tasks`, `retable.metrics`, and a single file through `register`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Literal, get_args

from retable.bench.errors import BenchError, BrokenComponentError, UnknownNameError, nearest

Kind = Literal["method", "dataset", "task", "metric"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_TARGETS: dict[Kind, dict[str, str | type]] = {
    "method": {
        "aim": "retable.models.aim.method:AiM",
        "e-rsct": "retable.models.rsc_snn.method:ERSCT",
        "gptq": "retable.models.spikellm.method:GPTQ",
        "hf-lm": "retable.models.spikellm.method:PublishedLM",
        "meta-spikeformer": "retable.models.vision.method:MetaSpikeformer",
        "ms-resnet": "retable.models.vision.method:MSResNet",
        "omniquant": "retable.models.spikellm.method:OmniQuant",
        "pb-llm": "retable.models.spikellm.method:PBLLM",
        "qcfs": "retable.models.vision.method:QCFS",
        "qkformer": "retable.models.vision.method:QKFormer",
        "recording": "retable.models.vocoder.method:Recording",
        "rsc-snn": "retable.models.rsc_snn.method:RSCSNN",
        "rtn": "retable.models.spikellm.method:RoundToNearest",
        "sdt": "retable.models.vision.method:SpikeDrivenTransformer",
        "sew-resnet": "retable.models.vision.method:SEWResNet",
        "smollm2-135m": "retable.models.spikellm.method:SmolLM2",
        "smoothquant": "retable.models.spikellm.method:SmoothQuant",
        "spiking-bert": "retable.models.spikelm.method:SpikingBert",
        "spikellm": "retable.models.spikellm.method:SpikeLLM",
        "spikellm-ternary": "retable.models.spikellm.method:SpikeLLMTernary",
        "spikformer": "retable.models.vision.method:Spikformer",
        "plain-spiking-yolo": "retable.models.spikeyolo.method:PlainYOLO",
        "spikevoice": "retable.models.spikevoice.method:SpikeVoiceMethod",
        "spikeyolo": "retable.models.spikeyolo.method:SpikeYOLO",
        "spikeyolo-binary-steps": "retable.models.spikeyolo.method:BinarySteps",
        "spikingresformer": "retable.models.vision.method:SpikingResformer",
        "tiny-llama": "retable.models.spikellm.method:TinyLlama",
        "transformer": "retable.models.transformer.method:Transformer",
        "vq-tokenizer": "retable.models.aim.method:VQTokenizer",
    },
    "dataset": {
        "austen": "retable.bench.datasets.texts.austen:Austen",
        "cifar-10": "retable.bench.datasets.cifar:Cifar10",
        "cifar-100": "retable.bench.datasets.cifar:Cifar100",
        "coco": "retable.bench.datasets.coco:Coco",
        "digits": "retable.bench.datasets.digits:Digits",
        "espeak-sentences": "retable.bench.datasets.speech.synthetic:EspeakSentences",
        "event-digits": "retable.bench.datasets.event_digits:EventDigits",
        "event-scenes": "retable.bench.datasets.event_scenes:EventScenes",
        "gen1": "retable.bench.datasets.gen1:Gen1",
        "help-topics": "retable.bench.datasets.texts.help_topics:HelpTopics",
        "mnist-5k": "retable.bench.datasets.mnist5k:Mnist5k",
        "n-mnist": "retable.bench.datasets.events:NMnist",
        "photo-patches": "retable.bench.datasets.photo_patches:PhotoPatches",
        "speech-corpus": "retable.bench.datasets.speech.corpora:SpeechCorpus",
        "small-mnist": "retable.bench.datasets.small_mnist:SmallMnist",
        "scenes": "retable.bench.datasets.scenes:Scenes",
        "imagenet": "retable.bench.datasets.imagenet:ImageNet",
        "glue": "retable.bench.datasets.texts.glue:Glue",
        "movie-snippets": "retable.bench.datasets.texts.movie_snippets:MovieSnippets",
        "wikitext-2": "retable.bench.datasets.texts.wikitext2:WikiText2",
    },
    "task": {
        "attack": "retable.bench.tasks.attack:Attack",
        "certify": "retable.bench.tasks.certify:Certify",
        "classify": "retable.bench.tasks.classify:Classify",
        "count": "retable.bench.tasks.count:Count",
        "decode": "retable.bench.tasks.decode:Decode",
        "detect": "retable.bench.tasks.detect:Detect",
        "finetune-text": "retable.bench.tasks.finetune_text:FinetuneText",
        "generate": "retable.bench.tasks.generate:Generate",
        "language": "retable.bench.tasks.language:Language",
        "speak": "retable.bench.tasks.speak:Speak",
    },
    "metric": {
        "abstained": "retable.bench.metrics.certified:Abstained",
        "ace": "retable.bench.metrics.language:ArithmeticEffort",
        "accuracy": "retable.bench.metrics.accuracy:Accuracy",
        "accuracy_at_step": "retable.bench.metrics.accuracy:AccuracyAtStep",
        "acs": "retable.bench.metrics.operations:Accumulates",
        "average_radius_l1": "retable.bench.metrics.certified:AverageRadiusL1",
        "average_radius_l2": "retable.bench.metrics.certified:AverageRadiusL2",
        "certified_accuracy_l1": "retable.bench.metrics.certified:CertifiedAccuracyL1",
        "certified_accuracy_l2": "retable.bench.metrics.certified:CertifiedAccuracyL2",
        "ar": "retable.bench.metrics.mean_average_precision:MeanAverageRecall",
        "class_accuracy": "retable.bench.metrics.class_accuracy:ClassAccuracy",
        "clean_accuracy": "retable.bench.metrics.robustness:CleanAccuracy",
        "duration_error": "retable.bench.metrics.speech:DurationError",
        "energy_mj": "retable.bench.metrics.operations:Energy",
        "error": "retable.bench.metrics.accuracy:Error",
        "f0_rmse": "retable.bench.metrics.speech:F0Error",
        "fd": "retable.bench.metrics.frechet:FrechetDistance",
        "fid": "retable.bench.metrics.frechet:FID",
        "firing_rate": "retable.bench.metrics.operations:FiringRate",
        "images_per_second": "retable.bench.metrics.basic:ImagesPerSecond",
        "inception_score": "retable.bench.metrics.inception_score:InceptionScore",
        "joules": "retable.bench.metrics.operations:Joules",
        "kd": "retable.bench.metrics.kernel_distance:KernelDistance",
        "macs": "retable.bench.metrics.operations:MultiplyAccumulates",
        "masking": "retable.bench.metrics.masking:Masking",
        "masking_failures": "retable.bench.metrics.masking:MaskingFailures",
        "map": "retable.bench.metrics.mean_average_precision:MeanAveragePrecision",
        "map50": "retable.bench.metrics.mean_average_precision:MeanAveragePrecision50",
        "mcd": "retable.bench.metrics.speech:MelCepstralDistortion",
        "mel_l1": "retable.bench.metrics.speech:MelL1",
        "mos_proxy": "retable.bench.metrics.listening:MosProxy",
        "nll": "retable.bench.metrics.basic:HeldOutNLL",
        "nll_unconditional": "retable.bench.metrics.basic:UnconditionalNLL",
        "operations": "retable.bench.metrics.operations:Operations",
        "params": "retable.bench.metrics.basic:Parameters",
        "params_non_embedding": "retable.bench.metrics.basic:NonEmbeddingParameters",
        "f1": "retable.bench.metrics.sentences:F1",
        "glue": "retable.bench.metrics.sentences:Glue",
        "matthews": "retable.bench.metrics.sentences:Matthews",
        "pearson": "retable.bench.metrics.sentences:Pearson",
        "spearman": "retable.bench.metrics.sentences:Spearman",
        "pesq": "retable.bench.metrics.listening:Pesq",
        "perplexity": "retable.bench.metrics.language:Perplexity",
        "precision": "retable.bench.metrics.precision_recall:Precision",
        "recall": "retable.bench.metrics.precision_recall:Recall",
        "robust_accuracy": "retable.bench.metrics.robustness:RobustAccuracy",
        "robust_area": "retable.bench.metrics.robustness:RobustArea",
        "robust_share": "retable.bench.metrics.robustness:RobustShare",
        "spikes_per_sample": "retable.bench.metrics.operations:SpikesPerSample",
        "stoi": "retable.bench.metrics.listening:Stoi",
        "stretch": "retable.bench.metrics.speech:Stretch",
        "time_steps": "retable.bench.metrics.basic:TimeSteps",
        "voicing_error": "retable.bench.metrics.speech:VoicingError",
        "zero_shot": "retable.bench.metrics.language:ZeroShotAccuracy",
        "decode_ms": "retable.bench.metrics.decode:DecodeMilliseconds",
        "decode_growth": "retable.bench.metrics.decode:DecodeGrowth",
        "decode_ratio": "retable.bench.metrics.decode:DecodeRatio",
        "crossover_length": "retable.bench.metrics.decode:CrossoverLength",
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
_KERNELS = "retable.models.common.backends"


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
