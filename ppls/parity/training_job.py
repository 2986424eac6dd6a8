"""The batches of the training steps, and the job that has PaddleSeg train on them. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ppls.parity.inputs import calibration_crops
from ppls.parity.jobs import Batch, RunJob, TrainJob, model_of
from ppls.parity.tolerance import TRAINING_APART, TRAINING_CHAOTIC, TRAINING_EXACT_NOISE, TRAINING_MOVES, TRAINING_NOISE

RATES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)  # from that of PaddleSeg's configs for PP-LiteSeg down
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4  # as in those configs
BATCHES = (4, 1)  # images, by turns: batches of one leave one value per channel in the 1x1 bin
SIZE = (64, 128)  # at 32x64 one image leaves two values per channel at a 1/32: float32 is chaotic at any rate


def write_batches(
    steps: int, seed: int, classes: int, channels: int, folder: Path, size: tuple[int, int] = SIZE
) -> list[Batch]:
    """Writes crops of photographs, labelled by their brightness; returns the files of each step's batch.

    `size` is the height and width of the crops.
    """
    crops = calibration_crops(seed, count=32, height=size[0], width=size[1])[:32]
    crops = crops[np.random.default_rng(seed).permutation(len(crops))]
    files = []
    position = 0
    for step in range(steps):
        chosen = np.arange(position, position + BATCHES[step % len(BATCHES)]) % len(crops)
        position = int(chosen[-1]) + 1
        images = crops[chosen][:, np.arange(channels) % 3]
        brightness = crops[chosen].mean(axis=1)
        labels = np.clip((brightness + 1) / 2 * classes, 0, classes - 1).astype(np.int64)
        batch = Batch(f"batch{step}.npy", f"labels{step}.npy")
        np.save(folder / batch.images, images)
        np.save(folder / batch.labels, labels)
        files.append(batch)
    return files


def train_job(run_job: RunJob, steps: Sequence[Batch]) -> TrainJob:
    """The job that trains the checkpoint of another job."""
    return TrainJob(
        **model_of(run_job),
        steps=tuple(steps),
        rates=RATES,
        apart=TRAINING_APART,
        noise=TRAINING_NOISE,
        moves=TRAINING_MOVES,
        chaotic=TRAINING_CHAOTIC,
        exact_noise=TRAINING_EXACT_NOISE,
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
    )
