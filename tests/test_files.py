"""Opening files by name, whatever lies under the name."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ppls.files import files_below, open_regular, why_no_file


def test_a_regular_file_is_opened_through_links_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        with open(open_regular(tmp_path / name), "rb") as file:
            assert file.read() == b"content"
        assert why_no_file(tmp_path / name) is None


def test_what_is_none_is_named_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path, said in {
        tmp_path / "none": "does not exist",
        tmp_path / "pipe" / "below": "does not exist",
        tmp_path / "pipe": "cannot be opened: a pipe, not a file; save its content to a file first",
        tmp_path: "cannot be opened: a folder, not a file",
        Path("/dev/zero"): "cannot be opened: a device, not a file; save its content to a file first",
        tmp_path / "loop": "cannot be opened: Too many levels of symbolic links",
        tmp_path / ("x" * 256): "cannot be opened: File name too long",
        tmp_path / "a\0b": "is not a file name: embedded null byte",
    }.items():
        assert why_no_file(path) == said
        with pytest.raises((OSError, ValueError)):
            open_regular(path)


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file deeper in it than Python's recursion goes; neither shutil nor pytest could remove it."""
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        for _ in range(1200):
            os.mkdir("d")
            os.chdir("d")
        Path("deepest").touch()
    finally:
        os.chdir(here)
    yield tmp_path
    subprocess.run(["rm", "-r", tmp_path / "d"], check=True)


def test_folders_are_searched_however_deep_and_circles_of_links_are_none(deep: Path) -> None:
    (deep / "circle").symlink_to(deep)
    os.mkfifo(deep / "pipe")
    (deep / "file").touch()
    (deep / "link").symlink_to("file")
    assert [path.name for path in files_below(deep)] == ["deepest", "file", "link"]


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path: Path, closed: Callable[[str], None]) -> None:
    (tmp_path / "closed").mkdir()
    closed("closed")
    with pytest.raises(PermissionError):
        files_below(tmp_path)
