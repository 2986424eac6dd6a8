"""What is printed: by one console and one echo, which escape whatever a caller passes."""

from __future__ import annotations

import ast
import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.panel import Panel
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

import ppls
from ppls.cli.command import command
from ppls.cli.output import echo, print_json, warn
from ppls.cli.progress import progress_bar
from ppls.terminal import console, lines, styled

from ..nasty import NASTY, WHOLE, assert_inert, obeyed

PACKAGE = Path(ppls.__file__).parent
ENCODINGS = ["utf-8", "latin-1", "cp1252", "ascii"]


class Screen(io.TextIOWrapper):
    """A stdout that is strict about its encoding."""

    def __init__(self, encoding: str, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding, "strict", newline="\n")
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def shown(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)  # type: ignore[attr-defined]


def everything() -> Iterable[object]:
    """What can be printed, with nasty texts wherever a text may stand."""
    for text in NASTY.values():
        yield text
        yield Text(text)
        yield Text.assemble("x", (text, "bold red"))
        yield styled(text, (text, "bold red"))
        yield lines([text, text])
        yield Panel(Text(text))
        table = Table(title=text, caption=text)
        table.add_column(text, no_wrap=True)
        table.add_column(overflow="fold")
        table.add_row(text, lines([text, text]))
        table.add_row(styled((text, "green")), Text(text))
        yield table


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_console_escapes_whatever_it_is_given(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(encoding)
    monkeypatch.setattr(sys, "stdout", screen)
    for renderable in everything():
        console().print(renderable)
    assert obeyed(screen.shown()) == []


def test_a_name_is_one_line_in_a_table_and_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen("utf-8")
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "300")
    table = Table(show_header=False, box=None)
    for text in NASTY.values():
        table.add_row("|", text)
        table.add_row("|", lines([text]))
    console().print(table)
    shown = screen.shown().splitlines()
    assert len(shown) == 2 * len(NASTY)
    assert all(line.startswith(" |") for line in shown)
    assert r"x\nverified: pass" in screen.shown()
    assert "[/red][bold]x[link=http://evil]y" in screen.shown()
    assert ":smile:" in screen.shown()


def test_a_name_that_is_as_wide_as_the_terminal_makes_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen("utf-8")
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "40")
    for width in range(20, 41):
        name = "x".ljust(width) + "verified: pass"
        console().print(name)
        console().print(styled(("failure:", "red"), f" {name}"))
    assert_inert(screen.shown())
    assert len(screen.shown().splitlines()) == 42


def test_colours_and_progress_still_work_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen("utf-8", terminal=True)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    console().print(styled(("fail", "bold red"), NASTY["clears the screen"]))
    assert screen.shown() == "\x1b[1;31mfail\x1b[0m\\x1b[2J\n"
    with progress_bar("predicting") as bar:
        bar(1, 2)
        bar.say(WHOLE)
        bar(3, 4, "layers [/ of")
    assert "\x1b[?25l" in screen.shown()  # rich hides the cursor while the bar moves
    assert "3/4" in screen.shown()
    assert "layers [/ of" in screen.shown()
    for text in NASTY.values():
        assert not obeyed(text) or text not in screen.shown()


def test_text_in_a_progress_bar_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen("ascii")
    monkeypatch.setattr(sys, "stderr", screen)
    with Progress(TextColumn("{task.description}", markup=False), console=console(err=True)) as progress:
        for text in NASTY.values():
            progress.add_task(text)
    assert obeyed(screen.shown()) == []


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_echo_and_warnings_are_lines_that_nothing_obeys(text: str, encoding: str) -> None:
    @click.command
    def says() -> None:
        echo(text)
        echo(text, err=True)
        warn([text])

    result = CliRunner(charset=encoding).invoke(says)
    assert result.exception is None
    assert_inert(result.stdout_bytes.decode(encoding))
    assert_inert(result.stderr_bytes.decode(encoding))
    assert len(result.stdout.splitlines()) == 1
    assert len(result.stderr.splitlines()) == 2


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_is_ascii_and_valid_whatever_is_in_it(encoding: str) -> None:
    @click.command
    def says() -> None:
        print_json({text: [text, float("nan")] for text in NASTY.values()})

    result = CliRunner(charset=encoding).invoke(says)
    assert result.exception is None
    assert result.stdout_bytes.isascii()
    assert_inert(result.stdout)
    found = json.loads(result.stdout, parse_constant=pytest.fail)
    assert found.pop("schema") == 1
    assert [NASTY["clears the screen"], None] in found.values()
    for name, (text, _) in found.items():
        assert name == text
        text.encode("utf-8")  # no lone surrogate


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_clicks_own_errors_show_what_was_typed(text: str, encoding: str) -> None:
    @click.argument("number", type=int)
    @click.option("--choice", type=click.Choice(["a", "b"]))
    def function(number: int, choice: str | None) -> None:
        raise click.UsageError(f"not {text}")

    for arguments in ([text], [f"--{text}"], ["1", "--choice", text], ["1"], ["1", text]):
        result = CliRunner(charset=encoding).invoke(command(function), arguments)
        assert result.exit_code == 2
        assert_inert(result.stderr_bytes.decode(encoding))


def test_an_error_is_shown_line_by_line() -> None:
    def fails() -> None:
        raise ppls.ConversionError(f"{WHOLE} holds:", ["one", WHOLE])

    result = CliRunner(charset="ascii").invoke(command(fails))
    first, one, other = result.stderr.splitlines()
    assert_inert(result.stderr)
    assert (first[:7], one, other[:4], result.exit_code) == ("error: ", "  - one", "  - ", 1)


def test_an_error_of_the_system_is_shown_too() -> None:
    def fails() -> None:
        raise FileNotFoundError(2, WHOLE, WHOLE)

    result = CliRunner(charset="ascii").invoke(command(fails))
    assert_inert(result.stderr)
    assert len(result.stderr.splitlines()) == 1


def test_nothing_in_the_package_prints_in_another_way() -> None:
    allowed = {
        "cli/output.py": {"echo"},
        "cli/verbs.py": {"echo"},
        "cli/pairs.py": {"echo", "style"},
        "terminal.py": {"Console"},
        # warnings of Python's, which a command shows as its own
        **{
            f"{name}.py": {"warn"}
            for name in (
                *("inference/loading", "inference/usage", "models/images", "models/base", "models/refitting"),
                "training/training",
            )
        },
    }
    ours = {"parity/reference"}  # another process, whose output is kept as a log and shown as its last words
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        if path.parent.relative_to(PACKAGE).as_posix() in ours:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            found += [
                f"{name}: {what} in {ast.unparse(node)}" for what in prints(node) if what not in allowed.get(name, ())
            ]
    assert found == []


def prints(node: ast.AST) -> list[str]:
    """What of a node writes to a terminal by itself."""
    ways = {"print", "Console", "secho", "print_exception", "pprint", "get_console", "basicConfig", "tqdm"}
    if isinstance(node, ast.Call):
        function = node.func
        if isinstance(function, ast.Name) and function.id in ways:
            return [function.id]
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            if function.value.id == "click" and function.attr in ("echo", "secho", "prompt", "confirm", "style"):
                return [function.attr]
            if function.value.id in ("rich", "pprint", "warnings") and function.attr in ("print", "pprint", "warn"):
                return [function.attr]
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
        writes = node.attr in ("write", "writelines", "buffer") and node.value.attr in ("stdout", "stderr")
        return [f"sys.{node.value.attr}.{node.attr}"] if writes else []
    return []
