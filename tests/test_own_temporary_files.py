"""What the tests leave behind: nothing in the folder for temporary files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LEAVES = """
import subprocess, sys, tempfile
def test_that_leaves_files(tmp_path):
    tempfile.mkdtemp()
    subprocess.run([sys.executable, "-c", "import tempfile; tempfile.mkdtemp()"], check=True)
    assert not str(tmp_path).startswith(tempfile.gettempdir())
"""


def test_a_run_of_the_tests_leaves_no_folder_of_its_own(tmp_path: Path) -> None:
    conftest = Path(__file__).with_name("conftest.py").read_text()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "conftest.py").write_text(conftest)
    (tmp_path / "here" / "test_leaves.py").write_text(LEAVES)
    (tmp_path / "temporary").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    environment.pop("PYTEST_DEBUG_TEMPROOT", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "here")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout
    assert [path.name for path in (tmp_path / "temporary").iterdir() if not path.name.startswith("pytest-of-")] == []
