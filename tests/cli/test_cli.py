"""The commands as a person and a program see them: exit status, stdout, stderr.

They run in this process but where a process of their own says more.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from tests.checkpoints import arrays_of, save

ROOT = Path(__file__).resolve().parents[2]


def run(command: str, *arguments: object) -> Result:
    found = getattr(importlib.import_module(f"ppls.cli.{command}"), command)
    return CliRunner().invoke(found, [*map(str, arguments)], prog_name=f"ppls-{command}", env={"COLUMNS": "200"})


def run_apart(command: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    code = f"from ppls.cli.{command} import {command}; {command}(prog_name='ppls-{command}')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        text=True,
        timeout=300,
        env=environment,
        **{"capture_output": True, **options},  # type: ignore[arg-type]
    )


def test_convert_shows_what_it_did(small_checkpoint: Path, tmp_path: Path) -> None:
    done = run_apart("convert", small_checkpoint, tmp_path / "out.safetensors")
    assert done.returncode == 0
    assert done.stderr == ""
    for shown in (
        "PPLiteSeg",
        "written by PaddleSeg 2.7 or later",
        "250 read, 247 written, 3 dropped",
        "the constant 1, which the PyTorch model has built in (ppseg_head.arm_list.0._scale and 2 more)",
        "batch_norm.momentum: 0.9",
        "num_classes: 3",
        "read back and found equal",
    ):
        assert shown in done.stdout


def test_convert_prints_one_json_object_and_nothing_else(small_checkpoint: Path, tmp_path: Path) -> None:
    arrays = arrays_of(small_checkpoint)
    arrays["backbone.features.0.bn.bias"][0] = np.nan
    source, destination = save(tmp_path / "x.pdparams", arrays), tmp_path / "out.safetensors"
    done = run("convert", source, destination, "--json")
    assert done.exit_code == 0
    assert done.stderr == "warning: backbone.features.0.bn.bias holds NaN; converted as it is\n"
    result = json.loads(done.stdout)
    assert {"source", "destination", "architecture", "era", "config", "assumed", "tensors", "sha256"} <= set(result)
    assert result["source"] == str(source)
    assert result["destination"] == str(destination)
    assert result["tensors"]["read"] == 250
    assert result["tensors"]["written"] == 247
    assert {"name": "ppseg_head.arm_list.0._scale", "why": result["tensors"]["dropped"][0]["why"]} in result["tensors"][
        "dropped"
    ]


def test_an_error_is_one_message_without_a_traceback_and_writes_nothing(tmp_path: Path) -> None:
    done = run("convert", tmp_path / "none.pdparams", tmp_path / "out.safetensors", "--json")
    assert done.exit_code == 1
    said = json.loads(done.stdout)
    assert said == {"schema": 1, "error": {"kind": "CheckpointError", "message": said["error"]["message"]}}
    assert done.stderr == f"error: {said['error']['message']}\n"
    assert done.stderr.startswith(f"error: {tmp_path / 'none.pdparams'}: ")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_existing_destination_is_kept_unless_forced(small_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "out.safetensors").write_text("mine")
    done = run("convert", small_checkpoint, tmp_path / "out.safetensors")
    assert (done.exit_code, (tmp_path / "out.safetensors").read_text()) == (1, "mine")
    assert "--force" in done.stderr
    assert run("convert", small_checkpoint, tmp_path / "out.safetensors", "--force").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--no-such-option"],
        ["only-a-source"],
        ["a", "b", "--set", "novalue"],
        ["a", "b", "--dtype", "int8"],
        ["a", "b", "--upsample", "cubic"],
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    done = run("convert", *arguments)
    assert done.exit_code == 2
    assert "Traceback" not in done.stderr


def test_a_malformed_map_is_status_2(small_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text("format: 2\nfoo: 2\n")
    for done in (
        run("convert", small_checkpoint, tmp_path / "o.safetensors", "--map", tmp_path / "map.yaml"),
        run("inspect", "--map", tmp_path / "map.yaml"),
    ):
        assert done.exit_code == 2
        assert f"{tmp_path / 'map.yaml'}:2: 'foo' is not known here" in done.stderr


def test_inspect_says_what_a_checkpoint_is(small_checkpoint: Path) -> None:
    done = run("inspect", small_checkpoint)
    assert done.exit_code == 0
    assert "Paddle state dict (pickle protocol 4)" in done.stdout
    assert "250: 250 float32" in done.stdout
    assert "PPLiteSeg" in done.stdout


def test_inspect_prints_one_json_object(small_checkpoint: Path) -> None:
    result = json.loads(run("inspect", small_checkpoint, "--json").stdout)
    assert {"schema", "format", "tensors", "architecture", "era", "config", "problems"} <= set(result)
    assert len(result["tensors"]) == 250
    assert result["tensors"][0] == {
        "name": "backbone.features.0.conv.weight",
        "dtype": "float32",
        "shape": [4, 3, 3, 3],
    }
    assert result["config"]["num_classes"] == 3
    assert result["problems"] == []


def test_inspect_says_why_a_checkpoint_cannot_be_converted(small_checkpoint: Path, tmp_path: Path) -> None:
    arrays = arrays_of(small_checkpoint)
    del arrays["backbone.features.0.bn.bias"]
    done = run("inspect", save(tmp_path / "x.pdparams", arrays), "--json")
    assert done.exit_code == 0
    result = json.loads(done.stdout)
    assert result["architecture"] == "PPLiteSeg"
    assert result["problems"] == ["missing: backbone.features.0.bn.bias, for backbone.blocks.0.bn.bias [4]"]


@pytest.mark.parametrize("name", ["[/x]w", "[link=http://x]w", ":smile:"])
def test_a_name_that_looks_like_markup_is_shown_as_it_is(tmp_path: Path, name: str) -> None:
    done = run("inspect", save(tmp_path / "[bold]x.pdparams", {name: np.zeros(2, np.float32)}))
    assert done.exit_code == 0, done.stderr
    assert f"{name} [2]" in done.stdout
    assert "[bold]x.pdparams" in done.stdout


def test_metadata_does_not_reach_the_terminal_as_control_codes(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file({"w": np.zeros(2)}, tmp_path / "x.safetensors", metadata={"note\n": "\x1b[2J"})
    done = run("inspect", tmp_path / "x.safetensors")
    assert "\x1b" not in done.stdout
    assert r"'\x1b[2J'" in done.stdout
    assert r"'note\n'" in done.stdout


def test_of_many_metadata_the_first_are_shown(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    metadata = {f"note{number}": "x" for number in range(500)}
    safetensors.save_file({"w": np.zeros(2)}, tmp_path / "x.safetensors", metadata=metadata)
    done = run("inspect", tmp_path / "x.safetensors")
    assert done.stdout.count("note") == 100
    assert "and 400 more" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_stdout_that_is_full_is_an_error_and_no_traceback(tmp_path: Path, options: list[str]) -> None:
    source = save(tmp_path / "x.pdparams", {"w": np.zeros(2, np.float32)})
    with open("/dev/full", "w") as full:
        done = run_apart("inspect", source, *options, stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert done.returncode == 1
    assert done.stderr == "error: [Errno 28] No space left on device\n"


def test_a_package_that_is_not_installed_is_named_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    code = "import sys; sys.path.insert(0, sys.argv.pop()); from ppls.cli.verify import verify; verify()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], text=True, capture_output=True, env=environment, timeout=120
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == "error: this needs the Python module torch, which is not installed: pip install 'ppls[torch]'\n"
    )


def test_inspect_checks_a_map_alone() -> None:
    done = run("inspect", "--map", ROOT / "ppls" / "mappings" / "paddleseg" / "pp_liteseg.yaml")
    assert done.exit_code == 0
    assert "PPLiteSeg" in done.stdout
    assert run("inspect", "--map", "pp_liteseg").stdout == done.stdout  # as --map of the other commands
    assert run("inspect").exit_code == 2


def test_a_converted_file_is_recognised(small_checkpoint: Path, tmp_path: Path) -> None:
    run("convert", small_checkpoint, tmp_path / "out.safetensors")
    found = json.loads(run("inspect", tmp_path / "out.safetensors", "--json").stdout)
    before = json.loads(run("inspect", small_checkpoint, "--json").stdout)
    assert {key: found[key] for key in ("architecture", "era", "config", "problems")} == {
        key: before[key] for key in ("architecture", "era", "config", "problems")
    }
    assert found["config"]["num_classes"] == 3


@pytest.mark.parametrize("command", ["convert", "inspect", "verify"])
def test_every_command_explains_itself(command: str) -> None:
    done = run_apart(command, "--help")
    assert done.returncode == 0
    assert f"Usage: ppls-{command}" in done.stdout
