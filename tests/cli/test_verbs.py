"""The command `ppls`: its verbs are the names of before, each loaded when it is asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from ppls.cli.help import GENERAL, STATUSES, Explained
from ppls.cli.verbs import VERBS, ppls, verb

ROOT = Path(__file__).resolve().parents[2]
PADDLE_FILE = {"--arch", "--map", "--config", "--set"}
ACTIONS = ["map draft", "map show", "map check"]  # of the one verb that has some
COMMANDS = [*VERBS, *ACTIONS, ""]
WORKING = [*(name for name in VERBS if name != "map"), *ACTIONS]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(ppls, [str(argument) for argument in arguments], prog_name="ppls")


def started(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m ppls` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "ppls", *arguments],
        text=True,
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def made_of(name: str) -> click.Command:
    """The command of a verb, or of a verb and its action."""
    found, *actions = name.split()
    made = verb(found)
    for action in actions:
        assert isinstance(made, click.Group)
        made = made.commands[action]
    return made


def options_of(name: str) -> Iterator[click.Option]:
    yield from (each for each in made_of(name).params if isinstance(each, click.Option))


def test_the_names_of_before_are_the_very_commands() -> None:
    scripts = (ROOT / "pyproject.toml").read_text().partition("[project.scripts]\n")[2].partition("\n\n")[0]
    found = dict(line.replace('"', "").split(" = ") for line in scripts.splitlines())
    assert found.pop("ppls") == "ppls.cli.verbs:ppls"
    for name, where in found.items():
        module, _, attribute = where.partition(":")
        assert getattr(__import__(module, fromlist=["_"]), attribute) is verb(name.removeprefix("ppls-"))
    assert {f"ppls-{name}" for name in VERBS} - found.keys() == {"ppls-list"}


def test_a_module_of_the_package_is_the_command() -> None:
    done = started("--version")
    assert (done.returncode, done.stdout.split(",")[0], done.stderr) == (0, "ppls", "")


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["convert", "--help"], ["inspect", "absent"], ["nothing"]])
def test_what_needs_no_model_imports_neither_torch_nor_rich(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom ppls.cli.verbs import ppls\ntry: ppls(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print(*{'torch', 'rich', 'yaml'} & set(sys.modules), file=sys.stderr, sep='\\n')"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment)
    assert not {"torch", "rich", "yaml"} & set(done.stderr.splitlines())


def test_the_start_loads_no_verb() -> None:
    code = (
        "import sys, ppls.cli.verbs; print(*(n for n in sys.modules if n.startswith('ppls.')), 'numpy' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    *loaded, numpy = done.stdout.split()
    assert numpy == "False"
    assert not set(VERBS.values()) & set(loaded)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_groups_statuses_and_an_example(name: str) -> None:
    result = run(*name.split(), "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: ppls {name}".rstrip())
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for heading in (GENERAL, "Exit status", "Example"):
        assert f"{heading}:" in lines
    for status in STATUSES:
        assert [line for line in lines if line.startswith(f"  {status} ")]
    assert "Options:" not in lines  # all are in groups
    example = result.stdout.rpartition("Example:\n")[2].splitlines()
    assert all(line.startswith(f"  ppls {name}".rstrip()) for line in example)


def test_every_action_of_a_verb_is_tested_here() -> None:
    groups = {name: made for name in VERBS if isinstance(made := verb(name), click.Group)}
    assert [f"{name} {action}" for name, made in groups.items() for action in made.commands] == ACTIONS


@pytest.mark.parametrize("name", WORKING)
def test_the_example_of_a_help_is_a_usage(name: str) -> None:
    import shlex

    made = made_of(name)
    assert isinstance(made, Explained)
    arguments = shlex.split(made.example)[1 + len(name.split()) :]
    made.make_context(name, arguments, resilient_parsing=False)


@pytest.mark.parametrize("name", WORKING)
def test_every_command_has_json_quiet_and_verbose(name: str) -> None:
    names = {name for each in options_of(name) for name in each.opts}
    assert {"--json", "--quiet", "-q", "--verbose", "-v", "--version"} <= names


@pytest.mark.parametrize("name", sorted({*WORKING} - {"list", "train", "map show", "map check"}))
def test_every_command_that_takes_a_paddle_file_takes_what_no_tensor_shows(name: str) -> None:
    assert {name for each in options_of(name) for name in each.opts} >= PADDLE_FILE


def test_one_option_means_one_thing_everywhere() -> None:
    """The same metavar and the same help but for what it is of, under every name that is shown."""
    same = ("--arch", "--map", "--config", "--set", "--allow-import", "--tile", "--device", "--reference-python")
    for name in same:
        kinds = {
            (each.metavar, str(each.help).replace(" Can be given several times.", ""))
            for command in {*WORKING} - ({"train"} if name == "--set" else set())  # of the whole config, there
            for each in options_of(command)
            if name in each.opts
        }
        assert len(kinds) == 1, name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["conver"], "No such verb 'conver'; did you mean 'convert'?"),
        (["xyz"], "No such verb 'xyz'; there are convert, verify, "),
        (["model.pdparams", "out.safetensors"], "No such verb 'model.pdparams'; there are "),
        (["convert", "--palette", "voc"], "It is an option of predict."),
        (["convert", "--batch", "2"], "It is an option of predict, export, bench."),
        (["map", "draft", "m"], "Missing option '--model'"),
        (["--quiet", "list"], "Give it behind the verb: ppls VERB ... --quiet"),
        (["--strict", "verify"], "It is an option of verify."),
        (["convert", "--no-such"], "No such option"),
        (["convert"], "Missing argument 'SOURCE'"),
        (["predict", "m", "i"], "Missing option '-o' / '--output'"),
        (["predict", "m", "i", "-o", "o", "--palette", "mars"], "'mars' is not one of 'paddleseg'"),
        (["export", "m", "o", "--output", "mars"], "Invalid value for '--values': 'mars' is not one of 'logits'"),
        (["list", "everything"], "'everything' is not one of 'models', 'published'"),
    ],
)  # fmt: skip
def test_bad_usage_is_status_2_and_in_the_json_too(arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert said in result.stderr
    assert "Usage: ppls" in result.stderr
    as_json = run(*arguments, "--json")
    assert as_json.exit_code == 2
    error = json.loads(as_json.stdout)["error"]
    assert (error["kind"], said in error["message"]) == ("UsageError", True)


def test_no_verb_at_all_shows_the_help() -> None:
    result = run()
    assert (result.exit_code, result.stdout) == (2, run("--help").stdout)


def test_json_of_a_failure_is_one_object(tmp_path: Path) -> None:
    for arguments in (["convert", tmp_path / "none", tmp_path / "o"], ["inspect", tmp_path / "none"]):
        result = run(*arguments, "--json")
        assert result.exit_code == 1
        found = json.loads(result.stdout)
        assert found == {"schema": 1, "error": {"kind": "CheckpointError", "message": found["error"]["message"]}}
        assert result.stderr == f"error: {found['error']['message']}\n"


def test_verbose_shows_where_an_error_was_raised(tmp_path: Path) -> None:
    result = run("inspect", tmp_path / "none", "-v")
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: ")


def test_quiet_leaves_a_summary_out_but_not_what_was_asked_for(small_checkpoint: Path, tmp_path: Path) -> None:
    result = run("convert", small_checkpoint, tmp_path / "o.safetensors", "-q")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert "PPLiteSeg" in run("inspect", tmp_path / "o.safetensors", "-q").stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("command", ["list --json", "convert --help"])
def test_stdout_that_is_full_or_closed_leaves_no_traceback(command: str) -> None:
    ppls = f"{sys.executable} -m ppls {command}"
    for script, status, said in (
        (f"{ppls} >/dev/full", 1, "error: [Errno 28] No space left on device\n"),
        (f"({ppls}; echo $? >&2) | true", 0, "1\n"),
        (f"{ppls} >&-", 0, ""),
        (f"{ppls} >&- 2>&-", 0, ""),
    ):
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        assert (done.returncode, done.stderr) == (status, said), script


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["ppls", "con"], ["convert"]),
        (["ppls", "convert", "--to", ""], ["torch", "paddle"]),
        (["ppls", "predict", "m", "--pal"], ["--palette"]),
        (["ppls", "predict", "m", "--palette", "c"], ["cityscapes", "camvid"]),
        (["ppls", "inspect", "--arch", "ppl"], ["PPLiteSeg"]),
    ],
)
def test_a_shell_completes_verbs_options_and_values(words: list[str], found: list[str]) -> None:
    environment = {"_PPLS_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    code = "from ppls.cli.verbs import ppls; ppls(prog_name='ppls')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_printed(shell: str) -> None:
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    assert complete is not None
    assert "_PPLS_COMPLETE" in complete(ppls, {}, "ppls", "_PPLS_COMPLETE").source()


def test_a_list_is_of_what_fits() -> None:
    result = run("list", "models", "pp*")
    assert "PPLiteSeg" in result.stdout
    assert "SegFormer" not in result.stdout
    assert run("list").stdout.count("SegFormer-B5") == 1
    found = json.loads(run("list", "--json").stdout)
    assert found["backbones"]["STDCNet"] == ["STDC1", "STDC2"]
    assert {"architecture": "UNet", "backbones": [], "names": ["UNet"]} in found["models"]
    assert "pp_liteseg_stdc1_cityscapes_1024x512_scale0.5_160k" in run("list", "published", "PP_lite*").stdout
    assert "yet" in run("list", "published", "pp_mobileseg_*", "--all").stdout
    nothing = run("list", "models", "nothing", "--json")
    assert (nothing.exit_code, json.loads(nothing.stdout)["models"]) == (1, [])


@pytest.mark.parametrize(
    ("command", "option", "where", "name"),
    [
        ("bench", "--mode", "ppls.deploy.modes", "MODES"),
        ("bench", "--dtype", "ppls.deploy.benchmark", "DTYPES"),
        ("export", "--format", "ppls.deploy.export", "FORMATS"),
        ("export", "--values", "ppls.deploy.export", "OUTPUTS"),
        ("predict", "--palette", "ppls.inference.palettes", "PALETTES"),
        ("eval", "--layout", "ppls.inference.datasets", "LAYOUTS"),
        ("convert", "--upsample", "ppls.converter.convert", "UPSAMPLE_MODES"),
    ],
)
def test_choices_are_what_the_code_knows(command: str, option: str, where: str, name: str) -> None:
    known = getattr(__import__(where, fromlist=[name]), name)
    (kind,) = (each.type for each in options_of(command) if option in each.opts)
    assert isinstance(kind, click.Choice)
    assert list(kind.choices) == list(known)
