"""Dataclasses that cost a fifth to define: `dataclasses` generates and compiles the code of each method of each class.

`dataclass` here takes the place of that in `dataclasses`, whose `fields`, `replace` and `is_dataclass` know what it
makes; the methods are the same for all classes, and ask the class for its fields. To make an instance takes a little
longer. There are no `slots` and no `order`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(kind=None, /, *, frozen=False, eq=True, repr=True, kw_only=False):
        """As `dataclasses.dataclass`."""

        def make(kind: type) -> type:
            kind.__doc__ = kind.__doc__ or kind.__name__  # else `dataclasses` would write one, from a signature
            own = vars(kind)
            made = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=kw_only)(kind)
            methods = {"__init__": _init}
            if repr:
                methods["__repr__"] = _repr
            if eq:
                methods |= {"__eq__": _eq, "__hash__": _hash if frozen else None}
            if frozen:
                methods |= {"__setattr__": _frozen, "__delattr__": _frozen}
            for name, method in methods.items():
                if name not in own or (name == "__hash__" and "__eq__" not in own):
                    setattr(made, name, method)
            made.__record__ = _Record.of(made)
            return made

        return make if kind is None else make(kind)


class _Record(NamedTuple):
    """What the methods of a class need to know.

    Attributes:
        positional: the fields that may be given without their names.
        names: of all fields that are given.
        defaults: values, by field.
        factories: what makes them, by field.
        compared: the fields by which instances are equal.
    """

    positional: tuple[str, ...]
    names: frozenset[str]
    defaults: dict[str, Any]
    factories: dict[str, Any]
    compared: tuple[str, ...]

    @classmethod
    def of(cls, kind: Any) -> _Record:
        fields = dataclasses.fields(kind)
        given = [field for field in fields if field.init]
        return cls(
            tuple(field.name for field in given if not field.kw_only),
            frozenset(field.name for field in given),
            {field.name: field.default for field in fields if field.default is not dataclasses.MISSING},
            {field.name: field.default_factory for field in fields if field.default_factory is not dataclasses.MISSING},
            tuple(field.name for field in fields if field.compare),
        )


def _init(self: Any, /, *values: Any, **named: Any) -> None:
    record: _Record = self.__record__
    state = self.__dict__
    state.update(zip(record.positional, values, strict=False))
    if len(values) > len(record.positional):
        raise TypeError(f"{type(self).__name__} takes {len(record.positional)} values, not {len(values)}")
    if named:
        if wrong := (named.keys() - record.names) | (named.keys() & state.keys()):
            raise TypeError(f"{type(self).__name__} has no field {min(wrong)!r}, or it was given twice")
        state.update(named)
    if len(state) < len(record.names) or record.factories:
        if missing := record.names - state.keys() - record.defaults.keys() - record.factories.keys():
            raise TypeError(f"{type(self).__name__} needs a value for {', '.join(sorted(missing))}")
        for name, value in record.defaults.items():
            state.setdefault(name, value)
        for name, factory in record.factories.items():
            if name not in state:
                state[name] = factory()
    if post_init := getattr(self, "__post_init__", None):
        post_init()


def _values(self: Any) -> tuple[Any, ...]:
    return tuple([getattr(self, name) for name in self.__record__.compared])


def _eq(self: Any, other: object) -> Any:
    return _values(self) == _values(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _repr(self: Any) -> str:
    shown = (f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _frozen(self: Any, name: str, *_value: Any) -> None:
    raise dataclasses.FrozenInstanceError(f"{type(self).__name__}.{name} is not to be changed")
