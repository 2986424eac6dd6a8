"""PaddleSeg's own predict.py on a list of images, in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppls.deploy.paddle_inference import model_fields, paddle_side
from ppls.images.transforms import Transforms
from ppls.parity.jobs import PredictJob, VersionsJob
from ppls.parity.process import ReferenceProcess, not_understood


@dataclass
class PaddlePredict:
    """`paddleseg.core.predict.predict`, ready to run.

    Attributes:
        name: for a table: `predict.py, Paddle 3.3.1`.
    """

    process: ReferenceProcess
    job: PredictJob
    timeout: float
    name: str

    def turn(self) -> list[float]:
        """Seconds of one pass over all images."""
        seconds = self.process.run(self.job, self.timeout).seconds
        if len(seconds) != 1:
            raise not_understood("seconds", f"expected one pass, found {len(seconds)}")
        return list(seconds)


@contextmanager
def paddle_predict(
    model: Path,
    images: Sequence[Path],
    preprocessing: Transforms,
    folder: Path,
    *,
    config: str | Path | None,
    conversion: Mapping[str, Any],
    python: str | Path | None,
    threads: int,
    cuda: bool,
    timeout: float,
) -> Iterator[PaddlePredict]:
    """Starts PaddleSeg on a converted or Paddle file; one pass is done, untimed. Raises `Error` if it cannot."""
    place = folder / "paddle"
    place.mkdir()
    checkpoint = place / "model.pdparams"
    converted = paddle_side(model, config, conversion, checkpoint)
    environment = {"OMP_NUM_THREADS": str(threads), **({} if cuda else {"CUDA_VISIBLE_DEVICES": ""})}
    with ReferenceProcess(place, python=python, environment=environment) as process:
        version = process.run(VersionsJob(), timeout).versions.paddlepaddle
        job = PredictJob(
            **model_fields(converted, checkpoint),
            images=tuple(str(path.absolute()) for path in images),
            steps=tuple(preprocessing.words),
        )
        found = PaddlePredict(process, job, timeout, f"predict.py, Paddle {version}")
        found.turn()
        yield found
