"""Batches as PaddleSeg's training sees them, epoch after epoch, in this process or by several workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

from ppls.errors import Error, InputError, UsageError, first_line
from ppls.training.data.datasets import DataSet, Item
from ppls.training.data.draws import Draws
from ppls.training.data.sampler import batches_of


@dataclass
class Batch:
    """What one iteration is trained with.

    Attributes:
        images: (N, C, H, W), normalised where the transforms do so.
        labels: (N, H, W), whole numbers.
        edges: (N, H, W), 1 where labels change, where the data set has them.
        instances: of `GenerateInstanceTargets`.
        files: the images.
    """

    images: Tensor
    labels: Tensor
    edges: Tensor | None
    instances: dict[str, Tensor] | None
    files: list[Path]


class Batches:
    """The batches that PaddleSeg would see, without an end.

    Attributes:
        epoch: that of the batch that was given last, from 0.
        position: how many of its batches were given.
        draws: what the transforms draw from in this process.

    Args:
        data: see `open_data`.
        size: images in a batch.
        seed: of the transforms' draws, PaddleSeg's `--seed`; by chance where it is None.
        workers: processes that make batches; 0 makes them in this one. As in PaddleSeg, another number draws otherwise.
        processes: that train together.
        rank: which of them this one is.

    Raises:
        ppls.InputError: there are fewer images than a batch has.
        ppls.UsageError: workers or processes that cannot be.
    """

    def __init__(
        self, data: DataSet, size: int, seed: int | None = None, *, workers: int = 0, processes: int = 1, rank: int = 0
    ) -> None:
        self.data, self.workers = data, workers
        self.size = size
        self.order = partial(batches_of, count=len(data.samples), size=size, processes=processes, rank=rank)
        self.draws = Draws.seeded(seed)
        if workers < 0 or not 0 <= rank < processes:
            raise UsageError(f"there are no {workers} workers, or is no process {rank} of {processes}, counted from 0")
        if not self.order(0):
            raise InputError(f"the data set has {len(data.samples)} images, which make no batch of {size}")
        self.epoch = self.position = self._base = 0
        data.begin(self.draws)

    def __iter__(self) -> Iterator[Batch]:
        """The batches from where it is on."""
        while True:
            order, done = self.order(self.epoch), self.position
            made = self._by_workers(order, done) if self.workers else map(self._batch, order[done:])
            for batch in made if done < len(order) else ():
                self.position += 1
                yield batch
            self.epoch += 1
            self.position = 0

    def state_dict(self) -> dict[str, Any]:
        """Where it is, as JSON has it: behind the batch that was given last."""
        steps = [{name: value for name, value in vars(step).items() if name[0] == "_"} for step in self.data.steps]
        place = {"epoch": self.epoch, "position": self.position, "base": self._base}
        return {**place, "draws": self.draws.state_dict(), "steps": steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes to where another of the same data set was.

        With workers those batches of the epoch that were given are made once more, for what the workers draw.

        Args:
            state: as of `state_dict()`.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        self.epoch, self.position, self._base = int(state["epoch"]), int(state["position"]), state["base"]
        self.draws.load_state_dict(state["draws"])
        for step, kept in zip(self.data.steps, state["steps"], strict=True):
            vars(step).update({name: value for name, value in kept.items() if name in vars(step)})

    def _batch(self, indices: Sequence[int]) -> Batch:
        return make_batch(self.data, indices, self.draws)

    def _by_workers(self, order: list[list[int]], done: int) -> Iterator[Batch]:
        """As Paddle: workers begin anew with every epoch, and have its batches by turns."""
        if not done:
            self._base = self.draws.base_of_workers()
        loader: Any = DataLoader(
            _Worker(self.data),  # type: ignore[arg-type]
            batch_size=None,
            sampler=order,
            num_workers=self.workers,
            collate_fn=_as_it_is,
            worker_init_fn=partial(_begin, self._base),
            generator=torch.Generator().manual_seed(0),  # torch's own draws stay as they are
        )
        try:
            for found in islice(loader, done, None):
                if isinstance(found, str):
                    raise InputError(*_lines(found))
                yield found
        except RuntimeError as error:  # torch's, of a worker that was killed
            raise Error(f"a worker that makes batches ended: {first_line(error)}") from None


def make_batch(data: DataSet, indices: Sequence[int], draws: Draws) -> Batch:
    """Images of a data set together. Raises `InputError` where one cannot be read, or they differ in size."""
    items = [data.item(index, draws) for index in indices]
    files = [data.samples[index].image for index in indices]
    shapes = {item["image"].shape for item in items}
    if len(shapes) > 1:
        sizes = [
            f"{file}: {item['image'].shape[2]}x{item['image'].shape[1]}"
            for file, item in zip(files, items, strict=True)
        ]
        raise InputError(
            "images of a batch differ in size after the transforms, none of which crops or resizes:", sizes
        )
    instances = None
    if "instances" in items[0]:
        instances = {key: _stack([item["instances"] for item in items], key) for key in items[0]["instances"]}
    edges = _stack(items, "edge") if "edge" in items[0] else None
    return Batch(_stack(items, "image"), _stack(items, "label"), edges, instances, files)


def _stack(items: Sequence[Item], key: str) -> Tensor:
    array = np.stack([item[key] for item in items])
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:  # which torch hardly knows
        array = array.astype(np.int64)
    return torch.from_numpy(array)


class _Worker:
    """What a worker makes batches of; it draws from generators of its own."""

    def __init__(self, data: DataSet) -> None:
        self.data, self.draws = data, Draws.seeded(0)

    def __len__(self) -> int:
        return len(self.data.samples)

    def __getitem__(self, indices: list[int]) -> Batch | str:
        try:
            return make_batch(self.data, indices, self.draws)
        except InputError as error:  # an exception would come back with a traceback in its message
            return str(error)


def _begin(base: int, number: int) -> None:
    from ppls.training.data.opencv import cv2

    cv2.setNumThreads(0)  # its threads do not survive a fork
    info: Any = get_worker_info()
    info.dataset.draws = Draws.of_worker(base, number)


def _as_it_is(found: Any) -> Any:
    return found


def _lines(message: str) -> tuple[str, list[str]]:
    first, *rest = message.split("\n  ")
    return first, rest
