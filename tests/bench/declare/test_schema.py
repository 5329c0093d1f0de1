"""The JSON schema of suite files: current, valid, and of one mind with the reader wherever a schema can be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from retable.bench.declare.schema import dump
from retable.bench.declare.strict_yaml import load, loads
from retable.bench.errors import DeclarationError
from tests.bench.declare.test_reader import CORPUS, EXAMPLE, SHIPPED

PROJECT = Path(__file__).parents[3]
SCHEMA = PROJECT / "suites" / "suite.schema.json"

NEEDS_THE_WHOLE_FILE = {
    # names that must exist, and what is measured where
    "claim-entry-of-other-profile",
    "claim-entry-only-reported",
    "claim-of-a-rehearsal",
    "claim-entry-unknown",
    "claim-metric-unknown",
    "claim-metric-unmeasured",
    "claim-profile-unknown",
    "entry-measures-without-method",
    "entry-without-anything",
    "entry-without-dataset",
    "extends-in-a-circle",
    "extends-itself",
    "extends-unknown",
    "method-registered-but-unnamed",
    "method-unnamed",
    "method-unregistered",
    "metric-unknown",
    "metric-with-brackets",
    "metric-with-wrong-brackets",
    "metric-without-brackets",
    "name-of-claim-twice",
    "name-other-than-file",
    "name-twice",
    "needs-itself",
    "needs-missing",
    "profile-unknown",
    "profile-without-entries",
    "reported-metric-unknown",
    "reproducibility-metric-unmeasured",
    "rule-of-a-metric-unmeasured",
    "rule-of-a-row-only-reported",
    "table-column-of-nothing",
    "table-row-unmatched",
    "task-needs-missing",
    # which keys are profiles
    "choice-misspelt",
    "choice-of-a-method-with-a-gap",
    "choice-with-a-gap",
    "choice-with-a-gap-in-parameters",
    "missing-mini",
    # the value itself
    "claim-expects-anything",
    "claim-expects-either-unreasoned",
    "claim-expects-the-same-twice",
    "claim-expects-unreasoned",
    "claim-tolerance-alone",
    "rule-of-another-grammar",
    "statistics-alpha-too-large",
    "statistics-effect-of-nothing",
    "timeout-zero",
    "name-newline",  # the validator's `$` matches before a last newline; an editor's does not
}
OF_TEST_COMPONENTS = {path.stem for path in CORPUS if path.stem.startswith(("parameter-", "needs-unknown"))}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_the_file_is_current(tmp_path: Path) -> None:
    fresh = tmp_path / "schema.json"
    subprocess.run(
        [sys.executable, "-m", "retable.bench.declare.schema", str(fresh)], cwd=PROJECT, check=True, capture_output=True
    )
    assert fresh.read_text() == SCHEMA.read_text(), "run `python -m retable.bench.declare.schema`"


def test_it_is_a_valid_schema(validator: Draft202012Validator) -> None:
    Draft202012Validator.check_schema(validator.schema)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_it_accepts_what_ships(validator: Draft202012Validator, path: Path) -> None:
    assert not [f"{list(error.absolute_path)}: {error.message}" for error in validator.iter_errors(load(path).plain())]


def test_it_accepts_all_that_a_suite_can_say(validator: Draft202012Validator) -> None:
    validator.validate(loads(EXAMPLE.encode(), "example.yaml").plain())


def readable(path: Path) -> bool:
    try:
        load(path)
    except DeclarationError:
        return False
    return True


@pytest.mark.parametrize(
    "path",
    [path for path in CORPUS if readable(path) and path.stem not in OF_TEST_COMPONENTS],
    ids=lambda path: path.stem,
)
def test_it_refuses_what_the_reader_refuses(validator: Draft202012Validator, path: Path) -> None:
    accepted = validator.is_valid(load(path).plain())
    assert accepted == (path.stem in NEEDS_THE_WHOLE_FILE)


@pytest.mark.parametrize(
    "task",
    [
        "{use: decode, needs: {rivla: base}}",
        "{use: decode, with: {lenghts: [64]}}",
        "{use: decode, with: {lengths: 64}}",
        "{use: decode, with: {lengths: [a]}}",
        "{use: generate, with: {samples: many}}",
        "{use: generate, with: {guidance: null}}",
    ],
)
def test_it_knows_the_parameters_of_registered_components(validator: Draft202012Validator, task: str) -> None:
    good = EXAMPLE.replace("{use: read-weight,", "{use: decode, needs: {rival: base}}\n  draw: {use: generate,")
    good = good.replace("with: {scale: 2}", "with: {samples: {mini: 5, paper: 50000}, guidance: 2}")
    validator.validate(loads(good.encode(), "x").plain())
    bad = good.replace("{use: decode, needs: {rival: base}}", task)
    assert not validator.is_valid(loads(bad.encode(), "x").plain())


def test_every_key_has_a_text_for_hovering(validator: Draft202012Validator) -> None:
    schema: Any = validator.schema
    records = [schema, *(definition for definition in schema["$defs"].values() if "properties" in definition)]
    assert len(records) > 8
    for record in records:
        assert all(field["description"].endswith(".") for field in record["properties"].values())


def test_dumping_changes_nothing(validator: Draft202012Validator) -> None:
    assert json.loads(dump(validator.schema)) == validator.schema
