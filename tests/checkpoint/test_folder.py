"""Folders and archives: the one checkpoint inside is found, and never guessed among several."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from ppls.checkpoint.reader import read
from ppls.errors import CheckpointError
from tests.checkpoint.pickles import WEIGHT, save


def test_best_model_holds_a_checkpoint_and_its_optimizer(tmp_path: Path) -> None:
    save(tmp_path / "model.pdparams", {"w": WEIGHT})
    save(tmp_path / "model.pdopt", {"w_moment1_0": WEIGHT})
    assert list(read(tmp_path)) == ["w"]
    assert read(tmp_path).path == tmp_path / "model.pdparams"


def test_a_hub_folder_holds_a_config_and_a_safetensors(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file({"w": WEIGHT}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    assert list(read(tmp_path)) == ["w"]


def test_several_checkpoints_are_listed_and_none_is_taken(tmp_path: Path) -> None:
    for name in ("a.pdparams", "b.pdparams"):
        save(tmp_path / name, {"w": WEIGHT})
    with pytest.raises(CheckpointError, match=r"holds 2 checkpoints; give one of them: a\.pdparams, b\.pdparams"):
        read(tmp_path)


def test_links_that_lead_in_a_circle_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "a.pdparams").symlink_to("a.pdparams")
    with pytest.raises(CheckpointError, match="an empty folder"):
        read(tmp_path)
    save(tmp_path / "b.pdparams", {"w": WEIGHT})
    assert list(read(tmp_path)) == ["w"]


def test_a_folder_without_weights_says_where_they_may_be(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="an empty folder"):
        read(tmp_path)
    (tmp_path / "best_model").mkdir()
    save(tmp_path / "best_model" / "model.pdparams", {"w": WEIGHT})
    with pytest.raises(CheckpointError, match="give one of the folders inside: best_model"):
        read(tmp_path)
    save(tmp_path / "model.pdopt", {"w": WEIGHT})
    with pytest.raises(CheckpointError, match=r"an optimizer state \(\.pdopt\), but no weights"):
        read(tmp_path)


def test_a_file_in_a_folder_of_thousands_of_others_needs_no_listing(tmp_path: Path) -> None:
    tmp_path.joinpath("x.pdparams").write_bytes(save(tmp_path / "y", {"w": WEIGHT}).read_bytes())
    tmp_path.chmod(0o300)  # may be entered, not listed
    try:
        assert list(read(tmp_path / "x.pdparams")) == ["w"]
    finally:
        tmp_path.chmod(0o700)


def archive(path: Path, mode: str, kind: int = tarfile.PAX_FORMAT, **members: bytes) -> Path:
    with tarfile.open(path, mode, format=kind) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("folder", ["", "PPLite/", f"{'very_' * 12}long/{'name_' * 12}of_a_folder/", "modèle/"])
def test_the_member_of_an_archive_is_read(tmp_path: Path, mode: str, kind: int, folder: str) -> None:
    content = save(tmp_path / "x", {"w": WEIGHT}).read_bytes()
    members = {
        f"{folder}._model.pdparams": b"Mac OS X",
        f"{folder}readme.txt": b"hello",
        f"{folder}model.pdparams": content,
    }
    path = archive(tmp_path / "backbone.tar.gz", mode, kind, **members)
    checkpoint = read(path)
    np.testing.assert_array_equal(checkpoint["w"], WEIGHT)
    assert checkpoint.files == (path,)
    assert len(checkpoint.sha256) == 64
    checkpoint.check_unchanged()


def test_an_export_in_an_archive_finds_its_program(tmp_path: Path) -> None:
    from tests.checkpoint.streams import pdmodel, tensor

    members = {"e/model.pdiparams": tensor(WEIGHT), "e/model.pdmodel": pdmodel(conv=WEIGHT), "e/deploy.yaml": b""}
    assert list(read(archive(tmp_path / "e.tar", "w", **members))) == ["conv"]


def test_a_compressed_checkpoint_is_decompressed_into_no_lasting_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    large = np.arange(100_000, dtype=np.float32)
    path = tmp_path / "x.pdparams.gz"
    path.write_bytes(gzip.compress(save(tmp_path / "x", {"w": large}).read_bytes()))
    checkpoint = read(path)
    np.testing.assert_array_equal(checkpoint["w"], large)
    assert sorted(os.listdir(tmp_path)) == ["x", "x.pdparams.gz"]


def test_archives_without_weights_or_with_several_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"an archive without weights: it holds 'a\.txt'"):
        read(archive(tmp_path / "x.tar", "w", **{"a.txt": b"hello"}))
    several = {"a/model.pdparams": b"1", "b/model.pdparams": b"2"}
    with pytest.raises(CheckpointError, match=r"weights in 2 folders \('a', 'b'\)"):
        read(archive(tmp_path / "x.tar", "w", **several))


@pytest.mark.parametrize("cut", [1, 20, 300, 2000])
def test_a_truncated_archive_is_refused(tmp_path: Path, cut: int) -> None:
    content = save(tmp_path / "x", {"w": np.random.default_rng(0).random(1000)}).read_bytes()
    path = archive(tmp_path / "x.tar.gz", "w:gz", **{"model.pdparams": content})
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(CheckpointError, match=r"truncated|damaged"):
        read(path)
    tar = archive(tmp_path / "x.tar", "w", **{"model.pdparams": content})
    tar.write_bytes(tar.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match="truncated"):
        read(tar)


def test_a_gzip_bomb_stops_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppls.budget._FREE_INFLATED", 1 << 20)
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"\0" * (64 << 20)))
    with pytest.raises(CheckpointError, match="100 times its size"):
        read(tmp_path / "x.gz")


def nested(content: bytes, levels: int, mode: str) -> bytes:
    for _ in range(levels):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode) as tar:  # type: ignore[call-overload]
            member = tarfile.TarInfo("model.pdparams")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        content = file.getvalue()
    return content


@pytest.mark.parametrize(("mode", "levels"), [("w", 16), ("w:gz", 8)])
def test_archives_within_archives_are_read_to_some_depth(tmp_path: Path, mode: str, levels: int) -> None:
    content = save(tmp_path / "x", {"w": WEIGHT}).read_bytes()
    (tmp_path / "x.tar").write_bytes(nested(content, levels, mode))
    np.testing.assert_array_equal(read(tmp_path / "x.tar")["w"], WEIGHT)
    (tmp_path / "x.tar").write_bytes(nested(content, levels + 1, mode))
    with pytest.raises(CheckpointError, match=r"x\.tar: archives within archives"):
        read(tmp_path / "x.tar")


def test_a_compressed_file_may_be_of_many_members_and_end_in_padding(tmp_path: Path) -> None:
    content = save(tmp_path / "x", {"w": WEIGHT}).read_bytes()
    parts = [content[at : at + 10] for at in range(0, len(content), 10)]
    (tmp_path / "x.gz").write_bytes(b"".join(map(gzip.compress, parts)) + bytes(1000))
    np.testing.assert_array_equal(read(tmp_path / "x.gz")["w"], WEIGHT)
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"") * 20_000)
    with pytest.raises(CheckpointError, match="more tensors or files"):
        read(tmp_path / "x.gz")


def test_an_archive_of_too_many_members_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        for i in range(9000):
            tar.addfile(tarfile.TarInfo(f"{i}.pdparams"))
    with pytest.raises(CheckpointError, match="more tensors or files"):
        read(tmp_path / "x.tar.gz")


@pytest.mark.parametrize("record", [b"\n" * 3000, b"9 path=\n", b"12 path=abc\n" * 2 + b"x", b"30 path=abc\n", b"x"])
def test_an_extended_header_is_read_by_its_lengths_or_refused(tmp_path: Path, record: bytes) -> None:
    content = save(tmp_path / "x", {"w": WEIGHT}).read_bytes()
    info = tarfile.TarInfo("header")
    info.type, info.size = tarfile.XHDTYPE, len(record)
    member = tarfile.TarInfo("model.pdparams")
    member.size = len(content)
    with open(tmp_path / "x.tar", "wb") as file:
        for header, data in ((info, record), (member, content)):
            file.write(header.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512))
        file.write(bytes(1024))
    if b"abc\n" * 1 in record and record.startswith(b"12"):
        with pytest.raises(CheckpointError, match="it holds 'abc'"):
            read(tmp_path / "x.tar")
    else:
        with pytest.raises(CheckpointError, match="a damaged tar archive: an extended header"):
            read(tmp_path / "x.tar")
