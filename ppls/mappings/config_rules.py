"""The config of a checkpoint: what its tensors reveal, what the user gave, and what is assumed where nothing tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from ppls.errors import UsageError
from ppls.mappings.cases import Table
from ppls.mappings.forms import accepted, form_like
from ppls.mappings.program_facts import Contradiction, Program, ProgramRule
from ppls.mappings.readings import Length, Reading, Root
from ppls.mappings.shapes import Absent, NotRevealed, Shapes
from ppls.records import dataclass
from ppls.shown import shown


@dataclass(frozen=True)
class OptionRule:
    """One constructor option: its dotted path in the config, how it is read, and what it is where nothing tells.

    Attributes:
        default: taken where no tensor shows the option; the summary lists it as assumed.
        one_of: the values allowed; empty for any.
        target_only: PaddleSeg's class has no such option.
        unless: the value at which the option is not given to PaddleSeg's class, which had it fixed in earlier releases.
        program: how an export's program tells it.
    """

    path: str
    reading: Reading
    default: Any = None
    one_of: tuple[Any, ...] = ()
    target_only: bool = False
    unless: Any = None
    program: ProgramRule | None = None

    @property
    def revealed(self) -> bool:
        """Whether tensors show the option's value."""
        return type(self.reading) not in (Reading, Length)

    def accept(self, value: Any) -> Any:
        """A user's value, if it is of the option's kind. Raises `ValueError`, which says what is expected."""
        form = form_like(self.default) if type(self.reading) is Reading else self.reading.form
        known = (*self.one_of, self.default)
        if any(repr(value) == repr(one) for one in known):
            return value
        return accepted(value, form)


@dataclass
class Inferred:
    """A config, the parts of it that were assumed or left to PaddleSeg's default, and what is wrong with it.

    What nothing tells is assumed, unless the config of the run is given: what that does not say is `by_default`.

    What upstream has no option for was not assumed: it is so in every model that upstream builds.

    `told` are the options that an export's program shows, by their paths.

    `recipe` is the published recipe that some of the assumed values are from.

    `guessed` tells that the config holds a stand-in for a value that nothing revealed, which is among the problems.
    """

    config: dict[str, Any] = field(default_factory=dict)
    assumed: dict[str, Any] = field(default_factory=dict)
    by_default: dict[str, Any] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    guessed: bool = False
    recipe: str | None = None


@dataclass(frozen=True)
class Given:
    """A value that a user gave, or an export's program, and where: `--set`, `--config run.yml`.

    `place` has the line too; `changes` says that the user wants another model than the source is: `--upsample nearest`.
    """

    value: Any
    origin: str
    place: str = ""
    changes: bool = False


def infer_config(
    rules: Sequence[OptionRule],
    shapes: Shapes,
    given: Mapping[str, Given],
    stand_ins: Mapping[str, Any],
    published: Mapping[str, Any] | None = None,
    program: Program | None = None,
) -> Inferred:
    """The config of a checkpoint: what its tensors and its program reveal, what the user gave, what is left assumed.

    Args:
        rules: one for each option, in an order in which each finds the options it builds on.
        shapes: of the checkpoint's tensors.
        given: the user's values, by dotted path.
        stand_ins: values to go on with where nothing revealed one, so that the rest can be checked too.
        published: values of a published recipe, to assume where no tensor shows one; None where the config of the run
            is given, which means the default by its silence.
        program: that of an export.

    Raises:
        Refused: the tensors show an option that ppls does not support.
    """
    result = Inferred()
    for rule in rules:
        rule = _as_published(rule, published or {})
        try:
            user, told = _told(rule, program, shapes, result.config, given.get(rule.path), published is None)
            result.told |= {rule.path} if told else set()
        except Contradiction as reason:
            result.problems.append(f"{rule.path}: {reason}")
            result.guessed, user = True, given.get(rule.path)
        if user is not None:
            try:
                user = replace(user, value=rule.accept(user.value))
            except ValueError as reason:
                result.problems.append(f"{rule.path}: {user.place or user.origin} says {_shown(user.value)}; {reason}")
                result.guessed, user = True, None
        assumed = False
        try:
            value = rule.reading.read(shapes, result.config)
            assumed = isinstance(rule.reading, Length) and user is None
            if user is not None:
                if rule.reading.conflict(value, user.value):
                    said = f"{len(value)} values" if isinstance(rule.reading, Length) else repr(value)
                    result.problems.append(
                        f"{rule.path}: the tensors say {said}, {user.origin} says {_shown(user.value)}"
                    )
                else:
                    value = user.value
        except NotRevealed as reason:
            if user is not None:
                value = user.value
                if isinstance(rule.reading, Length) and (count := rule.reading.length(shapes)) != len(value):
                    result.problems.append(
                        f"{rule.path}: the tensors show {count} values, {user.origin} gives {len(value)}: "
                        f"{_shown(value)}"
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
            result.problems.append(f"{rule.path}: {_shown(value)} is not one of {', '.join(map(repr, rule.one_of))}")
        put(result.config, rule.path, value)
        if assumed and not rule.target_only:
            result.assumed[rule.path] = value
    return result


def _told(
    rule: OptionRule,
    program: Program | None,
    shapes: Shapes,
    config: Mapping[str, Any],
    user: Given | None,
    run: bool,
) -> tuple[Given | None, bool]:
    """What the user gave, or an export's program says: the default where that comes to the same; and whether it says.

    Args:
        run: the config of the run is given, and means the default by its silence.

    Raises:
        Contradiction: the program says what the option cannot be, or what the user did not.
    """
    if program is None or rule.program is None or (user is not None and user.changes):
        return user, False
    try:
        told = rule.program.read(program, shapes, config)
    except Contradiction as reason:
        raise Contradiction(f"{program.name} {reason}") from None
    if told is None:
        return user, False
    default = user is None and rule.program.agrees(told, rule.default, program, shapes)
    if user is None and run and not (default or rule.revealed or rule.target_only):
        said = f"the run's config says nothing, which is PaddleSeg's {_shown(rule.default)}"
        raise Contradiction(f"{program.name} says {_shown(told)}, {said}")
    if user is None:
        return Given(rule.default if default and not isinstance(rule.reading, Length) else told, program.name), True
    if not rule.program.agrees(told, user.value, program, shapes):
        said = f"{user.place or user.origin} says {_shown(user.value)}"
        raise Contradiction(f"{program.name} says {_shown(told)}, {said}")
    return user, True


_HINTS = {
    Length: "; give them with --set '{}=[...]'",
    Table: "; give it with --set {}=VALUE",
    Root: "; give it with --set {}=VALUE",
}


def _as_published(rule: OptionRule, published: Mapping[str, Any]) -> OptionRule:
    """The rule with a recipe's value in place of the default, where no tensor shows it."""
    if rule.revealed or rule.path not in published:
        return rule
    if isinstance(rule.reading, Length):
        return replace(rule, reading=replace(rule.reading, defaults=(tuple(published[rule.path]),)))
    return replace(rule, default=published[rule.path])


def _shown(value: Any) -> str:
    return shown(repr(value), 200)


def put(config: dict[str, Any], path: str, value: Any) -> None:
    """Sets the value at a dotted path, making the dictionaries on the way.

    Raises:
        UsageError: a plain value stands in the way.
    """
    *parents, last = path.split(".")
    for parent in parents:
        config = config.setdefault(parent, {})
        if not isinstance(config, dict):
            raise UsageError(f"{path}: {parent} is a plain value, without options of its own")
    config[last] = value
