"""RO-Crate 1.1: a version's files with `ro-crate-metadata.json`, as a Process Run Crate (one run that made them)."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Mapping
from typing import Any

from retable.bench.versions.versions import MANIFEST, Version

METADATA = "ro-crate-metadata.json"
CONTEXT = "https://w3id.org/ro/crate/1.1/context"
PROFILE = "https://w3id.org/ro/crate/1.1"
PROCESS = "https://w3id.org/ro/wfrun/process/0.5"
SOFTWARE = "urn:x-retable"
KINDS = {".jsonl": "application/jsonl", ".yaml": "application/yaml", ".md": "text/markdown", ".tex": "text/x-tex"}
TOLD = {
    "records.jsonl": "Every evaluation and the fits behind it: numbers by seed, ingredients of their keys, timings",
    "verdicts.json": "The verdict of every claim with its estimate and the records it rests on",
    "table.csv": "The tables, a line a cell",
    "table.md": "The tables and verdicts",
    "table.txt": "The tables and verdicts as a terminal shows them",
    "spread.csv": "Spread of every number: between seeds, of the sample, between runs",
    "certificates.jsonl": "What running cases again showed",
    "environments.json": "Machines and software that the records were made with",
    "tolerances.json": "How far numbers move when what must not matter is changed",
    "attestation.json": "An in-toto statement about these files",
    MANIFEST: "Digests of all files of the version",
}


def metadata(version: Version, files: Mapping[str, bytes]) -> str:
    """The metadata file of a crate that holds these files beside it."""
    graph = [_descriptor(), _root(version, files), _process(), *_run(version, files), *_things(version)]
    graph += [_file(name, content, version) for name, content in sorted(files.items())]
    return json.dumps({"@context": CONTEXT, "@graph": graph}, indent=2, ensure_ascii=False) + "\n"


def _descriptor() -> dict[str, Any]:
    return {
        "@id": METADATA,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": PROFILE},
    }


def _root(version: Version, files: Mapping[str, bytes]) -> dict[str, Any]:
    facts = version.manifest
    source = f" (arXiv {facts['arxiv']})" if facts.get("arxiv") else ""
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": f"{version.name}: {facts['title']}",
        "description": f"Results of the suite {version.name.suite}{source} at profile {version.profile}, as published: "
        f"{facts['cases']} cases, with the records, tables and verdicts.",
        "datePublished": facts["published"],
        "license": {"@id": "#license"},
        "conformsTo": {"@id": PROCESS},
        "hasPart": [{"@id": name} for name in sorted(files)],
        "mentions": {"@id": "#run"},
    }


def _process() -> dict[str, Any]:
    return {"@id": PROCESS, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}


def _run(version: Version, files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """What ran, by what, from the declaration to the rest."""
    times = sorted(record.created for record in version.records if record.created)
    declared = f"{version.name.suite}.yaml"
    return [
        {
            "@id": "#run",
            "@type": "CreateAction",
            "name": f"bench run {version.name.suite} --profile {version.profile}",
            "instrument": {"@id": SOFTWARE},
            "description": "Runs every case of the suite that is not stored, then judges its claims",
            **({"object": {"@id": declared}} if declared in files else {}),
            "result": [{"@id": name} for name in sorted(files) if name != declared],
            "actionStatus": {"@id": "http://schema.org/CompletedActionStatus"},
            **({"startTime": _instant(times[0]), "endTime": _instant(times[-1])} if times else {}),
        }
    ]


def _instant(text: str) -> str:
    """With the offset written out, as the profile's shapes want it."""
    return text.replace("Z", "+00:00")


def _things(version: Version) -> list[dict[str, Any]]:
    return [
        {
            "@id": SOFTWARE,
            "@type": "SoftwareApplication",
            "name": "Retable",
            "softwareVersion": str(version.manifest["bench"]),
            "description": "Rebuilds the tables of papers, with a verdict for every claim",
        },
        {
            "@id": "#license",
            "@type": "CreativeWork",
            "name": "As the publisher of these results says",
            "description": "The version names no licence; whoever publishes the crate states one.",
        },
    ]


def _file(name: str, content: bytes, version: Version) -> dict[str, Any]:
    ending = f".{name.rpartition('.')[2]}"
    kind = KINDS.get(ending) or mimetypes.guess_type(name)[0] or "text/plain"
    told = TOLD.get(name, "The declaration that was run" if name == f"{version.name.suite}.yaml" else name)
    return {
        "@id": name,
        "@type": "File",
        "name": name,
        "description": told,
        "encodingFormat": kind,
        "contentSize": str(len(content)),
    }
