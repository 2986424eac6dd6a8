"""Temporary folders, and what killed runs left of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ppls.temporary import temporary_folder

ROOT = Path(__file__).resolve().parents[1]
HOLDING = """
import sys
from ppls.temporary import temporary_folder
with temporary_folder() as folder:
    (folder / "large").write_text("much")
    print(folder, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def holding(place: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(place)},
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().rstrip("\n"))


def grow_old(folder: Path) -> None:
    os.utime(folder, (time.time() - 3600,) * 2)


def test_it_is_gone_when_it_is_left(place: Path) -> None:
    with temporary_folder() as folder:
        (folder / "file").touch()
        assert folder.parent == place
        assert folder.stat().st_mode & 0o777 == 0o700
    assert os.listdir(place) == []


def test_what_a_killed_run_left_is_removed_and_what_a_living_one_has_is_not(place: Path) -> None:
    (dead, left), (alive, kept) = holding(place), holding(place)
    dead.kill()
    dead.communicate()
    grow_old(left)
    grow_old(kept)
    with temporary_folder() as folder:
        assert sorted(os.listdir(place)) == sorted([kept.name, folder.name])
        assert (kept / "large").read_text() == "much"
    alive.communicate("\n", timeout=30)
    assert os.listdir(place) == []


def test_what_is_young_or_not_of_this_kind_is_left_alone(place: Path) -> None:
    for name in ("ppls-abcdefgh.run", "ppls-verify-abcdefgh", "ppls-abcdefgh", "other-abcdefgh.run"):
        (place / name).mkdir()
        if name != "ppls-abcdefgh.run":
            grow_old(place / name)
    (place / "ppls-fffffffe.run").symlink_to("other-abcdefgh.run")
    (place / "ppls-ffffffff.run").touch()
    grow_old(place / "ppls-ffffffff.run")
    before = sorted(os.listdir(place))
    with temporary_folder():
        pass
    assert sorted(os.listdir(place)) == before


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root gives folders to others")
def test_what_belongs_to_somebody_else_is_left_alone(place: Path) -> None:
    (place / "ppls-abcdefgh.run").mkdir()
    grow_old(place / "ppls-abcdefgh.run")
    os.chown(place / "ppls-abcdefgh.run", 1234, 1234)
    with temporary_folder():
        pass
    assert os.listdir(place) == ["ppls-abcdefgh.run"]
