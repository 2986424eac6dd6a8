"""The frame of two columns: as wide as the terminal at most, and inert whatever stands in it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from ppls.cli.pairs import Pairs
from ppls.cli.summary import _flow

from ..nasty import NASTY, assert_inert, obeyed
from .test_terminal import ENCODINGS, Screen


def printed(monkeypatch: pytest.MonkeyPatch, pairs: Pairs, title: str = "title", **screen: object) -> str:
    stdout = Screen(**{"encoding": "utf-8", **screen})
    monkeypatch.setattr(sys, "stdout", stdout)
    pairs.print(title)
    return stdout.shown()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("columns", ["20", "80", "300"])
def test_nothing_obeys_what_stands_in_the_frame(monkeypatch: pytest.MonkeyPatch, encoding: str, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for text in NASTY.values():
        pairs = Pairs()
        pairs.add(text, text, text)
        assert_inert(printed(monkeypatch, pairs, text, encoding=encoding))


def test_lines_are_broken_between_words_and_long_words_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "27")
    pairs = Pairs()
    pairs.add("name", "two words, and more", "x" * 20)
    pairs.add("wide", "\u4e2d" * 9)
    pairs.add("empty", "")
    assert printed(monkeypatch, pairs).splitlines() == [
        "title",
        "╭───────┬─────────────────╮",
        "│ name  │ two words, and  │",
        "│       │ more            │",
        "│       │ xxxxxxxxxxxxxxx │",
        "│       │ xxxxx           │",
        "│ wide  │ 中中中中中中中  │",
        "│       │ 中中            │",
        "│ empty │                 │",
        "╰───────┴─────────────────╯",
    ]


def test_the_frame_is_as_wide_as_what_is_in_it_and_of_signs_that_the_encoding_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    pairs = Pairs()
    pairs.add("a", "b")
    assert printed(monkeypatch, pairs, encoding="ascii").splitlines()[1:] == ["+---+---+", "| a | b |", "+---+---+"]


def test_a_terminal_that_has_colours_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    pairs = Pairs()
    pairs.add("label", NASTY["clears the screen"])
    shown = printed(monkeypatch, pairs, terminal=True)
    assert "\x1b[36mlabel\x1b[0m" in shown
    assert r"\x1b[2J" in shown
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert "\x1b" not in printed(patch, pairs, terminal=True)
    assert all(not obeyed(text) or text not in shown for text in NASTY.values())


@pytest.mark.parametrize(
    "value",
    [None, True, 3, -1, 1e-5, 0.9, 1e20, 1.5e-7, -2e-9, "bilinear", "on", "No", "1", "", "a b", "~", "STDC1", [1, [2]],
     ["x", None], [], {"a": 1}, float("inf"), "null", "y"],
)  # fmt: skip
def test_a_value_is_shown_as_yaml_has_it(value: object) -> None:
    assert _flow(value) == yaml.safe_dump(value, default_flow_style=True).removesuffix("\n").removesuffix("\n...")


def test_a_summary_needs_neither_rich_nor_yaml() -> None:
    script = "import sys, ppls.cli.pairs; print(*{'rich', 'yaml'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.split() == []
