"""Models that `ppls.load` and the commands make of an export's program."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import ppls
from ppls.checkpoint.reader import read
from ppls.cli.predict import predict
from ppls.programs.module import ProgramModule
from tests.conftest import Exports
from tests.material import SMALL_RUN

EXPORT = SMALL_RUN / "export"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The small run's export, to be changed."""
    return shutil.copytree(EXPORT, tmp_path / "own")


def edited(export: Path, change) -> None:
    program = export / "model.json"
    document = json.loads(program.read_bytes())
    change(document["program"]["regions"][0]["blocks"][0]["ops"])
    program.write_text(json.dumps(document))


def test_an_export_that_no_map_knows_becomes_its_program(exports: Exports, tmp_path: Path) -> None:
    export = shutil.copytree(exports["pdmodel"], tmp_path / "own")
    (info,) = export.glob("*.info")
    names = read(export).name_table
    info.write_bytes(pickle.dumps({variable: {"structured_name": f"net.{name}"} for name, variable in names.items()}))
    model = ppls.load(export)
    assert isinstance(model, ProgramModule)
    assert not model.training
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(model(image)[0], ppls.load(exports["pdmodel"], program=True)(image)[0])
    with pytest.raises(ppls.ConversionError, match="not a checkpoint of an architecture that ppls knows"):
        ppls.load(export, program=False)


def test_names_that_no_map_finds_become_the_programs_too(own: Path) -> None:
    variables = read(own)

    def renamed(operations):
        for operation in operations:
            if operation["#"] == "p":
                operation["A"][3] = operation["A"][3].replace("conv2d_", "convolution_")

    edited(own, renamed)
    model = ppls.load(own)
    assert isinstance(model, ProgramModule)
    assert len(variables) == len(model.state_dict())


def test_what_is_beside_a_program_says_how_images_are_prepared_and_predict_uses_it(tmp_path: Path) -> None:
    model = ppls.load(EXPORT, program=True)
    assert model.usage.preprocessing == ppls.load(EXPORT).usage.preprocessing
    photograph = next((SMALL_RUN / "golden").glob("*.npz"))
    pixels = (np.load(photograph)["input"][0].transpose(1, 2, 0) * 100).clip(0, 255).astype(np.uint8)
    from PIL import Image

    image = tmp_path / "image.png"
    Image.fromarray(pixels).save(image)
    given = [str(EXPORT), str(image), "--json", "--output"]
    for name, more in (("map", []), ("program", ["--program"])):
        result = CliRunner().invoke(predict, [*given, str(tmp_path / name), *more])
        assert result.exit_code == 0, result.output
    first, second = (
        np.asarray(Image.open(tmp_path / name / "pseudo_color_prediction" / "image.png")) for name in ("map", "program")
    )
    assert np.array_equal(first, second)
    assert first.shape == pixels.shape[:2]


def test_tensors_that_the_program_does_not_use_are_said(own: Path) -> None:
    def returning_the_first_convolution(operations):
        first = next(operation for operation in operations if operation["#"] == "1.conv2d")
        last = next(operation for operation in operations if operation["#"] == "1.fetch")
        last["I"][0]["%"] = first["O"][0]["%"]

    edited(own, returning_the_first_convolution)
    with pytest.warns(UserWarning, match=r"of \d+ tensors are not used by what the program returns, and left out"):
        model = ppls.load(own, program=True)
    assert len(model.state_dict()) == 1


def test_until_gives_a_part_by_number_or_by_layer() -> None:
    whole = ppls.load(EXPORT, program=True)
    part = ppls.load(EXPORT, until="STDCNet")
    last = [step for step in whole.program.steps if "/STDCNet/" in step.layer][-1]
    assert part.program.steps[-1] == last
    assert len(part.state_dict()) < len(whole.state_dict())
    assert ppls.load(EXPORT, until=str(last.place)).program == part.program
    with pytest.raises(ppls.UsageError, match="--until nowhere: no operation has this number, and no layer this name"):
        ppls.load(EXPORT, until="nowhere")


def test_a_program_takes_no_options_and_a_checkpoint_has_none() -> None:
    with pytest.raises(ppls.UsageError, match="'num_classes': a model that is made from a program has no options"):
        ppls.load(EXPORT, program=True, num_classes=3)
    with pytest.raises(ppls.CheckpointError, match="no export: no program"):
        ppls.load(SMALL_RUN / "model.pdparams", program=True)


def test_a_program_without_logits_is_said_before_images_are_predicted(own: Path) -> None:
    def returning_a_shape(operations):
        last = next(operation for operation in operations if operation["#"] == "1.fetch")
        first = next(operation for operation in operations if operation["#"] == "1.full_int_array")
        last["I"][0]["%"] = first["O"][0]["%"]

    edited(own, returning_a_shape)
    model = ppls.load(own, program=True)
    with pytest.raises(ppls.ConversionError, match="gives an array of shape"):
        model.logits()(torch.zeros(1, *[side if side > 0 else 64 for side in model.input_shape[1:]]))
