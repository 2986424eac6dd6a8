"""Errors: one line for the message, and one for each of what stands below it, whatever is in them."""

from __future__ import annotations

import pytest

import ppls
from ppls.errors import Error, all_lines, first_line

from .nasty import NASTY, assert_inert


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_a_name_in_a_message_cannot_make_a_line_of_its_own(text: str) -> None:
    error = Error(f"{text}: damaged", [f"- {text}", text])
    assert_inert(str(error))
    assert len(str(error).split("\n")) == 3
    problems = ppls.ConversionError(f"{text}:", [text, text])
    assert_inert(str(problems))
    assert [line[:4] for line in str(problems).split("\n")[1:]] == ["  - ", "  - "]
    assert problems.problems == [text, text]


def test_a_message_may_be_empty_and_is_bounded() -> None:
    assert str(Error()) == ""
    assert len(str(Error("x" * 100_000))) < 5000


def test_an_error_of_somebody_elses_is_given_line_by_line() -> None:
    error = RuntimeError("Error(s) in loading:\n\tsize mismatch for a,\r\n\n\tsize mismatch for b")
    assert first_line(error) == "Error(s) in loading:"
    assert all_lines(error) == ["RuntimeError: Error(s) in loading:", "size mismatch for a,", "size mismatch for b"]
    assert str(Error("does not fit:", all_lines(ValueError()))) == "does not fit:\n  ValueError:"
