"""State dicts of `torch.save` are read as `torch.load` reads them, without torch, and run nothing."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from ppls.checkpoint.torch_file import is_torch_file, read_torch_file
from ppls.errors import CheckpointError, ConversionError, Error
from tests.material import SAMPLES

HOSTILE = SAMPLES / "hostile2"
DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool, torch.complex64, torch.complex128,
]  # fmt: skip
NEWER = [torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2]


def values(dtype: torch.dtype) -> torch.Tensor:
    return (torch.arange(24).reshape(2, 3, 4) % 7).to(dtype)


def bits(tensor: torch.Tensor) -> bytes:
    whole = tensor.detach().contiguous()
    return (
        whole.view(torch.uint8).numpy().tobytes()
        if whole.dim()
        else whole.reshape(1).view(torch.uint8).numpy().tobytes()
    )


def assert_read_as_torch_reads(path: Path) -> None:
    expected = torch.load(path, weights_only=False)  # written here; what is safe knows protocol 2 alone
    found = read_torch_file(path)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found.stored(name).dtype == str(tensor.dtype).removeprefix("torch.")
        assert found[name].shape == tuple(tensor.shape)
        assert found[name].tobytes() == bits(tensor), name


@pytest.mark.parametrize(("zipped", "protocol"), [(True, 2), (True, 3), (True, 4), (True, 5), (False, 2)])
def test_every_element_type_and_layout_is_read_as_torch_reads_it(tmp_path: Path, zipped: bool, protocol: int) -> None:
    whole = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
    state = {str(dtype): values(dtype) for dtype in DTYPES + (NEWER if zipped else [])} | {
        "parameter": torch.nn.Parameter(whole.clone()),
        "tied": whole,
        "tied too": whole,
        "transposed": whole.permute(2, 0, 1),
        "part": whole[1, 1:, ::2],
        "column": whole[:, :1, :1],
        "number": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
    }
    state["expanded"] = torch.ones(3, 1).expand(3, 4)
    torch.save(state, tmp_path / "x.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    assert is_torch_file(tmp_path / "x.pt")
    assert_read_as_torch_reads(tmp_path / "x.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_modules_own_state_dict_is_found_in_what_a_training_script_saves(tmp_path: Path, zipped: bool) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3, 5, 5)).sum().backward()
    optimizer.step()
    saved = {"epoch": 3, "rate": 1e-3, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(saved, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    found = read_torch_file(tmp_path / "x.pt")
    assert found.shapes == {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert found["0.weight"].tobytes() == bits(model[0].weight)


def test_it_is_read_without_torch(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3)}, tmp_path / "x.pt")
    code = (
        "import sys; from pathlib import Path; from ppls.checkpoint.torch_file import read_torch_file;"
        "print(read_torch_file(Path(sys.argv[1]))['w'].sum(), 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "x.pt"], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["3.0", "False"]


def test_what_has_no_plain_values_is_named(tmp_path: Path) -> None:
    quantised = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    for tensor, what in (
        (torch.ones(3).to("meta"), "on the meta device"),
        (torch.ones(3).to_sparse(), "sparse"),
        (quantised, "quantised"),
    ):
        torch.save({"fine": torch.ones(2), "odd": tensor}, tmp_path / "x.pt")
        with pytest.raises(ConversionError, match=f"odd: {what}"):
            read_torch_file(tmp_path / "x.pt")


def archive(path: Path, pickled: bytes, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        for name, content in members.items():
            file.writestr(f"archive/{name}", content)
    return path


def tensor_pickle(shape: bytes, strides: bytes, numel: bytes = b"K\x04", offset: bytes = b"K\0") -> bytes:
    """`{'w': ...}`, a view of a storage named 0."""
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu" + numel + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + shape + strides
    return b"\x80\x02}X\x01\0\0\0w" + tensor + b"\x89ccollections\nOrderedDict\n)RtRs."


BILLION = b"\x8a\x05\0\0\0\0\x01"


@pytest.mark.parametrize(
    ("pickled", "why"),
    [
        (tensor_pickle(b"K\x05\x85", b"K\x01\x85"), "beyond its storage"),
        (tensor_pickle(b"K\x02\x85", b"K\x01\x85", offset=b"K\x03"), "beyond its storage"),
        (tensor_pickle(b"K\x02\x85", b"K\x01\x85", offset=b"J\xff\xff\xff\xff"), "none"),
        (tensor_pickle(b"K\x02\x85", b"J\xff\xff\xff\xff\x85"), "a shape that is none"),
        (tensor_pickle(BILLION + b"\x85", b"K\0\x85"), "many names"),  # 4 GB of one number
        (tensor_pickle(b"K\0" + BILLION + BILLION + b"\x87", b"K\1" * 3 + b"\x87"), "larger than any memory"),
        (b"\x80\x02cbuiltins\neval\nX\x01\0\0\x001\x85R.", "asks for 'builtins.eval'"),
        (b"\x80\x02c_codecs\nencode\nX\x01\0\0\x001\x85R.", "asks for '_codecs.encode'"),
        (b"\x80\x02" + b"(" * 5 + b".", "within a value"),
        (b"\x80\x02r\xff\xff\xff\xff.", "damaged"),
        (b"\x80\x02}\x8b\xff\xff\xff\x7f", "opcode 0x8b"),
        (b"\x80\x02)" + b"\x85" * 500_000 + b"}" + b"h\0Ns.", "damaged"),
        (b"\x80\x02}(" + b")" + b"\x85" * 200_000 + b"Nu.", "a key that is no name"),
        (
            b"\x80\x02](N" + b"N" * 100_000 + b"tq\0" + b"ccollections\nOrderedDict\nq\x01" + b"h\x01h\0R" * 100,
            "a call",
        ),
        (b"\x80\x02}" + b"X\xff\xff\xff\x7fabc", "truncated"),
    ],
)
def test_a_hostile_pickle_is_refused_at_once(tmp_path: Path, pickled: bytes, why: str) -> None:
    path = archive(tmp_path / "x.pt", pickled, **{"data/0": struct.pack("<4f", 1, 2, 3, 4)})
    with pytest.raises(Error, match=why) as caught:
        read_torch_file(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a\x1b[31m", "/etc/passwd", "", "../x", "n" * 2000, "\u202e"])
def test_names_that_no_tensor_has_are_refused(tmp_path: Path, name: str) -> None:
    torch.save({name: torch.ones(1)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"is named|name is"):
        read_torch_file(tmp_path / "x.pt")


def test_two_keys_of_one_name_are_refused(tmp_path: Path) -> None:
    torch.save({1: torch.ones(1), "1": torch.ones(2)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="two tensors of one name"):
        read_torch_file(tmp_path / "x.pt")


def test_a_pickle_that_would_run_something_runs_nothing(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> object:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"w": Evil()}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"it asks for .*getattr"):
        read_torch_file(tmp_path / "x.pt")
    assert not (tmp_path / "ran").exists()


def test_other_zip_archives_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "deflated.pt", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", bytes(10_000_000))
    with pytest.raises(CheckpointError, match="compressed members, which PyTorch never writes"):
        read_torch_file(tmp_path / "deflated.pt")
    np.savez(tmp_path / "x.npz", w=np.ones(3))
    with pytest.raises(CheckpointError, match="no state dict but another zip archive"):
        read_torch_file(tmp_path / "x.npz")
    script = torch.jit.script(torch.nn.Linear(2, 2))
    torch.jit.save(script, tmp_path / "script.pt")
    with pytest.raises(CheckpointError, match="a zip archive with compressed members"):
        read_torch_file(tmp_path / "script.pt")


def test_a_storage_of_absurd_size_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"damaged|should end"):
        read_torch_file(HOSTILE / "pt-MemoryError-torch_file.py-39.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_changed_file_is_read_or_refused(tmp_path: Path, zipped: bool) -> None:
    state = {"w": torch.arange(6.0).reshape(2, 3), "v": torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))}
    torch.save(state, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "x.pt").read_bytes()
    random = np.random.default_rng(0)
    outcomes = set()
    for _ in range(600):
        damaged = bytearray(whole[: random.integers(len(whole) + 1)] if random.random() < 0.2 else whole)
        for place in random.integers(len(damaged), size=2) if damaged else ():
            damaged[place] = random.integers(256)
        (tmp_path / "y.pt").write_bytes(damaged)
        try:
            outcomes.add(len([array.sum() for array in read_torch_file(tmp_path / "y.pt").values()]))
        except Error as error:
            outcomes.add(str(type(error)))
    assert 2 in outcomes  # changed in a number, or between the members
    assert any("CheckpointError" in str(outcome) for outcome in outcomes)


def test_pickles_of_python_are_not_torch_files(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(pickle.dumps({"w": 1}))
    assert not is_torch_file(tmp_path / "x.pt")
