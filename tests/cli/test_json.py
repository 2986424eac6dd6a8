"""`--json`: each field of what the commands print stands in docs/json.md, and each field there is printed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ppls.cli.output import SCHEMA
from ppls.cli.verbs import VERBS, ppls
from ppls.parity.compare import Comparison
from ppls.parity.figures import ExportFigures
from ppls.parity.program.choices import Choices
from ppls.parity.program.operations import OperationFigures
from ppls.parity.stages.stage import Stage
from tests.material import SMALL_RUN

from .test_verify import REPORT

PAGE = Path(__file__).resolve().parents[2] / "docs" / "json.md"
OTHER_PORT = """
import torch
import ppls

def build(path):
    model = ppls.load(path)
    with torch.no_grad():
        model.backbone.blocks[0].bn.weight.mul_(1.1)
    return model
"""
DRAFTED = """
import torch
import ppls

def build():
    model = ppls.load({!r})
    model.heads = model.heads[:1]
    model.extra = torch.nn.Conv2d(7, 7, 1)
    return model
"""
RUN = """
model: {type: PPLiteSeg, num_classes: 3}
val_dataset: {type: Dataset, transforms: [{type: Normalize, mean: [0.4, 0.5, 0.5]}]}
"""

TRAINING = """
batch_size: 2
iters: 10
train_dataset: {type: Dataset, dataset_root: FOLDER, train_path: FOLDER/list.txt, num_classes: 3,
                transforms: [{type: Normalize}]}
val_dataset: {type: Dataset, dataset_root: FOLDER, val_path: FOLDER/list.txt, num_classes: 3,
              transforms: [{type: Normalize}]}
optimizer: {type: SGD, momentum: 0.9}
lr_scheduler: {type: PolynomialDecay, learning_rate: 0.01}
loss: {types: [{type: CrossEntropyLoss}], coef: [1, 1, 1]}
model: {type: PPLiteSeg, backbone: {type: STDCNet, base: 8, layers: [2, 2, 2], block_num: 4}, cm_out_ch: 16,
        arm_out_chs: [8, 12, 16], seg_head_inter_chs: [8, 8, 12]}
"""

Outputs = dict[str, list[dict[str, Any]]]


def printed(*arguments: object, status: int = 0) -> dict[str, Any]:
    result = CliRunner().invoke(ppls, [*map(str, arguments), "--json"])
    assert result.exit_code == status, result.stderr
    found = json.loads(result.stdout)
    assert found["schema"] == SCHEMA
    return dict(found)


def of_an_export() -> dict[str, Any]:
    """What is printed where the checkpoint is an export; to have Paddle run one takes long."""
    figures = ExportFigures("noise 32x32", "logits", "network", Comparison(1e-6, 2e-6, 1e-6, "pass"), 1.0)
    stage = Stage(name="export", unit="outputs", compared=1, expected=1, figures=(figures,))
    return replace(REPORT, stages=(*REPORT.stages, stage)).to_json()


def of_a_program() -> dict[str, Any]:
    """What is printed where an export is verified by its program, and a class is chosen otherwise."""
    right = Comparison(1e-6, 2e-6, 1e-6, "pass")
    figures = OperationFigures(
        "noise 32x32",
        "%7",
        "operation 7",
        "argmax",
        None,
        right,
        place=7,
        alone=right,
        choices=Choices(1, 1024, 0, 1e-7),
    )
    stage = Stage(name="operators", unit="results", compared=1, expected=1, figures=(figures,))
    return replace(REPORT, stages=(*REPORT.stages, stage)).to_json()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("json")
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        Image.fromarray(rng.integers(0, 256, (32, 64, 3), dtype=np.uint8)).save(folder / f"{name}.png")
        Image.fromarray(rng.integers(0, 3, (32, 64), dtype=np.uint8)).save(folder / f"{name}_label.png")
    (folder / "list.txt").write_text("a.png a_label.png\nb.png b_label.png\n")
    (folder / "run.yml").write_text(RUN)
    (folder / "train.yml").write_text(TRAINING.replace("FOLDER", str(folder)))
    (folder / "classes.txt").write_text("road\ncar\nsky\n")
    (folder / "port_of_the_test.py").write_text(OTHER_PORT)
    return folder


@pytest.fixture(scope="module")
def converting(small_checkpoint: Path, folder: Path) -> Outputs:
    file, back = folder / "m.safetensors", folder / "back.pdparams"
    (folder / "no.pdparams").write_bytes(b"nothing")
    (folder / "drafted_by_the_test.py").write_text(DRAFTED.format(str(small_checkpoint)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        model = ("--model", "drafted_by_the_test:build")
        drafted = printed("map", "draft", small_checkpoint, *model, "-o", folder / "drafted.yaml")
        checked = printed("map", "check", folder / "drafted.yaml", small_checkpoint, *model)
    return {
        "map draft": [drafted],
        "map check": [checked],
        "map show": [printed("map", "show", folder / "drafted.yaml")],
        "convert": [
            printed(
                *("convert", small_checkpoint, file, "--config", folder / "run.yml"),
                *("--classes", folder / "classes.txt"),
            )
        ],
        "convert --program": [
            printed("convert", SMALL_RUN / "export", folder / "program", "--until", "STDCNet/ConvBNRelu")
        ],
        "convert --to paddle": [printed("convert", "--to", "paddle", file, back)],
        "inspect": [
            printed("inspect", small_checkpoint),
            printed("inspect", file),
            printed("inspect", small_checkpoint, "--set", "num_classes=7"),
        ],
        "inspect --map": [printed("inspect", "--map", "pp_liteseg")],
        "list": [printed("list")],
        "list published": [printed("list", "published", "--all")],
        "Errors": [
            printed("inspect", folder / "no.pdparams", status=1),
            printed("convert", "--no-such", status=2),
        ],
    }


@pytest.fixture(scope="module")
def using(converting: Outputs, small_checkpoint: Path, folder: Path) -> Outputs:
    file, dump = folder / "m.safetensors", folder / "reference.zip"
    quick = ("--rounds", "1", "--size", "32x64")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        wrong = ("--reference", dump, "--model", "port_of_the_test:build", "--tolerance", "output 0=1e-3")
        (folder / "bad.png").write_bytes(b"no image")
        return {
            "predict": [printed("predict", file, folder / "a.png", folder / "bad.png", "-o", folder / "out", status=1)],
            "eval": [printed("eval", file, "--data", folder / "list.txt", "--root", folder)],
            "train": [
                printed("train", folder / "train.yml", "--iters", "1", "--do-eval", "--save-dir", folder / "run")
            ],
            "export": [printed("export", file, folder / "m.pt", "--size", "64x96")],
            "bench": [printed("bench", file, *quick, "--mode", "eager", "--mode", "exported", "--dtype", "bfloat16")],
            "bench --chain": [printed("bench", file, "--chain", folder / "a.png", "--rounds", "1", "--mode", "eager")],
            "verify --dump": [
                printed("verify", small_checkpoint, "--dump", dump, "--only", "--size", "64x96", "--train-steps", "1")
            ],
            "verify": [
                printed("verify", small_checkpoint, "--reference", dump),
                printed("verify", small_checkpoint, *wrong, status=1),
                printed("verify", small_checkpoint, "--reference", dump, "--candidate", folder / "m.pt"),
                of_an_export(),
                of_a_program(),
            ],
        }


@pytest.fixture(scope="module")
def documented() -> dict[str, dict[str, str]]:
    """Of each section of the page, the fields and what is said of them."""
    found: dict[str, dict[str, str]] = {}
    for section in PAGE.read_text().split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", text, re.M)
        found[title.strip("`").removeprefix("ppls ")] = dict(rows)
        assert len(rows) == len(dict(rows)), title
    return found


def paths(value: Any, known: set[str], path: str = "") -> Iterator[str]:
    """The fields of a document, but for what stands below one whose names are anything (`config.*`)."""
    if isinstance(value, list):
        for item in value:
            yield from paths(item, known, f"{path}[]")
    if isinstance(value, dict):
        if path and f"{path}.*" in known:
            yield f"{path}.*"
            return
        for key, item in value.items():
            below = f"{path}.{key}" if path else key
            if not (isinstance(item, dict) and f"{below}.*" in known):
                yield below
            yield from paths(item, known, below)


def compare(outputs: Outputs, documented: dict[str, dict[str, str]]) -> None:
    for name, documents in outputs.items():
        known = set(documented[name])
        found = {path for document in documents for path in paths(document, known)}
        found -= {"schema"}
        # where a field is sometimes null and sometimes a table of any names, one row says so
        found -= {path.removesuffix(".*") for path in found if path.endswith(".*")}
        assert (name, found - known) == (name, set()), "is not in docs/json.md"
        assert (name, known - found) == (name, set()), "is in docs/json.md, and never printed"


def test_every_field_of_the_converting_commands_is_documented(converting: Outputs, documented: Any) -> None:
    compare(converting, documented)


def test_every_field_of_the_commands_that_use_a_model_is_documented(using: Outputs, documented: Any) -> None:
    compare(using, documented)


def test_every_command_has_its_section(documented: Any) -> None:
    assert {name.split()[0] for name in documented} == {*VERBS, "Errors"}
