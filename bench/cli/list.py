"""`bench list`: the suites."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from retable.bench.cli.suites import summary
from retable.bench.errors import OK, BenchError

if TYPE_CHECKING:
    pass


def main(arguments: Namespace) -> int:
    """One line a suite: its name, title and what it measures."""
    folder = Path(arguments.folder)
    if not folder.is_dir():
        raise BenchError(f"{folder} is not a folder of suites")
    rows = [summary(path) for path in sorted(folder.glob("*.yaml"))]
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return OK
    for row in rows:
        paper = f" (arXiv {row['arxiv']})" if row["arxiv"] else ""
        print(f"{row['suite']}  {row['title']}{paper}")
        print(
            f"    {row['reported_rows']} rows reported, {row['measured_rows']} measured at mini ({row['cases']} cases), "
            f"{row['claims']} claims; profiles {', '.join(row['profiles'])}"
        )
    return OK
