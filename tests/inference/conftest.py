"""A training run, its model converted once, and the commands in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

import ppls
from tests.material import SMALL_RUN

Command = Callable[..., Result]


@pytest.fixture(scope="session")
def training_run() -> Path:
    """A run of PaddleSeg's own tools: data, config, checkpoint, and what its val.py and predict.py gave."""
    return SMALL_RUN


@pytest.fixture(scope="session")
def converted_run(training_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's model, converted."""
    path = tmp_path_factory.mktemp("converted") / "model.safetensors"
    ppls.convert(training_run / "model.pdparams", path, config=training_run / "config.yml")
    return path


@pytest.fixture
def run_command() -> Command:
    """Runs a click command with arguments of any type."""

    def run(command: click.Command, *arguments: object) -> Result:
        return CliRunner().invoke(command, [str(argument) for argument in arguments])

    return run


def json_of(result: Result) -> dict[str, Any]:
    """What `--json` printed, and nothing else."""
    assert result.exit_code == 0, result.stderr
    return dict(json.loads(result.stdout))


def labels_of(path: Path) -> np.ndarray:
    """The values of an indexed PNG."""
    from PIL import Image

    with Image.open(path) as image:
        assert image.mode == "P"
        return np.asarray(image)
