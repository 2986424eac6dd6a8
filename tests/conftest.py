"""What the tests share: material beside the repository where it is there, and upstream's own models."""

from __future__ import annotations

import getpass
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ppls
from ppls.locks import lock
from tests.material import SHARED, SMALL_RUN

HERE = Path(__file__).resolve().parent

SMALL_STDC = {
    "class": "paddleseg.models.backbones.stdcnet.STDCNet",
    "kwargs": {"base": 8, "layers": [2, 2, 2], "block_num": 4},
}


# Begun before all others, the longest first, so that the processes of a run (`--dist loadfile`) end together.
LONGEST = (
    "parity/right_models/test_right_models.py",
    "parity/test_architectures.py",
    "parity/test_faults.py",
    "deploy/test_benchmark.py",
    "parity/test_training.py",
    "parity/test_verify.py",
    "parity/test_causes.py",
    "parity/test_dump.py",
    "parity/test_command.py",
    "parity/test_float64.py",
    "parity/test_behaviour.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {HERE / file: place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


_temporary: list[str] = []  # the folder of this run, and what was in its place


def pytest_configure() -> None:
    """The tests and all that they start have a folder for temporary files that goes with the run.

    It is not that of `tmp_path`, which pytest keeps of what failed, nor that of what torch compiled.
    """
    outer = tempfile.gettempdir()
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", outer)
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.path.join(outer, f"torchinductor_{getpass.getuser()}"))
    _temporary[:] = [tempfile.mkdtemp(prefix="ppls-tests-"), outer]
    os.chmod(_temporary[0], 0o755)  # a test becomes another user
    tempfile.tempdir = os.environ["TMPDIR"] = _temporary[0]


def pytest_unconfigure() -> None:
    own, outer = _temporary
    tempfile.tempdir = os.environ["TMPDIR"] = outer
    shutil.rmtree(own, ignore_errors=True)


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """A folder that `make` fills, once for all processes of a run; what is in it is nobody's to change."""
    own, outer = _temporary  # the outer one of a worker is its controller's own
    folder = Path(outer if "PYTEST_XDIST_WORKER" in os.environ else own, name)
    with open(f"{folder}.lock", "w") as file:
        lock(file.fileno())
        if not (folder / "made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / "made").touch()
    return folder


@pytest.fixture(scope="session", autouse=True)
def signals_of_a_terminal() -> None:
    """What tests start can be ended by signals, also where this run ignores some: under nohup, in the background."""
    handlers = {
        signal.SIGHUP: signal.SIG_DFL,
        signal.SIGQUIT: signal.SIG_DFL,
        signal.SIGINT: signal.default_int_handler,
    }
    for number, handler in handlers.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real checkpoints; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the folder of real checkpoints is not there")
    return SHARED


@pytest.fixture(scope="session")
def small_run() -> Path:
    """A small model that PaddleSeg's tools trained, exported, evaluated and predicted with."""
    return SMALL_RUN


def run_upstream(jobs: list[dict[str, Any]], folder: Path, **environment: str) -> Path:
    """Has upstream's code do `jobs` (see tests/upstream.py) in a process of its own; skips where there is none."""
    if importlib.util.find_spec("paddleseg") is None:
        pytest.skip("paddleseg is not installed")
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, str(HERE / "upstream.py"), str(folder / "jobs.json"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def run_with_upstream(code: str, architecture: str, *arguments: str) -> None:
    """Runs Python code that builds a model of upstream's, `sys.argv[1]`, in a process of its own.

    What the installed package lacks is built from the checkout that `PPLS_PADDLESEG` names; without it the test skips.
    """
    if importlib.util.find_spec("paddleseg") is None:
        pytest.skip("paddleseg is not installed")
    for checkout in (None, os.environ.get("PPLS_PADDLESEG")):
        first = f"from tests.upstream import use_paddleseg\nuse_paddleseg({checkout!r})\n"
        command = [sys.executable, "-c", first + code, architecture, *arguments]
        done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, timeout=900)
        if not any(said in done.stderr for said in (f"has no attribute '{architecture}'", "checkout that has it")):
            break
    else:
        pytest.skip(f"upstream has no {architecture}, and PPLS_PADDLESEG names no checkout that has it")
    assert done.returncode == 0, done.stderr[-2000:]


def pp_liteseg_job(name: str, seed: int = 0, shape: tuple[int, ...] = (2, 3, 64, 96), **options: Any) -> dict[str, Any]:
    """A job for a small PP-LiteSeg."""
    kwargs = {
        "num_classes": 3,
        "backbone": SMALL_STDC,
        "cm_out_ch": 16,
        "arm_out_chs": [8, 12, 16],
        "seg_head_inter_chs": [8, 8, 12],
        **options,
    }
    model = {"class": "paddleseg.models.PPLiteSeg", "kwargs": kwargs}
    return {"name": name, "model": model, "seed": seed, "shape": shape}


@pytest.fixture(scope="session")
def small_checkpoint() -> Path:
    """A small PP-LiteSeg that PaddleSeg built and saved, 250 tensors, with what it computes beside it (`.npz`)."""
    return made_once("small", lambda folder: run_upstream([pp_liteseg_job("small")], folder)) / "small.pdparams"


class Exports(dict[str, Path]):
    """A small PP-LiteSeg of unusual options as PaddleSeg exports it, by the form: `pir` or `pdmodel`, when asked for.

    What it computes lies beside its folder (`.npz`). `altered`, in PIR too, has average pools that count what they pad
    with, which no option says.
    """

    def __missing__(self, form: str) -> Path:
        job = {
            **pp_liteseg_job("unusual", arm_type="UAFM", cm_bin_sizes=[1, 3, 6], resize_mode="nearest"),
            "export": True,
        }
        if form == "pdmodel":
            folder = made_once(form, lambda folder: run_upstream([job], folder, FLAGS_enable_pir_api="0"))
            self[form] = folder / "unusual"
        else:  # both in one process
            jobs = [job, {**job, "name": "altered", "count_padding": True}]
            folder = made_once("pir", lambda folder: run_upstream(jobs, folder, FLAGS_enable_pir_api="1"))
            self["pir"], self["altered"] = folder / "unusual", folder / "altered"
        return self[form]


@pytest.fixture(scope="session")
def exports() -> Exports:
    """See `Exports`."""
    return Exports()


@pytest.fixture(scope="session")
def converted(small_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ppls makes of the small checkpoint."""
    path = tmp_path_factory.mktemp("converted") / "out.safetensors"
    ppls.convert(small_checkpoint, path)
    return path


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes every folder of a name one that cannot be searched, also for root."""

    def close(name: str) -> None:
        scan = os.scandir

        def denied(path: Path) -> object:
            if Path(path).name == name:
                raise PermissionError(13, "Permission denied", str(path))
            return scan(path)

        monkeypatch.setattr(os, "scandir", denied)

    return close
