"""Pairs of image and label, from the layouts in which data sets come; and the labels themselves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ppls.errors import InputError, UsageError, first_line
from ppls.files import open_regular, why_no_file
from ppls.images import open_label
from ppls.inference.lists import read_lines
from ppls.inference.matlab import MOST_BYTES, read_field
from ppls.shown import shown

Array = np.ndarray[Any, Any]

# cityscapesScripts, helpers/labels.py: the ids of the 19 classes that are evaluated, in the order of their train ids
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


_MOST_SHOWN = 20  # missing files


@dataclass(frozen=True)
class Sample:
    """One image with its label, and where they are listed: a file and a line, or a folder.

    Attributes:
        first: what the label's file has for the first class; what is less is ignored.
    """

    image: Path
    label: Path
    listed: str
    first: int = 0


def read_samples(
    root: str | Path, data: str | Path | None = None, *, layout: str = "list", split: str = "val", separator: str = " "
) -> list[Sample]:
    """The samples of a data set, each of whose files exists.

    Args:
        root: the folder that the names are relative to, or that has the layout's folders.
        data: a file with an image and a label on each line (or, for `voc` and `sbd`, a name), in place of the layout's.
        layout: one of `LAYOUTS`: `list`; `cityscapes` (`leftImg8bit/`, `gtFine/`); `camvid` (`val/` and `valannot/`, or
            `val.txt`); `voc` (`JPEGImages/`, `SegmentationClass/`, `ImageSets/Segmentation/`, in `root`, `VOC2012/` or
            `VOCdevkit/VOC2012/`); `sbd` (VOC's with `SegmentationClassAug/`, or SBD's own `img/` and `cls/*.mat`).
        split: which part of it.
        separator: between image and label in a list.

    Raises:
        UsageError: no such layout, no separator, or a list is needed and not given.
        InputError: a list is missing, empty or malformed, or names a file that does not exist: all are named, each with
            its line.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"unknown layout {layout!r}; known are {', '.join(LAYOUTS)}")
    if not separator:
        raise UsageError("--separator '': it is what stands between an image and its label")
    folder = Path(root)
    if not os.path.isdir(folder):
        raise InputError(f"{folder}: no such folder; --root is where the data set is")
    if data is not None and layout in ("list", "cityscapes", "camvid"):
        samples = list(listed(Path(data), folder, separator))
    elif layout == "list":
        raise UsageError("the layout `list` needs a list of images and labels: --data LIST")
    else:
        samples = list(_READERS[layout](folder, None if data is None else Path(data), split))
    if not samples:
        raise InputError(f"{data or folder}: lists no samples")
    check_files(samples)
    return samples


def check_files(samples: Iterable[Sample]) -> None:
    """Raises `InputError` where a file of a sample does not exist: all are named, each with its place in the list."""
    missing, count = [], 0
    for sample in samples:
        for path in (sample.image, sample.label):
            if why := why_no_file(path):
                count += 1
                if count <= _MOST_SHOWN:
                    missing.append(f"{sample.listed}: {shown(path, 1000)} {why}")
    if missing:
        more = [f"and {count - _MOST_SHOWN:,} more"] if count > _MOST_SHOWN else []
        files = "1 file of the data set is" if count == 1 else f"{count:,} files of the data set are"
        raise InputError(f"{files} missing:", missing + more)


def read_label(path: Path, max_pixels: int | None = None) -> Array:
    """The classes of a label map (H, W) as int64, from an indexed or greyscale image or SBD's `.mat`.

    Cityscapes' `labelIds` are given as train ids, 255 where a class is not evaluated. `max_pixels`: see
    `ppls.images.open_label`.

    Raises:
        InputError: missing, damaged, too large, or a colour image, whose classes nothing tells.
    """
    return stored_label(path, max_pixels).astype(np.int64)


def stored_label(path: Path, max_pixels: int | None = None) -> Array:
    """The same as whole numbers of the file's own size, most often uint8."""
    if path.suffix == ".mat":
        return _read_mat(path)
    image = open_label(path, max_pixels)
    if image.mode not in ("P", "L", "1", "I", "I;16", "I;16B"):
        raise InputError(f"{path}: is a {image.mode} image; in a label map, indexed or greyscale, values are classes")
    label = np.asarray(image)
    if path.name.endswith("_labelIds.png"):
        table = np.full(256, 255, np.uint8)
        table[list(_CITYSCAPES_IDS)] = np.arange(len(_CITYSCAPES_IDS))
        return table[label.clip(0, 255).astype(np.uint8)]
    return label.astype(np.uint8 if label.dtype == bool else label.dtype.newbyteorder("="))


def _read_mat(path: Path) -> Array:
    try:
        with open(open_regular(path), "rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError(f"it is larger than {MOST_BYTES >> 20} MiB")
        return read_field(data, "GTcls", "Segmentation").copy(order="C")
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such label map") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is no label map of SBD: {first_line(error)}") from None


def listed(path: Path, root: Path, separator: str | None) -> Iterator[Sample]:
    """What a list names, an image and a label on each line; without a `separator` any blanks are between them."""
    for place, line in read_lines(path):
        names = line.split(separator)
        if len(names) != 2:
            raise InputError(
                f"{place}: expected an image and its label with {separator or ' '!r} between them, "
                f"got '{shown(line)}'; --separator has another sign"
            )
        yield Sample(root / names[0], root / names[1], place)


def entries_of(folder: Path) -> list[Path]:
    """What is in a folder, sorted; nothing, where it does not exist."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as error:  # or images would be left out silently
        raise InputError(f"{folder}: cannot be searched: {getattr(error, 'strerror', None) or error}") from None


def cityscapes(root: Path, _data: Path | None, split: str) -> Iterator[Sample]:
    images = root / "leftImg8bit" / split
    for image in chain.from_iterable(map(entries_of, entries_of(images))):
        if not image.name.endswith("_leftImg8bit.png"):
            continue
        stem = root / "gtFine" / split / image.parent.name / image.name.removesuffix("_leftImg8bit.png")
        label = Path(f"{stem}_gtFine_labelTrainIds.png")
        if why_no_file(label):  # made by cityscapesScripts from the ids, which the download has
            label = Path(f"{stem}_gtFine_labelIds.png")
        yield Sample(image, label, str(images))


def _camvid(root: Path, _data: Path | None, split: str) -> Iterator[Sample]:
    """SegNet's CamVid: a list whose names begin at another root, or the folders alone."""
    if os.path.lexists(root / f"{split}.txt"):
        for place, line in read_lines(root / f"{split}.txt"):
            names = [_below(root, Path(name)) for name in line.split()]
            if len(names) != 2:
                raise InputError(f"{place}: expected an image and its label, got '{shown(line)}'")
            yield Sample(names[0], names[1], place)
        return
    for image in entries_of(root / split):
        if image.suffix == ".png":
            yield Sample(image, root / f"{split}annot" / image.name, str(root / split))


def _below(root: Path, name: Path) -> Path:
    """`name` below `root`; of `/SegNet/CamVid/val/x.png` the last parts."""
    relative = root / str(name).lstrip("/")
    return relative if why_no_file(relative) is None else root / name.parent.name / name.name


def voc(root: Path, data: Path | None, split: str, labels: str = "SegmentationClass") -> Iterator[Sample]:
    folder = _with(root, "JPEGImages", "", "VOC2012", "VOCdevkit/VOC2012")
    if folder is None:
        raise InputError(f"{root}: has no JPEGImages, nor has VOC2012 or VOCdevkit/VOC2012 in it")
    for place, name in read_lines(data or folder / "ImageSets/Segmentation" / f"{split}.txt"):
        yield Sample(folder / "JPEGImages" / f"{name}.jpg", folder / labels / f"{name}.png", place)


def _sbd(root: Path, data: Path | None, split: str) -> Iterator[Sample]:
    folder = _with(root, "cls", "", "dataset", "benchmark_RELEASE/dataset")
    if folder is None:  # converted to PNG and put beside VOC's, as PaddleSeg's voc_augment.py does
        yield from voc(root, data, split, "SegmentationClassAug")
        return
    for place, name in read_lines(data or folder / f"{split}.txt"):
        yield Sample(folder / "img" / f"{name}.jpg", folder / "cls" / f"{name}.mat", place)


def _with(root: Path, content: str, *places: str) -> Path | None:
    """The first of `places` in `root` that has the folder `content`."""
    return next((root / place for place in places if os.path.isdir(root / place / content)), None)


_READERS: dict[str, Callable[[Path, Path | None, str], Iterator[Sample]]] = {
    "cityscapes": cityscapes,
    "camvid": _camvid,
    "voc": voc,
    "sbd": _sbd,
}
LAYOUTS: Sequence[str] = ("list", *_READERS)
