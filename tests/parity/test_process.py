"""The reference process: what becomes of it when things go wrong."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import ppls.parity.process as process_module
from ppls.errors import MissingDependencyError, ParityError
from ppls.parity.answers import Answer
from ppls.parity.jobs import VersionsJob
from ppls.parity.process import ReferenceProcess


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Puts a script of the test's own in the place of the reference."""

    def put(text: str) -> Path:
        folder = tmp_path / "job"
        folder.mkdir(exist_ok=True)
        (tmp_path / "script.py").write_text(text)
        monkeypatch.setattr(process_module, "SCRIPT", tmp_path / "script.py")
        return folder

    return put


def finish(folder: Path, timeout: float | None = 30) -> Answer:
    with ReferenceProcess(folder) as process:
        return process.run(VersionsJob(), timeout)


VERSIONS = {"python": "3.11.2", "numpy": "1.26.4", "paddlepaddle": "3.3.1", "paddleseg": "2.8.0"}
ANSWER: dict[str, Any] = {"error": None, "replaced": [], "versions": VERSIONS, "peak_memory": 3}


def answering(document: object) -> str:
    """A script that answers a document, or a text as it is."""
    text = document if isinstance(document, str) else json.dumps(document)
    return (
        "import os, sys\n"
        f"with open(sys.argv[1] + '/partial', 'w') as file:\n    file.write({text!r})\n"
        "os.rename(sys.argv[1] + '/partial', sys.argv[1] + '/result1.json')\n"
    )


def test_what_the_reference_prints_does_not_disturb_its_result(script):
    folder = script("print('noise' * 100000, flush=True)\n" + answering(ANSWER))
    assert finish(folder).peak_memory == 3


def test_how_far_the_reference_is_is_told_while_it_works(script):
    said = '{"what": "training steps", "done": 3, "total": 8}'
    folder = script(
        "import sys, time\n"
        f"for text in ({said!r}, {said!r}, 'half of i', '[]', '{{}}'):\n"
        "    with open(sys.argv[1] + '/progress.json', 'w') as file:\n        file.write(text)\n"
        "    time.sleep(0.1)\n" + answering(ANSWER)
    )
    told = []
    with ReferenceProcess(folder, progress=lambda *far: told.append(far)) as process:
        process.run(VersionsJob(), 30)
    assert told == [(3, 8, "PaddleSeg's training steps")]


def test_a_reference_that_dies_is_reported_with_its_last_words(script):
    folder = script("import os, sys; print('out of luck', file=sys.stderr, flush=True); os.abort()")
    with pytest.raises(ParityError, match=r"(?s)ended by SIGABRT.*out of luck"):
        finish(folder)


def test_a_reference_that_died_can_be_started_anew(script):
    folder = script(
        "import os, sys\n"
        "mark = sys.argv[1] + '/been'\n"
        "if not os.path.exists(mark):\n    open(mark, 'w').close()\n    os.abort()\n"
        + answering(ANSWER).replace("result1", "result2")
    )
    with ReferenceProcess(folder) as process:
        with pytest.raises(ParityError, match="SIGABRT"):
            process.run(VersionsJob(), 30)
        process.renew()
        assert process.run(VersionsJob(), 30).peak_memory == 3


def test_a_reference_that_exits_without_a_result_is_reported(script):
    with pytest.raises(ParityError, match="ended with status 3 and left no result"):
        finish(script("raise SystemExit(3)"))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[" * 100_000, "nested more than 64 deep"),
        ("\x00\x01", "Expecting value"),
        ('{"error": null, "error": null}', "a name stands twice"),
        ([], "expected `key: value` pairs, found a list"),
        ({}, "'versions' is missing"),
        ({"error": {"kind": "other", "message": ""}}, r"error\.kind: expected 'import' or 'job' or 'crash'"),
        ({"error": "out of luck"}, "error: expected `key: value` pairs, found 'out of luck'"),
        (ANSWER | {"peak_memory": "3"}, "peak_memory: expected a whole number, found '3'"),
        (ANSWER | {"peak_memory": -3}, "peak_memory: expected 0 or more, found -3"),
        (ANSWER | {"versions": VERSIONS | {"torch": "2"}}, r"versions\.torch: 'torch' is not known here"),
        (ANSWER | {"value": 3}, "value: 'value' is not known here"),
    ],
)
def test_an_answer_that_is_none_is_one_error_with_its_place(script, answer, message):
    with pytest.raises(ParityError, match=rf"an answer that ppls does not understand: .*{message}") as caught:
        finish(script(answering(answer)))
    assert "\n" not in str(caught.value)


def test_an_answer_without_end_is_not_read(script, monkeypatch):
    monkeypatch.setattr(process_module, "LONGEST_ANSWER", 1000)
    with pytest.raises(ParityError, match=r"result1\.json: more than 1,000 bytes"):
        finish(script(answering(" " * 2000 + json.dumps(ANSWER))))


def test_the_last_words_are_escaped_and_bounded(script):
    words = r"print('\x1b[31m\u202e\n' * 100); print('early'); print('\n' * 100); print('late' * 1_000_000)"
    script_text = f"import sys; sys.stdout.reconfigure(encoding='utf-8'); {words}; raise SystemExit(1)"
    with pytest.raises(ParityError) as caught:
        finish(script(script_text))
    lines = str(caught.value).split("\n")
    assert lines[0].endswith("ended with status 1 and left no result")
    assert lines[-1].startswith("  | ")
    assert "latelate" in lines[-1]
    assert len(lines) < 20
    assert max(map(len, lines)) < 600

    with pytest.raises(ParityError) as caught:
        finish(script(r"print('\x1b[31m\u202e\tred', flush=True); raise SystemExit(1)"))
    assert str(caught.value).endswith(r"| \x1b[31m\u202e\tred")


def test_what_the_reference_says_of_a_job_is_escaped_line_by_line(script):
    error = {"kind": "job", "message": "does not fit\x1b", "problems": ["missing: a\nverified: pass", *["x"] * 5000]}
    with pytest.raises(ParityError) as caught:
        finish(script(answering({"error": error})))
    lines = str(caught.value).split("\n")
    assert lines[:2] == [r"does not fit\x1b", r"  - missing: a\nverified: pass"]
    assert lines[-1] == "  and 4,001 more"


def test_a_process_that_was_ended_is_not_written_to(script):
    with ReferenceProcess(script("import time; time.sleep(600)")) as process:
        process.end()
        with pytest.raises(ParityError, match="ended by SIGKILL"):
            process.run(VersionsJob(), 5)


def test_a_folder_of_any_name_will_do(script, tmp_path):
    script(answering(ANSWER))
    folder = tmp_path / os.fsdecode(b"odd \xff '\"\n name")
    folder.mkdir()
    assert finish(folder).versions.numpy == "1.26.4"


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
    folder = script(answering({"error": {"kind": "import", "message": "No module named paddle"}}))
    with pytest.raises(
        MissingDependencyError, match=r"No module named paddle.*pip install paddlepaddle==.* paddleseg=="
    ):
        finish(folder)


def test_a_missing_libgl_names_the_package_of_the_system(script):
    error = {"kind": "import", "message": "libGL.so.1: cannot open shared object file"}
    with pytest.raises(MissingDependencyError, match="apt-get install libgl1"):
        finish(script(answering({"error": error})))


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
        process.run(VersionsJob(), 60)


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


@pytest.mark.parametrize("delay", [0, 1.5])
def test_a_reference_without_anything_to_do_tidies_up_when_its_parent_is_killed(tmp_path, delay):
    bare = tmp_path / "bare-python"  # without Paddle, to be there at once
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    folder = tmp_path / "job"
    folder.mkdir()
    parent = (
        "import time; from pathlib import Path; from ppls.parity.process import ReferenceProcess\n"
        f"print(ReferenceProcess(Path({str(folder)!r}), python={str(bare)!r})._process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    started = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    try:
        pid = int(started.stdout.readline())
        time.sleep(delay)
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
        process.run(VersionsJob(), 120)
