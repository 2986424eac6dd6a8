"""The data set of a config's `train_dataset`, with its files found and its transforms made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from ppls.errors import InputError, UsageError
from ppls.inference.datasets import Sample, check_files, listed
from ppls.schema import Node, Part, Placed, Word, build, not_empty
from ppls.training.data import datasets
from ppls.training.data.cropping import LabelValue
from ppls.training.data.datasets import KINDS, DataSet, Portraits, Segments
from ppls.training.data.transforms import build_transforms, unknown_transforms

_PORTRAITS = {"EG1800": 1, "SUPERVISELY": 0}  # the largest label that stays as it is
SETS = ("Dataset", *KINDS, *_PORTRAITS, "PSSLDataset")
_LISTS = ("common_transforms", "transforms", "transforms1", "transforms2")  # of transforms


@dataclass(eq=False, kw_only=True)
class _Options:
    """What a config may say of every class of data sets."""

    type: Word
    mode: Placed[Word] | None = None
    edge: bool = False


@dataclass(eq=False, kw_only=True)
class _OfFolder(_Options):
    dataset_root: str | None = None


@dataclass(eq=False, kw_only=True)
class _OfKind(_OfFolder):
    transforms: Node


@dataclass(eq=False, kw_only=True)
class _OfLists(_OfKind):
    num_classes: int
    train_path: Placed[str] | None = None
    val_path: Node | None = None
    test_path: Node | None = None
    separator: Annotated[str, not_empty] = " "
    img_channels: int = 3
    ignore_index: LabelValue = 255


@dataclass(eq=False, kw_only=True)
class _OfPortraits(_OfFolder):
    common_transforms: Node
    transforms1: Node
    transforms2: Node


@dataclass(eq=False, kw_only=True)
class _OfSegments(_Options):
    imagenet_root: str
    pssl_root: str
    transforms: Node


@dataclass(eq=False)
class _Named(Part):
    type: Word


def open_data(node: Node, root: str | Path | None = None) -> DataSet:
    """The data set that a config's `train_dataset` describes.

    Args:
        node: the section.
        root: the folder that has the data set, in place of `dataset_root`; a `train_path` below that is below this.

    Raises:
        ppls.UsageError: a class of data sets or transforms that ppls does not have, all of them listed; a mode that is
            none of training.
        ppls.InputError: a list is missing or malformed, or names files that do not exist, all of them listed.
        ppls.ConversionError: the section is malformed.
    """
    name: str = build(node, _Named).type
    unknown = [] if name in SETS else [f"{node.value['type'].place}: {name}"]
    unknown += [line for key in _LISTS if key in node.value for line in unknown_transforms(node.value[key])]
    if unknown:
        raise UsageError("the config's train_dataset has what ppls does not have:", unknown)
    data = _open(name, node, None if root is None else Path(root))
    if not data.samples:
        raise InputError(f"{node.place}: the folders of this {name} have no images for training")
    check_files(data.samples)
    return data


def _open(name: str, node: Node, root: Path | None) -> DataSet:
    if name == "PSSLDataset":
        segments: _OfSegments = build(node, _OfSegments)
        if root is not None:
            raise UsageError("a PSSLDataset has two folders, imagenet_root and pssl_root, and data is one")
        found, names = datasets.segments_of(_folder(segments.imagenet_root), _folder(segments.pssl_root))
        return Segments(found, build_transforms(segments.transforms), names)
    if name in _PORTRAITS:
        portraits: _OfPortraits = build(node, _OfPortraits)
        _check_mode(portraits.mode, ("train",))
        return Portraits(
            list(datasets.portraits_of(name, _root(portraits, node, root))),
            build_transforms(portraits.transforms1),
            common=build_transforms(portraits.common_transforms),
            other=build_transforms(portraits.transforms2),
            most=_PORTRAITS[name],
        )
    if name == "Dataset":
        return _listed(node, root)
    options: _OfKind = build(node, _OfKind)
    kind = KINDS[name]
    return DataSet(
        list(kind.files(_root(options, node, root), _check_mode(options.mode, kind.modes))),
        build_transforms(options.transforms),
        kind.classes,
        edge=options.edge,
        first=kind.first,
    )


def _listed(node: Node, root: Path | None) -> DataSet:
    options: _OfLists = build(node, _OfLists)
    _check_mode(options.mode, ("train",))
    if options.num_classes < 1:
        node.value["num_classes"].fail(f"{options.num_classes} classes are too few")
    if options.img_channels not in (1, 3):
        node.value["img_channels"].fail(f"expected 1 or 3, found {options.img_channels}")
    if options.train_path is None:
        node.fail("'train_path' is missing, the list of images and labels")
    path = Path(options.train_path.value)
    if root is not None and options.dataset_root is not None and path.is_relative_to(options.dataset_root):
        path = root / path.relative_to(options.dataset_root)
    samples: list[Sample] = list(listed(path, _root(options, node, root), options.separator))
    return DataSet(
        samples,
        build_transforms(options.transforms),
        options.num_classes,
        options.ignore_index,
        edge=options.edge,
        channels=options.img_channels,
    )


def _root(options: _OfFolder, node: Node, root: Path | None) -> Path:
    if root is None and options.dataset_root is None:
        node.fail("has no dataset_root, from which PaddleSeg fetches the data set; give the folder that has it as data")
    return _folder(str(options.dataset_root) if root is None else root)


def _folder(path: Any) -> Path:
    if not Path(path).is_dir():
        raise InputError(f"{path}: no such folder; data is where the data set is")
    return Path(path)


def _check_mode(mode: Placed[Word] | None, known: tuple[str, ...]) -> str:
    name = "train" if mode is None else mode.value.lower()
    if mode is not None and name not in known:
        mode.node.fail(f"{name!r} is none to train with; known are {', '.join(known)}")
    return name
