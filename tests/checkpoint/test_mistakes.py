"""Files that people pass by mistake are named for what they are, with what to do."""

import io
import os
import socket
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ppls.checkpoint.reader import read
from ppls.errors import CheckpointError
from tests.checkpoint.pickles import WEIGHT, save


def zipped(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"content")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "named", "advice"),
    [
        (b"", "empty", "get it again"),
        (b"\0" * 5000, "nothing but zeros", "get it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git-lfs pointer", "git lfs pull"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page", "download it again"),
        (b"\n  <html>\n", "web page", "download it again"),
        (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', "web page or an error", "download it again"),
        (b'{"error": "not found"}', "JSON", "failed download"),
        (zipped("archive/data.pkl"), "PyTorch file", "--to paddle"),
        (zipped("weight.npy"), ".npz", "Paddle"),
        (zipped("readme.txt"), "zip archive", "unpack it"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "PyTorch file", "--to paddle"),
        (b"\x08\x07\x12\x07pytorch\x1a\x052.0.0:", "ONNX", "Paddle weights"),
        (b"\x89HDF\r\n\x1a\n", "HDF5", "Paddle"),
        (b"\x93NUMPY\x01\0", "numpy", "Paddle"),
        (b"BZh91AY&SY", "bzip2", "unpack it"),
        (b"\x89PNG\r\n\x1a\n", "image", "give the weights"),
        (b"\x80\x05\x95", "protocol 5", "paddle.save"),
        (b"(dp0\nVw\np1\n", "protocol 0", "paddle.save"),
        (b"batch_size: 4\niters: 1000\n", "YAML", "--config"),
        ("Straße\n".encode(), "text file", ""),
        (b"\x80", "begins with 80", "give a .pdparams"),
        (b"\xfa\xce\xb0\x0c" * 20, "not a weight file", "give a .pdparams"),
    ],
)
def test_each_is_named(tmp_path: Path, content: bytes, named: str, advice: str) -> None:
    path = tmp_path / "weights.pdparams"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert named in message
    assert advice in message
    assert "\n" not in message


def test_real_torch_files_are_named(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    for legacy in (True, False):
        torch.save({"w": torch.zeros(2)}, tmp_path / "x.pth", _use_new_zipfile_serialization=not legacy)
        with pytest.raises(CheckpointError, match=r"PyTorch file.*torch\.save"):
            read(tmp_path / "x.pth")


def test_a_name_table_is_not_taken_for_weights(tmp_path: Path) -> None:
    table = {"conv2d_0.w_0": {"structured_name": "conv.weight", "trainable": True}}
    with pytest.raises(CheckpointError, match=r"name table of an exported model.*\.pdiparams"):
        read(save(tmp_path / "m.pdiparams.info", table, 2))


def test_a_missing_file_suggests_the_one_that_was_meant(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no such file$"):
        read(tmp_path / "model")
    save(tmp_path / "model.pdparams", {"w": WEIGHT})
    with pytest.raises(CheckpointError, match=r"did you mean .*model\.pdparams\?"):
        read(tmp_path / "model")
    with pytest.raises(CheckpointError, match="no such file"):
        read(tmp_path / "model.pdparams" / "below")


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="a pipe"):
        read(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="a device"):
        read("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(CheckpointError, match="a socket"):
            read(tmp_path / "socket")
    with pytest.raises(CheckpointError, match="not a file name"):
        read("a\0b")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(CheckpointError, match="cannot be opened"):
        read(tmp_path / "loop")


@pytest.mark.skipif(os.geteuid() == 0 and not hasattr(os, "fork"), reason="needs a second user")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pdparams", {"w": WEIGHT})
    path.chmod(0)
    if os.geteuid():
        with pytest.raises(CheckpointError, match="no permission"):
            read(path)
        return
    child = os.fork()  # root may read everything: ask as nobody
    if child == 0:
        try:
            for folder in (tmp_path, *tmp_path.parents[:3]):
                if folder.name.startswith(("pytest", "test")):
                    folder.chmod(0o755)
            os.setuid(65534)
            read(path)
        except CheckpointError as error:
            os._exit(0 if "no permission" in str(error) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_reading_imports_neither_paddle_nor_torch_nor_pickle() -> None:
    import subprocess

    script = "import sys, ppls.checkpoint.reader; print(*[m for m in ('paddle', 'torch', 'yaml') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_the_reader_contains_no_call_that_could_run_what_a_file_names() -> None:
    import ast

    readers = sorted((Path(__file__).parents[2] / "ppls" / "checkpoint").glob("*.py"))
    assert len(readers) > 10
    forbidden = {"eval", "exec", "compile", "__import__", "getattr", "import_module", "loads", "load"}
    for path in readers:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert "pickle" not in {alias.name for alias in node.names}, path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                harmless = (
                    called in {"json.loads", "re.compile"}
                    or (called == "getattr" and "'O_" in ast.unparse(node))
                    or (called.endswith(".load") and not node.args and not node.keywords)  # a tensor's own
                )
                assert harmless or called.split(".")[-1] not in forbidden, f"{path}: {ast.unparse(node)}"


def test_weights_of_the_wrong_numpy_kind_are_not_confused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", w=WEIGHT)
    with pytest.raises(CheckpointError, match=r"\.npz"):
        read(tmp_path / "x.npz")
