"""Agreement: this machine computes the known bits, and the comparison sees what one missing setting changes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from retable.bench.errors import BenchError
from retable.bench.probes import hardware
from retable.bench.registry import built_in
from retable.bench.run import agreement
from retable.bench.run.operators import tensor, values
from retable.bench.run.short_fits import SHORT_FITS, UNTRAINED
from tests.bench.conftest import Bench
from tests.conftest import NUMERICS

pytestmark = [
    pytest.mark.skipif(NUMERICS == "native", reason=f"no portable numerics: {hardware.not_portable()}"),
    pytest.mark.skipif(bool(agreement.versions()), reason=f"digests are of other packages: {agreement.versions()}"),
]
FEW = ("matmul 96x160x80", "attention", "conv 3x3 of odd sizes", "sqrt", "numpy functions", "integer neuron, reference")


def test_this_machine_computes_what_others_do() -> None:
    found = agreement.compare(FEW)
    assert found.whole, agreement.render(found)
    assert found.compared >= len(FEW)


@pytest.mark.parametrize(
    ("setting", "named", "vector_unit"),
    [
        ("MKL_CBWR", "attention", "avx2"),
        ("OPENBLAS_CORETYPE", "matmul 96x160x80", "avx512f"),
        ("ONEDNN_MAX_CPU_ISA", "conv 3x3 of odd sizes", "avx512f"),
        ("NPY_DISABLE_CPU_FEATURES", "numpy functions, float64", "avx512f"),
    ],
)
def test_a_setting_taken_away_is_seen(setting: str, named: str, vector_unit: str) -> None:
    if vector_unit not in hardware.hardware()["vector_units"]:
        pytest.skip(f"a processor without {vector_unit} computes alike without {setting}")
    found = agreement.compare(FEW, without=[setting])
    assert named in found.differ
    assert not found.whole


def test_every_method_is_tried_or_excused() -> None:
    tried = {short.use or name for name, short in SHORT_FITS.items()}
    assert not tried & set(UNTRAINED)
    assert tried | set(UNTRAINED) == set(built_in("method"))


def test_the_command_names_what_differs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    answer: dict[str, Any] = {"found": {"matmul 96x160x80": "0" * 32, "new": "1"}, "failed": {"odd": "ValueError: no"}}
    monkeypatch.setattr(agreement, "_computed", lambda *arguments: (answer["found"], answer["failed"]))
    done = bench("doctor", "--numerics")
    assert done.returncode == 1
    assert done.stdout.startswith(
        "matmul 96x160x80: differs\nnew: no digest is known\nodd: cannot be computed: ValueError: no"
    )
    assert hardware.processor() in done.stdout
    assert bench.json("doctor", "--numerics")["differ"] == ["matmul 96x160x80"]
    answer.update(found={"sqrt": json.loads(agreement.KNOWN.read_text())["digests"]["sqrt"]}, failed={})
    assert bench("doctor", "--numerics").returncode == 0


def test_new_digests_forget_who_agreed_with_the_old(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = ({"sum": "a"}, {})
    monkeypatch.setattr(agreement, "KNOWN", tmp_path / "digests.json")
    monkeypatch.setattr(agreement, "_computed", lambda *arguments: computed)
    monkeypatch.setattr(agreement, "processor", lambda: "one")
    agreement.record()
    monkeypatch.setattr(agreement, "processor", lambda: "two")
    assert agreement.record().agreed == ("one", "two")
    computed[0]["sum"] = "b"
    assert agreement.record().agreed == ("two",)
    computed[1]["sum"] = "ValueError: no"
    with pytest.raises(BenchError, match="nothing is recorded, since sum cannot be computed"):
        agreement.record()


def test_record_alone_is_refused(bench: Bench) -> None:
    assert bench("doctor", "--record").returncode == 2


def test_inputs_come_from_integers() -> None:
    """Exact in single precision, spread over [-1, 1), and another list for another salt."""
    x = values(4000)
    assert np.array_equal(x.astype(np.float32).astype(np.float64), x)
    assert x.min() >= -1
    assert x.max() < 1
    assert abs(x.mean()) < 0.05
    assert len(np.unique(x)) > 3990
    assert not np.array_equal(x, values(4000, salt=1))


def test_digests_see_bits_shapes_and_types() -> None:
    x = tensor(6)
    digests = [
        agreement.digest(value) for value in (x, [x], x.reshape(2, 3), x.double(), torch.nextafter(x, x + 1), -x)
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 5
