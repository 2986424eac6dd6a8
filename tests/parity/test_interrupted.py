"""A verification that is told to end, as by Ctrl-C, ends with its status and leaves nothing; a dump is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ppls.cli.verify import verify

ROOT = Path(__file__).resolve().parents[2]
SLOW = """
import time, numpy, torch
from ppls.cli.command import command
from ppls.parity.candidate import run
class Slow(torch.nn.Module):
    def forward(self, x):
        print("running", flush=True)
        time.sleep(60)
def judge():
    run(Slow(), numpy.zeros((1, 3, 8, 8), "float32"))
command(judge)()
"""


def start(folder: Path, code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
        start_new_session=True,  # a terminal sends its signals to a group of processes
    )


@pytest.mark.parametrize(("how", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_while_the_candidate_runs_it_is_not_mistaken_for_a_fault_of_the_candidate(
    tmp_path: Path, how: signal.Signals, status: int
) -> None:
    process = start(tmp_path, SLOW)
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    process.send_signal(how)
    _, messages = process.communicate(timeout=30)
    assert (process.returncode, messages) == (status, "interrupted\n" if how == signal.SIGINT else "")


def test_while_paddle_runs_it_leaves_no_process_and_no_file(needs_reference: None, tmp_path: Path) -> None:
    process = start(tmp_path, "from ppls.cli.verify import verify; verify()", "--dump", str(tmp_path / "dump"))
    assert process.stderr is not None
    assert process.stderr.readline().startswith("building the embedded default")
    os.killpg(process.pid, signal.SIGINT)
    _, messages = process.communicate(timeout=60)
    assert (process.returncode, messages.splitlines()[-1]) == (130, "interrupted")
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # none of the group is left
    assert os.listdir(tmp_path) == []


def test_a_dump_that_exists_is_kept_unless_it_is_to_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dump = tmp_path / "reference.dump"
    dump.write_text("something dear")
    result = CliRunner().invoke(verify, ["--dump", str(dump)])
    assert result.exit_code == 1
    assert "--force" in result.stderr
    assert dump.read_text() == "something dear"


def test_a_dump_replaces_one_with_force(embedded_checkpoint: Path, tmp_path: Path) -> None:
    dump = tmp_path / "reference.dump"
    dump.write_text("something old")
    options = ["--size", "32x32", "--only", "--no-layers", "--dump", str(dump), "--force"]
    result = CliRunner().invoke(verify, [str(embedded_checkpoint), *options])
    assert result.exit_code == 0, result.output
    assert dump.stat().st_size > 1000
    assert [path.name for path in tmp_path.iterdir()] == ["reference.dump"]
