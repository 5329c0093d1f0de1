"""`--offline`: a run that would reach the network fails instead, in one sentence."""

from __future__ import annotations

import os
import socket
from typing import Any

HUB_SWITCHES = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
_LOCAL = ("127.", "localhost", "::1")


def refuse_network() -> None:
    """Make every connection of this process to another host raise ConnectionError; hub libraries are told as well."""
    os.environ.update(HUB_SWITCHES)
    if getattr(socket.socket.connect, "offline", False):
        return
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and not str(address[0]).startswith(_LOCAL):
            raise ConnectionError(f"--offline: connection to {address[0]} refused")
        connect(self, address)

    guarded.offline = True  # type: ignore[attr-defined]
    socket.socket.connect = guarded  # type: ignore[method-assign, assignment]
