"""The reference process: what becomes of it when things go wrong."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ppls.parity.process as process_module
from ppls.errors import MissingDependencyError, ParityError
from ppls.parity.process import ReferenceProcess


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Puts a script of the test's own in the place of the reference."""

    def put(text: str) -> Path:
        folder = tmp_path / "job"
        folder.mkdir()
        (tmp_path / "script.py").write_text(text)
        monkeypatch.setattr(process_module, "SCRIPT", tmp_path / "script.py")
        return folder

    return put


def finish(folder: Path, timeout: float | None = 30) -> dict:
    with ReferenceProcess(folder) as process:
        return process.run({}, timeout)


WRITE = "import json, sys; open(sys.argv[1] + '/result1.json', 'w').write(json.dumps({}))\n"


def test_what_the_reference_prints_does_not_disturb_its_result(script):
    folder = script("print('noise' * 100000, flush=True)\n" + WRITE.format("{'error': None, 'value': 3}"))
    assert finish(folder)["value"] == 3


def test_a_reference_that_dies_is_reported_with_its_last_words(script):
    folder = script("import os, sys; print('out of luck', file=sys.stderr, flush=True); os.abort()")
    with pytest.raises(ParityError, match=r"(?s)ended by SIGABRT.*out of luck"):
        finish(folder)


def test_a_reference_that_exits_without_a_result_is_reported(script):
    with pytest.raises(ParityError, match="ended with status 3 and left no result"):
        finish(script("raise SystemExit(3)"))


def test_a_reference_that_hangs_is_ended_with_all_that_it_started(script, tmp_path):
    pid_file = tmp_path / "pid"
    folder = script(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pid_file)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    with pytest.raises(ParityError, match=r"still running after 1\.5 s and was ended; --timeout"):
        finish(folder, timeout=1.5)
    assert_gone(int(pid_file.read_text()))


def test_leaving_early_ends_the_reference(script):
    folder = script("import time; time.sleep(600)")
    with ReferenceProcess(folder) as process:
        pid = process._process.pid
    assert_gone(pid)


def test_a_missing_paddle_names_the_command_that_installs_it(script):
    folder = script(WRITE.format("{'error': {'kind': 'import', 'message': 'No module named paddle'}}"))
    with pytest.raises(
        MissingDependencyError, match=r"No module named paddle.*pip install paddlepaddle==.* paddleseg=="
    ):
        finish(folder)


def test_a_missing_libgl_names_the_package_of_the_system(script):
    error = {"kind": "import", "message": "libGL.so.1: cannot open shared object file"}
    with pytest.raises(MissingDependencyError, match="apt-get install libgl1"):
        finish(script(WRITE.format(f"{{'error': {error}}}")))


def test_an_interpreter_that_cannot_be_run_is_named(tmp_path):
    with pytest.raises(MissingDependencyError, match=r"nowhere/python: cannot be run"):
        ReferenceProcess(tmp_path, python="/nowhere/python")


def test_an_interpreter_without_paddle_is_told_what_to_install(tmp_path):
    # -S leaves out site-packages: the standard library alone, as a fresh Python has it
    bare = tmp_path / "bare-python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    with (
        pytest.raises(MissingDependencyError, match=r"No module named.*pip install paddlepaddle==.* paddleseg=="),
        ReferenceProcess(tmp_path, python=bare) as process,
    ):
        process.run({"task": "run"}, 60)


def test_the_reference_ends_and_tidies_up_when_its_parent_is_killed(tmp_path):
    folder = tmp_path / "job"
    folder.mkdir()
    # a parent that starts the reference's watchdog in a child and is then killed outright
    reference = Path(process_module.SCRIPT)
    child = (
        "import sys, time\n"
        f"sys.path.insert(0, {str(reference.parent)!r})\n"
        "from reference import jobs\n"
        f"from pathlib import Path; jobs._end_with_parent(Path({str(folder)!r})); print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = f"import subprocess, sys\nprint(subprocess.Popen([sys.executable, '-c', {child!r}]).pid, flush=True)\n"
    parent += "import time; time.sleep(600)\n"
    started = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    try:
        pid = int(started.stdout.readline())
        assert started.stdout.readline() == "ready\n"
    finally:
        started.kill()
        started.stdout.close()
        started.wait()
    assert_gone(pid)
    assert not folder.exists()


def assert_gone(pid: int) -> None:
    for _ in range(100):
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return
        if state == "Z":  # dead, and waiting for somebody else to notice
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} is still there")


def test_a_fork_of_paddleseg_takes_the_place_of_the_installed_one(tmp_path):
    pytest.importorskip("paddle")
    (tmp_path / "fork" / "paddleseg").mkdir(parents=True)
    (tmp_path / "fork" / "paddleseg" / "__init__.py").write_text("raise ImportError('this is the fork')")
    with (
        pytest.raises(MissingDependencyError, match="this is the fork"),
        ReferenceProcess(tmp_path, paddleseg=tmp_path / "fork") as process,
    ):
        process.run({"task": "run"}, 120)
