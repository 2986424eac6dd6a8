"""What to say of a checkpoint that is of no architecture that ppls knows: as much as its tensors tell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.converter.presets import told_by_presets
from ppls.errors import UnrecognisedError
from ppls.mappings.config_rules import infer_config
from ppls.mappings.map_file import architectures, shipped_map
from ppls.mappings.map_index import Likeness, likely_backbone, likenesses, malformed_maps, titles
from ppls.mappings.maps import Map
from ppls.mappings.patterns import natural_key, prefixed
from ppls.mappings.shapes import Refused, Shapes
from ppls.pages import page

_SHARE = 0.5  # of the tensors of a backbone, those that must be known for it to be that
_COVERAGE = 0.25  # of the names that a backbone has, those that must be there

# Backbones of PaddleSeg that ppls has no map of: a tensor that the backbone has, and no other. As paddleseg 2.8.0
# builds them.
_SIGNATURES = {
    "HRNet": r"st4\.stage_st4_1\..+",
    "UHRNet": r"st9\.stage_st9_1\..+",
    "Xception": r"xception_\d+/entry_flow/.+",
    "MSCAN": r"block1\.0\.attn\.spatial_gating_unit\..+",
    "Lite_HRNet": r"stage0\.0\.layers\.0\.cross_resolution_weighting\..+",
    "SwinTransformer": r"layers\.0\.blocks\.0\.attn\.relative_position_bias_table",
    "TopTransformer": r"trans\.transformer_blocks\.0\..+",
}


def unrecognised(checkpoint: Checkpoint, of_head: Map | None) -> UnrecognisedError:
    """The error for a checkpoint that no map fits; `of_head` is the map of the architecture whose head it has."""
    if of_head is not None:
        return UnrecognisedError(f"{checkpoint.path}: {_on_unknown_backbone(of_head, checkpoint)}")
    for map in architectures().values():
        if refused := _refused(map, checkpoint.shapes):
            return UnrecognisedError(f"{checkpoint.path}: {map.title}: {refused}")
    if alone := _backbone_in(checkpoint, ""):
        return UnrecognisedError(
            f"{checkpoint.path}: is the backbone {alone} alone, with no decode head; convert it into a backbone with "
            f"--arch {alone}"
        )
    best = next((likeness for likeness in likenesses(checkpoint) if likeness.known >= _SHARE), None)
    return UnrecognisedError(
        f"{checkpoint.path}: not a checkpoint of an architecture that ppls knows: {_what_it_holds(checkpoint)}"
        f"{_known_backbone(best, checkpoint)}. Known are {', '.join(titles())}. To convert it all the same, write a "
        f"map and give it with --map FILE (see {page('mapping-language')})"
        + ("; or convert its program into a folder: ppls convert EXPORT FOLDER" if checkpoint.is_export else ""),
        [f"left out, for it is malformed: {error}" for error in malformed_maps().values()],
    )


def _refused(map: Map, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Why the tensors show a variant of the architecture that ppls does not support; None if they do not.

    Such a variant may share little with those that the map knows.
    """
    try:
        infer_config([rule for rule in map.options if rule.revealed], Shapes(shapes), {}, {})
    except Refused as reason:
        return str(reason)
    return None


def _on_unknown_backbone(map: Map, checkpoint: Checkpoint) -> str:
    """That an architecture stands on a backbone that ppls does not have, or does not have for it."""
    included = map.includes[0]
    inside = [name for name in checkpoint if name.startswith(f"{included.source}.")]
    bare = [name.removeprefix(f"{included.source}.") for name in inside]
    found = _backbone_in(checkpoint, included.source) or _signed(bare)
    shown = ", ".join(sorted({name.split(".")[0] for name in bare}, key=natural_key)[:4])
    what = f"{found}, which is not supported" if found else "a backbone that ppls does not know"
    supported = [name for backbone in map.backbones for name in _names_of(shipped_map(backbone))]
    return (
        f"a {map.title} on {what} ({len(inside)} tensors under {included.source}: {shown}, ...); ppls has it on "
        f"{', '.join(supported or _names_of(included.map))}"
    )


def _names_of(backbone: Map) -> list[str]:
    return [*backbone.presets] or [backbone.title]


def _known_backbone(best: Likeness | None, checkpoint: Checkpoint) -> str:
    """What to add where the backbone of an unknown model is known."""
    map = None if best is None else best.open()
    if map is None or not map.includes:
        return ""
    name = _backbone_in(checkpoint, map.includes[0].source)
    return f"; the backbone is {name}, the decode head is none that ppls knows" if name else ""


def _backbone_in(checkpoint: Checkpoint, inside: str) -> str | None:
    """The backbone that ppls knows and a module is: by the preset that it is, else by its class."""
    prefix = prefixed("", inside) + "." if inside else ""
    shapes = {name[len(prefix) :]: shape for name, shape in checkpoint.shapes.items() if name.startswith(prefix)}
    name, known = likely_backbone(shapes)
    if name is None or known < _SHARE * len(shapes):
        return None
    map = shipped_map(name)
    templates = {pattern.template for rule in map.rules for pattern in rule.sources}
    there = {rule.sources[at].template for tensor in shapes for rule, at, _ in map.forward.matches(tensor)}
    if len(there) < _COVERAGE * len(templates):
        return None
    rules = told_by_presets(map, shapes, {}).rules
    revealed = infer_config([rule for rule in rules if rule.revealed], Shapes(shapes), {}, {}).config
    for preset, options in map.presets.items():
        if all(revealed.get(option) == value for option, value in options.items() if option in revealed):
            return preset
    return map.title


def _signed(names: Collection[str]) -> str | None:
    """The backbone without a map that has tensors of these names."""
    for backbone, signature in _SIGNATURES.items():
        pattern = re.compile(signature)
        if any(pattern.fullmatch(name) for name in names):
            return backbone
    return None


def _what_it_holds(checkpoint: Checkpoint) -> str:
    modules = Counter(name.split(".")[0] for name in checkpoint)
    named = ", ".join(f"{module} ({count})" for module, count in modules.most_common(6))
    more = f" and {len(modules) - 6} more" if len(modules) > 6 else ""
    return f"found {len(checkpoint)} tensors under {named}{more}"
