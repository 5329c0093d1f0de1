"""Exports of published versions, held to the published schemas; statements that `bench verify` checks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from retable.bench.versions import attest
from retable.bench.versions.freeze import pretty
from retable.bench.versions.versions import MANIFEST, render_manifest
from tests.bench.conftest import Bench

PROJECT = Path(__file__).parents[3]
RESULTS = ("--results", str(PROJECT / "results"))


@pytest.fixture
def frozen(bench: Bench) -> Bench:
    bench("run", "tiny", "--jobs", "0", "--quiet")
    assert bench("freeze", "tiny", "--attest").returncode == 0
    return bench


def exported(bench: Bench, version: str, form: str, *options: str) -> list[Path]:
    told = bench.json("export", version, "--format", form, "--out", "out", *options)
    return [bench.folder / path for path in told["files"]]


class TestEveryEvalEver:
    def test_a_published_version_fits_the_schema_file_by_file(self, bench: Bench) -> None:
        pytest.importorskip("jsonschema")
        done = bench("export", "table2_aim/v2", "--format", "eee", "--out", "out", *RESULTS)
        assert (done.returncode, done.stderr) == (0, "")
        assert len(list((bench.folder / "out").rglob("*.json"))) > 30

    def test_what_does_not_fit_is_found(self) -> None:
        pytest.importorskip("jsonschema")
        from retable.bench.report.exchange.eee import problems

        assert any("model_info" in line for line in problems('{"schema_version": "0.3.0"}'))

    def test_measured_and_documented_numbers_are_apart_and_uncertainty_is_between_seeds(self, frozen: Bench) -> None:
        files = [json.loads(path.read_text()) for path in exported(frozen, "tiny/v1", "eee")]
        of = {(one["model_info"]["name"], one["source_metadata"]["source_type"]): one for one in files}
        assert set(of) == {
            ("Low", "evaluation_run"),
            ("Low", "documentation"),
            ("High", "evaluation_run"),
            ("Cited", "documentation"),
        }
        (measured,) = of["High", "evaluation_run"]["evaluation_results"]
        details = measured["score_details"]
        assert details["score"] == pytest.approx(2.0, abs=0.05)
        assert details["uncertainty"]["num_samples"] == 3
        assert details["uncertainty"]["confidence_interval"]["lower"] < details["score"]
        assert len([name for name in details["details"] if name.startswith("seed")]) == 3
        (told,) = of["Cited", "documentation"]["evaluation_results"]
        assert told["score_details"]["score"] == 3.5


class TestROCrate:
    def test_every_file_is_described_and_the_run_leads_from_the_declaration_to_the_rest(self, frozen: Bench) -> None:
        files = exported(frozen, "tiny/v1", "ro-crate")
        crate = json.loads((frozen.folder / "out" / "ro-crate-metadata.json").read_text())
        things = {one["@id"]: one for one in crate["@graph"]}
        names = {path.name for path in files} - {"ro-crate-metadata.json"}
        assert {part["@id"] for part in things["./"]["hasPart"]} == names
        assert things["#run"]["object"]["@id"] == "tiny.yaml"
        assert all(things[name]["@type"] == "File" for name in names)
        used = {
            value["@id"]
            for one in crate["@graph"]
            for value in one.values()
            if isinstance(value, dict) and "@id" in value
        }
        assert {name for name in used if not name.startswith(("http", "ro-crate"))} <= set(things)

    @pytest.mark.oracle("rocrate_validator")
    def test_the_validator_of_the_profile_has_nothing_to_say(
        self, frozen: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import rocrate
        from rocrate_validator import services
        from rocrate_validator.models import Severity

        _serve(Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld", monkeypatch)
        exported(frozen, "tiny/v1", "ro-crate")
        settings = services.ValidationSettings(
            rocrate_uri=str(frozen.folder / "out"),
            profile_identifier="process-run-crate",
            requirement_severity=Severity.REQUIRED,
            skip_checks=["ro-crate-1.1_3.1", "ro-crate-1.1_3.2"],  # whether the network has the context
        )
        assert [issue.message for issue in services.validate(settings).get_issues()] == []


def _serve(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RO-Crate's context for whoever opens its address, without a network."""
    import email.message
    import io
    import urllib.request
    import urllib.response

    class Local(urllib.request.BaseHandler):
        handler_order = 100

        def https_open(self, request: Any) -> Any:
            head = email.message.Message()
            head["Content-Type"] = "application/ld+json"
            answer = urllib.response.addinfourl(io.BytesIO(file.read_bytes()), head, request.full_url, 200)
            answer.msg = "OK"  # type: ignore[attr-defined]
            return answer

    monkeypatch.setattr(urllib.request, "_opener", urllib.request.build_opener(Local))


class TestInToto:
    def test_the_statement_of_a_version_is_the_one_that_is_exported(self, frozen: Bench) -> None:
        own = json.loads((frozen.folder / "results" / "tiny" / "v1" / attest.FILE).read_text())
        assert json.loads(frozen("export", "tiny", "--format", "in-toto").stdout) == own
        assert own["predicate"]["result"] == "PASSED"
        assert own["predicate"]["passedTests"] == ["high-beats-low"]
        names = {one["name"] for one in own["predicate"]["configuration"]}
        assert {"tiny.yaml", "claims", "code"} <= names
        assert {one["name"] for one in own["subject"]} >= {"records.jsonl", "verdicts.json", "environments.json"}

    def test_the_frameworks_own_classes_take_it(self, frozen: Bench) -> None:
        pytest.importorskip("in_toto_attestation")
        from google.protobuf.json_format import ParseDict
        from in_toto_attestation.predicates.test_result.v0.test_result_pb2 import TestResult
        from in_toto_attestation.v1.statement import Statement
        from in_toto_attestation.v1.statement_pb2 import Statement as Message

        told = json.loads(frozen("export", "tiny", "--format", "in-toto").stdout)
        Statement.copy_from_pb(ParseDict(told, Message())).validate()
        assert ParseDict(told["predicate"], TestResult()).result == "PASSED"

    def test_the_same_content_gives_the_same_statement_and_no_new_version(self, frozen: Bench) -> None:
        assert "already holds" in frozen("freeze", "tiny", "--attest").stdout

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (lambda one: one["predicate"].update(result="FAILED"), "another result"),
            (lambda one: one["predicate"]["configuration"].pop(), "another digest"),
            (lambda one: one["subject"][0]["digest"].update(sha256="0" * 64), "another digest"),
            (lambda one: one["subject"].append({"name": "more", "digest": {"sha256": "0" * 64}}), "is not there"),
            (lambda one: one.update(predicateType="https://example.org/other"), "not a test-result"),
        ],
    )
    def test_verify_finds_a_statement_that_does_not_fit_its_files(self, frozen: Bench, change: Any, told: str) -> None:
        assert frozen("verify", "tiny").returncode == 0
        folder = frozen.folder / "results" / "tiny" / "v1"
        one = json.loads((folder / attest.FILE).read_text())
        change(one)
        _rewrite(folder, attest.FILE, pretty(one).encode())
        done = frozen("verify", "tiny")
        assert done.returncode == 1
        assert told in done.stderr

    def test_claims_that_were_changed_after_the_run_are_found(self, frozen: Bench) -> None:
        """Even by somebody who makes the manifest anew."""
        folder = frozen.folder / "results" / "tiny" / "v1"
        declared = (folder / "tiny.yaml").read_text().replace("[low, high]", "[high, low]")
        _rewrite(folder, "tiny.yaml", declared.encode())
        done = frozen("verify", "tiny")
        assert done.returncode == 1
        assert "configuration claims" in done.stderr


def _rewrite(folder: Path, name: str, content: bytes) -> None:
    """A file and a manifest that fits it: only the statement can tell."""
    from hashlib import sha256

    manifest = json.loads((folder / MANIFEST).read_text())
    manifest.pop("checksum")
    manifest["files"][name] = {"sha256": sha256(content).hexdigest(), "bytes": len(content)}
    for path, text in ((folder / name, content), (folder / MANIFEST, render_manifest(manifest))):
        path.chmod(0o644)
        path.write_bytes(text)


def test_what_is_many_files_needs_a_folder(bench: Bench) -> None:
    done = bench("export", "table2_aim", "--format", "ro-crate", *RESULTS)
    assert done.returncode == 2
    assert "--out" in done.stderr


def test_a_crate_leaves_the_version_as_it_was(frozen: Bench) -> None:
    before = shutil.copytree(frozen.folder / "results" / "tiny" / "v1", frozen.folder / "before")
    exported(frozen, "tiny/v1", "ro-crate")
    after = frozen.folder / "results" / "tiny" / "v1"
    assert {path.name: path.read_bytes() for path in before.iterdir()} == {
        path.name: path.read_bytes() for path in after.iterdir()
    }
