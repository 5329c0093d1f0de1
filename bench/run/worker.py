"""A worker process (`python -m retable.bench.run.worker FD`) and what it shares with the driver: how a job is tried.

The driver starts a worker as the leader of its own session. The worker forks a guardian at once, while it is small: the
guardian only waits for the end of the pipe on its stdin, whose other end the driver alone holds, and then kills the
whole session. So nothing outlives a driver that was killed, however deep in C code a job is. What a job starts inherits
the worker's mark in its environment, by which it is found when it has left the session and lost its parents.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from retable.bench.record import Record, Status
    from retable.bench.run.desk import Desk

MESSAGE_LIMIT = 4_000
TRACEBACK_LIMIT = 20_000
MARK = "RETABLE_WORKER"
"""The variable that names a worker to all that it starts."""


def attempt(run: str, load: Callable[[], Any], desk: Desk) -> dict[str, Any]:
    """Call the function `run` ("module:function") on a payload and a desk; its record as JSON, or how it failed.

    KeyboardInterrupt passes through; everything else that a job may raise, SystemExit too, is a failure of the job. A child
    that a job forked and that comes back here ends: the answer is its parent's.
    """
    from retable.bench.record import Record

    started, process = time.perf_counter(), os.getpid()
    try:
        record = _function(run)(load(), desk)
        if not isinstance(record, Record):
            raise TypeError(f"{run} returned {type(record).__name__}, not a Record")
        return {"record": _strict(record)}
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        status, failure = describe(error)
        return {"status": str(status), "failure": failure, "seconds": time.perf_counter() - started}
    finally:
        if os.getpid() != process:
            os._exit(0)


def describe(error: BaseException) -> tuple[Status, dict[str, str]]:
    """What an exception says about a job: its status, and type, message and traceback as text that can be stored."""
    from traceback import format_exception

    from retable.bench.errors import BenchError
    from retable.bench.record import Status

    names = {kind.__name__ for kind in type(error).__mro__}
    message = storable(_said(error), MESSAGE_LIMIT)
    if isinstance(error, FileNotFoundError):
        status = Status.MISSING
    elif isinstance(error, MemoryError) or "OutOfMemoryError" in names or "can't allocate memory" in message:
        status = Status.OUT_OF_MEMORY
    else:
        status = Status.FAILED
    # A BenchError is one sentence for the user, so where it was raised says nothing more.
    traceback = "" if isinstance(error, BenchError) else storable("".join(format_exception(error)), TRACEBACK_LIMIT)
    return status, {"type": type(error).__name__, "message": message, "traceback": traceback}


def _said(error: BaseException) -> str:
    """The whole text of an exception; of one that has none, or cannot say it, the place where it was raised."""
    from traceback import extract_tb

    try:
        text = str(error).strip()
    except Exception as broken:
        text = f"its text cannot be had ({type(broken).__name__})"
    if isinstance(error, BaseExceptionGroup):
        text = "; ".join([text, *(f"{type(one).__name__}: {_said(one)}" for one in error.exceptions)])
    if text:
        return text
    places = extract_tb(error.__traceback__)
    where = f" at {places[-1].filename}:{places[-1].lineno}: {places[-1].line}" if places else ""
    return f"no text was given{where}"


def kill_session(leader: int, mark: str) -> None:
    """SIGKILL to a worker, its process group, and what it started that has left the group, orphans by their mark."""
    with suppress(Exception):  # nobody can list processes here: the group is what can be reached
        import psutil

        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.pid not in (leader, os.getpid()) and process.environ().get(MARK) == mark:
                    process.kill()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def main() -> NoReturn:
    """Serve jobs over the socket whose descriptor is the first argument, until the driver closes it."""
    channel = int(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _fork_guardian(channel)
    _replace_stdin()
    import faulthandler
    from multiprocessing.connection import Connection

    faulthandler.enable()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _serve(Connection(channel), channel)
    os._exit(0)  # not sys.exit: threads that a job left behind must not keep the process


def _serve(driver: Any, channel: int) -> None:
    """First come the driver's settings; then by turns a pickled desk with the path of a log, and a pickled payload, which is
    answered by what `attempt` returns."""
    import pickle
    from functools import partial

    from retable.bench.run.wire import send

    settings = json.loads(driver.recv_bytes())
    if settings["offline"]:
        from retable.bench.run.offline import cut_off

        cut_off()
    sys.path[:] = settings["path"]
    plugins = list(settings["plugins"])

    def load(message: bytes) -> Any:
        from retable.bench.plugins import load_plugin

        while plugins:
            load_plugin(plugins[0])
            plugins.pop(0)
        return pickle.loads(message)

    while True:
        desk, log = pickle.loads(driver.recv_bytes())
        message = driver.recv_bytes()
        _print_to(log)
        reply = attempt(settings["run"], partial(load, message), desk)
        _flush()
        send(channel, reply)


def _print_to(log: str) -> None:
    """What a job and its children print goes to its log; where that cannot be written, to what the driver gave at the start."""
    with suppress(OSError):
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.close(file)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()


def _fork_guardian(channel: int) -> None:
    """Fork twice, so that the guardian is nobody's child and a job that waits for any child never meets it."""
    leader = os.getpid()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    if os.fork():
        os._exit(0)
    os.close(channel)
    try:
        while os.read(0, 1):
            pass
    finally:
        kill_session(leader, os.environ.get(MARK, ""))
        os._exit(0)


def _replace_stdin() -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


def _function(target: str) -> Callable[[Any, Desk], Any]:
    from importlib import import_module

    module, _, name = target.partition(":")
    function: Callable[[Any, Desk], Any] = getattr(import_module(module), name)
    return function


def _strict(record: Record) -> str:
    """A record as JSON; refused here, where it was made, if the store would have to refuse it."""
    try:
        text = record.to_json()
        text.encode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"the record cannot be stored: {error}") from error
    return text


def storable(text: str, limit: int) -> str:
    """Text as UTF-8 can hold it, with the middle left out when it is long: a traceback's two ends tell the most."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= limit else f"{text[: limit // 2]}\n[...]\n{text[-limit // 2 :]}"


if __name__ == "__main__":
    main()
