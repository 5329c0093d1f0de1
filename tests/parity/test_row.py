"""A row from its files to its number: what the official code computed of the same weights and tokens.

The text, the folder of the model and its tokenizer are written as they are published, the seed draws the official windows, and the
suite claims the official perplexities; `bench` does the rest.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retable.bench.run import stage
from retable.bench.run.shelf import Shelf
from tests.bench.conftest import Bench
from tests.parity.conftest import Golden

FIXTURES = Path(__file__).parent / "goldens" / "spikellm"
SEED, WORDS = 2, 4000
"""The released calibration's seed, and a text long enough for its windows to lie apart."""
SUITE = """\
suite: row
title: A row from its files to its number
version: 1
profiles:
  mini: {{repetitions: [0], seed: {seed}, numerics: portable, limits: {{timeout: 200 s, memory: 8 GB}}}}
datasets:
  text: {{use: wikitext-2, with: {{complete: false}}}}
methods:
  base: {{use: hf-lm, with: {{weights: official/model, dtype: float32}}}}
  quantised: {{use: {method}, needs: {{base: base}}, with: {recipe}}}
tasks:
  read: {{use: language, with: {{window: {window}}}}}
defaults: {{dataset: text, task: read, metrics: [perplexity]}}
entries:
  - {{name: base, method: base}}
  - {{name: quantised, method: quantised}}
claims:
  - {{name: full, text: "as the official code", min_seeds: 1, value: {{entry: base, metric: perplexity, equals: {full}, tolerance: 0.1 %}}}}
  - {{name: less, text: "as the official code", min_seeds: 1, value: {{entry: quantised, metric: perplexity, equals: {less}, tolerance: {near}}}}}
"""


def words(ids: np.ndarray) -> list[str]:
    return [f"w{number}" for number in ids.tolist()]


def write_texts(folder: Path, golden: Golden) -> None:
    """`wiki.test.raw` has the fixture's tokens, `wiki.train.raw` its calibration windows where the seed looks for them."""
    windows, drawn = golden.arrays["calib_tokens"], random.Random(SEED)
    length = windows.shape[1]
    train = ["w0"] * WORDS
    starts = [drawn.randint(0, WORDS - length - 1) for _ in windows]
    assert min(np.diff(sorted(starts))) >= length, "the windows lie apart"
    for start, window in zip(starts, windows, strict=True):
        train[start : start + length] = words(window)
    folder.mkdir(parents=True)
    for part, text in (("train", train), ("test", words(golden.arrays["eval_tokens"][0]))):
        (folder / f"wiki.{part}.raw").write_text(" ".join(text) + "\n", encoding="utf-8")


def write_model(folder: Path, golden: Golden) -> None:
    """Sharded safetensors, configuration and a tokenizer of whole words, by transformers itself."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    options = golden.config["llama"]
    model = LlamaForCausalLM(LlamaConfig(**options, tie_word_embeddings=False, max_position_embeddings=2048))
    model.load_state_dict(golden.tensors("sd/"))
    model.save_pretrained(folder, max_shard_size="20KB")
    inner = Tokenizer(models.WordLevel({f"w{i}": i for i in range(options["vocab_size"])}, unk_token="w0"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=inner).save_pretrained(folder)


def declared(golden: Golden) -> str:
    """The suite with the fixture's recipe and the perplexities of the official code."""
    c = golden.config
    recipe: dict[str, Any] = {key: c[key] for key in ("wbits", "abits", "alpha", "epochs", "let_lr", "lwc_lr")}
    recipe |= {"samples": c["nsamples"], "window": c["seqlen"], "let": ["qkv", "out", "fc1", "qkt"] if c["let"] else []}
    spiking = c["low_p"] < 1
    recipe |= {"steps": 2 ** c["addbit"], "low_p": c["low_p"]} if spiking else {}
    return SUITE.format(
        seed=SEED,
        method="spikellm" if spiking else "omniquant",
        recipe=json.dumps(recipe),
        window=c["seqlen"],
        full=float(golden.arrays["out/fp_ppl"]),
        less=float(golden.arrays["out/quant_ppl"]),
        near="3 %" if c["let_lr"] or c["lwc_lr"] else "1 %",
    )


@pytest.mark.parametrize("fixture", ["pipeline_w4a4_omniquant", "pipeline_w2a8_omniquant", "pipeline_w4a4_T2"])
def test_a_row_has_the_official_number(fixture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr(stage, "_shelf", Shelf())  # another fixture's text lay elsewhere under the same name
    golden = Golden(FIXTURES / f"{fixture}.npz")
    data = tmp_path / "data"
    write_texts(data / "wikitext-2-raw-v1", golden)
    write_model(data / "official" / "model", golden)
    bench = Bench(tmp_path, {"BENCH_DATA": str(data)})
    (tmp_path / "row.yaml").write_text(declared(golden), encoding="utf-8")
    for verb in (["run", "row.yaml", "--jobs", "0", "--quiet"], ["gate", "row.yaml"]):
        done = bench(*verb, plugin=False)
        assert done.returncode == 0, done.stdout + done.stderr
