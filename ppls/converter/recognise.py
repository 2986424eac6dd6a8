"""Which architecture a checkpoint is of, and on which backbone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from posixpath import commonpath
from typing import Any

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.converter.expected import expected_shapes
from ppls.converter.infer import infer_model_config
from ppls.converter.translate import translate
from ppls.errors import ConversionError, UsageError
from ppls.mappings.map_file import open_map
from ppls.mappings.map_index import likely_backbone, likely_maps, likenesses, map_called, on_backbone, titles
from ppls.mappings.maps import Map
from ppls.mappings.patterns import Pattern
from ppls.mappings.readings import Present
from ppls.records import dataclass

# A checkpoint of an architecture may lack tensors or have others beside them, which is then said one by one; with less
# than this share of known names, or of the architecture's own names, it is something else.
SHARE = 0.5


@dataclass(frozen=True)
class Recognition:
    """What a checkpoint was taken for, and how surely.

    Attributes:
        map: of the architecture, on the backbone that the tensors are of.
        share: of the checkpoint's tensors, those that the map knows by name, 0 to 1.
        runner_up: the architecture whose names fit next best, and its share; None where none fits at all.
    """

    map: Map
    share: float
    runner_up: tuple[str, float] | None

    def to_json(self) -> dict[str, Any]:
        """What `ppls-inspect --json` prints of it."""
        return {
            "architecture": self.map.title,
            "backbone": self.map.includes[0].map.title if self.map.includes else None,
            "share": round(self.share, 4),
            "runner_up": self.runner_up and {"architecture": self.runner_up[0], "share": round(self.runner_up[1], 4)},
        }


def choose_map(checkpoint: Checkpoint, named: Map | None) -> Map:
    """The map to convert with: the one that the user named, else that of the architecture recognised.

    Raises:
        ConversionError: the checkpoint is of no architecture that ppls knows, or of several alike.
    """
    return recognise(checkpoint).map if named is None else on_its_backbone(named, checkpoint)


def is_model(checkpoint: Checkpoint, named: Map | None) -> bool:
    """Whether a checkpoint is a model that ppls knows: of the named map, if there is one."""
    if named is not None:
        fit = _Fit.of(on_its_backbone(named, checkpoint), checkpoint)
        return min(fit.own, fit.known) >= SHARE
    try:
        recognise(checkpoint)
    except ConversionError:
        return False
    return True


def on_its_backbone(map: Map, names: Collection[str]) -> Map:
    """The map on that of ppls's backbones whose tensors are there, if it may stand on that and knows fewer as it is."""
    if len(map.backbones) < 2:
        return map
    inside = map.includes[0].source
    backbone, known = likely_backbone(names, inside)
    here = sum(map.knows(name) for name in names if name.startswith(f"{inside}."))
    return on_backbone(map, backbone) if known > here else map


def named_map(architecture: str | None, map: str | Path | Map | None) -> Map | None:
    """The given map, or the given architecture's; None where neither is given.

    `architecture` may name a backbone too, by its class or by a preset: a file that holds the backbone alone.

    Raises:
        UsageError: there is no such architecture, or the map is of another. MapError: the map is malformed.
    """
    given = open_map(map)
    if given is not None:
        if architecture is not None and architecture.lower() not in (given.title.lower(), given.name.lower()):
            raise UsageError(f"--arch {architecture}: the map {given.name} is of {given.title}; give one of the two")
        return given
    if architecture is None:
        return None
    named = map_called(architecture)
    if named is None:
        raise UsageError(
            f"--arch {architecture}: not an architecture that ppls knows; it knows {', '.join(titles())}. "
            "For another, write a map and give it with --map FILE"
        )
    return named


def recognise(checkpoint: Checkpoint) -> Recognition:
    """The map whose names the checkpoint's are, and where several have the same names, whose shapes.

    An architecture is known by what is its own, the decode head: backbones are shared.

    Raises:
        ConversionError: it is none, one on an unknown backbone, a backbone alone, or fits several equally.
    """
    fits = [_Fit.of(map, checkpoint) for map in likely_maps(checkpoint)]
    of_head = [fit for fit in fits if fit.own >= SHARE and fit.coverage >= SHARE]
    whole = [fit for fit in of_head if fit.known >= SHARE and fit.backbone >= SHARE]
    best = [fit.map for fit in whole if fit.known == max(fit.known for fit in whole)]
    if len(best) > 1:
        by_shape = [_share_of_shapes(map, checkpoint) for map in best]
        best = [map for map, share in zip(best, by_shape, strict=True) if share == max(by_shape)]
    if len(best) > 1:
        names = " and ".join(map.title for map in best)
        raise ConversionError(f"{checkpoint.path}: fits {names} equally; say which with --arch NAME")
    if not best:
        from ppls.converter.unrecognised import unrecognised

        raise unrecognised(checkpoint, of_head[0].map if of_head else None)
    others = [other for other in likenesses(checkpoint) if other.name != best[0].name and other.known]
    runner_up = (others[0].title, others[0].known) if others else None
    return Recognition(best[0], max(fit.known for fit in whole), runner_up)


@dataclass(frozen=True)
class _Fit:
    """How well a checkpoint's names fit a map: shares of 0 to 1.

    Attributes:
        known: of all tensors, those that the map knows.
        own: of those outside the backbone, the same.
        backbone: of those inside the backbone, the same; 1 where there is none.
        coverage: of the map's own rules, without those of modules that may be absent and are, those that a tensor fits.
    """

    map: Map
    known: float
    own: float
    backbone: float
    coverage: float

    @classmethod
    def of(cls, map: Map, names: Collection[str]) -> _Fit:
        renamed = map.todays_names(names)
        today = [renamed.get(name, name) for name in names]
        inside = tuple(f"{included.source}." for included in map.includes)
        known = {name for name in today if map.knows(name)}
        own = [name for name in today if not name.startswith(inside)]
        backbone = [name for name in today if name.startswith(inside)]
        rules = {pattern.text for rule in map.rules for pattern in rule.sources if not pattern.text.startswith(inside)}
        absent = [module for module in _optional(map) if not any(module.match_within(name) for name in own)]
        rules = {text for text in rules if not any(f"{text}.".startswith(f"{module}.") for module in absent)}
        hit = {rule.sources[at].text for name in own for rule, at, _ in map.forward.matches(name)}
        for ways in _built_in_ways(map, rules):
            if any(way & hit for way in ways):
                rules -= {text for way in ways if not way & hit for text in way}
        return cls(
            map,
            len(known) / max(len(today), 1),
            sum(name in known for name in own) / max(len(own), 1),
            sum(name in known for name in backbone) / len(backbone) if backbone else 1.0,
            len(rules & hit) / max(len(rules), 1),
        )


def _optional(map: Map) -> list[Pattern]:
    """Modules and tensors that a model may lack, by its options."""
    told = [rule.reading.pattern for rule in map.options if isinstance(rule.reading, Present)]
    return [*(optional.pattern for optional in map.optional), *told]


def _built_in_ways(map: Map, rules: Collection[str]) -> list[list[set[str]]]:
    """Of modules that are built in one way or another, so that several rows have them: the rules of each row."""
    rows: dict[int, set[str]] = defaultdict(set)
    for rule in map.rules:
        rows[rule.line] |= {pattern.text for pattern in rule.sources if pattern.text in rules}
    ways: dict[str, list[set[str]]] = defaultdict(list)
    for way in filter(None, rows.values()):
        ways[commonpath(text.replace(".", "/") for text in way)].append(way)
    return [way for way in ways.values() if len(way) > 1]


def _share_of_shapes(map: Map, checkpoint: Checkpoint) -> float:
    """Of the tensors of the model that a checkpoint would be by this map, those that it fills in the right shape."""
    try:
        inferred = infer_model_config(map, checkpoint.shapes, {})
        expected = expected_shapes(map, inferred.config)
    except ConversionError:
        return 0.0
    if expected is None:
        return float(not inferred.problems)
    tensors = translate(checkpoint.tensors, map, inferred.config).tensors
    filled = sum(name in tensors and tensors[name].shape == tuple(shape) for name, shape in expected.items())
    return filled / max(len(expected), len(tensors), 1)
