"""Which classes a map may name, and the one place where one of ppls's side is imported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ppls.errors import ConversionError
from ppls.imports import CannotImportError, import_named
from ppls.mappings.maps import Map

if TYPE_CHECKING:
    from torch import nn

TARGETS, SOURCES = "ppls.models", "paddleseg.models"


def check_class_name(name: str, package: str, allowed: Sequence[str]) -> None:
    """That a dotted name lies in `package`, or in a module that the user allows; of upstream's, a registered name too.

    Raises:
        ValueError: it does not, or is no name.
    """
    if not is_module_name(name):
        raise ValueError(f"{name!r} is no name of a class")
    is_registered = package == SOURCES and "." not in name  # or not, which upstream will say
    if not is_registered and not is_within(name, [package, *allowed]):
        module = name.rpartition(".")[0] or "MODULE"
        raise ValueError(
            f"{name!r} is not in {package}: a map names nothing else, unless you trust it with --allow-import {module}"
        )


def is_module_name(name: str) -> bool:
    """Whether this may be the dotted name of a module."""
    return name.isascii() and all(part.isidentifier() for part in name.split("."))


def is_within(name: str, packages: Sequence[str]) -> bool:
    """Whether a dotted name is of something in one of these modules."""
    return any(name.startswith(f"{package}.") for package in packages)


def import_target(map: Map) -> Callable[..., nn.Module]:
    """The class that a map is to: a module of `ppls.models`, or what a module has that the user allows.

    Raises:
        ConversionError: there is none of that name, or it is no torch module.
    """
    from torch import nn

    assert map.target is not None
    check_class_name(map.target, TARGETS, map.allowed)
    module, _, name = map.target.rpartition(".")
    try:
        found = import_named(module, name)
    except CannotImportError as error:
        raise ConversionError(f"{map.path}: `target: {map.target}` cannot be imported: {error}") from None
    # a name leads on into whatever a module imports itself
    is_own = is_within(f"{getattr(found, '__module__', '')}.", [TARGETS, *map.allowed])
    is_class = isinstance(found, type) and issubclass(found, nn.Module)
    trusted = bool(map.allowed) and is_within(map.target, map.allowed)
    if not (is_own and (is_class or (trusted and callable(found)))):
        raise ConversionError(f"{map.path}: `target: {map.target}` is no class of torch modules there")
    return found  # type: ignore[no-any-return]
