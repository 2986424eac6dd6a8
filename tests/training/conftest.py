"""One run of Paddle for all tests of training."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import HERE, made_once


@pytest.fixture(scope="session")
def paddles_folder() -> Path:
    """Where a process of Paddle's put `out.npz`, and the data sets that it read, `sets`."""
    if importlib.util.find_spec("paddleseg") is None:
        pytest.skip("paddleseg is not installed")

    def make(folder: Path) -> None:
        command = [sys.executable, "-m", "tests.training.paddle_side", str(folder / "out.npz")]
        done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, timeout=600, env=os.environ)
        assert done.returncode == 0, done.stderr[-4000:]

    return made_once("paddles_training", make)


@pytest.fixture(scope="session")
def paddles(paddles_folder: Path) -> dict[str, np.ndarray]:
    """What Paddle and PaddleSeg make of `cases`."""
    with np.load(paddles_folder / "out.npz") as archive:
        return dict(archive)
