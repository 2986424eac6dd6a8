"""A map's default is upstream's: what the config of a run does not say has it, and is then no assumption."""

from __future__ import annotations

import ast
import importlib.util
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ppls.mappings.config_rules import OptionRule
from ppls.mappings.maps import Map
from ppls.mappings.readings import Length

from ..architectures import map_of, readable, run_live

REQUIRED = object()  # by upstream's class: a config of a run says it


@cache
def signatures() -> dict[str, dict[str, Any]]:
    """The defaults of every class in paddleseg's models, read from its source: importing it takes Paddle."""
    found = importlib.util.find_spec("paddleseg")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs paddleseg")
    classes: dict[str, dict[str, Any]] = {}
    for path in sorted((Path(found.submodule_search_locations[0]) / "models").rglob("*.py")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # upstream's docstrings
            tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                for method in node.body:
                    if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                        classes[node.name] = _defaults(method.args)
    return classes


def _defaults(arguments: ast.arguments) -> dict[str, Any]:
    names = [argument.arg for argument in arguments.args]
    required = len(names) - len(arguments.defaults)
    found: dict[str, Any] = dict.fromkeys(names[:required], REQUIRED)
    for name, value in zip(names[required:], arguments.defaults, strict=True):
        try:
            found[name] = ast.literal_eval(value)
        except ValueError:  # an expression
            continue
    return found


def _upstream(map: Map, path: str) -> tuple[str, str]:
    """The class that has an option, and what it is called there."""
    for included in map.includes:
        if path.startswith(f"{included.option}."):
            return _upstream(included.map, path.removeprefix(f"{included.option}."))
    return map.source.rpartition(".")[2], path


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _own(rule: OptionRule) -> list[Any]:
    if isinstance(rule.reading, Length):
        return [list(default) for default in rule.reading.defaults]
    return [] if rule.default is None else [rule.default]


@pytest.mark.parametrize("architecture", run_live(readable()))
def test_what_nothing_tells_is_upstreams_default(architecture: str) -> None:
    map = map_of(architecture)
    for rule in map.options:
        own = _own(rule)
        name, option = _upstream(map, rule.path)
        if rule.target_only or not own or name not in signatures():
            continue
        # a backbone that goes by its presets alone is never built by its class's defaults
        if any(rule.path.startswith(f"{included.option}.") and included.map.source_preset for included in map.includes):
            continue
        table = option.partition(".")[0]  # of options, which upstream may require as a whole
        default = signatures()[name].get(option, signatures()[name].get(table))
        assert default is REQUIRED or _listed(default) in own, f"{name}({option}=...)"
