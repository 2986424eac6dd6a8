"""Runs an export, from the program and the weights that ppls wrote, as a deployment does: by Paddle Inference.

Nothing is fused and oneDNN is off, so that each operator rounds as it does in PaddleSeg's own network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from paddle import inference

from .figures import difference
from .job_error import JobError
from .machine import cores, resource
from .progress import Progress
from .store import Record, Store

_NUMBERED = re.compile(r"fetch_\d+")  # what ppls calls the outputs of a PIR program
# Where a long message of Paddle's says what happened
_SAYS = re.compile(r"\w*Error: |\(\w+\) ")


def run_export(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The job's export on each of the job's inputs: every output's logits, and what it makes of them."""
    store = Store(folder, "exported")
    found = []
    with _memory_limited(job["memory"]):
        try:
            predictor = inference.create_predictor(_config(job["program"], job["weights"]))
            for given in job["inputs"]:
                returned = _run(predictor, np.load(folder / given["file"]).astype(job["dtype"]))
                if any(len(returned) <= max(end["logits"], end["itself"]) for end in job["outputs"]):
                    raise JobError(f"it returns {len(returned)} arrays, fewer than its program says")
                for index, end in enumerate(job["outputs"]):
                    itself = None if end["ending"] is None else store.put(returned[end["itself"]])
                    logits = store.put(returned[end["logits"]])
                    found.append({"input": given["name"], "index": index, "logits": logits, "itself": itself})
        except MemoryError:
            raise JobError(f"it takes more than {job['memory'] >> 20:,} MiB of memory") from None
        except JobError:
            raise
        except Exception as error:  # Paddle raises many
            raise JobError(_summary(error)) from None
    return {"outputs": found}


def run_program(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The job's program on each of the job's inputs: every array that it returns, with its floor beside it in float32.

    An input that Paddle cannot run the program on is `refused`, with what it says.
    """
    store = Store(folder, job["store"])
    progress = Progress(folder, "inputs", len(job["inputs"]) * len(job["programs"]))
    found: list[Record] = []
    refused: dict[str, str] = {}
    with _memory_limited(job["memory"]):
        run = _Program(job, job["dtype"])
        for given in job["inputs"]:
            progress.step()
            try:
                returned = run(np.load(folder / given["file"]))
            except _RefusedError as error:
                refused[given["name"]] = str(error)
                continue
            for index, array in enumerate(returned):
                found.append({"input": given["name"], "index": index, **store.put(array)})
        why = None
        if job["dtype"] == "float32":
            run = _Program(job, "float64")
            try:
                for given in job["inputs"]:
                    progress.step()
                    records = [record for record in found if record["input"] == given["name"]]
                    returned = run(np.load(folder / given["file"])) if records else []
                    for record, array in zip(records, returned, strict=True):
                        _set_floor(record, array, folder)
            except _RefusedError as error:
                why = str(error)
    return {"arrays": found, "refused": refused, "no_floor": why}


class _RefusedError(Exception):
    """A program that Paddle does not run on an input."""


class _Program:
    """A program in one of its types, on one input after the other."""

    def __init__(self, job: Mapping[str, Any], dtype: str) -> None:
        self._job, self._dtype = job, dtype
        self._predictor: Any = None

    def __call__(self, image: Any) -> list[Any]:
        job = self._job
        try:
            if self._predictor is None:
                files = job["programs"][self._dtype], job["weights"][self._dtype]
                self._predictor = inference.create_predictor(_config(*files))
            returned = _run(self._predictor, image.astype(self._dtype))
        except MemoryError:
            raise JobError(f"it takes more than {job['memory'] >> 20:,} MiB of memory") from None
        except Exception as error:  # Paddle raises many
            self._predictor = None
            raise _RefusedError(_summary(error)) from None
        if len(returned) != job["returned"]:
            raise JobError(f"it returns {len(returned)} arrays, where its program says {job['returned']}")
        return returned


def _set_floor(record: Record, array: Any, folder: Path) -> None:
    found = np.load(folder / record["file"], mmap_mode="r")
    record["floor"] = difference(array, found).scaled if array.shape == found.shape else float("nan")


def _config(program: str, weights: str) -> Any:
    config = inference.Config(program, weights)
    config.disable_glog_info()
    config.disable_gpu()
    config.switch_ir_optim(False)
    # done all the same: of two operations that compute one value the one leaves one, and the other's result is not
    # found; the other ends in an error at a branch whose question is a constant
    config.delete_pass("common_subexpression_elimination_pass")
    config.delete_pass("constant_folding_pass")
    if hasattr(config, "disable_mkldnn"):  # on without being asked for, in Paddle 3
        config.disable_mkldnn()
    config.set_cpu_math_library_num_threads(cores())
    return config


def _run(predictor: Any, image: Any) -> list[Any]:
    """What the program returns, in the order in which it is numbered."""
    predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(image)
    predictor.run()
    names = predictor.get_output_names()
    if all(_NUMBERED.fullmatch(name) for name in names):
        names.sort(key=lambda name: int(name.rpartition("_")[2]))
    return [predictor.get_output_handle(name).copy_to_cpu() for name in names]


@contextmanager
def _memory_limited(more: int) -> Iterator[None]:
    """No more address space than there is, and so many bytes; without a limit where the system does not tell."""
    pages = Path("/proc/self/statm")
    if resource is None or not pages.exists():
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    try:
        limit = int(pages.read_text(encoding="utf-8").split()[0]) * resource.getpagesize() + more
        least = min((limit, *(bound for bound in before if bound != resource.RLIM_INFINITY)))
        resource.setrlimit(resource.RLIMIT_AS, (least, before[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _summary(error: Exception) -> str:
    """What a long message of Paddle's says happened, in a line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if _SAYS.match(line)]
    return (said or lines or [type(error).__name__])[-1][:500]
