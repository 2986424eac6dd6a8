"""PaddleSeg's side of the tests of data: its own transforms, data sets and loader."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import paddleseg.cvlibs
import paddleseg.datasets
import paddleseg.transforms
from paddleseg.utils import set_seed, worker_init_fn

from tests.training.data import cases


def made(steps: list[cases.Step]) -> list[Any]:
    return [
        getattr(paddleseg.transforms, step["type"])(**{key: value for key, value in step.items() if key != "type"})
        for step in steps
    ]


def data_set(section: dict[str, Any]) -> Any:
    options = {key: made(value) if "transforms" in key else value for key, value in section.items() if key != "type"}
    kind = getattr(paddleseg.datasets, section["type"])
    return kind(**{"mode": "train", **options})


def after() -> np.ndarray:
    """What is drawn next."""
    return np.array([random.random(), np.random.rand()])


def run_transforms(name: str, seed: int, channels: int) -> dict[str, np.ndarray]:
    set_seed(seed)
    steps = made(cases.TRANSFORMS[name])
    found: dict[str, np.ndarray] = {}
    for number, size in enumerate(cases.SIZES):
        image = cases.image(number, *size, channels).astype("float32")
        data: dict[str, Any] = {"img": image[..., 0] if channels == 1 else image, "label": cases.label(number, *size)}
        data |= {"gt_fields": ["label"], "trans_info": []}
        for step in steps:
            data = step(data)
        key = f"transforms/{name}/{channels}/{seed}/{number}"
        found |= {f"{key}/image": np.array(data["img"]), f"{key}/label": np.array(data["label"])}
        for part, array in data.get("instances", {}).items():
            found[f"{key}/{part}"] = np.array(array)
    return found | {f"transforms/{name}/{channels}/{seed}/after": after()}


def run_set(name: str, root: Path) -> dict[str, np.ndarray]:
    set_seed(3)
    data = data_set(cases.section(name, root))
    found: dict[str, np.ndarray] = {}
    for number in range(len(data)):
        item = data[number]
        found |= {f"sets/{name}/{number}/{key}": np.array(item[key]) for key in ("img", "label", "edge") if key in item}
        found[f"sets/{name}/{number}/files"] = np.array(
            [os.path.relpath(file, root) for file in data.file_list[number]]
        )
    return found | {f"sets/{name}/after": after()}


def run_loader(workers: int, root: Path) -> dict[str, np.ndarray]:
    """As paddleseg/core/train.py has it, three epochs; without shared memory.

    For that a worker makes Paddle's tensors, in which one that was forked as another thread allocated hung for good.
    """
    set_seed(3)
    data = data_set(cases.section("lists", root))
    found: dict[str, np.ndarray] = {}
    data.file_list *= 3
    sampler = paddle.io.DistributedBatchSampler(data, batch_size=2, shuffle=True, drop_last=True)
    loader = paddle.io.DataLoader(
        data,
        batch_sampler=sampler,
        num_workers=workers,
        return_list=True,
        use_shared_memory=False,
        worker_init_fn=worker_init_fn,
    )
    for epoch in range(3):
        for number, batch in enumerate(loader):
            key = f"loader/{workers}/{epoch}/{number}"
            found |= {f"{key}/images": batch["img"].numpy(), f"{key}/labels": batch["label"].numpy()}
    return found


def run_sampler(count: int, size: int, processes: int) -> dict[str, np.ndarray]:
    found = {}
    for rank in range(processes):
        sampler = paddle.io.DistributedBatchSampler(range(count), size, processes, rank, shuffle=True, drop_last=True)
        for epoch in range(3):
            found[f"sampler/{count}/{size}/{processes}/{rank}/{epoch}"] = np.array(list(sampler))
    return found


def results(folder: Path) -> dict[str, np.ndarray]:
    root = folder / "sets"
    cases.make_sets(root)
    names = [*paddleseg.cvlibs.manager.TRANSFORMS.components_dict]
    found = {"transforms": np.array([name for name in names if name != "Compose"])}
    for seed in cases.SEEDS:
        for name in cases.TRANSFORMS:
            found |= run_transforms(name, seed, 3)
        for name in cases.GREY:
            found |= run_transforms(name, seed, 1)
    for name in cases.SETS:
        found |= run_set(name, root)
    for workers in (0, 2):
        found |= run_loader(workers, root)
    for shape in cases.SAMPLERS:
        found |= run_sampler(*shape)
    return found
