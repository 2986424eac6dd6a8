"""Jobs: read one, do it, write its result, whatever happens."""

from __future__ import annotations

import importlib
import json
import os
import platform
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .documents import to_json
from .machine import cores, peak_memory
from .operators import adapt_paddle, adapted, replace_operators

MODULES = {"paddlepaddle": "paddle", "paddleseg": "paddleseg"}
LEAST_VERSIONS = {"paddlepaddle": (2, 4), "paddleseg": (2, 5)}  # PP-LiteSeg appeared in paddleseg 2.5


def main(folder: Path, paddleseg: str = "", packages: str = "paddlepaddle paddleseg") -> None:
    """Does the jobs of `folder` until standard input ends. Never raises: an error is a structured part of a result.

    `paddleseg` is a folder that has the package of that name, in place of the installed one; `packages` are those that
    its jobs need, with a space between them.
    """
    _end_with_parent(folder)
    common: dict[str, Any] = {"error": None, "replaced": []}
    if paddleseg:
        sys.path.insert(0, paddleseg)
        common["replaced"] = replace_operators(Path(paddleseg))
    try:
        common["versions"] = _import_paddle(packages.split())
    except Exception as error:  # a numpy that opencv was not built for raises more than ImportError
        common["error"] = {"kind": "import", "message": f"{type(error).__name__}: {error}"}
    for line in sys.stdin:
        number = int(line)
        result = dict(common)
        if result["error"] is None:
            _do(json.loads((folder / f"job{number}.json").read_text(encoding="utf-8")), folder, result)
            result["replaced"] = [*common["replaced"], *adapted()]
        result["peak_memory"] = peak_memory()
        partial = folder / f"result{number}.json.partial"
        partial.write_text(to_json(result), encoding="utf-8")
        partial.replace(folder / f"result{number}.json")
    shutil.rmtree(folder, ignore_errors=True)  # standard input ends with the parent, which would have ended us first


def _do(job: dict[str, Any], folder: Path, result: dict[str, Any]) -> None:
    from .job_error import JobError
    from .tasks import task_called

    try:
        result.update(task_called(job["task"])(job, folder))
    except JobError as error:
        result["error"] = {"kind": "job", "message": str(error), "problems": error.problems}
    except Exception as error:
        traceback.print_exc()
        result["error"] = {"kind": "crash", "message": f"{type(error).__name__}: {error}"}


def _import_paddle(packages: Sequence[str]) -> dict[str, str]:
    import numpy

    modules: dict[str, Any] = {name: importlib.import_module(MODULES[name]) for name in packages}
    paddle = modules["paddlepaddle"]
    found: dict[str, str] = {name: module.__version__ for name, module in modules.items()}
    for package, least in ((name, LEAST_VERSIONS[name]) for name in packages):
        parts = tuple(int(part) for part in found[package].split(".")[:2] if part.isdigit())
        if parts not in ((0, 0), ()) and parts < least:  # a build from source calls itself 0.0.0
            raise ImportError(f"{package} {found[package]} is too old: {least[0]}.{least[1]} at least")
    adapt_paddle()
    paddle.set_device("cpu")
    paddle.framework.core.set_num_threads(cores())  # Paddle's own default is one
    return {"python": platform.python_version(), "numpy": numpy.__version__, **found}


def _end_with_parent(folder: Path) -> None:
    """Ends this process, and removes its folder, when the one that started it is gone: it may have been killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
