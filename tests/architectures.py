"""The architectures that ppls has, by their maps. One that cannot be read fails its own tests alone.

What upstream's installed package lacks, a checkout has that `PPLS_PADDLESEG` names; without it the tests of it skip.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

import ppls
from ppls.converter.expected import recipe_config
from ppls.errors import MapError
from ppls.mappings.map_file import architectures
from ppls.mappings.map_index import on_recipe
from ppls.mappings.maps import Map
from ppls.mappings.targets import import_target
from ppls.models.backbone import build_backbone
from ppls.models.building import tensors_of, without_values
from scripts.evidence import digest, made_of

ZOO = Path(__file__).parents[1] / "docs" / "zoo.md"
PACKAGE = Path(ppls.__file__).parent
ROTATING = 1  # architectures
CHECKOUT = os.environ.get("PPLS_PADDLESEG")

# What PaddleSeg itself cannot export with Paddle 3, and what Paddle says of it.
NOT_EXPORTED = {
    "DecoupledSegNet": "Type promotion only support",
    "GSCNN": "cannot be interpreted as an integer",
    "ISANet": r"int\(Tensor\) is not supported in static graph mode",
    "PIDNet": "Check data type error for op: sync_batch_norm_",  # on a CPU
    "PointRend": r"int\(Tensor\) is not supported in static graph mode",
    "SFNet": "Type promotion only support",
}


@lru_cache
def readable() -> dict[str, Map]:
    """The maps that can be read, by PaddleSeg's class name."""
    return dict(architectures().items())


def map_of(architecture: str, recipe: str | None = None) -> Map:
    """The architecture's map, on a recipe's backbone; fails the test that asks where it cannot be read."""
    try:
        map = architectures()[architecture]
        return map if recipe is None else on_recipe(map, recipe)
    except MapError as error:
        return pytest.fail(str(error), pytrace=False)


def specimen(has: Callable[[Map], object], but: str = "") -> Map:
    """The first architecture with a property, for a test of something else; one that is not `but`."""
    return next(map for name, map in readable().items() if name != but and has(map))


def recipes() -> list[tuple[str, str]]:
    """Every architecture whose map can be read, with each of its recipes."""
    return [(name, recipe) for name, map in readable().items() for recipe in map.recipes]


def smallest_recipes() -> list[tuple[str, str]]:
    """Of every architecture on every kind of backbone that has a recipe of it, the one of the fewest parameters.

    A deeper one has the same modules more often, and a row of measured figures in docs/zoo.md.
    """
    rows = zoo_rows()
    chosen: dict[tuple[str, ...], tuple[str, str]] = {}

    def size(recipe: tuple[str, str]) -> float:
        return float(rows[recipe][4].removesuffix(" M")) if recipe in rows else 0.0

    for name, recipe in sorted(recipes(), key=size):
        included = on_recipe(readable()[name], recipe).includes
        chosen.setdefault((name, *(each.map.title for each in included)), (name, recipe))
    return sorted(chosen.values())


def zoo_rows() -> dict[tuple[str, str], list[str]]:
    """What docs/zoo.md says, by architecture and recipe: a row's cells."""
    lines = [line.strip("| \n").split(" | ") for line in ZOO.read_text().splitlines() if line.startswith("| ")]
    return {(cells[0], cells[1]): cells for cells in lines[1:] if "---" not in cells[0]}


@lru_cache
def at_hand() -> dict[str, Map]:
    """The readable maps of what PaddleSeg's package has, or may have: that of a checkout is not looked into."""
    spec = importlib.util.find_spec("paddleseg")
    folders = [] if spec is None else [Path(place) for place in spec.submodule_search_locations or ()]
    texts = [path.read_text() for folder in folders for path in (folder / "models").rglob("*.py")]
    classes = {name for text in texts for name in re.findall(r"^(?:class|def) (\w+)", text, re.MULTILINE)}
    return {name: map for name, map in readable().items() if CHECKOUT or map.source.rpartition(".")[2] in classes}


@lru_cache
def stale() -> frozenset[str]:
    """The architectures that have changed since their tests passed and their rows were written, and new ones."""
    rows = zoo_rows()
    return frozenset(
        name
        for name, map in at_hand().items()
        if any(rows.get((name, recipe), [""])[-1] != digest(map) for recipe in map.recipes)
    )


@lru_cache
def live() -> frozenset[str]:
    """The architectures that PaddleSeg runs in every run of the tests.

    The stale ones; of the others so many that whatever maps can say and models share is in one of them, small ones
    first; and one more, which is another with every change of ppls.
    """
    chosen = set(stale())
    there = features()
    missing = set().union(*there.values()) - set().union(*(there[name] for name in chosen))
    while missing:
        best = max(sorted(there), key=lambda name: len(there[name] & missing) / parameters(name) ** 0.5)
        chosen.add(best)
        missing -= there[best]
    for name in sorted(chosen - stale(), key=parameters, reverse=True):  # what those chosen later have too
        if there[name] <= set().union(*(there[other] for other in chosen - {name} if other in there)):
            chosen.remove(name)
    state = b"".join(path.read_bytes() for path in sorted(PACKAGE.rglob("*.py")))
    rest = sorted(set(there) - chosen, key=lambda name: hashlib.sha256(name.encode() + state).digest())
    return frozenset(chosen | set(rest[:ROTATING]))


@lru_cache
def features() -> dict[str, set[str]]:
    """What each architecture at hand asks of the converter and the verifier.

    The words that maps have for it, if another has them too, and the parts of models that more than four are made of:
    with a part its architectures' digests change, so that these are run then.
    """
    words = _used_by(2, {name: words_of(map) for name, map in at_hand().items()})
    parts = _used_by(5, {name: {f"{of}.{part}" for of, part in made_of(map)} for name, map in at_hand().items()})
    return {name: words[name] | parts[name] for name in words}


def _used_by(least: int, asked: dict[str, set[str]]) -> dict[str, set[str]]:
    """Of what each architecture asks, what so many ask."""
    used = Counter(feature for those in asked.values() for feature in those)
    return {name: {feature for feature in those if used[feature] >= least} for name, those in asked.items()}


def words_of(map: Map) -> set[str]:
    """The sections of a map, its kinds of layers, operations and ways to read an option."""
    sections = ("constants", "duplicates", "dead", "optional", "keep", "eras", "presets", "includes", "upsample")
    found = {f"section {section}" for section in sections if getattr(map, section)}
    found |= {f"kind {row.kind}" for row in map.rows}
    found |= {f"operation {type(rule.operation).__name__}" for rule in map.rules}
    return found | {f"option {type(option.reading).__name__}" for option in map.options}


def parameters(architecture: str) -> float:
    """In millions, of the smallest recipe in the zoo."""
    rows = zoo_rows()
    return min(
        (float(cells[4].removesuffix(" M")) for (name, _), cells in rows.items() if name == architecture), default=1.0
    )


def run_live(names: Iterable[str]) -> list[Any]:
    """The architectures as parameters of tests that are dear, as those for which PaddleSeg runs: see `live`."""
    settled = pytest.mark.settled
    return [pytest.param(name, marks=settled if name in set(at_hand()) - live() else ()) for name in names]


def selected(request: pytest.FixtureRequest, fixture: str) -> list[str]:
    """The architectures with readable maps that this module's tests ask `fixture` for, `-k` and marks applied."""
    names = []
    for item in request.session.items:
        if item.path == request.path and (call := getattr(item, "callspec", None)) is not None:
            names += [call.params[fixture]] if fixture in call.params else []
    return [name for name in dict.fromkeys(names) if name in readable()]


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A config's options by their dotted paths."""
    options: dict[str, Any] = {}
    for key, value in config.items():
        options |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return options


def small_config(map: Map) -> dict[str, Any]:
    """The first recipe, on the smallest backbone that the map has a name for: to be built in every run of the tests."""
    recipe = next(iter(map.recipes))
    config = recipe_config(map, recipe)
    choices = [config]
    for included in on_recipe(map, recipe).includes:
        given = config.get(included.option, {})
        for preset in included.map.presets.values():
            other = {**given, **preset}
            choices.append({**config, **_channels(config, given, other), included.option: other})
    return min(choices, key=lambda choice: values(map, choice))


def _channels(config: dict[str, Any], backbone: dict[str, Any], other: dict[str, Any]) -> dict[str, int]:
    """The options of a config that are the channels of its backbone's first map: those of another backbone's."""
    numbers = {key: value for key, value in config.items() if type(value) is int and key != "num_classes"}
    if not numbers:
        return {}
    before, after = (without_values(build_backbone, {"backbone": each}).feat_channels[0] for each in (backbone, other))
    return {key: after for key, value in numbers.items() if value == before}


def values(map: Map, config: dict[str, Any]) -> float:
    """How many numbers the model of a config has; no end of them where there is no such model."""
    try:
        return sum(math.prod(shape) for shape in tensors_of(import_target(map), config).values())
    except Exception:  # whatever the class raises
        return math.inf
