"""PaddleSeg's transforms by their names, made of what a config lists, and one after another."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from ppls.errors import InputError, first_line
from ppls.schema import Node, Word, at_most, build
from ppls.training.data import colours, cropping, moving, resizing, targets
from ppls.training.data.draws import Draws
from ppls.training.data.opencv import cv2
from ppls.training.data.pair import Pair, Transform

TRANSFORMS: dict[str, type[Transform]] = {
    kind.__name__: kind
    for kind in (
        resizing.Resize,
        resizing.ResizeByLong,
        resizing.ResizeByShort,
        resizing.LimitLong,
        resizing.ResizeRangeScaling,
        resizing.ResizeStepScaling,
        cropping.Padding,
        cropping.PaddingByAspectRatio,
        cropping.RandomPaddingCrop,
        cropping.RandomCenterCrop,
        cropping.ScalePadding,
        moving.RandomHorizontalFlip,
        moving.RandomVerticalFlip,
        moving.RandomRotation,
        moving.RandomScaleAspect,
        moving.RandomAffine,
        colours.Normalize,
        colours.RandomNoise,
        colours.RandomBlur,
        colours.RandomDistort,
        targets.GenerateInstanceTargets,
    )
}


def unknown_transforms(listed: Node) -> list[str]:
    """The transforms of a list that ppls does not have, each with its place."""
    steps = build(listed, Annotated[list[dict[str, Node]], at_most(50)])
    named = [(build(step["type"], Word) if "type" in step else "a transform without a type") for step in steps]
    return [f"{node.place}: {name}" for name, node in zip(named, listed.value, strict=True) if name not in TRANSFORMS]


def build_transforms(listed: Node) -> list[Transform]:
    """The transforms of a list, all of which are known; the node's error where an option is not."""
    return [
        build(
            dataclasses.replace(node, value={key: value for key, value in node.value.items() if key != "type"}),
            TRANSFORMS[build(node.value["type"], Word)],
        )
        for node in listed.value
    ]


def transform(pair: Pair, transforms: Sequence[Transform], draws: Draws, path: Path) -> None:
    """One transform after another. Raises `InputError` with the file where one cannot take the image."""
    for step in transforms:
        try:
            step(pair, draws)
        except (InputError, cv2.error, ValueError, OverflowError, ZeroDivisionError) as error:
            height, width = pair.size
            raise InputError(
                f"{path}: {type(step).__name__} cannot take it as it is by then, {width}x{height}: {first_line(error)}"
            ) from None
