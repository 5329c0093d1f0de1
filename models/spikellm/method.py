"""Language models and post-training methods as a suite declares them (arXiv 2407.04752). Imports torch only when used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retable.models.spikellm.recipe import Pair, Recipe, Weights

if TYPE_CHECKING:
    from retable.models.spikellm.language_model import LanguageModel

Fit = tuple["LanguageModel", dict[str, Any]]

SIZES: dict[str, dict[str, int]] = {
    "7b": {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "intermediate_size": 11008},
    "13b": {"hidden_size": 5120, "num_hidden_layers": 40, "num_attention_heads": 40, "intermediate_size": 13824},
    "65b": {"hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64, "intermediate_size": 22016},
    "2-70b": {
        "hidden_size": 8192,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "intermediate_size": 28672,
    },
}
"""LLaMA's sizes; LLaMA-2 has those of LLaMA-1 at 7B and 13B."""


@dataclass(frozen=True, kw_only=True)
class TinyLlama:
    """A LLaMA over characters trained on the text's training part; `kv_heads` below `heads` groups the queries."""

    NAME: ClassVar[str] = "tiny-llama"

    width: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int | None = None
    hidden: int = 344
    steps: int = 500
    batch_size: int = 16
    window: int = 128
    lr: float = 3e-3

    NEEDS: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "hidden", "steps", "batch_size", "window"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, not {getattr(self, name)}")
        kv_heads = self.heads if self.kv_heads is None else self.kv_heads
        if kv_heads < 1 or self.heads % kv_heads or self.width % (2 * self.heads):
            raise ValueError("`heads` must be a multiple of `kv_heads`, and `width` of twice `heads`")

    def build(self, data: Any) -> LanguageModel:
        from retable.models.spikellm import tiny_llama

        kv_heads = self.heads if self.kv_heads is None else self.kv_heads
        return tiny_llama.new(self.width, self.layers, self.heads, kv_heads, self.hidden)

    def fit(self, data: Any, needs: Mapping[str, Any], *, seed: int, device: str) -> Fit:
        """Trained on `data.train`. Raises ValueError for a text shorter than a window."""
        import torch

        from retable.models.spikellm import tiny_llama

        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = self.build(data).to(device)
        recipe = {"steps": self.steps, "batch_size": self.batch_size, "window": self.window, "lr": self.lr}
        tokens_N = torch.tensor(model.tokenizer(data.train)["input_ids"])
        return model, tiny_llama.train(model, tokens_N, seed=seed, **recipe)  # type: ignore[arg-type]

    def load(self, state: Mapping[str, Any], data: Any, needs: Mapping[str, Any], *, device: str) -> LanguageModel:
        model = self.build(data)
        model.lm.load_state_dict(state)
        return model.to(device).eval()


@dataclass(frozen=True, kw_only=True)
class PublishedLM:
    """A causal LM with its tokenizer from the folder `weights` below $BENCH_DATA, in transformers' own files.

    `size` lets a LLaMA be built without its weights, to be counted.
    """

    NAME: ClassVar[str] = "hf-lm"

    weights: str
    size: Literal["7b", "13b", "65b", "2-70b"] | None = None
    dtype: Literal["float32", "float16", "bfloat16"] = "float16"

    NEEDS: ClassVar[tuple[str, ...]] = ()

    def build(self, data: Any) -> LanguageModel:
        """A LLaMA of this size with random weights and no tokenizer. Raises ValueError without a size."""
        from retable.models.spikellm.language_model import LanguageModel
        from retable.models.spikellm.published import require

        if self.size is None:
            raise ValueError(f"`size` must be given to build {self.weights} without its weights")
        transformers = require("transformers")
        config = transformers.LlamaConfig(vocab_size=32000, tie_word_embeddings=False, **SIZES[self.size])
        return LanguageModel(transformers.LlamaForCausalLM(config), None)

    def read(self) -> LanguageModel:
        """The published model. Raises MissingWeights."""
        from retable.models.spikellm.language_model import LanguageModel
        from retable.models.spikellm.published import read_folder

        return LanguageModel(*read_folder(self.weights, self.dtype), published=True).eval()

    def ready(self) -> None:
        """Raises MissingWeights without the packages that read it."""
        from retable.models.spikellm.published import require

        require("transformers")

    def fit(self, data: Any, needs: Mapping[str, Any], *, seed: int, device: str) -> Fit:
        return self.read(), {"weights": self.weights}

    def load(self, state: Mapping[str, Any], data: Any, needs: Mapping[str, Any], *, device: str) -> LanguageModel:
        return self.read().to(device)

    def weights_digest(self) -> str:
        """Raises MissingWeights."""
        from retable.models.spikellm.published import folder_digest

        return folder_digest(self.weights)


@dataclass(frozen=True, kw_only=True)
class SmolLM2(PublishedLM):
    """SmolLM2-135M-Instruct, dequantised from the 4-bit file (Q4_1) that a package ships."""

    NAME: ClassVar[str] = "smollm2-135m"

    weights: str = "cache/smollm2-135m-q4_1"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"

    def build(self, data: Any) -> LanguageModel:
        """The model itself: it is small. Raises MissingWeights."""
        return self.read()

    def read(self) -> LanguageModel:
        """Raises MissingWeights."""
        from retable.models.spikellm.published import smollm2_folder

        smollm2_folder()
        return super().read()

    def weights_digest(self) -> str:
        """Raises MissingWeights."""
        from retable.models.spikellm.published import smollm2_digest

        return smollm2_digest()


@dataclass(frozen=True, kw_only=True)
class PostTraining(Recipe):
    """Quantises the model it needs (`base`) on random windows of the text's training part."""

    NEEDS: ClassVar[tuple[str, ...]] = ("base",)

    def recipe(self) -> Recipe:
        return Recipe(**{field.name: getattr(self, field.name) for field in fields(Recipe)})

    def weights_digest(self) -> str | None:
        """Digest of the published parameters, None where there are none. Raises MissingWeights."""
        if self.parameters is None:
            return None
        from retable.models.common.weights import weights_digest

        return weights_digest(self.parameters)

    def build(self, data: Any) -> Any:
        raise ValueError("a post-training method has no size of its own: count its `base`")

    def fit(self, data: Any, needs: Mapping[str, Any], *, seed: int, device: str) -> Fit:
        """Calibrated on `data.train`; the base becomes the result, in place. Raises what `pipeline.quantise` does."""
        from retable.models.spikellm.pipeline import calibration_windows, quantise

        model, recipe = needs["base"], self.recipe()
        tokens_SN = calibration_windows(model.tokenizer, data.train, recipe.samples, recipe.window, seed)
        logs = quantise(model.lm, tokens_SN, recipe, seed=seed, device=device)
        model.recipe = recipe
        return model, {
            "layer_errors": [log.error for log in logs],
            "layer_losses": [log.losses for log in logs],
            "salient_channels": [log.salient for log in logs],
        }

    def load(self, state: Mapping[str, Any], data: Any, needs: Mapping[str, Any], *, device: str) -> LanguageModel:
        """The base with the stored layers, in place."""
        model: LanguageModel = needs["base"]
        model.load_quantised(state, self.recipe())
        return model.to(device).eval()


@dataclass(frozen=True, kw_only=True)
class RoundToNearest(PostTraining):
    """Every weight and activation to its nearest level; nothing is calibrated."""

    NAME: ClassVar[str] = "rtn"

    samples: int = 1


@dataclass(frozen=True, kw_only=True)
class SmoothQuant(PostTraining):
    """Scales between the norms and what follows them, max|x|^a / max|W|^(1-a), without learning (after arXiv 2211.10438)."""

    NAME: ClassVar[str] = "smoothquant"

    let: tuple[Pair, ...] = ("qkv", "fc1")
    alpha: float = 0.5


@dataclass(frozen=True, kw_only=True)
class OmniQuant(PostTraining):
    """Learned transformation and clipping (arXiv 2308.13137); one step for every channel."""

    NAME: ClassVar[str] = "omniquant"

    let: tuple[Pair, ...] = ("qkv", "out", "fc1", "qkt")
    lwc: bool = True
    epochs: int = 20


@dataclass(frozen=True, kw_only=True)
class PublishedOmniQuant(OmniQuant):
    """OmniQuant with the transformation and the clipping that its authors publish, in place of learning them."""

    NAME: ClassVar[str] = "omniquant-published"

    epochs: int = 0
    parameters: str | None = "omniquant/omni_parameters.pth"


@dataclass(frozen=True, kw_only=True)
class SpikeLLM(OmniQuant):
    """OmniQuant with T steps for the salient channels of the activations (arXiv 2407.04752)."""

    NAME: ClassVar[str] = "spikellm"

    abits: int = 4
    steps: int = 2
    low_p: float = 0.9


@dataclass(frozen=True, kw_only=True)
class GPTQ(PostTraining):
    """Second-order rounding of the weights (arXiv 2210.17323)."""

    NAME: ClassVar[str] = "gptq"

    wbits: int = 2
    gptq: bool = True


@dataclass(frozen=True, kw_only=True)
class PBLLM(GPTQ):
    """After PB-LLM (arXiv 2310.00034): a share of the weights, by their second-order loss, keeps 8 bits, the rest one."""

    NAME: ClassVar[str] = "pb-llm"

    weights: Weights = "binary"
    weight_salient: float = 0.1
    salient_bits: int | None = 8
    by_element: bool = True


@dataclass(frozen=True, kw_only=True)
class SpikeLLMTernary(GPTQ):
    """Ternary spikes as weights by GPTQ: salient columns add `weight_steps` of them, 1.4 a weight on the average.

    The paper's own definition is not published.
    """

    NAME: ClassVar[str] = "spikellm-ternary"

    weights: Weights = "ternary"
    weight_salient: float = 0.1333
    weight_steps: int = 4
