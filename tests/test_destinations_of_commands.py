"""Every command that writes: what exists is kept, what is no file or is read is never replaced; said before any work.

Nothing that is given is what it should be: a command that did any work would say that instead.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import ppls
from ppls.cli.bench import bench
from ppls.cli.convert import convert
from ppls.cli.export import export
from ppls.cli.predict import predict
from ppls.cli.verify import verify

# what is given, beside the destination; each is a file in the folder of the test
GIVEN = ("model", "image.png", "map.yaml", "run.yml", "base.yml", "reference.zip")
COMMANDS: dict[str, tuple[click.Command, str, str]] = {
    "convert": (convert, "model OUT --map map.yaml --config run.yml", "out.safetensors"),
    "convert --to paddle": (convert, "model OUT --to paddle --map map.yaml", "out.pdparams"),
    "verify --report": (
        verify,
        "model --map map.yaml --config run.yml --image image.png --reference reference.zip --report OUT",
        "out.html",
    ),
    "verify CONVERTED --report": (verify, "absent model --report OUT", "out.html"),
    "verify --dump": (verify, "model --map map.yaml --config run.yml --image image.png --dump OUT", "out.zip"),
    "export": (export, "model OUT --format onnx --config run.yml", "out.onnx"),
    "bench --plot": (bench, "model --config run.yml --plot OUT", "out.png"),
    "predict, colours": (
        predict,
        "model image.png --config run.yml -o .",
        "pseudo_color_prediction/image.png",
    ),
    "predict, overlay": (predict, "model image.png --config run.yml -o .", "added_prediction/image.png"),
}
READ = [(name, given) for name in COMMANDS for given in GIVEN if given in COMMANDS[name][1].split()]
READ += [(name, "base.yml") for name in COMMANDS if "run.yml" in COMMANDS[name][1]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    for name in GIVEN:
        Path(name).write_text(f"{name}, and nothing of use")
    Path("run.yml").write_text("_base_: base.yml\n")
    Path("base.yml").write_text("batch_size: 4\n")
    Path("map.yaml").write_text(
        "format: 2\narchitecture: Toy\ntarget: none\nlayers: {conv: {weight: weight}}\nmodules:\n  - [a, b, conv]\n"
    )
    return tmp_path


def run(name: str, *options: str) -> tuple[int, str]:
    command, arguments, out = COMMANDS[name]
    result = CliRunner().invoke(command, [*arguments.replace("OUT", out).split(), *options])
    assert result.stdout == ""
    assert isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stderr.replace("exporting, and running the export ...\n", "")


def destination(name: str) -> Path:
    path = Path(COMMANDS[name][2])
    path.parent.mkdir(exist_ok=True)
    return path


def everything(folder: Path) -> list[tuple[str, int, bytes]]:
    found = []
    for path in sorted(folder.rglob("*")):
        mode = os.lstat(path).st_mode
        found.append((str(path), mode, path.read_bytes() if stat.S_ISREG(mode) else b""))
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_what_exists_is_kept(name: str, folder: Path) -> None:
    destination(name).write_text("mine")
    before = everything(folder)
    status, said = run(name)
    assert status == 1
    assert said == f"error: {COMMANDS[name][2]}: exists already; give --force (force=True) to replace it\n"
    assert everything(folder) == before


def link_to_victim(path: Path) -> None:
    path.with_name("victim").write_text("of somebody else")
    path.symlink_to("victim")


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("make", "kind"), [(os.mkfifo, "is a FIFO"), (link_to_victim, "is a link to victim"), (os.mkdir, "is a folder")]
)
@pytest.mark.parametrize("options", [[], ["--force"]])
def test_what_is_no_file_is_never_replaced(
    name: str, make: Callable[[Path], object], kind: str, options: list[str], folder: Path
) -> None:
    make(destination(name))
    before = everything(folder)
    status, said = run(name, *options)
    assert status == 1
    assert said.startswith(f"error: {COMMANDS[name][2]}: {kind}")
    assert everything(folder) == before


@pytest.mark.parametrize(("name", "given"), READ)
def test_what_is_read_is_never_replaced(name: str, given: str, folder: Path) -> None:
    os.link(given, destination(name))
    before = everything(folder)
    status, said = run(name, "--force")
    assert status == 1
    assert "itself; choose another name" in said
    assert everything(folder) == before


@pytest.mark.parametrize("name", COMMANDS)
def test_with_force_what_exists_is_no_reason_to_refuse(name: str) -> None:
    destination(name).write_text("mine")
    _, said = run(name, "--force")
    assert "out." not in said
    assert "_prediction" not in said  # but something of what is given
    assert destination(name).read_text() == "mine"


@pytest.mark.parametrize("name", ["verify --report", "verify --dump"])
def test_no_predictable_name_is_written_to(name: str, folder: Path) -> None:
    Path("victim").write_text("of somebody else")
    Path(f"{COMMANDS[name][2]}.partial").symlink_to("victim")
    before = everything(folder)
    run(name)
    assert everything(folder) == before


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_is_not_there_is_said(name: str, folder: Path) -> None:
    command, arguments, out = COMMANDS[name]
    if "predict" in name:
        Path("file").touch()
        arguments, said = arguments.replace("-o .", "-o file/out"), "cannot be written: file is no folder"
    else:
        arguments, said = arguments.replace("OUT", f"nowhere/{out}"), "its folder does not exist; create it first"
    result = CliRunner().invoke(command, arguments.split())
    assert result.exit_code == 1
    assert said in result.stderr


def test_pictures_that_would_be_one_file_are_refused(folder: Path) -> None:
    Path("added_prediction").mkdir()
    Path("pseudo_color_prediction").symlink_to("added_prediction")
    status, said = run("predict, colours", "--force")
    assert status == 1
    assert "would be written as added_prediction/image.png and as pseudo_color_prediction/image.png" in said


def test_no_part_of_an_export_is_replaced_by_what_is_made_of_it(small_run: Path, folder: Path) -> None:
    for file in (small_run / "export").iterdir():
        Path(file.name).write_bytes(file.read_bytes())
    before = everything(folder)
    given = ["model.pdmodel", "model.pdiparams", "model.json"]
    for source in filter(os.path.exists, given):
        for other in filter(os.path.exists, [*given, "model.pdiparams.info"]):
            result = CliRunner().invoke(convert, [source, other, "--force"])
            assert result.exit_code == 1, (source, other)
            assert f"{other}: is the source itself" in result.stderr
    assert everything(folder) == before


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "README.md"])
def test_a_hub_folder_is_written_through_no_link_and_over_nothing_that_is_read(name: str, folder: Path) -> None:
    Path("hub").mkdir()
    (Path("hub") / name).symlink_to("../victim")
    with pytest.raises(ppls.ConversionError, match=f"{name}: is a link to ../victim"):
        ppls.to_hub_folder("model", "hub", force=True)
    (Path("hub") / name).unlink()
    os.link("model", Path("hub") / name)
    with pytest.raises(ppls.ConversionError, match=f"{name}: is the model itself"):
        ppls.to_hub_folder("model", "hub", force=True)
    with pytest.raises(ppls.ConversionError, match=f"{name}: is the report itself"):
        ppls.to_hub_folder("run.yml", "hub", report="model", force=True)
    with pytest.raises(ppls.ConversionError, match="hub: exists already and is not empty"):
        ppls.to_hub_folder("run.yml", "hub")
