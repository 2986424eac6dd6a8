"""The container file says what the rest of the repository says: no Docker is needed to find that out."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.check_system import LIBRARIES, NEWEST, OLDEST

tomllib = pytest.importorskip("tomllib")  # of Python 3.11 and later

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINNED = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}


def joined(text: str) -> str:
    return re.sub(r"\\\n\s*", "", text)


def instructions(name: str) -> list[str]:
    return [line.partition(" ")[2] for line in joined(TEXT).splitlines() if line.startswith(f"{name} ")]


def pip_installs() -> Iterator[list[str]]:
    for line in instructions("RUN"):
        if line.startswith("pip install"):
            yield shlex.split(line)[2:]


def test_its_python_is_one_that_paddleseg_runs_on() -> None:
    (image,) = instructions("FROM")
    found = re.fullmatch(r"python:(\d+)\.(\d+)-slim", image)
    assert found is not None
    assert OLDEST <= (int(found[1]), int(found[2])) <= NEWEST


def test_the_systems_packages_are_those_that_are_checked_for() -> None:
    (line,) = [line for line in instructions("RUN") if "apt-get" in line]
    install = line.split("&&")[1].split()
    assert {word for word in install[2:] if not word.startswith("-")} == set(LIBRARIES.values())


def test_every_install_is_held_to_the_constraints() -> None:
    installs = list(pip_installs())
    assert len(installs) == 3
    assert all(words[words.index("--constraint") + 1] == "constraints.txt" for words in installs)
    assert {"torch", "paddlepaddle", "paddleseg", "numpy"} <= PINNED
    assert PROJECT["project"]["optional-dependencies"].keys() >= {"verify", "export"}
    assert installs[-1][-1] == ".[verify,export]"


def test_torch_and_the_reference_come_as_the_makefile_has_them() -> None:
    makefile = joined((ROOT / "Makefile").read_text(encoding="utf-8"))
    index = re.search(r"^TORCH_INDEX \?= (\S+)$", makefile, re.M)
    reference = re.search(r"--constraint constraints.txt (paddlepaddle .*)$", makefile, re.M)
    assert index is not None
    assert reference is not None
    torch, paddle, _ = pip_installs()
    assert torch[-3:] == ["--extra-index-url", index[1], "torch"]
    assert paddle[-4:] == shlex.split(reference[1])


def test_what_is_copied_exists_is_in_the_context_and_is_all_that_a_wheel_is_built_of() -> None:
    sources = [source for line in instructions("COPY") for source in line.split()[:-1]]
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert all((ROOT / source).exists() for source in sources)
    assert rules[0] == "*"
    assert sorted(rule[1:] for rule in rules if rule[0] == "!") == sorted(sources)
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], PROJECT["project"]["readme"], "pyproject.toml"}
    assert needed | set(PROJECT["project"]["license-files"]) <= set(sources)


def test_what_it_starts_is_a_command_of_the_package() -> None:
    (entry,) = instructions("ENTRYPOINT")
    assert json.loads(entry)[0] in PROJECT["project"]["scripts"]


def test_the_page_has_the_commands_that_the_file_names() -> None:
    page = (ROOT / "docs" / "verifying.md").read_text(encoding="utf-8")
    commands = re.findall(r"^#   (docker .*)$", TEXT, re.M)
    assert len(commands) == 2
    assert all(command in page for command in commands)
