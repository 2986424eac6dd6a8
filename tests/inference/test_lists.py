"""Lists of data sets as editors, other systems and accidents leave them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ppls.errors import InputError
from ppls.inference.lists import read_lines


def lines_of(path: Path, content: bytes) -> list[str]:
    path.write_bytes(content)
    return [line for _, line in read_lines(path)]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"a b\nc d\n", ["a b", "c d"]),
        (b"\xef\xbb\xbfa b\nc d", ["a b", "c d"]),
        (b"a b\r\nc d\r\n", ["a b", "c d"]),
        (b"a b\rc d\r", ["a b", "c d"]),
        (b"\n \n\ta b  \n\n", ["a b"]),
        ("ä ö\n".encode(), ["ä ö"]),
        ("a\x85b\u2028c d".encode(), ["a\x85b\u2028c d"]),  # PaddleSeg reads on, so these are of a name
        (b"\xff\xfe b", [os.fsdecode(b"\xff\xfe b")]),
    ],
)
def test_lines_end_as_in_paddlesegs_reading_whatever_wrote_them(
    content: bytes, lines: list[str], tmp_path: Path
) -> None:
    assert lines_of(tmp_path / "list.txt", content) == lines


def test_blank_lines_count_in_places(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"a b\n\r\n\nc d\n")
    assert [place.removeprefix(str(tmp_path)) for place, _ in read_lines(tmp_path / "list.txt")] == [
        "/list.txt, line 1",
        "/list.txt, line 4",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; a list has"),
        (b"\xef\xbb\xbf\r\n \n", "is empty; a list has"),
        (b"ab\n" + b"x" * 10_001, r"line 2: is longer than 10,000 characters: 'x{200}\.\.\.'$"),
        (b"a b\na\0\x1b[31m b\n", r"line 2: holds a NUL, 'a\\x00\\x1b\[31m b\\n'; a list is text in UTF-8"),
        ("a b\n".encode("utf-16"), r"line 1: holds a NUL"),
        (b"\n" * 1_000_000, "is too long for a list of its size: more than 112,500 lines"),
    ],
)
def test_what_is_no_list_is_said_in_one_line(content: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said) as raised:
        lines_of(tmp_path / "list.txt", content)
    assert str(raised.value).isprintable()


def test_a_list_that_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in {
        tmp_path / "none.txt": "no such list",
        tmp_path / "pipe": "cannot be read as a list: a pipe",
        tmp_path: "cannot be read as a list: a folder",
        Path("/dev/zero"): "cannot be read as a list: a device",
        tmp_path / ("x" * 256): "cannot be read as a list: File name too long",
        Path("a\0b"): r"a\\x00b: cannot be read as a list: embedded null byte",
    }.items():
        with pytest.raises(InputError, match=said):
            list(read_lines(path))


def test_a_list_larger_than_any_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "list.txt").open("wb") as file:
        file.truncate(1 << 40)
    began = time.process_time()
    with pytest.raises(InputError, match="is too large for a list: more than 256 MiB"):
        list(read_lines(tmp_path / "list.txt"))
    assert time.process_time() - began < 1
