"""Whole: whether a file or folder of weights can be all that was published, told from its ends without reading tensors.

Half a download, a shard that is missing, the web page that stood before the file, a pointer in place of it.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

TENSORS = (".safetensors", ".bin", ".pt", ".pth", ".tar")
"""Suffixes of files that hold weights."""
INDEX = "*.index.json"
"""What lists the shards of a folder, by tensor."""
PAGES = (b"<!doctype", b"<html", b"<?xml")
POINTER = b"version https://git-lfs"
ZIP = b"PK\x03\x04"


def lacking(place: Path) -> str:
    """Why a file, or a folder of them, cannot be whole: a sentence that begins with the path; empty where nothing says so."""
    for path in _files(place):
        if not path.is_file():
            return f"{path} is missing: {path.parent} lists it among its shards"
        if why := _why(path):
            return f"{path} {why}"
    return ""


def _files(place: Path) -> Iterator[Path]:
    if not place.is_dir():
        yield place
        return
    yield from sorted(path for path in place.iterdir() if path.suffix in TENSORS and not path.name.startswith("."))
    for index in sorted(place.glob(INDEX)):
        with suppress(
            OSError, ValueError, AttributeError
        ):  # whoever reads the folder says what is wrong with its index
            yield from (place / name for name in sorted(set(json.loads(index.read_bytes())["weight_map"].values())))


def _why(path: Path) -> str:
    size = path.stat().st_size
    if not size:
        return "is empty"
    if path.with_name(f"{path.name}.aria2").exists():
        return "is still being fetched: its list of open parts lies beside it"
    with path.open("rb") as file:
        head = file.read(64)
    if head.lstrip().lower().startswith(PAGES):
        return "is a web page and not the file that the page offers"
    if head.startswith(POINTER):
        return "is a pointer of Git LFS and not the file: `git lfs pull` brings it"
    if path.suffix == ".safetensors":
        return _safetensors(path, size)
    if path.suffix in TENSORS and head.startswith(ZIP):
        return _archive(path)
    return ""


def _safetensors(path: Path, size: int) -> str:
    """The header says where the last tensor ends."""
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if 8 + length > size:
            return f"ends within its header, after {size:,} bytes: half a download"
        try:
            tensors = json.loads(file.read(length))
            ends = [int(tensor["data_offsets"][1]) for name, tensor in tensors.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return "does not begin as a file of safetensors does"
    wanted = 8 + length + max(ends, default=0)
    return "" if size == wanted else f"has {size:,} bytes and its header speaks of {wanted:,}: half a download"


def _archive(path: Path) -> str:
    """The list of contents stands at the end of an archive of `torch.save`."""
    try:
        with zipfile.ZipFile(path):
            return ""
    except (zipfile.BadZipFile, OSError, ValueError, struct.error):
        return f"has no end, after {path.stat().st_size:,} bytes: half a download"
