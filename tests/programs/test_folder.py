"""A folder that an export was converted to: the same module of its description and of its code, whole or not at all."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import ppls
from ppls.checkpoint.reader import read
from ppls.cli.convert import convert
from ppls.errors import CheckpointError, ConversionError
from ppls.programs.code.network import code_of
from ppls.programs.folder import CODE, FILES, PROGRAM, WEIGHTS
from ppls.programs.module import ProgramModule
from tests.conftest import Exports
from tests.material import SMALL_RUN

EXPORT = SMALL_RUN / "export"
ROUNDING = 1e-6  # of the largest logit: a convolution adds its bias itself, the program afterwards


@pytest.fixture(scope="module", params=["pir, fixed", "pdmodel, open"])
def export(request: pytest.FixtureRequest, exports: Exports) -> Path:
    return EXPORT if request.param == "pir, fixed" else exports["pdmodel"]


@pytest.fixture(scope="module")
def folder(export: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    destination = tmp_path_factory.mktemp("folder") / "out"
    assert ppls.convert_program(export, destination).code
    return destination


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder of a single convolution, to be damaged."""
    destination = tmp_path / "small"
    ppls.convert_program(EXPORT, destination, until="STDCNet/ConvBNRelu")
    return destination


def executed(code: str) -> nn.Module:
    names: dict[str, Any] = {}
    exec(compile(code, CODE, "exec"), names)
    network: nn.Module = names["Network"]()
    return network


def of_code(folder: Path) -> nn.Module:
    network = executed((folder / CODE).read_text())
    network.load_state_dict(ppls.load(folder).state_dict(), strict=True)
    return network.eval()


def images(model: ProgramModule) -> list[Tensor]:
    batch, channels, height, width = model.input_shape
    random = torch.Generator().manual_seed(0)
    if height > 0:
        return [torch.randn(batch, channels, height, width, generator=random)]
    return [torch.randn(n, channels, h, w, generator=random) for n, h, w in ((2, 64, 96), (1, 97, 161), (3, 128, 32))]


@torch.no_grad()
def test_the_folder_loads_as_the_module_that_it_was_written_of(export: Path, folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    first, second = ppls.load(export, program=True), ppls.load(folder)
    assert isinstance(second, ProgramModule)
    assert second.usage.to_json() == first.usage.to_json()
    for image in images(second):
        for a, b in zip(first(image), second(image), strict=True):
            assert torch.equal(a, b)
    assert set(read(folder / WEIGHTS)) == set(second.state_dict())


@torch.no_grad()
def test_the_code_makes_the_same_module_and_the_same_numbers(export: Path, folder: Path) -> None:
    model, network = ppls.load(folder), of_code(folder)
    assert network.state_dict().keys() == model.state_dict().keys()
    for image in images(model):
        for wanted, found in zip(model(image), network(image), strict=True):
            assert found.shape == wanted.shape
            if wanted.is_floating_point():
                assert float((found - wanted).abs().max()) <= ROUNDING * float(wanted.abs().max())
            else:
                assert float((found == wanted).double().mean()) > 0.999
    in_double = network.double()(image.double())[0]
    assert in_double.dtype == (torch.float64 if wanted.is_floating_point() else wanted.dtype)


def test_the_code_trains_as_the_module_does(folder: Path) -> None:
    model, network = ppls.load(folder).logits().double().train(), of_code(folder).double().train()
    (image, *_) = images(model)
    image = torch.cat([image, image.flip(3)]).double() if model.input_shape[0] == -1 else image.double()
    with torch.no_grad():
        model(image), network(image)
    for name, buffer in network.named_buffers():
        assert torch.allclose(buffer, model.get_buffer(name), rtol=1e-9, atol=1e-12), name


def test_the_code_imports_torch_alone_and_writes_a_repeated_block_once(folder: Path) -> None:
    tree = ast.parse((folder / CODE).read_text())
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert {name.split(".")[0] for name in imported} == {"torch"}
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    texts = [ast.unparse(ast.Module(node.body, [])) for node in classes]
    assert len(set(texts)) > 10
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    made = {node.func.id for node in calls if isinstance(node.func, ast.Name)}
    uses = [sum(getattr(call.func, "id", "") == name for call in calls) for name in made]
    assert max(uses) > 3  # the block of a convolution and its batch norm


def test_names_from_a_file_are_data_in_the_code_and_never_run(small: Path) -> None:
    hostile = 'x"); raise SystemExit("ran"); ("'
    model = ppls.load(small)
    program = model.program
    (first, *_) = program.weights
    names = {value: name if value != first else f"a.{hostile}" for value, name in program.weights.items()}
    steps = tuple(step._replace(layer=f"/{hostile}/{step.layer}") for step in program.steps)
    inputs = tuple(each._replace(name=hostile) for each in program.inputs)
    own = model.names()
    tensors = {names[value]: model.state_dict()[own[value]] for value in names}
    attacked = ProgramModule(
        program._replace(weights=names, steps=steps, inputs=inputs, source=hostile), tensors
    ).eval()
    code = code_of(attacked)
    network = executed(code)
    network.load_state_dict(attacked.state_dict(), strict=True)
    (image,) = images(model)
    with torch.no_grad():
        assert torch.allclose(network.eval()(image)[0], model(image)[0], atol=1e-5)


def test_load_runs_no_code_that_it_finds(small: Path, tmp_path: Path) -> None:
    (small / CODE).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit('ran')\n")
    ppls.load(small)
    assert not (tmp_path / "ran").exists()


def rewritten(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Changes the description, and the digest of it with the weights."""
    from ppls.checkpoint.converted_file import write_converted_file

    document = json.loads((folder / PROGRAM).read_bytes())
    change(document)
    content = json.dumps(document).encode()
    (folder / PROGRAM).write_bytes(content)
    weights = read(folder / WEIGHTS)
    metadata = {**weights.metadata, "program_sha256": hashlib.sha256(content).hexdigest()}
    tensors = {name: weights.stored(name) for name in weights}
    write_converted_file(folder / "new.safetensors", tensors, metadata)
    (folder / "new.safetensors").replace(folder / WEIGHTS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda document: document.update(format=2), "it is of format 2, this ppls reads 1"),
        (lambda document: document.pop("steps"), "it lacks a part"),
        (lambda document: document.update(outputs=[10**6]), "it returns what nothing gives"),
        (lambda document: document["steps"].reverse(), "takes what is not there yet"),
        (lambda document: document["steps"].append(document["steps"][0]), "numbers two operations alike"),
        (lambda document: document["steps"][0].update(kind=["conv2d"]), "stands where a text belongs"),
        (lambda document: document["steps"][0]["inputs"].update(Input=[True]), "where a number of a value belongs"),
        (lambda document: document["steps"][0]["attributes"].update(strides={"a": 1}), "an attribute is no number"),
        (lambda document: document["steps"][0].update(kind="exec"), "unknown operator exec"),
        (lambda document: document["steps"][0]["attributes"].update(strides=[0, 2]), "strides"),
        (lambda document: document["weights"].update({"x": "y"}), "where a number of a value belongs"),
        (lambda document: document["inputs"][0].update(shape=[1 << 40]), "an input is without a shape"),
    ],
)
def test_a_damaged_description_is_one_message(small: Path, change: Callable[[Any], Any], said: str) -> None:
    rewritten(small, change)
    with pytest.raises((CheckpointError, ConversionError)) as caught:
        ppls.load(small)
    assert said in str(caught.value)


def test_a_description_of_other_weights_is_refused(small: Path) -> None:
    with (small / PROGRAM).open("ab") as file:
        file.write(b" ")
    with pytest.raises(CheckpointError, match=r"program\.json: is not the program that model\.safetensors was written"):
        ppls.load(small)
    (small / PROGRAM).unlink()
    with pytest.raises(CheckpointError, match=r"program\.json: "):
        ppls.load(small)


def test_an_existing_folder_is_kept_and_nothing_is_half_written(small: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in small.iterdir()}
    with pytest.raises(ConversionError, match="exists already"):
        ppls.convert_program(EXPORT, small)
    assert {path.name: path.read_bytes() for path in small.iterdir()} == before
    ppls.convert_program(EXPORT, small, until="STDCNet/ConvBNRelu", force=True)
    assert {path.name: path.read_bytes() for path in small.iterdir()} == before
    (tmp_path / "file").touch()
    with pytest.raises(ConversionError, match="is no folder"):
        ppls.convert_program(EXPORT, tmp_path / "file")


def test_an_operator_that_is_unknown_leaves_no_folder(tmp_path: Path) -> None:
    own = shutil.copytree(EXPORT, tmp_path / "own")
    program = own / "model.json"
    program.write_text(program.read_text().replace('"1.relu"', '"1.no_such_operator"'))
    with pytest.raises(ConversionError, match=r"unknown operator no_such_operator, \d+ times: operation") as caught:
        ppls.convert_program(own, tmp_path / "out")
    assert len(caught.value.problems) == 1
    assert not (tmp_path / "out").exists()


def test_the_command_writes_a_folder_and_says_what_is_in_it(tmp_path: Path) -> None:
    given = [str(EXPORT), str(tmp_path / "out"), "--until", "STDCNet", "--json"]
    result = CliRunner().invoke(convert, given)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["program"]["code"]
    assert told["program"]["operators"]["conv2d"] > 20
    assert told["tensors"]["written"] == len(read(tmp_path / "out" / WEIGHTS))
    refused = CliRunner().invoke(convert, [*given[:2], "--program", "--dtype", "float16", "--force"])
    assert refused.exit_code == 2
    assert "a program is converted as it is" in refused.output
