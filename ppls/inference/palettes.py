"""The colours of classes: PaddleSeg's own colour map, and those that the data sets define."""

from __future__ import annotations

from typing import Any

import numpy as np

from ppls.errors import UsageError

Array = np.ndarray[Any, Any]

# https://github.com/mcordts/cityscapesScripts, helpers/labels.py: the 19 classes that are evaluated, by train id
_CITYSCAPES = """
    804080 f423e8 464646 66669c be9999 999999 faaa1e dcdc00 6b8e23 98fb98 4682b4 dc143c ff0000 00008e 000046 003c64
    005064 0000e6 770b20
"""

# The 11 classes of SegNet's CamVid (sky, building, pole, road, pavement, tree, sign symbol, fence, car, pedestrian,
# bicyclist), https://github.com/alexgkendall/SegNet-Tutorial, Scripts/test_segmentation_camvid.py
_CAMVID = """
    808080 800000 c0c080 804080 3c28de 808000 c08080 404080 400080 404000 0080c0
"""


# ADE20K's 150 classes, https://github.com/CSAILVision/semantic-segmentation-pytorch, data/color150.mat
_ADE20K = """
    787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 96053d 787846 08ff33 ff0652
    8fff8c ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc ff095c 7009ff 08ffd6 07ffe0
    ffb806 0aff47 ff290a 07ffff e0ff08 6608ff ff3d06 ffc207 ff7a08 00ff14 ff0829 ff0599 0633ff eb0cff a09614 00a3ff
    8c8c8c fa0a0f 14ff00 1fff00 ff1f00 ffe000 99ff00 0000ff ff4700 00ebff 00adff 1f00ff 0bc8c8 ff5200 00fff5 003dff
    00ff70 00ff85 ff0000 ffa300 ff6600 c2ff00 008fff 33ff00 0052ff 00ff29 00ffad 0a00ff adff00 00ff99 ff5c00 ff00ff
    ff00f5 ff0066 ffad00 ff0014 ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2 00ff52 000aff 0070ff 3300ff 00c2ff 007aff
    00ffa3 ff9900 00ff0a ff7000 8fff00 5200ff a3ff00 ffeb00 08b8aa 8500ff 00ff5c b800ff ff001f 00b8ff 00d6ff ff0070
    5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00 ff00a3 ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff ff007a fff500
    0abed4 d6ff00 00ccff 1400ff ffff00 0099ff 0029ff 00ffcc 2900ff 29ff00 ad00ff 00f5ff 4700ff 7a00ff 00ffb8 005cff
    b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff
"""


def bit_palette(start: int, count: int) -> Array:
    """The palette of PASCAL VOC's devkit: the bits of a class spread over red, green and blue; (count, 3)."""
    colours = np.zeros((count, 3), np.uint8)
    for i in range(count):
        rest, shift = i + start, 7
        while rest and shift >= 0:
            colours[i] |= np.array([(rest >> channel & 1) << shift for channel in range(3)], np.uint8)
            rest, shift = rest >> 3, shift - 1
    return colours


def _hexadecimal(text: str) -> Array:
    return np.array([list(bytes.fromhex(colour)) for colour in text.split()], np.uint8)


_FIRST_BITS = {"paddleseg": 1, "voc": 0}  # paddleseg/utils/visualize.py leaves out the first colour, black
_TABLES = {"cityscapes": _CITYSCAPES, "camvid": _CAMVID, "ade20k": _ADE20K}
PALETTES = (*_FIRST_BITS, *_TABLES)


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
    colours = _hexadecimal(_TABLES[name])
    if len(colours) < num_classes:
        raise UsageError(f"--palette {name} has {len(colours)} colours, the model has {num_classes} classes")
    return colours[:num_classes]
