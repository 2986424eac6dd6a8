"""A map: what the tensors and layers of one architecture are called in Paddle and in PyTorch, as data.

`ppls.mappings.map_file` reads one from YAML; here is what it means. docs/mapping-language.md is the reference.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Any

from ppls.errors import ConversionError
from ppls.mappings.config_rules import OptionRule
from ppls.mappings.constants import Constant
from ppls.mappings.layers import ModulePair, ModuleRow, pairs_of
from ppls.mappings.names import Multiple
from ppls.mappings.operations import FoldBias
from ppls.mappings.patterns import Pattern, lookup, prefixed
from ppls.mappings.readings import Reading
from ppls.mappings.rules import RuleIndex, TensorRule
from ppls.mappings.shapes import NotRevealed, Shapes
from ppls.records import dataclass

_MOST_TRIALS = 2_000_000  # real ones come to some ten thousand


@dataclass(eq=False, repr=False)
class Duplicate:
    """Modules that stand twice in the source. `written` says whether today's PaddleSeg still writes both."""

    pattern: Pattern
    original: Pattern
    written: bool

    def original_of(self, name: str) -> str | None:
        """What a tensor is the copy of, where today's PaddleSeg writes both; None for any other."""
        found = self.pattern.match_within(name) if self.written else None
        return None if found is None else prefixed(found[1], self.original.fill(found[0]))


Term = int | str | Multiple | tuple[str | Reading, int]  # one side of a shape: see `Dead.written`


@dataclass(eq=False, repr=False)
class Dead:
    """Modules that no forward pass uses, and why they are there.

    Attributes:
        written: the shapes of the tensors that today's PaddleSeg still writes, by their names in the module: numbers,
            options by their paths or so many times one, and sizes of other tensors, each by its name and dimension; or
            by a way to read a list of sizes, and the place in it.
        only: options with which PaddleSeg writes them.
    """

    pattern: Pattern
    why: str
    written: Mapping[str, tuple[Term, ...]] = field(default_factory=dict)
    only: Mapping[str, Any] = field(default_factory=dict)

    def shapes(self, config: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Name and shape of each tensor to be written again beside tensors of these shapes.

        Raises:
            ConversionError: an option or a tensor is missing that tells a shape.
        """
        found = {}
        for name, terms in self.written.items() if applies(self.only, config) else ():
            whole = self.pattern.joined(name).text
            try:
                found[whole] = tuple(_side(term, config, tensors) for term in terms)
            except (KeyError, IndexError) as error:
                raise ConversionError(f"{whole}: its shape is not known without {error.args[0]}") from None
            except NotRevealed as reason:
                raise ConversionError(f"{whole}: its shape is not known: {reason}") from None
        return found


@dataclass(eq=False, repr=False)
class Optional:
    """Modules that may be absent as a whole, and the option that says whether they are there.

    `kept` False says that the target has no such modules, whether the source has them or not; `passed`, that the
    source has the option too: it builds the modules in either case, and runs them where it is true.
    """

    option: str
    pattern: Pattern
    kept: bool = True
    passed: bool = False


@dataclass(eq=False, repr=False)
class Era:
    """A release that wrote files like this: by tensors that are there, are not there, and by options.

    `renamed` are modules that had another name then, each with today's.
    """

    name: str
    has: tuple[str, ...]
    lacks: tuple[str, ...]
    only: Mapping[str, Any]
    renamed: tuple[tuple[Pattern, Pattern], ...] = ()

    def wrote(self, names: set[str]) -> bool:
        """Whether a file with tensors of these names may be of this era."""
        return names.issuperset(self.has) and names.isdisjoint(self.lacks)

    def todays_name(self, name: str) -> str:
        """What PaddleSeg calls a tensor of this era today."""
        for old, new in self.renamed:
            found = old.match_within(name)
            if found is not None:
                indices, rest = found
                return prefixed(rest, new.fill(indices))
        return name


@dataclass(frozen=True)
class Open:
    """A tensor of the source, or without one of the target, of which a draft did not find out what it becomes."""

    name: str
    candidates: tuple[str, ...]
    line: int


@dataclass(eq=False, repr=False)
class Included:
    """A backbone's map within an architecture's: under which option, and under which names."""

    option: str
    map: Map
    source: str
    target: str


@dataclass(eq=False, repr=False)
class Map:
    """One map with the maps that it includes; all names are whole, from the top of the model.

    Attributes:
        name: what commands call it: the file's name without its ending.
        architecture: PaddleSeg's class name, or None for a backbone's map.
        source: the upstream class that the reference builds, as a dotted path.
        target: ppls's class, as a dotted path; None for a map to a model that ppls does not have.
        digest: SHA-256 of the map's file and of those it includes.
        classifiers: the source's layers that give the logits, in the order of the outputs in train mode.
        exponents: the source's layers whose outputs, multiplied with each other, are the exponents of a softmax.
        source_preset: the upstream function that builds a preset by its name alone, where the class does not suffice;
            `<preset>` stands for the name.
        backbone: upstream's class name of a backbone, in a backbone's map.
        allowed: modules that the user allows the map to name classes of, beside ppls's and upstream's.
        stands_on: tells the names of the maps that may stand under the option `backbone`; the map is on one of them.
        reopened: makes the same map on another of these.
        described: opens the map that says the facts of the source, by itself: this one's, or that which it is `like:`.
        open: rows that are not settled yet; nothing is converted until they are.
        features: how tensors reveal the channels of the feature maps, in a backbone's map.
    """

    name: str
    path: Path
    digest: str
    architecture: str | None
    source: str
    target: str | None
    rules: tuple[TensorRule, ...]
    rows: tuple[ModuleRow, ...]
    constants: tuple[Constant, ...] = ()
    duplicates: tuple[Duplicate, ...] = ()
    dead: tuple[Dead, ...] = ()
    optional: tuple[Optional, ...] = ()
    keep: tuple[Pattern, ...] = ()
    options: tuple[OptionRule, ...] = ()
    upsample: tuple[str, ...] = ()
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    numerics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    eras: tuple[Era, ...] = ()
    classifiers: tuple[Pattern, ...] = ()
    exponents: tuple[Pattern, ...] = ()
    source_preset: str = ""
    backbone: str | None = None
    includes: tuple[Included, ...] = ()
    allowed: tuple[str, ...] = ()
    stands_on: Callable[[], tuple[str, ...]] | None = None
    reopened: Callable[[str], Map] | None = None
    described: Callable[[], Map] | None = None
    features: Reading | None = None
    open: tuple[Open, ...] = ()

    @cached_property
    def backbones(self) -> tuple[str, ...]:
        """The names of the maps that may stand under the option `backbone`, the first by default."""
        return self.stands_on() if self.stands_on is not None else ()

    def with_backbone(self, name: str) -> Map:
        """The same architecture on another of its `backbones`. Raises `KeyError` where it does not have that one."""
        if name not in self.backbones or self.reopened is None:
            raise KeyError(name)
        return self.reopened(name)

    @cached_property
    def optional_modules(self) -> dict[str, list[Optional]]:
        """The modules that may be absent as a whole, by the option that says whether they are there."""
        modules: dict[str, list[Optional]] = defaultdict(list)
        for optional in self.optional:
            modules[optional.option].append(optional)
        return dict(modules)

    @property
    def title(self) -> str:
        """What upstream calls the class that the map is of."""
        return str(self.architecture or self.backbone)

    @cached_property
    def forward(self) -> RuleIndex:
        """The rules by the names of source tensors."""
        return RuleIndex(self.rules)

    @cached_property
    def backward(self) -> RuleIndex:
        """The rules of the way back, by the names of target tensors, as far as there is one."""
        return RuleIndex([rule.inverse for rule in self.rules if rule.invertible])

    @cached_property
    def fills(self) -> RuleIndex:
        """Every rule turned round, one-way ones too, to ask by the name of a target tensor what fills it."""
        return RuleIndex([TensorRule(rule.targets, rule.sources, rule.operation, rule.line) for rule in self.rules])

    def check_work(self, names: int) -> None:
        """Bounds what a map and a checkpoint of so many tensors may take together: some patterns meet every name.

        Raises:
            ConversionError: too much.
        """
        entries = len(self.constants) + len(self.duplicates) + len(self.dead) + len(self.optional) + len(self.keep)
        renamed = sum(len(era.renamed) for era in self.eras)
        indices = max(self.forward.most_alike, self.fills.most_alike, len(self.options))
        if (entries + renamed + indices) * names > _MOST_TRIALS:
            raise ConversionError(f"{self.path}: has too many patterns for a file of {names:,} tensors")

    def era_of(self, names: Iterable[str], config: Mapping[str, Any]) -> str | None:
        """The release that wrote a file with these tensors."""
        present = set(names)
        for era in self.eras:
            if era.wrote(present) and applies(era.only, config):
                return era.name
        return None

    def todays_names(self, names: Iterable[str]) -> dict[str, str]:
        """The tensors that an earlier release called otherwise: their names in the file, and today's.

        So with a module of two names, of which an export may have the other one alone.
        """
        in_order = list(names)
        present = set(in_order)
        for era in self.eras:
            if era.renamed and era.wrote(present):
                return {name: today for name in in_order if (today := era.todays_name(name)) != name}
        firsts = {name: first for copy in self.duplicates for name in in_order if (first := copy.original_of(name))}
        return {name: first for name, first in firsts.items() if first not in present}

    def knows(self, name: str) -> bool:
        """Whether the map says what becomes of a source tensor of this name."""
        return (
            any(True for _ in self.forward.matches(name))
            or any(constant.pattern.match(name) is not None for constant in self.constants)
            or any(duplicate.pattern.match_within(name) for duplicate in self.duplicates)
            or any(dead.pattern.match_within(name) for dead in self.dead)
        )

    def all_numerics(self) -> dict[str, dict[str, float]]:
        """Paddle's values by kind of layer, and by the target's module pattern where a row has its own."""
        values = {kind: dict(numbers) for kind, numbers in self.numerics.items()}
        values.update({row.target.text: dict(row.numerics) for row in self.rows if row.numerics})
        return values

    def pair_modules(self, source_names: Iterable[str]) -> list[ModulePair]:
        """The layers among the reference's modules `source_names` with their counterparts, in the order given."""
        folded = [rule.sources[1] for rule in self.rules if isinstance(rule.operation, FoldBias)]
        return pairs_of(self.rows, folded, source_names)


def applies(only: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether the options that a rule is limited to, by their dotted paths, have these values."""
    try:
        return all(lookup(config, option) == value for option, value in only.items())
    except KeyError:
        return False


def _side(term: Term, config: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]]) -> int:
    if isinstance(term, int):
        return term
    if isinstance(term, Multiple):
        return term.factor * _side(term.option, config, tensors)
    if isinstance(term, tuple):
        sizes, place = term
        return int(sizes.read(Shapes(tensors), config)[place]) if isinstance(sizes, Reading) else tensors[sizes][place]
    value = lookup(config, term)
    if type(value) is not int:
        raise KeyError(term)
    return value
