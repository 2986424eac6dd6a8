"""docs/operators.md is what the operators say."""

from __future__ import annotations

from scripts.operators import PAGE, page


def test_the_page_of_operators_is_current() -> None:
    assert PAGE.read_text() == page(), "python -m scripts.operators"
