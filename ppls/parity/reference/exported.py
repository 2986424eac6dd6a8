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

from .forward import Store
from .machine import cores, resource
from .network import JobError

# Where a long message of Paddle's says what happened
_SAYS = re.compile(r"\w*Error: |\(\w+\) ")


def run_export(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The job's export on each of the job's inputs: every output's logits, and what it makes of them."""
    store = Store(folder, "exported")
    found = []
    with _memory_limited(job["memory"]):
        try:
            predictor = inference.create_predictor(_config(job))
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


def _config(job: Mapping[str, Any]) -> Any:
    config = inference.Config(job["program"], job["weights"])
    config.disable_glog_info()
    config.disable_gpu()
    config.switch_ir_optim(False)
    if hasattr(config, "disable_mkldnn"):  # on without being asked for, in Paddle 3
        config.disable_mkldnn()
    config.set_cpu_math_library_num_threads(cores())
    return config


def _run(predictor: Any, image: Any) -> list[Any]:
    """What the program returns, in the order in which it is numbered."""
    predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(image)
    predictor.run()
    return [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]


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
