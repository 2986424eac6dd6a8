"""The fuzzer: a short run of it finds nothing, and it finds what was put there to be found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import planted
from tests.fuzz.case import Case
from tests.fuzz.fleet import Fleet, Job, make_case
from tests.fuzz.mutations.cases import mutate_case
from tests.fuzz.table import Table, kind_of

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="costs are measured as Linux tells them")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """A module of the fuzzer in a process of its own: the audit hook that it adds stays for good."""
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


def test_a_short_run_over_every_entry_point_finds_nothing(tmp_path: Path) -> None:
    done = run("tests.fuzz", "--inputs", 2_000, "--seed", 1, "--failures", tmp_path / "failures")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seed 1;" in done.stdout
    assert not (tmp_path / "failures").exists()


def test_the_samples_are_read_or_refused_as_their_names_say(tmp_path: Path) -> None:
    done = run("tests.fuzz", "--corpus", "--failures", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_planted_fault_is_found_and_nothing_in_what_has_none(tmp_path: Path) -> None:
    done = run("tests.fuzz.planted", tmp_path)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert len(said) == len(planted.FINE) + len(planted.FAULTS)
    assert [line for line in said if not line.endswith(": as expected")] == []


def test_a_process_that_hangs_or_dies_is_replaced_and_its_input_saved(tmp_path: Path) -> None:
    jobs = [Job("dies", 1), Job("nothing", 3), Job("hangs", 1), Job("a_traceback", 1)]
    with Fleet(1, 0, tmp_path, targets="tests.fuzz.planted", patience=5.0) as fleet:
        results = list(fleet.run(jobs))
    found = {result.target: result.failure for result in results}
    assert "exit status 3" in found["dies"]
    assert "no end after 5 s" in found["hangs"]
    assert "KeyError: 'weight'" in found["a_traceback"]
    assert found["nothing"] == ""
    assert len(results) == 6
    for result in results:
        assert bool(result.saved) == bool(result.failure)
        if result.saved:
            assert Case.load(Path(result.saved)) == (result.target, make_case(planted.TARGETS[result.target], 0, 0))


def test_a_saved_input_runs_again(tmp_path: Path) -> None:
    Case({"a.txt": b"a.png b.png\n"}, "a.txt", {"layout": "list"}).save(tmp_path / "case.zip", "list", "a finding")
    done = run("tests.fuzz", "--repeat", tmp_path / "case.zip")
    assert done.returncode == 0, done.stderr
    assert "list: InputError" in done.stdout
    assert "does not exist" in done.stdout


def test_names_that_lead_elsewhere_survive_being_saved(tmp_path: Path) -> None:
    case = Case({"\x1b[1m.bin": b"\0", "a/\udcff": b"1"}, "a/\udcff", {"x": [1]}, {"link": "/dev/null"})
    case.save(tmp_path / "case.zip", "read", "why")
    assert Case.load(tmp_path / "case.zip") == ("read", case)
    assert case.lay_out(tmp_path).read_bytes() == b"1"
    assert os.readlink(tmp_path / "link") == "/dev/null"


def test_findings_of_one_cause_are_of_one_kind() -> None:
    first = 'Traceback\n  File "/x/ppls/a.py", line 3, in f\n    x[0]\nIndexError: list index 5'
    second = 'Traceback\n  File "/x/ppls/a.py", line 3, in f\n    x[0]\nIndexError: list index 6'
    other = 'Traceback\n  File "/x/ppls/b.py", line 3, in f\n    x[0]\nIndexError: list index 6'
    assert kind_of(first) == kind_of(second) != kind_of(other)
    assert kind_of("took 11.5 s of CPU") == kind_of("took 12.9 s of CPU")


def test_the_table_counts(tmp_path: Path) -> None:
    table = Table()
    with Fleet(1, 0, tmp_path, targets="tests.fuzz.planted") as fleet:
        for result in fleet.run([Job("nothing", 2), Job("refusal", 3), Job("a_traceback", 1)]):
            table.add(result)
    assert table.failed == 1
    rows = [line.split() for line in str(table).splitlines()]
    assert [row[:3] for row in rows[1:]] == [
        ["nothing", "2", "2"],
        ["refusal", "3", "0"],
        ["a_traceback", "1", "1"],
        ["all", "6", "3"],
    ]
    assert rows[2][-2:] == ["3", "CheckpointError"]


@pytest.mark.parametrize("seed", [0, 1])
def test_an_input_depends_on_its_seed_alone(seed: int) -> None:
    from random import Random

    corpus = [Case({"a.json": b'{"a": [1, 2, {"b": "text"}]}', "b.yml": b"a: [1, 2]\nb: {c: d}\n"}, "a.json")]
    drawn = [[mutate_case(Random(f"{seed}:{i}"), corpus) for i in range(200)] for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert sum(case != corpus[0] for case in drawn[0]) > 150
