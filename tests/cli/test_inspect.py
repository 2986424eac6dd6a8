"""`ppls inspect`: what a person is shown of a file, once, and whole where it matters."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from ppls.cli.inspect import inspect


def shown(*arguments: object) -> str:
    result = CliRunner(env={"COLUMNS": "80"}).invoke(inspect, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def rows(text: str) -> dict[str, list[str]]:
    """The lines of each row of the frame, by its label; none stands twice."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("│"):
            label, value = (part.strip() for part in line.strip("│").split("│"))
            if label:
                assert label not in found
                found[label] = []
            found[list(found)[-1]].append(value)
    return found


def test_what_is_not_written_is_not_said_to_be(small_checkpoint: Path) -> None:
    found = rows(shown(small_checkpoint))
    assert found["conversion"][0] == "250 read, 247 would be written, 3 dropped"
    assert found["tensors"] == ["250: 250 float32"]
    assert found["architecture"] == ["PPLiteSeg"]
    assert "model" not in found


def test_every_tensor_is_shown_on_request_with_what_it_becomes(small_checkpoint: Path, converted: Path) -> None:
    lines = [line for line in shown(small_checkpoint, "--tensors").splitlines() if not line.startswith(("│", "╭", "╰"))]
    assert len(lines) == 251  # and the title
    assert "backbone.features.0.bn._mean [4] float32 -> backbone.blocks.0.bn.running_mean" in lines
    assert "ppseg_head.arm_list.0._scale [1] float32 -> dropped" in lines
    assert "backbone.blocks.0.bn.running_mean [4] float32" in shown(converted, "--tensors").splitlines()


def test_a_converted_file_says_where_it_comes_from_and_what_was_assumed(
    small_checkpoint: Path, converted: Path
) -> None:
    found = rows(shown(converted))
    assert "num_classes: 3" in found["config"]
    assert {"cm_bin_sizes: [1, 2, 4]", "batch_norm.momentum: 0.9"} <= set(found["assumed"])
    assert "".join(found["converted from"]).startswith("Paddle state dict (pickle protocol 4), written by PaddleSeg")
    assert found["map"][0] == "pp_liteseg"
    printed = json.loads(CliRunner().invoke(inspect, [str(converted), "--json"]).stdout)
    before = json.loads(CliRunner().invoke(inspect, [str(small_checkpoint), "--json"]).stdout)
    assert printed["config"] == before["config"]
    assert printed["assumed"] == before["assumed"]
    assert printed["provenance"]["source_sha256"] in "".join(found["converted from"])
    assert (printed["conversion"], before["conversion"]["written"]) == (None, 247)


def test_a_hub_folder_is_inspected_by_its_weights(converted: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(converted.read_bytes())
    (tmp_path / "config.json").write_text("{}")
    assert rows(shown(tmp_path)) == rows(shown(converted))


def test_what_the_user_knows_is_applied(small_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "run.yml").write_text("model:\n  type: PPLiteSeg\n  resize_mode: nearest\n")
    options = ["--config", tmp_path / "run.yml", "--set", "cm_bin_sizes=[1,3,6]", "--arch", "PPLiteSeg"]
    found = rows(shown(small_checkpoint, *options))
    assert {"resize_mode: nearest", "cm_bin_sizes: [1, 3, 6]"} <= set(found["config"])
    assert not [line for line in found["assumed"] if line.startswith(("resize_mode", "cm_bin_sizes"))]
    assert "recognised" not in found
    wrong = CliRunner().invoke(inspect, [str(small_checkpoint), "--set", "no_option=1"])
    assert (wrong.exit_code, "has no option 'no_option'" in wrong.stderr) == (2, True)
