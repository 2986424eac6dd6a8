"""How text from a file is shown, each way by itself."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable

import pytest
from markdown_it import MarkdownIt

from ppls.shown import (
    encodable,
    fenced,
    json_value,
    markdown,
    markdown_code,
    shell_word,
    shown,
    shown_line,
    shown_lines,
)

from .nasty import NASTY, WHOLE, assert_inert


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_a_name_is_one_line_that_nothing_obeys(text: str) -> None:
    assert_inert(shown(text))
    assert "\n" not in shown(text) + shown_line(text)
    assert_inert(shown_lines(text.replace("\n", " ")))


def test_what_is_harmless_is_shown_as_it_is() -> None:
    for text in ("backbone.conv.weight", "[/red] :smile:", "Straße 日本 😀 ×", "a\\nb", ""):
        assert shown(text) == shown_line(text) == text


def test_the_rest_is_escaped_as_python_escapes_it() -> None:
    assert shown("a\x1b[2J\n\u202e\ud800\U000e0041\u3164") == r"a\x1b[2J\n\u202e\ud800\U000e0041\u3164"
    assert shown_lines("a\nb\x1b") == "a\nb\\x1b"


def test_a_long_name_is_cut_and_a_value_of_another_kind_is_shown_too() -> None:
    assert shown("x" * 300) == "x" * 200 + "..."
    assert shown("x" * 300, 10) == "x" * 10 + "..."
    assert shown_line("x" * 300) == "x" * 300
    assert shown(None) == "None"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8", None])
def test_what_an_encoding_lacks_is_escaped(encoding: str | None) -> None:
    encodable(shown_line(WHOLE), encoding).encode(encoding or "ascii")
    assert encodable("Straße 日", encoding) == {
        "latin-1": r"Straße \u65e5",
        "cp1252": r"Straße \u65e5",
        "utf-8": "Straße 日",
    }.get(str(encoding), r"Stra\xdfe \u65e5")


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_a_path_is_one_word_of_a_command(text: str) -> None:
    path = text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    for given in (path, f"-{path}", f"'{path}\\", "a b", "$(id)", "`id`", "plain"):
        word = shell_word(given)
        assert_inert(word)
        said = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True).stdout
        assert said == os.fsencode(f"./{given}" if given.startswith("-") else given)


def test_json_is_what_every_parser_takes() -> None:
    document = json_value({"\ud800": ["x\udce9", float("nan"), float("-inf"), 1.5, (True, None)], "é": "😀\x1b"})
    assert document == {r"\ud800": [r"x\udce9", None, None, 1.5, [True, None]], "é": "😀\x1b"}
    json.dumps(document, allow_nan=False).encode("utf-8")


def parsed(form: Callable[[object], str], text: str) -> list[tuple[str, str]]:
    """What Markdown makes of a page that has a text in a heading, in a paragraph and in a table."""
    said = form(text)
    page = f"# {said}\n\nSaid by {said}, and {said}.\n\n| a | b |\n| - | - |\n| {said} | 1 |\n"
    assert_inert(page)
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(page)
    return [
        (inner.type, "" if inner.type == "inline" else inner.content)
        for token in tokens
        for inner in [token, *(token.children or [])]
    ]


@pytest.mark.parametrize("text", [*NASTY.values(), WHOLE], ids=[*NASTY, "all at once"])
def test_in_markdown_a_name_stands_for_itself(text: str) -> None:
    for form in (markdown, markdown_code):
        harmless = parsed(form, "x_y")
        assert harmless.count(("code_inline", "x_y")) == 4
        said = shown(text).replace("`", r"\x60").replace("|", r"\x7c")
        assert parsed(form, text) == [(kind, said if content == "x_y" else content) for kind, content in harmless]


def test_in_markdown_plain_words_stay_plain_and_sites_and_addresses_do_not() -> None:
    for plain in ("coffee 512x1024", "output 0", "PaddleSeg 2.7 or later", "noise 97x161, batch of 2 (strong)", ""):
        assert markdown(plain) == plain
    for special in ("www.evil.com", "www.1evil.com", "a@evil.com", "http://evil", "verified: pass", "- x", "x_y"):
        assert markdown(special) == f"`{special}`"
    assert markdown_code("plain") == "`plain`"
    assert markdown_code("") == "` `"


@pytest.mark.parametrize("text", [*NASTY.values(), WHOLE, "```\n# verified: pass\n```", "````", "a\n\n\nb"])
def test_a_block_of_code_ends_where_it_ends(text: str) -> None:
    (block,) = MarkdownIt("commonmark").parse(fenced("yaml", text))
    assert (block.type, block.info) == ("fence", "yaml")
    assert block.content == shown_lines(text) + "\n"
