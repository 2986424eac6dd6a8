"""The batches of the training steps, and the job that has PaddleSeg train on them. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ppls.parity.inputs import calibration_crops
from ppls.parity.jobs import Batch, RunJob, TrainJob, model_of

RATE = 0.01  # as PaddleSeg's configs for PP-LiteSeg start with
RATE_OF_RANDOM_WEIGHTS = 1e-5  # a network that has learnt nothing is chaotic: rounding grows tenfold in a step of 0.01
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4  # as in those configs
BATCHES = (4, 1)  # images, by turns: batches of one leave one value per channel in the 1x1 bin
SIZE = (64, 128)


def write_batches(steps: int, seed: int, classes: int, channels: int, folder: Path) -> list[Batch]:
    """Writes crops of photographs, labelled by their brightness; returns the files of each step's batch."""
    crops = calibration_crops(seed, count=32, height=SIZE[0], width=SIZE[1])[:32]
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


def train_job(run_job: RunJob, steps: Sequence[Batch], *, random_weights: bool) -> TrainJob:
    """The job that trains the checkpoint of another job; `random_weights` says that it was never trained."""
    return TrainJob(
        **model_of(run_job),
        steps=tuple(steps),
        rate=RATE_OF_RANDOM_WEIGHTS if random_weights else RATE,
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
    )
