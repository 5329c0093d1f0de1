"""`--offline`: a run that would reach the network fails instead: Python in one sentence, whatever else it starts by having none.

A worker is put into a network of its own, in which there is only itself. Where the system does not let it, Python's
sockets refuse all the same, and programs that a job starts are sent to a proxy that is not there.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

NOWHERE = "http://127.0.0.1:9"
"""The port of a service that discards what it gets, and that nobody runs."""
SWITCHES = {
    **{"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
    **{name: NOWHERE for proxy in ("http_proxy", "https_proxy", "all_proxy") for name in (proxy, proxy.upper())},
    **dict.fromkeys(("no_proxy", "NO_PROXY"), "localhost,127.0.0.1,::1"),
}
_METHODS = {"connect": -1, "connect_ex": -1, "sendto": -1, "sendmsg": 4}
"""Methods of a socket and the place of the address among their arguments, of which the first is the socket."""
_LOOKUPS = ("getaddrinfo", "gethostbyname", "gethostbyname_ex")
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
_SET_FLAGS, _UP = 0x8914, 0x1 | 0x40


def refuse_network() -> None:
    """Make every way of this process to another host raise ConnectionError; hub libraries and children are told as well."""
    os.environ.update(SWITCHES)
    if getattr(socket.getaddrinfo, "offline", False):
        return
    for name, place in _METHODS.items():
        setattr(socket.socket, name, _guarded(getattr(socket.socket, name), place))
    for name in _LOOKUPS:
        setattr(socket, name, _guarded(getattr(socket, name), 0))


def cut_off() -> bool:
    """Give this process and all that it starts a network with nobody else in it; whether the system let it.

    The process must have one thread only. It is tried in a child first: half of it would be worse than nothing.
    """
    if not sys.platform.startswith("linux"):
        return False
    child = os.fork()
    if not child:
        with suppress(BaseException):
            _leave_network()
            os._exit(0)
        os._exit(1)
    if os.waitpid(child, 0)[1]:
        return False
    _leave_network()
    return True


def _leave_network() -> None:
    user, group = os.geteuid(), os.getegid()
    unshare = ctypes.CDLL(None, use_errno=True).unshare
    if unshare(_NEW_NETWORK):
        if unshare(_NEW_USER | _NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "unshare")
        for name, content in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            Path("/proc/self", name).write_text(content)
    import fcntl

    with socket.socket() as loopback:
        fcntl.ioctl(loopback, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP))


def _guarded(reach: Callable[..., Any], place: int) -> Callable[..., Any]:
    """A function one of whose arguments is an address or a name, refused where that is another host's."""

    def guarded(*arguments: Any, **named: Any) -> Any:
        given = arguments[place] if -len(arguments) <= place < len(arguments) else named.get("host")
        host = given[0] if isinstance(given, tuple) else given
        if host is not None and not _here(host):
            raise ConnectionError(f"--offline: connection to {_text(host)} refused")
        return reach(*arguments, **named)

    guarded.offline = True  # type: ignore[attr-defined]
    return guarded


def _here(host: Any) -> bool:
    """Whether an address or a name is this machine's own, without a look-up; the path of a Unix socket is."""
    text = _text(host)
    if "/" in text or text.startswith("\0"):
        return True
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return text in ("", "localhost")
    return found.is_loopback or found.is_unspecified


def _text(host: Any) -> str:
    return host.decode(errors="replace") if isinstance(host, bytes | bytearray) else str(host)
