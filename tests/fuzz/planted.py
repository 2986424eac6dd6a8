"""Entry points with faults in them, each of which the harness must find; and one without."""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

from ppls.errors import CheckpointError
from tests.fuzz.case import Case
from tests.fuzz.runner import Place, Target

Run = Callable[[Place, Case], Iterable[str]]


def nothing(place: Place, case: Case) -> Iterable[str]:
    place.given.read_bytes()
    (place.out / "written").write_text("whole")
    return ["plain text,\nof two lines"]


def refusal(place: Place, case: Case) -> Iterable[str]:
    raise CheckpointError(f"{place.given}: is damaged")


def a_traceback(place: Place, case: Case) -> Iterable[str]:
    raise KeyError("weight")


def a_message_of_nothing(place: Place, case: Case) -> Iterable[str]:
    raise CheckpointError("")


def slow(place: Place, case: Case) -> Iterable[str]:
    ends = time.process_time() + 30
    while time.process_time() < ends:
        pass
    return ()


def large(place: Place, case: Case) -> Iterable[str]:
    return [str(len(b"\1" * (2 << 30)))]


def large_but_refused(place: Place, case: Case) -> Iterable[str]:
    try:
        return [str(len(b"\1" * (2 << 30)))]
    except MemoryError:
        raise CheckpointError("cannot allocate so much") from None


def writes_outside(place: Place, case: Case) -> Iterable[str]:
    with contextlib.suppress(OSError):
        (place.given.parent.parent.parent / "outside").write_text("x")
    return ()


def removes_outside(place: Place, case: Case) -> Iterable[str]:
    os.remove("/etc/nothing-is-called-so")
    return ()


def changes_its_input(place: Place, case: Case) -> Iterable[str]:
    place.given.write_bytes(b"other")
    return ()


def leaves_a_part(place: Place, case: Case) -> Iterable[str]:
    (place.out / ".model.0123.part").write_bytes(b"half")
    return ()


def leaves_a_file_of_a_refusal(place: Place, case: Case) -> Iterable[str]:
    (place.out / "model").write_bytes(b"half")
    raise CheckpointError("no model")


def reads_elsewhere(place: Place, case: Case) -> Iterable[str]:
    return [Path("/etc/passwd").read_text()]


def runs_a_command(place: Place, case: Case) -> Iterable[str]:
    subprocess.run(["true"], check=True)
    return ()


def runs_a_command_and_hides_it(place: Place, case: Case) -> Iterable[str]:
    with contextlib.suppress(BaseException):
        os.system("true")
    return ()


def evaluates(place: Place, case: Case) -> Iterable[str]:
    return [str(eval("1 + 1"))]


def imports_by_name(place: Place, case: Case) -> Iterable[str]:
    sys.modules.pop("this", None)
    importlib.import_module("th" + "is")
    return ()


def shows_an_escape(place: Place, case: Case) -> Iterable[str]:
    return ["\x1b[31mred"]


def prints_a_lone_surrogate(place: Place, case: Case) -> Iterable[str]:
    print("\ud800")
    return ()


def logs_an_escape(place: Place, case: Case) -> Iterable[str]:
    os.write(2, b"warning: \x1b[2J")
    return ()


def lists_elsewhere(place: Place, case: Case) -> Iterable[str]:
    return os.listdir("/etc")


def warns(place: Place, case: Case) -> Iterable[str]:
    warnings.warn("as a library does", stacklevel=1)
    return ()


def dies(place: Place, case: Case) -> Iterable[str]:
    os._exit(3)


def hangs(place: Place, case: Case) -> Iterable[str]:
    time.sleep(600)
    return ()


FINE: tuple[Run, ...] = (nothing, refusal)
FATAL: tuple[Run, ...] = (dies, hangs)  # for the process that they run in
FAULTS: dict[Run, str] = {
    a_traceback: "KeyError",
    a_message_of_nothing: "without a message",
    slow: "s of CPU",
    large: "took more than",
    large_but_refused: "for want of memory",
    writes_outside: "to write",
    removes_outside: "os.remove",
    changes_its_input: "to write",
    leaves_a_part: "left behind",
    leaves_a_file_of_a_refusal: "left behind",
    reads_elsewhere: "none of its files",
    runs_a_command: "subprocess.Popen",
    runs_a_command_and_hides_it: "os.system",
    evaluates: "compile by",
    imports_by_name: "import this",
    shows_an_escape: "U+001B",
    prints_a_lone_surrogate: "U+D800",
    logs_an_escape: "U+001B",
    lists_elsewhere: "none of its files",
    warns: "warned",
}  # what is said of each
TARGETS = {
    run.__name__: Target(run.__name__, 1, lambda: [Case({"given": b"content"}, "given")], run)
    for run in (*FINE, *FATAL, *FAULTS)
}


if __name__ == "__main__":  # in a process of its own: an audit hook stays for good
    from tests.fuzz.runner import Runner

    runner = Runner(Path(sys.argv[1]), seconds=1.0)
    for run in (*FINE, *FAULTS):
        found = runner.run(TARGETS[run.__name__], Case({"given": b"content"}, "given"))
        expected = FAULTS.get(run, "")
        right = expected in found.failure and bool(expected) == bool(found.failure)
        print(f"{run.__name__}: {'as expected' if right else f'expected {expected!r}, found {found.failure!r}'}")
