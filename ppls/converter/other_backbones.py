"""Backbones of PaddleSeg that ppls has no map of, to be named where one is met."""

from __future__ import annotations

import re
from collections.abc import Iterable

# A tensor that the backbone has, and no other. As paddleseg 2.8.0 builds them.
_SIGNATURES = {
    "HRNet": r"st4\.stage_st4_1\..+",
    "UHRNet": r"st9\.stage_st9_1\..+",
    "MobileNetV2": r"conv2\._first_block\._bottleneck_conv\..+",
    "MobileNetV3": r"blocks\.\d+\.bottleneck_conv\.bn\..+",
    "ShuffleNetV2": r"2_1\._conv_linear_2\..+",
    "GhostNet": r"_ghostbottleneck_\d+\..+",
    "Xception": r"xception_\d+/entry_flow/.+",
    "MSCAN": r"block1\.0\.attn\.spatial_gating_unit\..+",
    "Lite_HRNet": r"stage0\.0\.layers\.0\.cross_resolution_weighting\..+",
    "SwinTransformer": r"layers\.0\.blocks\.0\.attn\.relative_position_bias_table",
    "TopTransformer": r"trans\.transformer_blocks\.0\..+",
}


def identify_backbone(names: Iterable[str]) -> str | None:
    """The backbone that has tensors of these names (without the prefix under which a model holds it), or None."""
    listed = list(names)
    for backbone, signature in _SIGNATURES.items():
        pattern = re.compile(signature)
        if any(pattern.fullmatch(name) for name in listed):
            return backbone
    return None
