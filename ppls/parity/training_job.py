"""The batches of the training steps, and the job that has PaddleSeg train on them. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppls.parity.inputs import calibration_crops

RATE = 0.01  # as PaddleSeg's configs for PP-LiteSeg start with
RATE_OF_RANDOM_WEIGHTS = 1e-5  # a network that has learnt nothing is chaotic: rounding grows tenfold in a step of 0.01
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4  # as in those configs
BATCHES = (4, 1)  # images, by turns: batches of one leave one value per channel in the 1x1 bin
SIZE = (64, 128)


def write_batches(steps: int, seed: int, classes: int, channels: int, folder: Path) -> list[dict[str, str]]:
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
        names = {"images": f"batch{step}.npy", "labels": f"labels{step}.npy"}
        np.save(folder / names["images"], images)
        np.save(folder / names["labels"], labels)
        files.append(names)
    return files


def train_job(
    run_job: Mapping[str, Any], steps: Sequence[Mapping[str, str]], *, random_weights: bool
) -> dict[str, Any]:
    """The job that trains the checkpoint of another job; `random_weights` says that it was never trained."""
    kept = ("checkpoint", "sha256", "rewritten", "model", "may_be_missing", "may_be_unexpected", "renamed")
    return {
        **{name: run_job[name] for name in kept},
        "task": "train",
        "steps": list(steps),
        "rate": RATE_OF_RANDOM_WEIGHTS if random_weights else RATE,
        "momentum": MOMENTUM,
        "weight_decay": WEIGHT_DECAY,
    }
