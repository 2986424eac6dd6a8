"""Batches against Paddle's loader, in one process and with workers, and against a recorded run that was resumed."""

from __future__ import annotations

import os
import shutil
import signal
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from ppls.errors import Error, InputError, UsageError
from ppls.images.normalisation import normalise
from ppls.training.data.batches import Batches
from ppls.training.data.config import open_data
from ppls.training.data.datasets import DataSet
from ppls.training.data.sampler import batches_of
from tests.training.data import cases
from tests.training.data.nodes import node_of


def data_set(root: Path, times: int = 3) -> DataSet:
    data = open_data(node_of(cases.section("lists", root)))
    data.samples = [*data.samples] * times
    return data


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_paddles_loader(workers: int, sets: Path, paddles: dict[str, np.ndarray]) -> None:
    before = torch.get_rng_state()
    batches = iter(Batches(data_set(sets), 2, seed=3, workers=workers))
    for epoch in range(3):
        for number, batch in enumerate(islice(batches, 4)):
            key = f"loader/{workers}/{epoch}/{number}"
            np.testing.assert_array_equal(batch.images.numpy(), paddles[f"{key}/images"])
            np.testing.assert_array_equal(batch.labels.numpy(), paddles[f"{key}/labels"])
            assert len(batch.files) == 2
        assert f"loader/{workers}/{epoch}/4/images" not in paddles
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("count", "size", "processes"), cases.SAMPLERS)
def test_the_order_is_paddles(count: int, size: int, processes: int, paddles: dict[str, np.ndarray]) -> None:
    for rank in range(processes):
        for epoch in range(3):
            theirs = paddles[f"sampler/{count}/{size}/{processes}/{rank}/{epoch}"]
            assert batches_of(epoch, count, size, processes, rank) == theirs.tolist()


def test_the_same_seed_gives_the_same_batches_and_another_does_not(sets: Path) -> None:
    first, again, other = (
        [batch.images for batch in islice(Batches(data_set(sets), 2, seed=seed), 3)] for seed in (1, 1, 2)
    )
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_ends_the_batches_with_its_name_alone(workers: int, sets: Path, tmp_path: Path) -> None:
    shutil.copytree(sets / "lists", tmp_path / "lists")
    data = data_set(tmp_path)
    (tmp_path / "lists/images/1.jpg").write_bytes(b"none")
    with pytest.raises(InputError) as error:
        list(islice(Batches(data, 2, seed=0, workers=workers), 5))
    assert str(error.value).startswith(f"{tmp_path}/lists/images/1.jpg: cannot be read as an image")
    assert "\n" not in str(error.value)


def test_images_of_several_sizes_make_no_batch(sets: Path) -> None:
    section = cases.section("lists", sets) | {"transforms": [{"type": "Normalize"}]}
    with pytest.raises(InputError, match="images of a batch differ in size") as error:
        next(iter(Batches(open_data(node_of(section)), 3)))
    assert "0.png: 60x45" in str(error.value)


def test_too_few_images_make_no_batch(sets: Path) -> None:
    with pytest.raises(InputError, match="has 3 images, which make no batch of 4"):
        Batches(data_set(sets, 1), 4)


@pytest.mark.parametrize("options", [{"workers": -1}, {"processes": 2, "rank": 2}, {"processes": 0}])
def test_workers_and_processes_that_cannot_be_are_said(options: dict[str, int], sets: Path) -> None:
    with pytest.raises(UsageError, match="there are no"):
        Batches(data_set(sets), 2, **options)


def test_a_worker_that_is_killed_is_said(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppls.training.data.batches.make_batch", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(Error, match="a worker that makes batches ended: DataLoader worker"):
        next(iter(Batches(data_set(sets), 2, workers=1)))


@pytest.mark.parametrize(("processes", "rank"), [(1, 0), (3, 1)])
def test_each_process_has_its_own_batches(processes: int, rank: int, sets: Path) -> None:
    data = data_set(sets)
    batch = next(iter(Batches(data, 1, seed=0, processes=processes, rank=rank)))
    assert batch.files == [data.samples[index].image for index in batches_of(0, 9, 1, processes, rank)[0]]


def test_masks_of_the_classes_come_with_the_batch(sets: Path) -> None:
    steps = [*cases.COMMON, {"type": "GenerateInstanceTargets", "num_classes": 4}]
    batch = next(iter(Batches(open_data(node_of(cases.section("lists", sets) | {"transforms": steps})), 2, 0)))
    assert batch.instances is not None
    assert {key: tuple(value.shape) for key, value in batch.instances.items()} == {
        "image_shape": (2, 2),
        "gt_classes": (2, 4),
        "gt_masks": (2, 4, 24, 32),
    }


def test_a_resumed_run_sees_the_batches_that_paddleseg_saw(shared: Path) -> None:
    from ppls.converter.run_config import load_run

    section = load_run(shared / "train_on/config.yml").value["train_dataset"]
    batches = Batches(open_data(section, shared / "paddleseg_run/data"), 4, seed=3)
    with np.load(shared / "train_on/batches.npz") as archive:
        images, labels = archive["images"], archive["labels"]
    for batch, image, label in zip(batches, images, labels, strict=False):
        np.testing.assert_array_equal(batch.images.numpy(), normalise(image))
        np.testing.assert_array_equal(batch.labels.numpy(), label)
