"""Where a file is written: what is kept, what is refused, what is left when a run ends badly."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ppls import destination, locks
from ppls.destination import check_destination, check_destinations, file_that_becomes, written_meanwhile
from ppls.errors import ConversionError

ROOT = Path(__file__).resolve().parents[1]
WRITER = """
import resource, sys
from pathlib import Path
from ppls.destination import file_that_becomes
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
with file_that_becomes(Path(sys.argv[1]), force=False, suffix=sys.argv[2]) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.readline()
"""


def write(path: Path, content: bytes = b"new", **options: bool) -> None:
    with file_that_becomes(path, **{"force": False, **options}) as file:
        file.write(content)


def write_while(path: Path, happens: Callable[[Path], object], *, force: bool = False) -> None:
    """What happens while a file is written is given the partial file's path."""
    with file_that_becomes(path, force=force) as file:
        file.write(b"half")
        file.flush()
        happens(Path(file.name))


def writer(path: Path, suffix: str = "") -> subprocess.Popen[str]:
    """A process that has written half of a file; a line on its standard input lets it write the rest."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), suffix],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def refused(path: Path, **options: object) -> str:
    """What checking and writing say about it, which is the same."""
    with pytest.raises(ConversionError) as checked:
        check_destination(path, **{"force": True, **options})  # type: ignore[arg-type]
    with pytest.raises(ConversionError) as written:
        write(path, force=bool(options.get("force", True)))
    assert str(checked.value) == str(written.value)
    return str(written.value)


def test_a_file_appears_whole_and_alone(tmp_path: Path) -> None:
    with file_that_becomes(tmp_path / "out", force=False) as file:
        file.write(b"wh")
        assert not (tmp_path / "out").exists()
        file.write(b"ole")
    assert (tmp_path / "out").read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["out"]


def test_what_exists_is_kept_unless_forced(tmp_path: Path) -> None:
    write(tmp_path / "out", b"mine")
    assert refused(tmp_path / "out", force=False) == (
        f"{tmp_path / 'out'}: exists already; give --force (force=True) to replace it"
    )
    write(tmp_path / "out", b"new", force=True)
    assert (tmp_path / "out").read_bytes() == b"new"


@pytest.mark.parametrize("fails", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_block_that_raises_leaves_what_was_there(tmp_path: Path, fails: type[BaseException]) -> None:
    write(tmp_path / "out", b"mine")

    def fail(_: Path) -> None:
        raise fails

    with pytest.raises(fails):
        write_while(tmp_path / "out", fail, force=True)
    assert (tmp_path / "out").read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["out"]


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # the path of a socket has 100 bytes at most
    with socket.socket(socket.AF_UNIX) as found:
        found.bind("special")
    return tmp_path / "special"


def device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))  # as /dev/null
    except OSError:
        pytest.skip("only root makes devices")


def linked(path: Path) -> None:
    (path.parent / "victim").write_text("of somebody else")
    path.symlink_to("victim")


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (os.mkfifo, "is a FIFO, and only a regular file is ever replaced"),
        (device, "is a device, and only a regular file is ever replaced"),
        (linked, "is a link to victim, and only a regular file is ever replaced; name the file itself"),
        (lambda path: path.symlink_to("nowhere"), "is a link to nowhere"),
        (lambda path: path.symlink_to(path), "is a link to "),
        (os.mkdir, "is a folder; name the file to write in it"),
    ],
)
@pytest.mark.parametrize("force", [True, False])
def test_what_is_no_regular_file_is_never_replaced(
    tmp_path: Path, make: Callable[[Path], object], kind: str, force: bool
) -> None:
    make(tmp_path / "special")
    before = sorted((name, os.lstat(tmp_path / name).st_mode) for name in os.listdir(tmp_path))
    assert kind in refused(tmp_path / "special", force=force)
    assert sorted((name, os.lstat(tmp_path / name).st_mode) for name in os.listdir(tmp_path)) == before
    assert not (tmp_path / "victim").exists() or (tmp_path / "victim").read_text() == "of somebody else"


def test_a_socket_is_never_replaced(listener: Path) -> None:
    assert "is a socket" in refused(listener)
    assert stat.S_ISSOCK(os.lstat(listener).st_mode)


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="needs /dev")
@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/dev/null", "/dev/full"])
def test_what_stands_for_no_file_is_refused(name: str) -> None:
    # without force: were it not refused, nothing of the system would be lost
    assert "is a device" in (said := refused(Path(name), force=False)) or "is a link" in said or "no file" in said


def test_a_link_to_a_folder_on_the_way_is_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    write(tmp_path / "link" / "out")
    assert (tmp_path / "folder" / "out").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["x\0y", "\udcff\ud800"])
def test_a_name_that_no_file_has_is_said(tmp_path: Path, name: str) -> None:
    assert "cannot be written" in refused(tmp_path / name)


@pytest.mark.parametrize("name", ["n" * 252, "ü" * 126, "n" * 255, "語" * 84 + "abc", "n" * 101])
def test_a_name_as_long_as_names_may_be_is_written_and_tidied_up(tmp_path: Path, name: str) -> None:
    process = writer(tmp_path / name, ".onnx")
    process.kill()
    process.communicate()
    (left,) = os.listdir(tmp_path)
    assert len(os.fsencode(left)) <= 143  # what an encrypted home may hold
    check_destination(tmp_path / name, force=False)
    write(tmp_path / name)
    assert os.listdir(tmp_path) == [name]


def test_a_name_that_is_too_long_is_one_message(tmp_path: Path) -> None:
    assert refused(tmp_path / ("n" * 256)) == f"{tmp_path / ('n' * 256)}: cannot be written: File name too long"


def test_a_folder_that_is_not_there_is_said_or_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "out"
    assert refused(path) == f"{path}: cannot be written: its folder does not exist; create it first"
    check_destinations([path], force=False, new_folders=True)
    assert os.listdir(tmp_path) == []
    write(path, new_folders=True)
    assert path.read_bytes() == b"new"
    with pytest.raises(ConversionError, match="out is no folder"):
        check_destinations([path / "below"], force=False, new_folders=True)


@pytest.mark.skipif(not hasattr(os, "fchmod"), reason="needs POSIX's modes")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
def test_the_mode_of_what_is_replaced_is_kept(tmp_path: Path, mode: int) -> None:
    write(tmp_path / "out")
    (tmp_path / "out").chmod(mode)
    with file_that_becomes(tmp_path / "out", force=True) as file:
        if mode == 0o600:
            assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == mode  # from the first byte on
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == mode


@pytest.mark.skipif(not hasattr(os, "fchmod"), reason="needs POSIX's modes")
def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "out")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o640


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root gives files to others")
def test_the_owner_of_what_is_replaced_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "out")
    os.chown(tmp_path / "out", 1234, 2345)
    write(tmp_path / "out", force=True)
    assert ((tmp_path / "out").stat().st_uid, (tmp_path / "out").stat().st_gid) == (1234, 2345)


def test_what_one_group_could_read_is_not_shown_to_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "out")
    (tmp_path / "out").chmod(0o640)
    if os.getuid() != 0:
        pytest.skip("only root gives files to others")
    os.chown(tmp_path / "out", 1234, 2345)
    monkeypatch.setattr(os, "fchown", lambda *_: (_ for _ in ()).throw(PermissionError()))
    write(tmp_path / "out", force=True)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o600


def test_an_input_is_never_replaced_nor_another_name_of_it(tmp_path: Path) -> None:
    write(tmp_path / "in")
    os.link(tmp_path / "in", tmp_path / "same")
    (tmp_path / "link").symlink_to("in")
    for given in ("in", "same", "link"):
        for path in (tmp_path / "in", tmp_path / "same"):
            with pytest.raises(ConversionError, match=rf"{path}: is the source itself; choose another name"):
                check_destination(path, force=True, inputs={"map": [None], "source": [tmp_path / given]})
    write(tmp_path / "other")
    check_destination(tmp_path / "other", force=True, inputs={"source": [tmp_path / "in", tmp_path / "absent"]})


def test_inputs_are_not_looked_at_where_nothing_is_replaced(tmp_path: Path) -> None:
    def inputs():  # type: ignore[no-untyped-def]
        raise AssertionError("asked for")
        yield

    check_destination(tmp_path / "out", force=True, inputs={"source": inputs()})


def test_two_destinations_are_two_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ConversionError, match=r"would be written as .*/b/out and as .*/a/out"):
        check_destinations([tmp_path / "a" / "out", tmp_path / "b" / "out"], force=True)
    with pytest.raises(ConversionError, match="would be written twice"):
        check_destinations([tmp_path / "out", tmp_path / "out"], force=True)


def test_of_many_that_exist_one_is_named_and_the_others_counted(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(4)]
    for path in paths[1:]:
        write(path)
    with pytest.raises(ConversionError, match=r"/1: exists already \(so do 2 others\); give --force"):
        check_destinations(paths, force=False)


@pytest.mark.parametrize("suffix", ["", ".onnx"])
def test_what_a_killed_run_left_is_removed_by_the_next_that_writes_there(tmp_path: Path, suffix: str) -> None:
    process = writer(tmp_path / "out", suffix)
    process.kill()
    process.communicate()
    (left,) = os.listdir(tmp_path)
    assert left.startswith(".out.")
    write(tmp_path / "outer")  # another file is no reason to touch it
    assert sorted(os.listdir(tmp_path)) == [left, "outer"]
    check_destination(tmp_path / "out", force=False)
    assert os.listdir(tmp_path) == ["outer"]


def test_what_a_living_run_writes_is_left_alone_and_exactly_one_of_two_wins(tmp_path: Path) -> None:
    first, second = writer(tmp_path / "out"), writer(tmp_path / "out")
    check_destination(tmp_path / "out", force=False)
    assert len(os.listdir(tmp_path)) == 2
    said = [process.communicate("go\n", timeout=30)[1] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 1]
    assert "exists already" in said[1]
    assert os.listdir(tmp_path) == ["out"]


def test_what_only_looks_like_a_partial_file_is_left_alone(tmp_path: Path) -> None:
    names = [".out.part", ".out.0123456789abcde.part", ".outer.0123456789abcdef.part", "out.0123456789abcdef.part"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / ".out.0123456789abcdef.part").symlink_to(".out.part")
    (tmp_path / ".out.0123456789abcdff.part").mkdir()
    os.mkfifo(tmp_path / ".out.0123456789abcfff.part")
    before = sorted(os.listdir(tmp_path))
    check_destination(tmp_path / "out", force=False)
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGQUIT, signal.SIGXCPU])
def test_a_run_that_a_signal_ends_leaves_nothing_under_the_name(tmp_path: Path, how: signal.Signals) -> None:
    process = writer(tmp_path / "out")
    process.send_signal(how)
    process.communicate()
    assert not (tmp_path / "out").exists()
    write(tmp_path / "other")
    check_destination(tmp_path / "out", force=False)
    assert os.listdir(tmp_path) == ["other"]


def test_without_locks_what_is_older_than_a_day_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "fcntl", None)  # as on Windows
    old, young = (tmp_path / f".out.{digit * 16}.part" for digit in "01")
    old.touch()
    young.touch()
    os.utime(old, (time.time() - 90_000,) * 2)
    check_destination(tmp_path / "out", force=False)
    assert os.listdir(tmp_path) == [young.name]
    write(tmp_path / "out")
    write(tmp_path / "out", force=True)


def test_without_hard_links_what_exists_is_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError("a file system without hard links")

    monkeypatch.setattr(os, "link", link)
    write(tmp_path / "out", b"mine")
    with pytest.raises(ConversionError, match="exists already"):
        write_while(tmp_path / "new", lambda _: (tmp_path / "new").write_text("theirs"))
    assert (tmp_path / "new").read_text() == "theirs"
    assert sorted(os.listdir(tmp_path)) == ["new", "out"]


def test_a_partial_file_that_somebody_else_replaced_does_not_get_the_name(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.touch()
    with pytest.raises(ConversionError, match="was replaced meanwhile"):
        write_while(tmp_path / "out", lambda part: os.replace(theirs, part))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("special", [os.mkfifo, os.mkdir])
def test_what_appears_meanwhile_is_not_replaced(tmp_path: Path, special: Callable[[Path], object]) -> None:
    with pytest.raises(ConversionError, match="out: is a "):
        write_while(tmp_path / "out", lambda _: special(tmp_path / "out"), force=True)
    assert not stat.S_ISREG(os.lstat(tmp_path / "out").st_mode)
    assert os.listdir(tmp_path) == ["out"]


def test_an_error_of_the_disk_is_said_though_nobody_waited_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[bool] = []

    def fsync(_: int) -> None:
        if not said:  # a system says it but once
            said.append(True)
            raise OSError(5, "Input/output error")

    def read_back(part: Path) -> None:
        with open(part, "r+b") as file, written_meanwhile(file):
            assert file.read() == b"half"

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(ConversionError, match="out: cannot be written: Input/output error"):
        write_while(tmp_path / "out", read_back)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_may_not_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    assert refused(tmp_path / "out") == f"{tmp_path / 'out'}: the folder {tmp_path} is not writable; choose another"


def test_a_folder_that_turns_out_not_to_be_writable_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(destination, "_create", create)
    with pytest.raises(ConversionError, match="out: cannot be written: Read-only file system"):
        write(tmp_path / "out")
