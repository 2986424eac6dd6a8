"""A file means to ppls what it means to CPython, or is refused; and no command runs what it says."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import ppls
from ppls.checkpoint.plain_form import NotPlainError, check_plain_form
from ppls.checkpoint.reader import read
from ppls.cli.convert import convert
from ppls.cli.inspect import inspect
from ppls.errors import CheckpointError
from tests.checkpoint.pickles import array, binary, dictionary, dtype, function, of_two_meanings, text, whole
from tests.fuzz.differential.readers import InC, Log
from tests.fuzz.test_differential import old_memo
from tests.material import SAMPLES


@pytest.fixture
def attack(tmp_path: Path) -> Path:
    """A file that leaves another beside it where it is unpickled."""
    path = tmp_path / "attack.pdparams"
    path.write_bytes(of_two_meanings(f"open({str(tmp_path / 'pwned')!r}, 'w')", w=array()))
    return path


def test_the_attack_is_one(attack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    InC(io.BytesIO(attack.read_bytes()), log, 4).load()
    assert any("pwned" in str(entry) and "EVAL" in str(entry) for entry in log.entries)
    old_memo(monkeypatch)
    assert list(read(attack)) == ["w", "extra"]


@pytest.mark.parametrize(
    "use",
    [
        read,
        ppls.convert,
        lambda path: ppls.convert(path, path.with_suffix(".safetensors"), architecture="PPLiteSeg"),
        lambda path: ppls.verify(path, sizes=[(32, 32)], only=True),
    ],
    ids=["read", "convert", "convert to a file", "verify"],
)
def test_a_file_of_two_meanings_is_refused_and_nothing_runs(attack: Path, use: Callable[[Path], object]) -> None:
    if use.__name__ == "<lambda>" and "verify" in use.__code__.co_names:
        pytest.importorskip("paddle")
        pytest.importorskip("paddleseg")
    with pytest.raises(CheckpointError, match="stores value by MEMOIZE after 1"):
        use(attack)
    assert not (attack.parent / "pwned").exists()


@pytest.mark.parametrize("command", [[inspect], [convert, "out.safetensors"]])
def test_the_commands_refuse_it_too(attack: Path, command: list[object]) -> None:
    more = [str(attack.parent / str(argument)) for argument in command[1:]]
    result = CliRunner().invoke(command[0], [str(attack), *more])
    assert result.exit_code == 1
    assert "stores value by MEMOIZE" in result.output
    assert [path.name for path in attack.parent.iterdir()] == [attack.name]


def test_paddle_would_not_be_given_it_even_if_it_were_read(attack: Path) -> None:
    with pytest.raises(NotPlainError):
        check_plain_form(attack)


NOTHING_OF_MUCH = b"K\0J\0\0\0\x40J\0\0\0\x40\x87"  # (0, 2**30, 2**30): what numpy does not make of float32
FLAGS_OF_ANOTHER_TYPE = b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff\x89"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x80\x03}q\x02.", "stores value 2 after 0"),
        (b"\x80\x03]q\0K\1q\x02a.", "stores value 2 after 1"),
        (b"\x80\x03]q\0K\1q\0a.", "stores value 0 after 1"),
        (b"\x80\x03]q\0K\1\x94a.", "stores value by MEMOIZE after 1"),
        (b"\x80\x04]\x94K\1q\1a.", "stores value 1 after 1"),
        (b"\x80\x03]q\1h\0.", "recalls a value that it never stored"),
        (b"\x80\x04\x95\x02\0\0\0\0\0\0\0X\1\0\0\0a.", "a frame should end"),
        (b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x95\1\0\0\0\0\0\0\0N..", "a frame within a frame"),
        (b"\x80\x04\x95\x03\0\0\0\0\0\0\0N.zzz", "a frame should end"),
        (b"\x80\x04]\x80\x03.", "protocol at byte"),
        (whole(b"}(" + text("w") + array() + b"K\1N\x88Nu"), "True stands twice"),
        (whole(b"}(" + text("w") + array() + b"K\1NG" + struct.pack(">d", 1.0) + b"Nu"), "stands twice"),
        (whole(b"}" + text("w") + array() + b"s" + text("w") + array() + b"s"), "'w' stands twice"),
        (whole(dictionary(w=array(), x=b"}]Ns")), "a list of 0 as a key"),
        (whole(b"\x8f(]\x90", protocol=4), "a list of 0 as a key"),
        (whole(dictionary(w=array(), x=function("builtins", "eval"))), "eval as a value"),
        (whole(dictionary(w=function("__builtin__", "eval") + text("data") + dictionary(data=array()) + b"\x86R"), 3),
         "asks to call __builtin__.eval"),
        (whole(dictionary(w=array(shape=NOTHING_OF_MUCH, payload=binary(b"")))), "more than any memory"),
        (whole(dictionary(w=array(element=dtype(tail=FLAGS_OF_ANOTHER_TYPE)))), "would change dtype"),
        (whole(dictionary(w=array(fortran_order=b"G" + bytes(8)))), "would change an array"),
        (whole(dictionary(w=array(), UnpackBigParamInforXX=b"N")).replace(b"XX", b"@@"), "should be a table"),
        (whole(dictionary(w=array(), UnpackBigParamInforXX=b"K\1")).replace(b"XX", b"@@"), "should be a table"),
        (whole(dictionary(w=array(), StructuredToParameterNameXX=b"]")).replace(b"XX", b"@@"), "should be a table"),
        (whole(dictionary(w=array(), note=b"X" + struct.pack("<I", 300) + b"\xff" * 300)), "broken text"),
    ],
)  # fmt: skip
def test_what_leaves_room_for_two_meanings_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.pdparams"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=reason):
        read(path)


def test_the_pickler_in_c_of_python_2_may_begin_with_1(tmp_path: Path) -> None:
    content = b"}q\1(X\1\0\0\0wq\2" + array() + b"q\3X\1\0\0\0vq\4h\3u"
    (tmp_path / "x.pdparams").write_bytes(whole(content, protocol=2))
    assert list(read(tmp_path / "x.pdparams")) == ["w", "v"]


def test_the_hostile_pickles_end_as_their_names_say() -> None:
    found = [path for path in sorted((SAMPLES / "hostile2").iterdir()) if ".pdparams" in path.suffixes]
    assert len(found) > 30
    for path in found:
        ended = "ok"
        try:
            checkpoint = read(path)
            arrays = {name: checkpoint[name] for name in checkpoint}
        except ppls.Error:
            ended = "x"
        else:
            assert all(array.shape == checkpoint.stored(name).shape for name, array in arrays.items())
        assert path.name.split("_")[0] in (ended, "t", "pickle"), path.name
