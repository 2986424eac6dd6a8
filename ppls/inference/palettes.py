"""The colours of classes: PaddleSeg's own colour map, and those that the data sets define."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ppls.errors import UsageError
from ppls.images.label_sets import label_sets

Array = np.ndarray[Any, Any]


def bit_palette(start: int, count: int) -> Array:
    """The palette of PASCAL VOC's devkit: the bits of a class spread over red, green and blue; (count, 3)."""
    colours = np.zeros((count, 3), np.uint8)
    for i in range(count):
        rest, shift = i + start, 7
        while rest and shift >= 0:
            colours[i] |= np.array([(rest >> channel & 1) << shift for channel in range(3)], np.uint8)
            rest, shift = rest >> 3, shift - 1
    return colours


def colours_of(hexadecimal: Sequence[str]) -> Array:
    """`#rrggbb` of each class as uint8 (num_classes, 3)."""
    return np.array([list(bytes.fromhex(colour.removeprefix("#"))) for colour in hexadecimal], np.uint8)


_FIRST_BITS = {"paddleseg": 1, "voc": 0}  # paddleseg/utils/visualize.py leaves out the first colour, black
_SETS = ("cityscapes", "camvid", "ade20k")
PALETTES = (*_FIRST_BITS, *_SETS)


def palette(name: str = "paddleseg", num_classes: int = 256) -> Array:
    """The colours of `num_classes` classes, by class: uint8 (num_classes, 3), RGB.

    Args:
        name: `paddleseg` (what predict.py paints with), `voc`, `cityscapes` (by train id), `camvid` (the 11 classes of
            SegNet's) or `ade20k` (the 150 classes, counted from 0).

    Raises:
        UsageError: no palette has that name, or it has fewer colours than the model has classes.
    """
    if name not in PALETTES:
        raise UsageError(f"unknown palette {name!r}; known are {', '.join(PALETTES)}")
    if name in _FIRST_BITS:
        return bit_palette(_FIRST_BITS[name], num_classes)
    colours = colours_of(label_sets()[name].palette or ())
    if len(colours) < num_classes:
        raise UsageError(f"--palette {name} has {len(colours)} colours, the model has {num_classes} classes")
    return colours[:num_classes]
