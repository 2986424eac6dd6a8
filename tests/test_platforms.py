"""macOS and Windows, simulated: what they lack is asked for, and text has one encoding everywhere.

Neither system was at hand. What Python has on Linux alone, or on POSIX alone, is taken away here.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppls.parity import process
from ppls.parity.process import ReferenceProcess
from ppls.parity.reference import machine
from tests.material import SMALL_RUN

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "ppls").rglob("*.py"))

POSIX_MODULES = {"fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"}
POSIX_NAMES = {
    "os": {
        *("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "chown", "fchmod", "fchown", "fork", "geteuid"),
        *("getpgid", "getuid", "killpg", "mkfifo", "posix_fadvise", "posix_fallocate", "pread", "preadv"),
        *("sched_getaffinity", "setsid", "statvfs", "sysconf", "uname", "wait4", "waitpid"),
    },
    "signal": {"SIGALRM", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGUSR1", "alarm", "pthread_sigmask", "setitimer"},
    "mmap": {"MADV_DONTNEED"},
}
# What stands where another of them was asked for, which is there on the same systems.
BELOW = {"O_NOFOLLOW": "if fcntl is None:", "fchown": 'hasattr(os, "fchmod")', "SIGKILL": 'hasattr(os, "killpg")'}

# What it runs finds none of the above, in a process that has imported what is not ours before.
WITHOUT = """
import mmap, os, signal, sys
import click, numpy, rich, safetensors.numpy, yaml, http.client, multiprocessing, shutil, socket, subprocess, tempfile
import urllib.request, zipfile
names, modules, source, out = {names!r}, {modules!r}, {source!r}, {out!r}
for module, lacking in names.items():
    for name in lacking:
        if hasattr(sys.modules[module], name):
            delattr(sys.modules[module], name)
for module in modules:
    sys.modules[module] = None
import ppls
from ppls.cli.verbs import ppls as command
from ppls.parity.reference import machine
assert machine.resource is None and machine.peak_memory() == 0 and machine.cores() >= 1
ppls.convert(source, out + "/a.safetensors")
ppls.convert_back(out + "/a.safetensors", out + "/back.pdparams")
a, b = ppls.read(source), ppls.read(out + "/back.pdparams")
assert all((a[name] == b[name]).all() for name in a), "not the same weights"
for words in (["inspect", source], ["list"], ["convert", source, out + "/a.safetensors", "--force", "--json"]):
    try:
        command(words)
    except SystemExit as ended:
        assert not ended.code, (words, ended.code)
"""


def uses(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line, module and name of whatever a file takes of a module by an attribute, and of what it imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.lineno, node.value.id, node.attr
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, "import", name.name) for name in node.names)


def test_what_other_systems_lack_is_asked_for() -> None:
    found = []
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        for line, module, name in uses(path):
            asked = BELOW.get(name, f'hasattr({module}, "{name}")')
            if module == "import" and name in POSIX_MODULES:
                asked = "except ImportError:  # Windows"
            elif name not in POSIX_NAMES.get(module, ()):
                continue
            if asked not in text:
                found.append(f"{path}:{line}: {name}")
    assert not found


def test_text_is_read_and_written_in_an_encoding_that_is_said() -> None:
    found = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and not any(word.arg == "encoding" for word in node.keywords):
                function, modes = node.func, [one.value for one in node.args[1:2] if isinstance(one, ast.Constant)]
                a_method = isinstance(function, ast.Attribute) and function.attr in ("read_text", "write_text")
                opens = isinstance(function, ast.Name) and function.id == "open" and not any("b" in m for m in modes)
                if a_method or opens:
                    found.append(f"{path}:{node.lineno}")
    assert not found


def test_reading_converting_and_going_back_need_nothing_that_posix_alone_has(tmp_path: Path) -> None:
    names = {module: sorted(lacking) for module, lacking in POSIX_NAMES.items()}
    script = WITHOUT.format(
        names=names, modules=sorted(POSIX_MODULES), source=str(SMALL_RUN / "model.pdparams"), out=str(tmp_path)
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    from ppls import convert

    convert(SMALL_RUN / "model.pdparams", tmp_path / "here.safetensors")
    assert (tmp_path / "here.safetensors").read_bytes() == (tmp_path / "a.safetensors").read_bytes()
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.safetensors", "back.pdparams", "here.safetensors"}


def test_memory_is_counted_in_the_systems_own_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    here = machine.peak_memory()
    monkeypatch.setattr(sys, "platform", "darwin")  # counts in bytes
    assert here >= 1024 * machine.peak_memory() > 0


def test_cores_are_counted_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert machine.cores() == os.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.cores() == 1


def test_the_reference_is_ended_where_there_are_no_groups_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "sleeps.py"
    script.write_text("import time; time.sleep(600)", encoding="utf-8")
    monkeypatch.setattr(process, "SCRIPT", script)
    monkeypatch.delattr(os, "killpg", raising=False)
    with ReferenceProcess(tmp_path) as reference:
        child = reference._process
        assert child.poll() is None
    assert child.poll() is not None
