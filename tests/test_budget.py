"""What reading a file may cost is counted in one object, in proportion to the file, with room for every real file."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ppls.budget import Budget
from ppls.checkpoint.archive import ArchiveFolder, decompress
from ppls.checkpoint.reader import read
from ppls.checkpoint.source import Source
from ppls.errors import CheckpointError
from tests.checkpoint.streams import pir, tensor
from tests.material import DATA

COUNTS = ("bytes_left", "nodes_left", "names_left", "inflated_left")


@pytest.mark.parametrize(
    ("take", "count", "message"),
    [
        (Budget.take_bytes, "bytes_left", "far more memory"),
        (Budget.take_inflated, "inflated_left", "100 times its size"),
        (Budget.take_nodes, "nodes_left", "more values"),
        (Budget.take_names, "names_left", "more tensors or files"),
    ],
)
def test_what_is_left_may_be_taken_and_not_one_more(
    take: Callable[[Budget, int], None], count: str, message: str
) -> None:
    budget = Budget(1000, CheckpointError)
    take(budget, getattr(budget, count))
    with pytest.raises(CheckpointError, match=message):
        take(budget, 1)


@pytest.mark.parametrize("count", COUNTS)
def test_a_larger_file_may_cost_more(count: str) -> None:
    assert getattr(Budget(10**7, CheckpointError), count) > getattr(Budget(10**6, CheckpointError), count)
    assert getattr(Budget(0, CheckpointError), count) > 0


def test_members_of_an_archive_and_what_is_inflated_draw_from_the_file_that_they_are_in(tmp_path: Path) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name in ("m.pdiparams", "m.json"):
            member = tarfile.TarInfo(name)
            member.size = 8
            tar.addfile(member, io.BytesIO(bytes(8)))
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(content.getvalue()))
    source = Source.open(tmp_path / "x.tar.gz")
    inflated = decompress(source)
    folder = ArchiveFolder(inflated)
    assert source.budget is inflated.budget
    assert {folder.open(name).budget for name in folder.names()} == {source.budget}
    assert source.budget.inflated_left == Budget(source.size, CheckpointError).inflated_left - inflated.size


def test_a_program_and_its_weights_in_one_archive_share_the_budget(tmp_path: Path) -> None:
    weights = {f"w_{i:04}": np.zeros(1, np.float32) for i in range(5000)}
    members = {"m.pdiparams": b"".join(map(tensor, weights.values())), "m.json": pir(**weights).encode()}
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
            (tmp_path / name).write_bytes(content)
    assert len(read(tmp_path / "m.pdiparams")) == 5000  # each has its own
    with pytest.raises(CheckpointError, match=r"x\.tar\.gz: holds more tensors or files"):
        read(tmp_path / "x.tar.gz")


@pytest.mark.parametrize(
    "path",
    [
        "run/model.pdparams",
        "run/model.pdopt",
        "run/export/model.pdiparams",
        "samples/v331_jit/jit/m.pdiparams",
        "samples/v262_static/vars_one",
    ],
)
def test_real_files_take_a_small_part_of_what_they_may(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[Budget, dict[str, int]]] = []
    original = Budget.__init__

    def remember(self: Budget, size: int, error: Callable[[str], CheckpointError]) -> None:
        original(self, size, error)
        made.append((self, {count: getattr(self, count) for count in COUNTS}))

    monkeypatch.setattr(Budget, "__init__", remember)
    assert len(read(DATA / path)) > 0
    assert made
    for budget, before in made:
        for count in COUNTS:
            assert getattr(budget, count) > 0.9 * before[count], count
