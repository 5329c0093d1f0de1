"""SlurmEngine: jobs that submitit gives to SLURM, or to processes of this machine (`local`). Requeueing is off.

Jobs and driver meet in a spool, a folder that both see: envelopes, inputs, answers, files and what jobs print. So a driver may die;
the next one over the same store finds in the spool what runs and what has ended. Jobs that want the same go as one array.
A driver that dies between sbatch and its own note has sent a job of which nobody knows: so a job claims its key when it starts, and of
two jobs of one key the second steps aside.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from select import select
from typing import Any

from retable.bench.errors import BenchError
from retable.bench.record import Status
from retable.bench.run.agent import Answer, serve
from retable.bench.run.desk import Room
from retable.bench.run.remote import Ended, Wants

GRACE = 600.0
"""Seconds that a job gets above its limit, for starting Python; its own limit is kept to the second by the agent."""
MARGIN = 1.0
"""GB above its limit, for the agent; SLURM kills at the first byte too many."""
POLL = {"local": 0.05, "slurm": 1.0}
"""Seconds between two looks into the spool."""
CENSUS = {"local": 0.5, "slurm": 60.0}
"""Seconds between two questions for jobs that ended without an answer."""
ENDS = {
    "TIMEOUT": Status.TIMEOUT,
    "DEADLINE": Status.TIMEOUT,
    "OUT_OF_MEMORY": Status.OUT_OF_MEMORY,
    "CANCELLED": Status.INTERRUPTED,
    "FAILED": Status.FAILED,
}
"""SLURM's words for a job that its limits, its user or itself ended; in any other state its node was lost."""
ALIVE = ("RUNNING", "PENDING", "COMPLETING", "CONFIGURING", "SUSPENDED", "UNKNOWN", "READY", "REQUEUED")


class SlurmEngine:
    """`cluster` is `slurm` or `local`; `spool` must be seen by the nodes under the same path."""

    name = "slurm"

    def __init__(
        self, store: Path, room: Room, *, spool: Path, cluster: str = "slurm", partition: str = "", most: int = 100
    ) -> None:
        self._submitit = _submitit()
        self._room, self._cluster, self._partition, self._most = room, cluster, partition, most
        identity = sha256(f"{socket.gethostname()}:{store.resolve()}".encode()).hexdigest()[:16]
        self._spool = Spool(spool.resolve() / identity)
        self._spool.make()
        self._executor(Wants(cpus=1, gpus=0, memory=0, seconds=0.0))  # says at once where there is no SLURM
        self._waiting: dict[Wants, list[str]] = {}
        self._mine: set[str] = set()
        self._jobs: dict[str, Any] = {}
        self._counted = 0.0

    def kept(self) -> frozenset[str]:
        """The keys of jobs that earlier drivers sent and that run still, or ended unseen."""
        return frozenset(path.name for folder in (self._spool.sent, self._spool.claims) for path in folder.iterdir())

    def send(self, key: str, envelope: bytes, wants: Wants, files: Mapping[str, Path]) -> None:
        """Start a job; one that is kept is waited for instead. It leaves with the next `wait`, together with its like."""
        self._mine.add(key)
        if self._spool.holder(key) is not None:
            return
        for name, path in files.items():
            if not (self._spool.inbox / name).exists():
                _put(self._spool.inbox / name, path.read_bytes())
        _put(self._spool.envelopes / key, envelope)
        self._waiting.setdefault(wants, []).append(key)

    def wait(self, seconds: float, wake: Any) -> list[Ended]:
        """What has ended of what this driver sent; as soon as there is something, or `wake` can be read."""
        ended = self._submit()
        deadline = time.monotonic() + seconds
        while not ended:
            ended = self._answers() or self._dead()
            left = deadline - time.monotonic()
            if left <= 0 or select([wake], [], [], 0 if ended else min(left, POLL[self._cluster]))[0]:
                break
        self._mine -= {one.key for one in ended}
        return ended

    def forget(self, key: str) -> None:
        """Nothing of a job that has ended has to be kept."""
        self._jobs.pop(key, None)
        self._spool.forget(key)

    def cancel(self, keys: Sequence[str]) -> None:
        """Stop jobs and forget them."""
        for key in keys:
            if (job := self._job(key)) is not None:
                with suppress(Exception):  # it has just ended, or SLURM does not know it any more
                    self._cancel_local(key, job) if self._cluster == "local" else job.cancel(check=False)
            self.forget(key)

    def close(self) -> None:
        """Let go; what runs goes on, and is kept."""
        if not any(self._spool.sent.iterdir()):
            self._spool.clean()

    def script(self, wants: Wants, *, array: int = 1) -> str:
        """The text that sbatch would be given."""
        executor = self._executor(wants)._executor
        executor.parameters["map_count"] = array if array > 1 else None
        text: str = executor._make_submission_file_text("COMMAND", "UID")
        return text

    def _executor(self, wants: Wants) -> Any:
        try:
            executor = self._submitit.AutoExecutor(folder=self._spool.jobs / "%j", cluster=self._cluster)
        except RuntimeError as error:
            raise BenchError(f"jobs cannot be given to SLURM from here: {error}") from None
        executor.update_parameters(
            name="retable",
            timeout_min=math.ceil((wants.seconds + GRACE) / 60),  # never 0, which means without end
            mem_gb=math.ceil(wants.memory / 1e9 + MARGIN),
            cpus_per_task=wants.cpus,
            stderr_to_stdout=True,
            **({"gpus_per_node": wants.gpus} if wants.gpus else {}),
            slurm_array_parallelism=self._most,
            slurm_additional_parameters={"no-requeue": True},
            **({"slurm_partition": self._partition} if self._partition else {}),
            **({"slurm_exclude": ",".join(sorted(wants.avoid))} if wants.avoid else {}),
        )
        return executor

    def _submit(self) -> list[Ended]:
        """Send what waits, one array for all that want the same; what sbatch refuses has ended."""
        refused = []
        for wants, keys in self._waiting.items():
            try:
                executor = self._executor(wants)
                jobs = executor.map_array(_serve, [str(self._spool.folder)] * len(keys), keys)
            except (OSError, RuntimeError, ValueError, self._submitit.core.utils.FailedJobError) as error:
                refused += [Ended(key=key, status=Status.MISSING, reason=f"sbatch refused it: {error}") for key in keys]
                continue
            for key, job in zip(keys, jobs, strict=True):
                self._jobs[key] = job
                _put(self._spool.sent / key, json.dumps({"job": job.job_id, "cluster": self._cluster}).encode())
        self._waiting = {}
        return refused

    def _answers(self) -> list[Ended]:
        found = []
        for entry in os.scandir(self._spool.answers):
            if entry.name in self._mine:
                answer = Answer.from_json((self._spool.answers / entry.name).read_text())
                outbox = self._spool.outboxes / entry.name
                found.append(Ended(key=entry.name, answer=answer, outbox=outbox, node=answer.node))
        return found

    def _dead(self) -> list[Ended]:
        """Jobs that are over and left no answer."""
        if time.monotonic() - self._counted < CENSUS[self._cluster]:
            return []
        self._counted = time.monotonic()
        over = {key: state for key in self._mine if (state := self._state(key)) not in ALIVE}
        if not over:
            return []
        answered = {one.key: one for one in self._answers()}  # it may have come in between
        return [answered.get(key) or self._end(key, state) for key, state in over.items()]

    def _end(self, key: str, state: str) -> Ended:
        words = self._last_words(key)
        reason = f"SLURM says {state}" + (f": {words}" if words else "")
        if self._cluster == "local":
            return Ended(key=key, reason=reason)
        return Ended(key=key, status=ENDS.get(state), reason=reason, node=self._node(key))

    def _state(self, key: str) -> str:
        """SLURM's first word; `CANCELLED by 1000` is CANCELLED."""
        job = self._job(key)
        if job is None:
            return "LOST"
        if self._cluster == "local":
            return "RUNNING" if self._local_is_alive(key, job) else "LOST"
        return str(job.state).split()[0].rstrip("+") if str(job.state).strip() else "UNKNOWN"

    def _node(self, key: str) -> str:
        with suppress(Exception):
            return str(self._jobs[key].get_info().get("NodeList", ""))
        return ""

    def _job(self, key: str) -> Any:
        """submitit's job of a key, also of one that an earlier driver sent."""
        note = self._spool.holder(key)
        if note is not None and (key not in self._jobs or self._jobs[key].job_id != note["job"]):
            kind = self._submitit.local.local.LocalJob if note["cluster"] == "local" else self._submitit.SlurmJob
            self._jobs[key] = kind(folder=self._spool.jobs / "%j", job_id=note["job"])
        return self._jobs.get(key)

    def _local_is_alive(self, key: str, job: Any) -> bool:
        """Of a job that has started its own process counts: submitit's controller above it may have been killed alone."""
        if (claim := self._spool.claim(key)) is not None:
            return _runs_submitit(claim["process"])
        return _runs_submitit(int(job.job_id)) if job._process is None else job._process.poll() is None

    def _cancel_local(self, key: str, job: Any) -> None:
        """submitit's own cancel asks the controller alone, which a driver that came back has no handle of."""
        import psutil

        claim = self._spool.claim(key)
        for number in [int(job.job_id), *([] if claim is None else [claim["process"]])]:
            with suppress(psutil.Error):
                process = psutil.Process(number)
                for one in [*process.children(recursive=True), process]:
                    with suppress(psutil.Error):
                        one.kill()

    def _last_words(self, key: str) -> str:
        with suppress(Exception):
            return str((self._job(key).stdout() or "").strip().splitlines()[-1])
        return ""


class Spool:
    """The folders in which a driver and its jobs meet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.envelopes, self.inbox, self.answers = folder / "envelopes", folder / "inbox", folder / "answers"
        self.outboxes, self.logs = folder / "outboxes", folder / "logs"
        self.sent, self.claims, self.jobs = folder / "sent", folder / "claims", folder / "jobs"

    @property
    def room(self) -> Room:
        return Room(inbox=self.inbox, outboxes=self.outboxes, logs=self.logs, away=True)

    def make(self) -> None:
        inward, outward = (self.envelopes, self.inbox, self.sent), (self.answers, self.outboxes, self.logs)
        for path in (*inward, *outward, self.claims, self.jobs):
            path.mkdir(parents=True, exist_ok=True)

    def take(self, key: str, claim: Mapping[str, Any]) -> bool:
        """Claim a key for a job; False where another job has it already. Exclusive on network file systems too."""
        try:
            with (self.claims / key).open("x") as file:
                file.write(json.dumps(claim))
        except FileExistsError:
            held = self.claim(key)
            return held is not None and held["job"] == claim["job"]  # SLURM has started the same job once more
        return True

    def claim(self, key: str) -> dict[str, Any] | None:
        """The job that runs a key: its number, its cluster, and its process on its node."""
        return _noted(self.claims / key)

    def holder(self, key: str) -> dict[str, Any] | None:
        """The job that runs a key, or else the one that a driver noted when it had sent it."""
        return self.claim(key) or _noted(self.sent / key)

    def clean(self) -> None:
        """Nobody waits for anything: inputs and submitit's own files go."""
        for folder in (self.inbox, self.jobs):
            for path in folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def forget(self, key: str) -> None:
        for folder in (self.envelopes, self.answers, self.sent, self.claims):
            (folder / key).unlink(missing_ok=True)
        (self.logs / f"{key}.log").unlink(missing_ok=True)
        shutil.rmtree(self.outboxes / key, ignore_errors=True)


def _serve(folder: str, key: str) -> None:
    """What a job does: its answer appears as a whole, or not at all; none where another job has the key, or nobody waits for it."""
    from submitit import JobEnvironment

    spool, environment = Spool(Path(folder)), JobEnvironment()
    claim = {"job": environment.job_id, "cluster": environment.cluster, "process": os.getpid()}
    if not spool.take(key, claim):
        return
    try:  # after the claim: whoever forgets a key takes its envelope first, so that no claim outlives it
        envelope = (spool.envelopes / key).read_bytes()
    except FileNotFoundError:
        (spool.claims / key).unlink(missing_ok=True)
        return
    answer = serve(envelope, spool.room, node=os.environ.get("SLURMD_NODENAME") or socket.gethostname())
    if spool.claim(key) == claim:
        _put(spool.answers / key, answer.to_json().encode())


def _put(path: Path, content: bytes) -> None:
    """Write, flush, then rename: who sees the file sees all of it."""
    unfinished = path.parent.parent / f".{path.name}.{os.getpid()}"
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _noted(path: Path) -> dict[str, Any] | None:
    """None where there is no note, or its writer has not come to its end."""
    with suppress(OSError, ValueError):
        note: dict[str, Any] = json.loads(path.read_bytes())
        return note
    return None


def _runs_submitit(number: int) -> bool:
    """Whether a process of this number lives and is submitit's: numbers are used again."""
    import psutil

    with suppress(psutil.Error):
        process = psutil.Process(number)
        return process.status() != psutil.STATUS_ZOMBIE and any("submitit" in part for part in process.cmdline())
    return False


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise BenchError(f'submitit is not installed ({error}): pip install "retable[slurm]"') from None
    return submitit
