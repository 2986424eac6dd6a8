"""`ppls-verify` as a user meets it: exit statuses, what goes to which stream, and files left alone."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from ppls.cli.verify import verify
from ppls.converter.convert import convert


def run(*arguments: object):
    return CliRunner().invoke(verify, [str(argument) for argument in arguments])


def test_json_is_one_object_on_stdout_and_progress_goes_to_stderr(embedded_checkpoint):
    result = run(embedded_checkpoint, "--size", "32x64", "--only", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["verdict"] == "pass"
    assert "running PaddleSeg on 2 inputs" in result.stderr


def test_a_person_gets_tables_and_the_verdict_last(embedded_checkpoint, dump):
    result = run(embedded_checkpoint, "--reference", dump)
    assert "250 of 250 tensors equal" in result.stdout
    assert "105 of 105 agree" in result.stdout
    assert result.stdout.strip().splitlines()[-1].startswith("pass at tolerance 0.0001")


def test_a_tolerance_below_the_rounding_is_not_met_and_exits_with_1(embedded_checkpoint, dump):
    result = run(embedded_checkpoint, "--reference", dump, "--tolerance", "1e-9")
    assert result.exit_code == 1
    assert "at tolerance 1e-09" in result.stdout


def test_a_model_converted_for_nearest_is_held_against_paddleseg_as_it_is_unless_told_otherwise(
    embedded_checkpoint, tmp_path
):
    convert(embedded_checkpoint, tmp_path / "nearest.safetensors", upsample="nearest")
    options = (embedded_checkpoint, tmp_path / "nearest.safetensors", "--size", "32x64", "--only")
    without, with_option = run(*options), run(*options, "--upsample", "nearest")
    assert without.exit_code == 1
    assert "first divergence" in without.stdout
    assert with_option.exit_code == 0, with_option.stdout
    assert (tmp_path / "nearest.safetensors").exists()


def test_the_model_of_a_user_is_named_by_module_and_callable(embedded_checkpoint, dump, tmp_path, monkeypatch):
    (tmp_path / "port_of_a_user.py").write_text(
        "import ppls, torch\n"
        "print('a user prints what a user likes')\n"
        "def build(path):\n"
        "    model = ppls.load(path)\n"
        "    model.backbone.blocks[0].bn.eps = 1e-2\n"
        "    return model\n"
    )
    monkeypatch.chdir(tmp_path)
    result = run(embedded_checkpoint, "--reference", dump, "--model", "port_of_a_user:build", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["candidate"] == "port_of_a_user:build"
    assert report["first_divergence"]["source"] == "backbone.features.0.bn"
    assert report["first_divergence"]["target"] == "backbone.blocks.0.bn"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["absent.pdparams"], 1, "absent.pdparams"),
        (["--size", "512"], 2, "HEIGHTxWIDTH"),
        (["--size", "0x32"], 2, "HEIGHTxWIDTH"),
        (["--tolerance", "-1"], 2, "--tolerance"),
        (["--tolerance", "nan"], 2, "--tolerance"),
        (["--model", "nothing"], 2, "MODULE:CALLABLE"),
        (["--no-such-option"], 2, "--no-such-option"),
        (["--reference-python", "/nowhere/python"], 2, "/nowhere/python"),
        (["--timeout", "0"], 2, "--timeout"),
    ],
)
def test_wrong_usage_is_one_message_and_no_traceback(arguments, status, message):
    result = run(*arguments)
    assert result.exit_code == status
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert isinstance(result.exception, (SystemExit, type(None)))


def test_an_image_that_is_not_one_is_named(embedded_checkpoint, tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    result = run(embedded_checkpoint, "--image", tmp_path / "text.jpg")
    assert result.exit_code == 1
    assert "text.jpg: cannot be read as an image" in result.stderr


def test_too_short_a_timeout_ends_with_a_message(embedded_checkpoint):
    result = run(embedded_checkpoint, "--timeout", "0.1")
    assert result.exit_code == 1
    assert "--timeout gives it longer" in result.stderr


def test_a_command_that_is_told_to_end_leaves_nothing_behind(embedded_checkpoint, tmp_path):
    environment = dict(os.environ, TMPDIR=str(tmp_path), PYTHONPATH=os.pathsep.join(sys.path))
    command = [sys.executable, "-c", "from ppls.cli.verify import verify; verify()", str(embedded_checkpoint)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("running PaddleSeg")
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert os.listdir(tmp_path) == []


def test_one_output_may_have_a_tolerance_of_its_own(embedded_checkpoint, dump):
    result = run(embedded_checkpoint, "--reference", dump, "--tolerance", "output 0=1e-9", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert (found["tolerance"], found["tolerances"]) == (1e-4, {"output 0": 1e-9})
    verdicts = {output["name"]: (output["tolerance"], output["verdict"]) for output in found["outputs"]}
    assert verdicts["output 0"][0] == 1e-9
    assert verdicts["output 0"][1] != "pass"
    assert verdicts["head 1"] == (1e-4, "pass")


def test_a_tolerance_of_an_output_that_the_model_has_not_is_wrong_usage(embedded_checkpoint, dump):
    result = run(embedded_checkpoint, "--reference", dump, "--tolerance", "head 7=1e-3")
    assert result.exit_code == 2
    assert "the model has no such output; it has output 0" in result.stderr


@pytest.mark.parametrize("given", [["much"], ["head 1=much"], ["1e-3", "1e-4"]])
def test_what_is_no_tolerance_is_wrong_usage(given):
    result = run(*(part for value in given for part in ("--tolerance", value)))
    assert result.exit_code == 2
    assert "--tolerance" in result.stderr
