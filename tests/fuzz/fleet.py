"""Processes that run inputs, one on each core; one that hangs or dies is replaced, and its input is a finding."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, NamedTuple

from tests.fuzz.case import Case
from tests.fuzz.mutations.cases import mutate_case
from tests.fuzz.runner import Runner, Target

_CHUNK = 50  # inputs that a process is given at a time
_KEPT = 3  # inputs that a process saves of one kind of finding
_READY, _DONE = "ready", "done"  # what a process says of a job, before and after its results
_LIFETIME = 20_000  # inputs after which a process is replaced


class Job(NamedTuple):
    """So many inputs for one target, the first with the number `first`."""

    target: str
    inputs: int
    first: int = 0


class Result(NamedTuple):
    """What became of one input."""

    target: str
    index: int
    label: str
    seconds: float
    bytes: int
    failure: str = ""
    saved: str = ""


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    job: Job | None = None
    at: int = 0
    since: float = 0.0
    done: int = 0


class Fleet:
    """The processes, started when they are first needed.

    Args:
        seed: input `i` of a target is drawn from this, the target's name and `i`, whichever process runs it.
        failures: the folder for inputs with findings.
        targets: the module whose `TARGETS` the jobs name.
        patience: seconds of the clock that one input may take: on a busy machine 10 of CPU are many.
    """

    def __init__(
        self,
        processes: int,
        seed: int,
        failures: Path,
        *,
        targets: str = "tests.fuzz.targets",
        patience: float = 180.0,
    ) -> None:
        self._seed, self._failures = seed, failures
        self._targets, self._patience = targets, patience
        self._folder = tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self._workers: list[_Worker] = []
        self._count = processes

    def __enter__(self) -> Fleet:
        self._workers = [self._start() for _ in range(self._count)]
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for worker in self._workers:
            worker.process.kill()
            worker.process.join()
        self._folder.cleanup()

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """Every result, in the order in which they come; the targets take turns."""
        waiting = deque(_chunks(jobs))
        while waiting or any(worker.job for worker in self._workers):
            for worker in self._workers:
                if worker.job is None and waiting:
                    self._give(worker, waiting.popleft())
            ready = wait([worker.pipe for worker in self._workers if worker.job], timeout=1.0)
            for worker in list(self._workers):
                if worker.pipe in ready:
                    yield from self._receive(worker, waiting)
                elif worker.job and time.monotonic() - worker.since > self._patience:
                    yield from self._lost(worker, waiting, f"no end after {self._patience:g} s")

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        folder = Path(tempfile.mkdtemp(dir=self._folder.name))
        arguments = (theirs, folder, self._targets, self._seed, self._failures)
        process = context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _give(self, worker: _Worker, job: Job) -> None:
        worker.pipe.send(job)
        worker.job, worker.at, worker.since = job, job.first, time.monotonic()

    def _receive(self, worker: _Worker, waiting: deque[Job]) -> Iterator[Result]:
        try:
            result: Result | str = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            yield from self._lost(worker, waiting, f"the process died with exit status {worker.process.exitcode}")
            return
        worker.since = time.monotonic()
        if isinstance(result, Result):
            worker.at = result.index + 1
            yield result
        if result != _DONE:
            return
        worker.done += worker.job.inputs if worker.job else 0
        worker.job = None
        if worker.done > _LIFETIME:
            self._replace(worker)

    def _lost(self, worker: _Worker, waiting: deque[Job], why: str) -> Iterator[Result]:
        """A finding for the input that a process was at, and the rest of its job for another."""
        job = worker.job
        assert job is not None
        self._replace(worker)
        left = job.first + job.inputs - worker.at - 1
        if left > 0:
            waiting.appendleft(Job(job.target, left, worker.at + 1))
        saved = _save(find_target(self._targets, job.target), self._failures, self._seed, worker.at, why)
        yield Result(job.target, worker.at, "lost", 0.0, 0, why, saved)

    def _replace(self, worker: _Worker) -> None:
        worker.process.kill()
        worker.process.join()
        fresh = self._start()
        self._workers[self._workers.index(worker)] = fresh


def _chunks(jobs: Iterable[Job]) -> Iterator[Job]:
    """The jobs in pieces, in turns, so that every target has been tried after a minute."""
    left = [[job.target, job.first, job.first + job.inputs] for job in jobs]
    total = max((end - first for _, first, end in left), default=0)
    rounds = max(1, total // _CHUNK)
    sizes = {target: max(1, -(-(end - first) // rounds)) for target, first, end in left}
    while left:
        for entry in list(left):
            target, first, end = entry
            size = min(sizes[target], end - first)
            if size > 0:
                yield Job(target, size, first)
            entry[1] = first + size
            if entry[1] >= end:
                left.remove(entry)


def find_target(module: str, name: str) -> Target:
    """A target by the module that has it and its name."""
    found: Target = importlib.import_module(module).TARGETS[name]
    return found


def make_case(target: Target, seed: int, index: int) -> Case:
    """The input with this number: the same for the same seed and corpus."""
    return mutate_case(Random(f"{seed}:{target.name}:{index}"), target.corpus())


def _save(target: Target, failures: Path, seed: int, index: int, why: str) -> str:
    path = failures / f"{target.name.replace(' ', '-')}-{seed}-{index}.zip"
    make_case(target, seed, index).save(path, target.name, why)
    return str(path)


def _work(pipe: Connection, folder: Path, targets: str, seed: int, failures: Path) -> None:
    """What a process does: one job after the other, each input in a folder of its own."""
    import torch

    from tests.fuzz.table import kind_of

    torch.set_num_threads(1)
    runner = Runner(folder)
    kinds: Counter[str] = Counter()
    while True:
        job: Job = pipe.recv()
        target = find_target(targets, job.target)
        runner.warm(target)
        pipe.send(_READY)
        for index in range(job.first, job.first + job.inputs):
            found = runner.run(target, make_case(target, seed, index))
            saved = ""
            if found.failure:
                kinds[kind_of(found.failure)] += 1
                if kinds[kind_of(found.failure)] <= _KEPT:
                    saved = _save(target, failures, seed, index, found.failure)
            pipe.send(Result(job.target, index, found.label, found.seconds, found.bytes, found.failure, saved))
        pipe.send(_DONE)
