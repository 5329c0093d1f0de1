"""Files of a report: every name made fit for a file system, every file complete or not there, none outside its folder."""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from retable.bench.errors import BenchError

_PLAIN = re.compile(r"(?!(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$))[a-z0-9][a-z0-9._-]{0,99}", re.ASCII)


def safe_name(name: str) -> str:
    """The name itself where every file system takes it, else a digest of it: no separator, no `..`, nothing reserved."""
    if _PLAIN.fullmatch(name) and not name.endswith("."):
        return name
    return f"x-{sha256(name.encode(errors='surrogatepass')).hexdigest()[:20]}"


def put(root: Path, *names: str, content: str | bytes) -> Path:
    """Write `content` under `root`, in folders and a file named after `names`, and return the path.

    A link that stands where the file goes is replaced, not followed; a folder that leads out of `root` is refused.
    """
    path = root.joinpath(*map(safe_name, names))
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.parent.resolve().is_relative_to(root.resolve()):
        raise BenchError(f"{path.parent} leads out of {root}")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path
