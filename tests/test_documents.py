"""JSON from a file: one meaning, no more depth, digits and values than documents have, counted before any is made."""

from __future__ import annotations

import json

import pytest

from ppls.budget import Budget
from ppls.documents import load_json
from ppls.errors import CheckpointError


def budget(size: int = 0) -> Budget:
    return Budget(size, CheckpointError)


@pytest.mark.parametrize(
    "document",
    [{"a": [1, -2.5e-3, True, None, "x"], "b": {"c": {}}}, [], "text", 3, {"é": '\\"[[{{', "\\": '"', "n": "\n\\\\"}],
)
def test_a_document_is_what_json_makes_of_it(document: object) -> None:
    for ensure_ascii in (True, False):
        text = json.dumps(document, ensure_ascii=ensure_ascii)
        assert load_json(text.encode(), budget()) == document


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b'{"a": 1, "a": 1}', "stands twice"),
        (b'[{"a": {"b": 1, "\\u0062": 2}}]', "stands twice"),
        (b"[NaN]", "NaN"),
        (b"[-Infinity]", "Infinity"),
        (b"[1e999]", "more than a number holds"),
        (b"[" + b"1" * 41 + b"]", "40 digits"),
        (b"[0." + b"1" * 41 + b"]", "40 digits"),
        (b'["\xff"]', "utf-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'{"a": ', "Expecting value"),
        (b'["', "Unterminated"),
        (b'["\\', "Unterminated|Invalid"),
        (b"", "Expecting value"),
    ],
)
def test_what_is_no_document_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        load_json(text, budget())


def test_digits_and_brackets_within_texts_do_not_count() -> None:
    text = json.dumps({"digits": "1" * 100, "brackets": '[{"' * 100, "after": [[[]]]})
    assert load_json(text.encode(), budget())["after"] == [[[]]]


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 65 + b"]" * 65,
        b'{"a":' * 65 + b"0" + b"}" * 65,
        b"[" + b'"]]]]",' * 100 + b"[" * 64 + b"]" * 65,  # closed in texts only
        b'["\\"]]]]]]]]",' + b"[" * 64 + b"]" * 65,
        b"[" * 400_000,
    ],
    ids=range(5),
)
def test_a_document_of_more_than_64_levels_is_refused(text: bytes) -> None:
    with pytest.raises(CheckpointError, match="nested more than 64 deep"):
        load_json(text, budget(1 << 20))


def test_64_levels_are_a_document() -> None:
    assert load_json(b"[" * 64 + b"]" * 64, budget()) != []


def test_a_text_longer_than_a_block_is_one_text() -> None:
    document = ["}" * 3_000_000, ['"' * 100], "]" * 3_000_000]
    assert load_json(json.dumps(document).encode(), budget()) == document


def test_values_are_counted_in_proportion_to_the_file_before_any_is_made() -> None:
    text = b"[" + b"[]," * 300_000 + b"0]"
    assert len(load_json(text, budget(1 << 20))) == 300_001
    with pytest.raises(CheckpointError, match="more values than any"):
        load_json(text, budget(0))


def test_a_document_takes_as_many_values_as_it_has_and_no_more() -> None:
    allowed = budget()
    before = allowed.nodes_left
    load_json(b'{"a": [1, 2, {"b": "c"}], "d": 4}', allowed)
    assert before - allowed.nodes_left == 7


def test_bytes_beyond_ascii_count_as_what_python_makes_of_them() -> None:
    plain, wide = budget(), budget()
    before = plain.bytes_left
    load_json(b'["aaaa"]', plain)
    load_json('["😀"]'.encode(), wide)
    assert before - wide.bytes_left > 4 * (before - plain.bytes_left)


def test_objects_that_are_not_needed_are_not_kept() -> None:
    text = b'{"keep": {"a": 1}, "drop": {"b": {"keep": 2}}}'
    assert load_json(text, budget(), needed=lambda entry: "b" not in entry) == {"keep": {"a": 1}, "drop": None}
