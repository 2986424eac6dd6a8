"""Which architecture a checkpoint is of, and which config its tensors reveal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.converter.other_backbones import identify_backbone
from ppls.errors import ConversionError, UsageError
from ppls.mappings.backbone_options import recipe_options
from ppls.mappings.config_rules import Given, Inferred, infer_config, put
from ppls.mappings.map_file import architectures, backbones, open_map
from ppls.mappings.map_index import likely_maps
from ppls.mappings.maps import Map
from ppls.mappings.patterns import lookup, natural_key
from ppls.mappings.readings import Refused, Shapes

# A checkpoint of an architecture may lack tensors or have others beside them, which is then said one by one; with less
# than this share of known names, or of the architecture's own names, it is something else.
_SHARE = 0.5


def choose_map(checkpoint: Checkpoint, architecture: str | None, map: str | Path | Map | None) -> Map:
    """The map to convert with: the given one, the given architecture's, or that of the architecture recognised.

    `architecture` may name a backbone too, by its class or by a preset: a file that holds the backbone alone.

    Raises:
        ConversionError: the checkpoint is of no architecture that ppls knows, or of several alike.
        UsageError: there is no such architecture. MapError: the map is malformed.
    """
    return named_map(architecture, map) or recognise(checkpoint)


def named_map(architecture: str | None, map: str | Path | Map | None) -> Map | None:
    """The given map, or the given architecture's; None where neither is given.

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
    known = {name.lower(): map for map in architectures().values() for name in (map.title, map.name)}
    for map in backbones().values():
        known |= {name.lower(): map for name in (map.title, *map.presets)}
    if architecture.lower() not in known:
        raise UsageError(
            f"--arch {architecture}: not an architecture that ppls knows; it knows {', '.join(architectures())}. "
            "For another, write a map and give it with --map FILE"
        )
    return known[architecture.lower()]


def recognise(checkpoint: Checkpoint) -> Map:
    """The map whose names the checkpoint's are.

    An architecture is known by what is its own, the decode head: backbones are shared. A variant that a map refuses may
    share little with those that it knows.

    Raises:
        ConversionError: it is none, one on an unknown backbone, a backbone alone, or fits several equally.
    """
    fits = [_Fit.of(map, checkpoint) for map in likely_maps(checkpoint)]
    of_head = [fit for fit in fits if fit.own >= _SHARE and fit.coverage >= _SHARE]
    whole = [fit for fit in of_head if fit.known >= _SHARE and fit.backbone >= _SHARE]
    best = max((fit.known for fit in whole), default=0.0)
    fitting = [fit.map for fit in whole if fit.known == best]
    if len(fitting) == 1:
        return fitting[0]
    path = checkpoint.path
    if fitting:
        names = " and ".join(map.title for map in fitting)
        raise ConversionError(f"{path}: fits {names} equally; say which with --arch NAME")
    if of_head:
        raise ConversionError(f"{path}: {_unknown_backbone(of_head[0], checkpoint)}")
    fits = [_Fit.of(map, checkpoint) for map in architectures().values()]
    for fit in fits:
        refused = _refused(fit.map, checkpoint)
        if refused:
            raise ConversionError(f"{path}: {fit.map.title}: {refused}")
    alone = max((_Fit.of(map, checkpoint) for map in backbones().values()), key=lambda fit: fit.known, default=None)
    if alone is not None and alone.known >= _SHARE:
        name = _named(alone.map, checkpoint.shapes)
        raise ConversionError(
            f"{path}: is the backbone {name} alone, with no decode head; convert it into a backbone with --arch {name}"
        )
    raise ConversionError(
        f"{path}: not a checkpoint of an architecture that ppls knows: {_what_it_holds(checkpoint)}"
        f"{_known_backbone(fits, checkpoint)}. Known are {', '.join(architectures())}. To convert it all the same, "
        "write a map and give it with --map FILE (see docs/mapping-language.md)"
    )


@dataclass(frozen=True)
class _Fit:
    """How well a checkpoint's names fit a map: shares of 0 to 1.

    Attributes:
        known: of all tensors, those that the map knows.
        own: of those outside the backbone, the same.
        backbone: of those inside the backbone, the same; 1 where there is none.
        coverage: of the map's own rules, those that a tensor fits.
    """

    map: Map
    known: float
    own: float
    backbone: float
    coverage: float

    @classmethod
    def of(cls, map: Map, names: Iterable[str]) -> _Fit:
        renamed = map.todays_names(names)
        today = [renamed.get(name, name) for name in names]
        inside = tuple(f"{included.source}." for included in map.includes)
        known = {name for name in today if map.knows(name)}
        own = [name for name in today if not name.startswith(inside)]
        backbone = [name for name in today if name.startswith(inside)]
        rules = {pattern.text for rule in map.rules for pattern in rule.sources if not pattern.text.startswith(inside)}
        hit = {rule.sources[at].text for name in own for rule, at, _ in map.forward.matches(name)}
        return cls(
            map,
            len(known) / max(len(today), 1),
            sum(name in known for name in own) / max(len(own), 1),
            sum(name in known for name in backbone) / len(backbone) if backbone else 1.0,
            len(rules & hit) / max(len(rules), 1),
        )


def _refused(map: Map, checkpoint: Checkpoint) -> str | None:
    """Why the tensors show a variant of the architecture that ppls does not support; None if they do not."""
    try:
        infer_config([rule for rule in map.options if rule.revealed], Shapes(checkpoint.shapes), {}, {})
    except Refused as reason:
        return str(reason)
    return None


def _unknown_backbone(fit: _Fit, names: Checkpoint) -> str:
    """That an architecture stands on a backbone that ppls does not have, or does not have for it."""
    included = fit.map.includes[0]
    inside = [name for name in names if name.startswith(f"{included.source}.")]
    bare = [name.removeprefix(f"{included.source}.") for name in inside]
    others = [map.title for map in backbones().values() if sum(map.knows(name) for name in bare) > len(bare) / 2]
    found = others[0] if others else identify_backbone(bare)
    shown = ", ".join(sorted({name.split(".")[included.source.count(".") + 1] for name in inside}, key=natural_key)[:4])
    what = f"{found}, which is not supported" if found else "a backbone that ppls does not know"
    return (
        f"a {fit.map.title} on {what} ({len(inside)} tensors under {included.source}: {shown}, ...); "
        f"ppls has it on {', '.join(included.map.presets or [included.map.title])}"
    )


def _known_backbone(fits: list[_Fit], checkpoint: Checkpoint) -> str:
    """What to add where the backbone of an unknown model is known."""
    best = max(
        (fit for fit in fits if fit.map.includes and fit.known >= _SHARE), key=lambda fit: fit.known, default=None
    )
    if best is None:
        return ""
    included = best.map.includes[0]
    return f"; the backbone is {_named(included.map, checkpoint.shapes)}, the decode head is none that ppls knows"


def _named(map: Map, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The preset that a backbone of these tensors is, else its class."""
    rules = [rule for rule in map.options if rule.revealed]
    revealed = infer_config(rules, Shapes(shapes), {}, {}).config
    config = lookup(revealed, map.options[0].path.rpartition(".")[0]) if "." in map.options[0].path else revealed
    for name, preset in map.presets.items():
        if all(config.get(option) == value for option, value in preset.items() if option in config):
            return name
    return map.title


def infer_model_config(
    map: Map, shapes: Mapping[str, tuple[int, ...]], given: Mapping[str, Given], *, published: bool = True
) -> Inferred:
    """The config of a checkpoint of `map`'s architecture with tensors of these shapes.

    What neither tensors nor user tell is as in the published recipe that is closest; with `published=False` (the run's
    own config is given, and says where it differs) it is as PaddleSeg's class has it by default.

    Raises:
        ConversionError: the tensors are of a variant that ppls does not support.
    """
    recipes = {name: recipe_options(map, recipe) for name, recipe in map.recipes.items()}
    try:
        recipe = _closest(map, Shapes(shapes), recipes)
        values = recipes[recipe] if recipe else {}
        result = infer_config(map.options, Shapes(shapes), given, values, values if published else None)
    except Refused as reason:
        raise ConversionError(f"{map.title}: {reason}") from None
    if published and values.keys() & result.assumed.keys():
        result.recipe = recipe
    for option, modules in map.optional_modules.items():
        there = any(optional.kept and optional.pattern.match_within(name) for optional in modules for name in shapes)
        user = given.get(option)
        if user is not None and not isinstance(user.value, bool):
            result.problems.append(f"{option}: {user.origin} says {user.value!r}; expected true or false")
        put(result.config, option, there if user is None else bool(user.value))
    return result


def _closest(map: Map, shapes: Shapes, recipes: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The published recipe that contradicts the fewest of the options that the tensors reveal, the first of several."""
    revealed = [rule for rule in map.options if rule.revealed]
    config = infer_config(revealed, shapes, {}, {}).config
    contradictions = {}
    for name, recipe in recipes.items():
        wrong = 0
        for rule in revealed:
            try:
                wrong += rule.path in recipe and rule.reading.conflict(lookup(config, rule.path), recipe[rule.path])
            except KeyError:  # not revealed by these tensors
                continue
        contradictions[name] = wrong
    return min(contradictions, key=lambda name: contradictions[name], default=None)


def _what_it_holds(checkpoint: Checkpoint) -> str:
    modules = Counter(name.split(".")[0] for name in checkpoint)
    named = ", ".join(f"{module} ({count})" for module, count in modules.most_common(6))
    more = f" and {len(modules) - 6} more" if len(modules) > 6 else ""
    return f"found {len(checkpoint)} tensors under {named}{more}"
