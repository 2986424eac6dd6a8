"""Whatever happens to a conversion, no half of a file is left under the destination's name. Tested by doing it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from tests.checkpoints import save

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, "-c", "from ppls.cli.convert import convert; convert()"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def large_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 MB under a map of its own, so that a conversion takes long enough to be hit."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "map.yaml").write_text(
        "format: 2\narchitecture: Sized\ntarget: none\nlayers: {conv: {weight: weight}}\n"
        "modules:\n  - [blocks.<i>, layers.<i>, conv]\n"
    )
    weights = np.random.default_rng(0).standard_normal((256, 256, 3, 3), dtype=np.float32)
    return save(folder / "large.pdparams", {f"blocks.{i}.weight": weights + i for i in range(64)})


def start(source: Path, destination: Path, **options: object) -> subprocess.Popen[str]:
    arguments = [str(source), str(destination), "--map", str(source.parent / "map.yaml")]
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        **options,  # type: ignore[call-overload]
    )


def is_whole(path: Path) -> bool:
    with safe_open(path, "numpy") as file:
        return len(list(file.keys())) == 64


def test_killed_at_any_moment_it_leaves_nothing_under_the_name(large_checkpoint: Path, tmp_path: Path) -> None:
    destination = tmp_path / "out.safetensors"
    hit_while_writing = 0
    for _ in range(4):
        before = set(os.listdir(tmp_path))
        process = start(large_checkpoint, destination)
        deadline = time.monotonic() + 60
        while set(os.listdir(tmp_path)) <= before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)  # until it writes
        time.sleep(0.01 * hit_while_writing)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        hit_while_writing += not destination.exists()
        assert not destination.exists() or is_whole(destination)
        destination.unlink(missing_ok=True)
    assert hit_while_writing >= 1
    assert any(path.name.startswith(".out.safetensors.") for path in tmp_path.iterdir())  # what a kill leaves behind
    again = start(large_checkpoint, destination)
    again.communicate()
    assert again.returncode == 0  # and the next run is not disturbed by it, but removes it
    assert is_whole(destination)
    assert os.listdir(tmp_path) == [destination.name]


@pytest.mark.parametrize(("how", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_interrupted_it_cleans_up(large_checkpoint: Path, tmp_path: Path, how: signal.Signals, status: int) -> None:
    process = start(large_checkpoint, tmp_path / "out.safetensors")
    while not any(tmp_path.iterdir()) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(how)
    _, messages = process.communicate()
    assert messages == ("interrupted\n" if how == signal.SIGINT and process.returncode else "")
    assert (process.returncode, os.listdir(tmp_path)) in [(status, []), (0, ["out.safetensors"])]


def test_two_runs_to_one_destination_end_with_one_whole_file(large_checkpoint: Path, tmp_path: Path) -> None:
    runs = [start(large_checkpoint, tmp_path / "out.safetensors") for _ in range(2)]
    messages = [run.communicate()[1] for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 1], messages
    assert any("exists already" in message for message in messages)
    assert [path.name for path in tmp_path.iterdir()] == ["out.safetensors"]
    assert is_whole(tmp_path / "out.safetensors")


def test_a_full_disk_is_said_and_leaves_nothing(large_checkpoint: Path, tmp_path: Path) -> None:
    def small_disk() -> None:  # a limit on the size of files stands for the disk's end
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, 10_000_000))

    process = start(large_checkpoint, tmp_path / "out.safetensors", preexec_fn=small_disk)
    _, messages = process.communicate()
    assert process.returncode == 1
    assert "cannot be written: File too large" in messages
    assert list(tmp_path.iterdir()) == []


def test_a_conversion_keeps_one_tensor_in_memory_not_the_file(large_checkpoint: Path, tmp_path: Path) -> None:
    process = start(large_checkpoint, tmp_path / "out.safetensors")
    peak = 0
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except OSError:
            break
        peak = max([peak, *(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))])
        time.sleep(0.002)
    process.communicate()
    if peak == 0:
        pytest.skip("this system does not tell a process's private memory")
    assert peak < 80 * 1024  # KiB: Python, numpy and a tensor of 2.4 MB; the file has 150 MB


def test_a_source_cut_short_while_it_is_read_is_an_error_and_no_crash(large_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    source = tmp_path / "in" / "large.pdparams"
    (tmp_path / "in" / "map.yaml").write_text((large_checkpoint.parent / "map.yaml").read_text())
    for delay in (0.0, 0.02, 0.05):
        source.write_bytes(large_checkpoint.read_bytes())
        process = start(source, tmp_path / "out" / "out.safetensors")
        while not any((tmp_path / "out").iterdir()) and process.poll() is None:
            time.sleep(0.001)
        time.sleep(delay)
        os.truncate(source, 1000)
        _, messages = process.communicate()
        if process.returncode == 0:  # it was done already
            (tmp_path / "out" / "out.safetensors").unlink()
            continue
        assert process.returncode == 1, messages
        assert "changed while it was being read" in messages
        assert list((tmp_path / "out").iterdir()) == []
