"""PaddleSeg's classes of data sets for training, as a config names them: which files, and what an item is made of."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppls.errors import InputError
from ppls.images import read_rgb
from ppls.inference.datasets import Sample, cityscapes, entries_of, listed, stored_label, voc
from ppls.inference.lists import read_lines
from ppls.shown import listed as in_words
from ppls.training.data.draws import Draws
from ppls.training.data.opencv import read_grey
from ppls.training.data.pair import Array, Pair, Transform
from ppls.training.data.targets import edges_of
from ppls.training.data.transforms import transform

Item = dict[str, Any]


class DataSet:
    """Images with labels, and the transforms of both.

    Args:
        samples: their files.
        transforms: in their order.
        classes: how many; labels are 0 to one less.
        ignored: the label that is none.
        edge: whether an item has the edges of its label.
        channels: 3, or 1: the brightness of the image.
        first: what the files have for the first class; what is less is ignored.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        transforms: Sequence[Transform],
        classes: int,
        ignored: int = 255,
        *,
        edge: bool = False,
        channels: int = 3,
        first: int = 0,
    ) -> None:
        self.samples, self.transforms = samples, transforms
        self.classes, self.ignored = classes, ignored
        self.edge, self.channels, self.first = edge, channels, first

    @property
    def steps(self) -> list[Transform]:
        """All transforms, in the order in which PaddleSeg makes them."""
        return list(self.transforms)

    def begin(self, draws: Draws) -> None:
        """What PaddleSeg draws when it makes the data set."""
        for step in self.steps:
            step.begin(draws)

    def item(self, index: int, draws: Draws) -> Item:
        """`image` (C, H, W) and `label` (H, W); `edge` (H, W) and `instances` where they are asked for.

        Raises:
            ppls.InputError: a file is missing or damaged, a label is no class, or a transform cannot take the image.
        """
        sample = self.samples[index]
        pair = Pair(self._image(sample), self._label(sample))
        transform(pair, self.transforms, draws, sample.image)
        assert pair.label is not None
        item = _item(pair.image, pair.label, sample)
        if self.edge:
            item["edge"] = edges_of(pair.label, 2, self.classes)
        if pair.instances is not None:
            item["instances"] = pair.instances
        return item

    def _image(self, sample: Sample) -> Array:
        pixels = read_grey(sample.image) if self.channels == 1 else read_rgb(sample.image)
        return pixels.astype(np.float32)

    def _label(self, sample: Sample) -> Array:
        label = stored_label(sample.label)
        if self.first:
            label = np.where(label < self.first, self.ignored, label - self.first).astype(label.dtype)
        check_label(label, self.classes, self.ignored, sample.label)
        return label


class Portraits(DataSet):
    """EG1800 and SUPERVISELY: images in BGR, labels at 224x224 and smoothed, whatever the transforms do.

    Args:
        samples: their files.
        transforms: those of the image that is trained with, after `common`.
        common: before them.
        other: of a second copy of the image, which nothing uses: they draw all the same.
        most: labels above it are background, or, of 0, the person.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        transforms: Sequence[Transform],
        *,
        common: Sequence[Transform],
        other: Sequence[Transform],
        most: int,
    ) -> None:
        super().__init__(samples, transforms, 2)
        self.common, self.other, self.most = common, other, most

    @property
    def steps(self) -> list[Transform]:
        return [*self.common, *self.transforms, *self.other]

    def item(self, index: int, draws: Draws) -> Item:
        from ppls.training.data.opencv import cv2, resize

        sample = self.samples[index]
        pair = Pair(read_rgb(sample.image))
        transform(pair, self.common, draws, sample.image)
        copies = [Pair(pair.image), Pair(pair.image)]
        for copy, steps in zip(copies, (self.transforms, self.other), strict=True):
            transform(copy, steps, draws, sample.image)
        label = read_grey(sample.label)
        label = np.where(label > self.most, 1 - self.most, label).astype(np.uint8)
        label = cv2.blur(resize(label, (224, 224), cv2.INTER_NEAREST), (5, 5))
        label = (label >= 0.5).astype(np.uint8)
        image = copies[0].image[..., ::-1].astype(np.float32)
        return _item(image, label, sample) | {"edge": edges_of(label, 4, self.classes)}


class Segments(DataSet):
    """PSSL: parts of ImageNet's images, each of its image's class; the rest is class 1000."""

    def __init__(self, samples: Sequence[Sample], transforms: Sequence[Transform], names: dict[str, int]) -> None:
        super().__init__(samples, transforms, 1001, 1001)
        self.names = names

    def _label(self, sample: Sample) -> Array:
        name = sample.image.name.split("_")[0]
        if name not in self.names:
            raise InputError(f"{sample.image}: is of the class {name}, which imagenet_lsvrc_2015_synsets.txt has not")
        return np.where(_array_of(sample.label) == 1, self.names[name], 1000).astype(np.int32)


def _item(image: Array, label: Array, sample: Sample) -> Item:
    if label.shape != image.shape[:2]:
        raise InputError(
            f"{sample.label}: is {label.shape[1]}x{label.shape[0]} after the transforms, "
            f"its image {sample.image} is {image.shape[1]}x{image.shape[0]}"
        )
    return {"image": image[np.newaxis] if image.ndim == 2 else image.transpose(2, 0, 1), "label": label}


def check_label(label: Array, classes: int, ignored: int, path: Path) -> None:
    """Raises `InputError` where a label has values that are neither a class nor ignored."""
    wrong = label[((label >= classes) | (label < 0)) & (label != ignored)]
    if wrong.size:
        values = [str(value) for value in np.unique(wrong)]
        raise InputError(
            f"{path}: has the labels {in_words(values)}, but the data set has classes 0 to {classes - 1}"
            f" and {ignored} is ignored"
        )


_MOST_BYTES = 1 << 28  # of an array


def _array_of(path: Path) -> Array:
    from zipfile import BadZipFile

    try:
        with np.load(path) as archive:
            if archive.zip.getinfo("arr_0.npy").file_size > _MOST_BYTES:
                raise ValueError(f"it is larger than {_MOST_BYTES >> 20} MiB")
            array: Array = archive["arr_0"]
            return array
    except (OSError, ValueError, KeyError, AttributeError, EOFError, BadZipFile) as error:
        raise InputError(f"{path}: is no archive of numpy's with an arr_0: {error}") from None


@dataclass(frozen=True)
class Kind:
    """One of PaddleSeg's classes of data sets.

    Attributes:
        classes: how many.
        files: what is in a folder, for a `mode`.
        modes: that can be trained with.
        first: see `DataSet`.
    """

    classes: int
    files: Callable[[Path, str], Iterable[Sample]]
    modes: tuple[str, ...] = ("train",)
    first: int = 0


def _in_lists(name: str, separator: str | None = None) -> Callable[[Path, str], Iterable[Sample]]:
    return lambda root, mode: listed(root / name.format(mode), root, separator)


def _cityscapes(root: Path, mode: str) -> Iterable[Sample]:
    return sorted(cityscapes(root, None, mode), key=lambda sample: str(sample.image))


def _voc(root: Path, mode: str) -> Iterator[Sample]:
    yield from voc(root, None, "train" if mode == "trainaug" else mode)
    if mode == "trainaug":
        yield from voc(root, None, "aug", "SegmentationClassAug")


def _context(root: Path, mode: str) -> Iterator[Sample]:
    for place, name in read_lines(root / "ImageSets/Segmentation" / f"{mode}_context.txt"):
        yield Sample(root / "JPEGImages" / f"{name}.jpg", root / "Context" / f"{name}.png", place)


def _ade20k(root: Path, mode: str) -> Iterator[Sample]:
    part = "validation" if mode == "val" else "training"
    images, labels = root / "images" / part, root / "annotations" / part
    names = os.listdir(images) if entries_of(images) else []  # PaddleSeg's order, which is the file system's
    for name in names:
        yield Sample(images / name, labels / name.replace(".jpg", ".png"), str(images))


def _coco_stuff(root: Path, mode: str) -> Iterator[Sample]:
    images, labels = root / "images" / f"{mode}2017", root / "annotations" / f"{mode}2017"
    for image in entries_of(images):
        if image.suffix == ".jpg":
            yield Sample(image, labels / f"{image.stem}.png", str(images))


_LISTS = _in_lists("{}_list.txt")
KINDS: dict[str, Kind] = {
    "Cityscapes": Kind(19, _cityscapes, ("train", "test")),
    "PascalVOC": Kind(21, _voc, ("train", "trainval", "trainaug")),
    "ADE20K": Kind(150, _ade20k, first=1),
    "CocoStuff": Kind(171, _coco_stuff),
    "PascalContext": Kind(60, _context, ("train", "trainval")),
    "OpticDiscSeg": Kind(2, _LISTS, ("train", "test")),
    "MiniDeepGlobeRoadExtraction": Kind(2, _in_lists("{}.txt", "|")),
    "PPHumanSeg14K": Kind(2, _in_lists("{}.txt", " "), ("train", "test")),
    **dict.fromkeys(("STARE", "DRIVE", "HRF", "CHASEDB1"), Kind(2, _LISTS)),
}


def portraits_of(name: str, root: Path) -> Iterator[Sample]:
    """The files of EG1800 or SUPERVISELY."""
    if name == "EG1800":
        for place, line in read_lines(root / "eg1800_train.txt"):
            yield Sample(root / "Images" / line, root / "Labels" / line, place)
        return
    for place, line in read_lines(root / "supervisely_face_train_easy.txt"):
        file = "/".join(line.split("/")[1:])
        yield Sample(root / file, root / file.replace("/img/", "/ann/"), place)


def segments_of(images: Path, labels: Path) -> tuple[list[Sample], dict[str, int]]:
    """The files of PSSL, and the numbers of ImageNet's classes."""
    samples = [
        Sample(images / f"{line.split('.JPEG')[0]}.JPEG", labels / line, place)
        for place, line in read_lines(labels / "train.txt")
    ]
    names = [name for _, name in read_lines(labels / "imagenet_lsvrc_2015_synsets.txt")]
    return samples, {name: number for number, name in enumerate(names)}
