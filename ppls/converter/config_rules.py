"""The config of a checkpoint: what its tensors reveal, what the user gave, and what is assumed where nothing tells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ppls.converter.readings import Absent, Choose, Length, NotRevealed, Reading, Root, Shapes


@dataclass(frozen=True)
class OptionRule:
    """One constructor option: its dotted path in the config, how it is read, and what it is where nothing tells.

    Attributes:
        default: taken where no tensor shows the option; the summary lists it as assumed.
        one_of: the values allowed; empty for any.
        target_only: PaddleSeg's class has no such option.
        unless: the value at which the option is not given to PaddleSeg's class, which had it fixed in earlier releases.
    """

    path: str
    reading: Reading
    default: Any = None
    one_of: tuple[Any, ...] = ()
    target_only: bool = False
    unless: Any = None

    @property
    def revealed(self) -> bool:
        """Whether tensors show the option's value."""
        return type(self.reading) not in (Reading, Length)


@dataclass
class Inferred:
    """A config, the part of it that was assumed, and what is wrong with it.

    `recipe` is the published recipe that some of the assumed values are from.

    `guessed` tells that the config holds a stand-in for a value that nothing revealed, which is among the problems.
    """

    config: dict[str, Any] = field(default_factory=dict)
    assumed: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    guessed: bool = False
    recipe: str | None = None


@dataclass(frozen=True)
class Given:
    """A value that a user gave, and where: `--set`, `--config run.yml`."""

    value: Any
    origin: str


def infer_config(
    rules: Sequence[OptionRule],
    shapes: Shapes,
    given: Mapping[str, Given],
    stand_ins: Mapping[str, Any],
    published: Mapping[str, Any] | None = None,
) -> Inferred:
    """The config of a checkpoint: what its tensors reveal, what the user gave, what is left assumed.

    Args:
        rules: one for each option, in an order in which each finds the options it builds on.
        shapes: of the checkpoint's tensors.
        given: the user's values, by dotted path.
        stand_ins: values to go on with where nothing revealed one, so that the rest can be checked too.
        published: values of a published recipe, to assume where no tensor shows one.

    Raises:
        Refused: the tensors show an option that ppls does not support.
    """
    result = Inferred()
    published = published or {}
    for rule in rules:
        rule = _as_published(rule, published)
        user = given.get(rule.path)
        like = getattr(rule.reading, "default", rule.default)
        if user is not None and like is not None and user.value not in rule.one_of and not _alike(user.value, like):
            result.problems.append(f"{rule.path}: {user.origin} says {user.value!r}; expected {_form(like)}")
            result.guessed, user = True, None
        assumed = False
        try:
            value = rule.reading.read(shapes, result.config)
            assumed = isinstance(rule.reading, Length) and user is None
            if user is not None:
                if rule.reading.conflict(value, user.value):
                    said = f"{len(value)} values" if isinstance(rule.reading, Length) else repr(value)
                    result.problems.append(f"{rule.path}: the tensors say {said}, {user.origin} says {user.value!r}")
                else:
                    value = user.value
        except NotRevealed as reason:
            if user is not None:
                value = user.value
                if isinstance(rule.reading, Length) and (count := rule.reading.length(shapes)) != len(value):
                    result.problems.append(
                        f"{rule.path}: the tensors show {count} values, {user.origin} gives {len(value)}: {value!r}"
                    )
            elif type(rule.reading) is Reading or (
                isinstance(reason, Absent) and rule.default is not None and not isinstance(rule.reading, Length)
            ):
                value, assumed = rule.default, True
            else:
                hint = _HINTS.get(type(rule.reading), "").format(rule.path)
                result.problems.append(f"{rule.path}: {reason}{hint}")
                result.guessed = True
                if rule.path not in stand_ins:
                    continue
                value = stand_ins[rule.path]
        if rule.one_of and value not in rule.one_of:
            result.problems.append(f"{rule.path}: {value!r} is not one of {', '.join(map(repr, rule.one_of))}")
        put(result.config, rule.path, value)
        if assumed:
            result.assumed[rule.path] = value
    return result


_HINTS = {
    Length: "; give them with --set '{}=[...]'",
    Choose: "; give it with --set {}=VALUE",
    Root: "; give it with --set {}=VALUE",
}


def _as_published(rule: OptionRule, published: Mapping[str, Any]) -> OptionRule:
    """The rule with a recipe's value in place of the default, where no tensor shows it."""
    if rule.revealed or rule.path not in published:
        return rule
    if isinstance(rule.reading, Length):
        return replace(rule, reading=replace(rule.reading, default=tuple(published[rule.path])))
    return replace(rule, default=published[rule.path])


def _alike(value: Any, like: Any) -> bool:
    """Whether a value has the form of another: a number for a number, a list of numbers for a list of numbers."""
    if isinstance(like, (list, tuple)):
        return isinstance(value, list) and all(_alike(item, one) for one in like[:1] for item in value)
    if isinstance(like, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return type(value) is type(like)


def _form(like: Any) -> str:
    if isinstance(like, (list, tuple)):
        return ", each ".join(["a list", *map(_form, like[:1])])
    return {bool: "true or false", int: "a whole number", float: "a number"}.get(type(like), "a word")


def put(config: dict[str, Any], path: str, value: Any) -> None:
    """Sets the value at a dotted path, making the dictionaries on the way."""
    *parents, last = path.split(".")
    for parent in parents:
        config = config.setdefault(parent, {})
    config[last] = value
