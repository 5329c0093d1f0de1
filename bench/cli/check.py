"""`bench check`: suite files at every profile, without running anything."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path

from retable.bench.cli.suites import fault, find_suite
from retable.bench.errors import OK, BenchError, DeclarationError


def main(arguments: Namespace) -> int:
    """Check suite files at every profile; the first sentence of each broken one goes to stderr."""
    paths = [find_suite(name) for name in arguments.suites] or sorted(Path("suites").glob("*.yaml"))
    if not paths:
        raise BenchError("no suite files in suites/")
    errors = [sentence for sentence in map(fault, paths) if sentence]
    errors += (
        [sentence for path in paths for sentence in _unfalsifiable(path)] if arguments.falsify and not errors else []
    )
    if arguments.json:
        print(json.dumps({"checked": [str(path) for path in paths], "errors": errors}, indent=2))
    for sentence in errors:
        print(f"bench: {sentence}", file=sys.stderr)
    if not errors and not arguments.json:
        more = "; every claim can be reproduced, and can be contradicted" if arguments.falsify else ""
        print(f"{len(paths)} suites as they should be{more}" if len(paths) > 1 else f"1 suite as it should be{more}")
    return DeclarationError.exit_status if errors else OK


def _unfalsifiable(path: Path) -> list[str]:
    """A sentence for each claim that proves nothing, at each profile where it is made."""
    from retable.bench.declare.reader import check_suite
    from retable.bench.judge.falsify import refused

    return [
        f"{claim.where}: claim {claim.name!r} proves nothing at {suite.profile.name}: {why}"
        for suite in check_suite(path)
        for claim in suite.claims
        if suite.profile.name in claim.profiles and (why := refused(claim, suite))
    ]
