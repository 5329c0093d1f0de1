"""`--offline`: a run of this process that would reach the network fails instead, in one sentence."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

HUB_SWITCHES = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
_LOCAL = ("127.", "localhost", "::1")


def refuse_network() -> None:
    """Make every connection of this process to another host raise ConnectionError; hub libraries are told as well."""
    os.environ.update(HUB_SWITCHES)
    if getattr(socket.socket.connect, "offline", False):
        return
    for name in ("connect", "connect_ex", "sendto"):
        setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))


def _guarded(reach: Callable[..., Any]) -> Callable[..., Any]:
    """A socket's method whose last argument is the address, refused for other hosts."""

    def guarded(self: socket.socket, *arguments: Any) -> Any:
        address = arguments[-1]
        if isinstance(address, tuple) and not str(address[0]).startswith(_LOCAL):
            raise ConnectionError(f"--offline: connection to {address[0]} refused")
        return reach(self, *arguments)

    guarded.offline = True  # type: ignore[attr-defined]
    return guarded
