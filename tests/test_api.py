"""The public API is what `tests/data/api.txt` lists: a change of it is made on purpose, and announced."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import types
from itertools import takewhile

import pytest

import ppls
from tests.material import DATA

LISTED = DATA / "api.txt"


def signature(value: object) -> str:
    try:
        return re.sub(r" at 0x[0-9a-f]+", "", str(inspect.signature(value)))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ""


def described(name: str, value: object) -> list[str]:
    """A line for a name, and of a class one for each of its public methods, properties and fields."""
    if isinstance(value, types.ModuleType):
        return [f"{name}: module"] + [
            line for each in value.__all__ for line in described(f"{name}.{each}", getattr(value, each))
        ]
    if not isinstance(value, type):
        return [f"{name}{signature(value)}" if callable(value) else f"{name}: {type(value).__name__}"]
    bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
    lines = [f"class {name}({bases}){signature(value)}" if bases else f"class {name}{signature(value)}"]
    known = {*ppls.__all__, *ppls.models.__all__}
    parts = takewhile(lambda each: each.__module__.startswith("ppls") and each.__name__ not in known, value.__mro__[1:])
    members = {member: found for each in reversed([value, *parts]) for member, found in vars(each).items()}
    for member, found in sorted(members.items()):
        if member.startswith("_"):
            continue
        function = found.__func__ if isinstance(found, classmethod | staticmethod) else found
        lines.append(f"  {name}.{member}{signature(function) if callable(function) else ''}")
    return lines


def public_api() -> str:
    return "".join(
        f"{line}\n"
        for name in sorted(ppls.__all__)
        if name != "__version__"
        for line in described(name, getattr(ppls, name))
    )


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="signatures are printed otherwise by other releases of Python"
)
def test_the_public_api_is_the_one_that_is_listed() -> None:
    assert public_api() == LISTED.read_text(), "say it in CHANGELOG.md, then: python -m tests.test_api"


def test_whoever_imports_ppls_pays_for_nothing_that_is_not_asked_for() -> None:
    code = "import sys, ppls; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "click", "rich", "yaml", "PIL", "huggingface_hub", "paddle"} & set(loaded)


def test_a_part_that_needs_torch_says_how_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("ppls.inference")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(
        ppls.MissingDependencyError, match=r"torch, which is not installed: pip install 'ppls\[torch\]'"
    ):
        ppls.load  # noqa: B018


if __name__ == "__main__":
    LISTED.write_text(public_api())
