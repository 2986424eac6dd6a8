"""The bounded pickle machine: what it refuses that Python's unpickler would carry out or allocate."""

import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from ppls.budget import Budget
from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.pickle_machine import read_pickle
from ppls.checkpoint.reader import read
from ppls.checkpoint.source import Source
from ppls.errors import CheckpointError
from tests.checkpoint.pickles import array, binary, dictionary, dtype, function, save, text, whole


def read_bytes(folder: Path, content: bytes) -> Checkpoint:
    path = folder / "made.pdparams"
    path.write_bytes(content)
    return read(path)


def refusal(folder: Path, content: bytes) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_bytes(folder, content)
    return str(caught.value)


def test_a_handmade_state_dict_reads(tmp_path: Path) -> None:
    checkpoint = read_bytes(tmp_path, whole(dictionary(w=array())))
    assert checkpoint["w"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("builtins", "exec"), ("numpy", "load"), ("numpy.core.multiarray", "fromfile")],
)
def test_a_global_outside_the_list_is_named_with_its_arguments_and_not_resolved(
    tmp_path: Path, module: str, name: str
) -> None:
    call = function(module, name) + text("a file") + b"\x85R"
    message = refusal(tmp_path, whole(dictionary(w=array(), evil=call)))
    assert f"asks to call {module}.{name}('a file')" in message
    assert "Nothing was called" in message


def test_a_forbidden_global_is_named_even_if_the_file_is_broken_later(tmp_path: Path) -> None:
    assert "posix.system" in refusal(tmp_path, whole(dictionary(w=array()) + function("posix", "system"))[:-1])


def test_a_forbidden_name_cannot_write_control_characters_to_the_terminal(tmp_path: Path) -> None:
    named = b"\x8c\x02os\x8c\x06\x1b[2Jxx\x93" + b")R"
    message = refusal(tmp_path, b"\x80\x04" + named + b".")
    assert "\x1b" not in message
    assert "x1b[2Jxx" in message


@pytest.mark.parametrize(
    "call",
    [
        function("builtins", "eval")
        + text("data")
        + b"}"
        + text("data")
        + array()
        + b"s\x86R",  # control: Paddle's own
        function("builtins", "eval") + text("DATA") + b"}" + text("data") + array() + b"s\x86R",
        function("builtins", "eval") + text("data") + b"}" + text("x") + array() + b"s\x86R",
        function("builtins", "eval") + text("data") + b"}\x86R",
        function("builtins", "eval") + text("data") + b"\x85R",
        function("builtins", "eval") + text("data") + b"}" + text("data") + array() + b"s}\x87R",
        function("builtins", "tuple") + b"](" + text("w") + array() + b"e\x85R",
        function("numpy", "dtype") + text("f4") + b"\x85R",
        function("numpy", "dtype") + text("f4") + b"\x88\x88\x87R",
        function("numpy.core.multiarray", "_reconstruct") + function("builtins", "tuple") + b"K\0\x85C\x01b\x87R",
        function("_codecs", "encode") + text("x") + text("utf-8") + b"\x86R",
        function("collections", "OrderedDict") + array() + b"\x85R",
        function("numpy", "ndarray") + b"K\x08\x85R",
    ],
    ids=lambda call: call[1:40].decode("ascii", "replace").split("\n")[1],
)
def test_an_allowed_name_with_arguments_of_another_form_is_refused(tmp_path: Path, call: bytes) -> None:
    genuine = b"data" in call and call.count(b"data") == 2 and call.endswith(array() + b"s\x86R")
    if genuine:
        assert read_bytes(tmp_path, whole(dictionary(w=call)))["w"].shape == (2,)
    else:
        assert "asks to call" in refusal(tmp_path, whole(dictionary(w=array(), x=call)))


def test_only_arrays_and_dtypes_take_a_state_and_each_only_once(tmp_path: Path) -> None:
    state = b"(K\x01K\x02\x85" + dtype() + b"\x89" + binary(b"\0" * 8) + b"tb"
    assert "would change an array" in refusal(tmp_path, whole(dictionary(w=array() + state)))
    assert "would change a dictionary" in refusal(tmp_path, whole(dictionary(w=array(), x=b"}}b")))
    assert "would change tuple" in refusal(
        tmp_path, whole(dictionary(w=array(), x=function("builtins", "tuple") + b"}b"))
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x80\x03" + b"r" + struct.pack("<I", 2**27), "stores value"),
        (b"\x80\x03}r" + struct.pack("<I", 2**32 - 16) + b".", "stores value 4,294,967,280 after 0"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**62), "truncated"),
        (b"\x80\x03T" + struct.pack("<i", -1), "truncated: -1 bytes"),
        (b"\x80\x04\x95" + struct.pack("<Q", 2**60), "frame"),
        (b"\x80\x03\x8a\xff" + b"\xff" * 255, "integer of 255 bytes"),
        (b"\x80\x03c" + b"a" * 10_000, "longer than"),
        (b"\x80\x03h\x05.", "never stored"),
        (b"\x80\x03\x85.", "takes a value that is not there"),
        (b"\x80\x03}t.", "closes a group"),
        (b"\x80\x03}(X\x01\0\0\0au.", "key without a value"),
        (b"\x80\x03K\x01(K\x02K\x03u.", "as a container"),
        (b"\x80\x03]]\x80\x03.", "protocol at byte"),
        (b"\x80\x03(((.", "middle of a value"),
        (b"\x80\x03" + b"(" * 100, "groups are open"),
        (b"\x80\x03}P1\n.", "PERSID"),
        (b"\x80\x03}\x82\x01.", "EXT1"),
        (b"\x80\x03}\xfe.", "no opcode at all"),
        (b"\x80\x03X\x03\0\0\0\xed\xa0\x80.", "broken text"),
    ],
)
def test_a_declared_size_or_a_wrong_opcode_is_refused_before_anything_is_allocated(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    tracemalloc.start()
    message = refusal(tmp_path, content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reason in message
    assert peak < 4 << 20


@pytest.mark.parametrize("opcode", [b"]", b"}", b"\x8f", b"}\x94\x94\x94", b"N", b"G" + b"\0" * 8, b"C\0", b"cos\na\n"])
def test_a_file_of_nothing_but_small_objects_hits_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opcode: bytes
) -> None:
    monkeypatch.setattr("ppls.budget._FREE_NODES", 20_000)
    monkeypatch.setattr("ppls.budget._NODES_PER_BYTE", 0)
    tracemalloc.start()
    message = refusal(tmp_path, b"\x80\x04" + opcode * 100_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "holds more values than any" in message or "asks to call os.a" in message
    assert peak < 400 * 20_000  # so the 900,000 that a file of 1 MB may have cost less than 400 MB


def test_the_limits_leave_room_for_100_000_tensors(tmp_path: Path) -> None:
    class Tensor:
        """As Paddle pickles one inside a nested dictionary: in protocol 2 the most opcodes of all."""

        def __init__(self, name: str) -> None:
            self.name = name

        def __reduce__(self) -> tuple[object, ...]:
            return tuple, ((self.name, np.zeros(1, np.float32)),)

    tensors = {f"layer{i}.weight": Tensor(f"layer_{i}.w_0") for i in range(10_000)}
    path = save(tmp_path / "x.pdparams", {"model": tensors, "epoch": 1}, protocol=2)
    assert len(read(path)) == 10_000
    spent = read_pickle(source := Source.open(path)).opcodes
    assert spent > 380_000
    assert 10 * spent < Budget(10 * source.size, source.error).nodes_left


def test_values_nested_deeper_than_any_checkpoint_are_refused(tmp_path: Path) -> None:
    nested = b"}" * 50_000 + b"".join([text("a") + array() + b"s", b""])
    chain = b"\x80\x04" + b"]" * 50_000 + b"a" * 49_999 + b"."
    assert "nested too deeply" in refusal(tmp_path, chain)
    assert "middle of a value" in refusal(tmp_path, whole(nested))


def test_shared_structure_is_walked_no_further_than_its_size(tmp_path: Path) -> None:
    # [x, x, ...] thirteen levels deep: a few hundred bytes, and 8**13 paths
    level = b"]\x94"
    for index in range(13):
        level += b"]\x94(" + b"h" + bytes([index]) + (b"h" + bytes([index])) * 7 + b"e"
    wrapped = b"\x80\x04(" + level + b"t."
    start = time.process_time()
    assert "endlessly" in refusal(tmp_path, wrapped)
    assert time.process_time() - start < 1


def test_text_that_protocol_2_holds_in_place_of_bytes_must_decode_to_as_many(tmp_path: Path) -> None:
    def encoded(characters: str) -> bytes:
        return function("_codecs", "encode") + text(characters) + text("latin1") + b"\x86R"

    good = "\x00\x00\x80?" + "é" * 296
    payload = encoded(good)
    checkpoint = read_bytes(tmp_path, whole(dictionary(w=array(shape=b"K\x4b\x85", payload=payload)), protocol=2))
    assert checkpoint["w"].tobytes() == good.encode("latin-1")
    assert checkpoint["w"][0] == 1.0

    beyond = read_bytes(
        tmp_path, whole(dictionary(w=array(shape=b"K\x4b\x85", payload=encoded("€" * 150))), protocol=2)
    )
    with pytest.raises(CheckpointError, match="does not decode"):
        beyond["w"]
    short = encoded("a" * 300 + "é")
    fewer = read_bytes(tmp_path, whole(dictionary(w=array(shape=b"K\x4b\x85", payload=short)), protocol=2))
    with pytest.raises(CheckpointError, match="does not decode"):
        fewer["w"]
    assert "beyond latin-1" in refusal(tmp_path, whole(dictionary(w=array(payload=encoded("€€€€"))), protocol=2))
