"""Writes docs/operators.md, the operators of an exported program that run in torch: `python -m scripts.operators`."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

from ppls.programs.operators import every
from ppls.programs.registry import Operator
from ppls.shown import markdown_code

PAGE = Path(__file__).resolve().parents[1] / "docs" / "operators.md"
_HEAD = """# Operators of a program

What an exported program (`.pdmodel`, or PIR's `.json`) may be made of to run in PyTorch without Paddle: `ppls.load`
makes a module of it where no map knows the network, and `ppls.load(EXPORT, program=True)` and `--program` where one
does. Each is one
function in [`ppls/programs/operators/`](../ppls/programs/operators/__init__.py), and runs beside Paddle in float32 and
float64 in `tests/programs/test_operators.py`, which names the few that do not.
This page is written by `python -m scripts.operators`.
"""


def page() -> str:
    """The page, family by family."""
    found = sorted(every(), key=lambda operator: (_family(operator), operator.name))
    parts = [_HEAD]
    for family, operators in groupby(found, _family):
        rows = "\n".join(map(_row, operators))
        parts.append(f"\n## {family.capitalize()}\n\n| PIR | `.pdmodel` | |\n| --- | --- | --- |\n{rows}\n")
    return "".join(parts)


def _family(operator: Operator) -> str:
    return operator.make.__module__.rpartition(".")[2]


def _row(operator: Operator) -> str:
    names = (", ".join(map(markdown_code, operator.names[form])) for form in ("pir", "pdmodel"))
    return f"| {' | '.join(names)} | {_said(operator.make.__doc__)} |"


def _said(text: str | None) -> str:
    """The first paragraph of a docstring, in one line."""
    return re.sub(r"\s+", " ", (text or "").partition("\n\n")[0]).strip()


if __name__ == "__main__":
    PAGE.write_text(page())
