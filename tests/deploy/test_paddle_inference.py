"""What Paddle Inference answers is checked as all of the reference's answers are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppls.deploy.paddle_inference import PaddleMode
from ppls.deploy.timing import TIMED
from ppls.errors import ParityError
from ppls.parity.answers import Opened, Timed, Versions
from ppls.parity.jobs import OpenPredictorJob

COMMON: dict[str, Any] = {"versions": Versions("3.11.2", "1.26.4", "3.3.1", "2.8.0"), "peak_memory": 1}
JOB = OpenPredictorJob(
    sha256="0" * 64,
    rewritten=None,
    model={},
    may_be_missing=(),
    may_be_unexpected=(),
    renamed={},
    mode="plain",
    threads=1,
    input="image.npy",
)


def mode_that_answers(answer: object, folder: Path) -> PaddleMode:
    class Process:
        def run(self, job: object, timeout: float) -> object:
            return answer

    return PaddleMode(folder, Process(), JOB, 1.0, "Paddle")  # type: ignore[arg-type]


def test_logits_are_read_from_the_file_that_the_answer_names(tmp_path):
    np.save(tmp_path / "predicted.npy", np.arange(6.0))
    mode = mode_that_answers(Opened(output="predicted.npy", **COMMON), tmp_path)
    logits = mode.open(np.zeros((1, 3, 4, 4), np.float32))
    np.save(tmp_path / "predicted.npy", np.zeros(6))
    assert logits.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("content", [None, b"", b"garbage"])
def test_a_file_of_no_logits_is_one_error(tmp_path, content):
    if content is not None:
        (tmp_path / "predicted.npy").write_bytes(content)
    with pytest.raises(ParityError, match=r"does not understand: output: predicted\.npy"):
        mode_that_answers(Opened(output="predicted.npy", **COMMON), tmp_path).open(np.zeros((1, 3, 4, 4), np.float32))


def test_there_is_a_time_for_each_run(tmp_path):
    assert mode_that_answers(Timed(seconds=(0.5,) * TIMED, **COMMON), tmp_path).turn() == [0.5] * TIMED
    with pytest.raises(ParityError, match=f"seconds: expected {TIMED} runs, found 0"):
        mode_that_answers(Timed(seconds=(), **COMMON), tmp_path).turn()
