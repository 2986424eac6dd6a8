"""`ppls verify` of an export by its program: each operator beside Paddle's, and the model beside both."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import nn

import ppls
from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.reader import read
from ppls.cli.verify import verify
from ppls.errors import UsageError
from ppls.models.stored import to_torch
from ppls.parity.inputs import photograph
from ppls.parity.process import ReferenceProcess
from ppls.parity.program.causes import cause_of_operation
from ppls.parity.program.choices import compare_choices
from ppls.parity.program.in_torch import TorchProgram
from ppls.parity.program.operations import OperationFigures, compare_operations, compared, results_of
from ppls.parity.program.recorded import RecordedProgram, Result, run_program, write_inputs
from ppls.parity.report.data import Report
from ppls.parity.stages.stage import Stage
from ppls.parity.tolerance import Tolerances
from ppls.programs.module import ProgramModule, load_program
from tests.conftest import Exports
from tests.material import SMALL_RUN

EXPORT = SMALL_RUN / "export"


@dataclass
class Ran:
    """What Paddle computed of every operation of a small export."""

    checkpoint: Checkpoint
    recorded: RecordedProgram
    name: str

    def module(self, **changed: tuple[int, Any]) -> ProgramModule:
        """The module, with attributes of operations changed, each to (place, value)."""
        program = load_program(self.checkpoint.path).program
        for attribute, (place, value) in changed.items():
            steps = tuple(
                step._replace(attributes={**step.attributes, attribute: value}) if step.place == place else step
                for step in program.steps
            )
            program = program._replace(steps=steps)
        names = set(program.weights.values())
        tensors = to_torch({name: self.checkpoint.stored(name) for name in names})
        return ProgramModule(program, tensors).eval()

    def compared(self, module: ProgramModule) -> tuple[Stage, OperationFigures | None]:
        """The stage, and the first operation that fails."""
        stage = compare_operations(self.recorded, self.name, module, Tolerances.given(1e-4).during("float32", []))
        wrong = [each for each in stage.figures if isinstance(each, OperationFigures) and each.verdict == "fail"]
        return stage, wrong[0] if wrong else None


@pytest.fixture(scope="module", params=["pir", "pdmodel"])
def ran(request: pytest.FixtureRequest, exports: Exports, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    pytest.importorskip("paddle")
    checkpoint = read(exports[request.param])
    folder = tmp_path_factory.mktemp("paddle")
    given = photograph("coffee", 65, 97)
    with ReferenceProcess(folder, packages=("paddlepaddle",)) as process:
        files = write_inputs([given], folder)
        values = results_of(load_program(checkpoint.path))
        recorded = run_program(process, checkpoint, values, files, folder, "operators", dtype="float32", timeout=300)
        yield Ran(checkpoint, recorded, given.name)


def test_every_operation_agrees_in_the_run_and_alone(ran: Ran) -> None:
    stage, wrong = ran.compared(ran.module())
    assert wrong is None
    assert stage.verdict == "pass"
    assert stage.compared == stage.expected > 100
    assert all(isinstance(each, OperationFigures) and each.alone is not None for each in stage.figures)


OTHER = {  # of each attribute another value: what torch or another release takes for it, or its opposite
    "epsilon": lambda value: 1e-3,
    "align_corners": lambda value: not value,
    "align_mode": lambda value: 1 - value,
    "exclusive": lambda value: not value,
    "ceil_mode": lambda value: not value,
    "pooling_type": lambda value: "avg" if value == "max" else "max",
    "keep_dim": lambda value: not value,
    "keepdim": lambda value: not value,
    "slope": lambda value: value * 2,
    "bias_after_scale": lambda value: not value,
    "paddings": lambda value: [side + 1 for side in value],
}
HARMLESS = {  # where an attribute says nothing: its other value is no fault
    "align_mode": lambda step: step.attributes.get("align_corners") or step.attributes["interp_method"] == "nearest",
    "align_corners": lambda step: step.attributes["interp_method"] == "nearest",
    "exclusive": lambda step: step.attributes["pooling_type"] == "max" or not any(step.attributes["paddings"]),
    "bias_after_scale": lambda step: step.attributes.get("scale") == 1.0 or step.attributes.get("bias") == 0.0,
}


def test_a_fault_in_any_attribute_of_an_operator_is_found_where_it_is(ran: Ran) -> None:
    found: dict[tuple[str, str], bool] = {}
    for step in ran.module().program.steps:
        for attribute, other in OTHER.items():
            value = step.attributes.get(attribute)
            key = step.kind, attribute
            if value is None or found.get(key) or HARMLESS.get(attribute, lambda step: False)(step):
                continue
            try:
                stage, wrong = ran.compared(ran.module(**{attribute: (step.place, other(value))}))
            except ppls.Error:
                continue  # refused before it runs
            assert wrong is None or wrong.place == step.place, key
            assert not stage.failures or wrong is not None or f"operation {step.place}" in stage.failures[0], key
            # one map of a single pixel is resized alike with any corners: then another place tells
            found[key] = found.get(key, False) or wrong is not None or bool(stage.failures)
    hidden = {key for key, seen in found.items() if not seen}
    assert {attribute for _, attribute in hidden} <= {"ceil_mode", "exclusive"}  # nothing is rounded up, or padded
    assert len(found) - len(hidden) >= 4


def test_the_cause_names_the_attribute(ran: Ran) -> None:
    norm = next(step for step in ran.module().program.steps if step.kind.startswith("batch_norm"))
    module = ran.module(epsilon=(norm.place, 1e-3))
    _, wrong = ran.compared(module)
    assert wrong is not None
    assert wrong.place == norm.place
    assert wrong.kind == norm.kind
    assert norm.layer in wrong.target
    cause = cause_of_operation(ran.recorded, ran.name, module, wrong)
    assert cause is not None
    assert "epsilon = 1e-05 in the place of 0.001" in cause


def test_a_wrong_weight_is_found_at_its_operation(ran: Ran) -> None:
    module = ran.module()
    weight = next(each for each in module.weights() if getattr(each.owner, each.name).dim() == 4)
    place = next(
        step.place for step in module.program.steps if any(weight.value in each for each in step.inputs.values())
    )
    with torch.no_grad():
        getattr(weight.owner, weight.name).mul_(1.001)
    _, wrong = ran.compared(module)
    assert wrong is not None
    assert wrong.place == place


def test_ties_fall_either_way_and_near_ties_by_their_margin() -> None:
    scores = np.array([[1.0, 1.0, 0.5], [0.2, 0.9, 0.9 - 1e-6], [0.1, 0.2, 1.0]], np.float32)
    own = scores.argmax(axis=1)
    at = {"axis": 1, "tolerance": 1e-4, "floor": None}
    assert compare_choices(scores, own, own, **at)[1] is None
    near, choices = compare_choices(scores, own, np.array([1, 2, 2]), **at)
    assert near.verdict == "pass"
    assert choices is not None
    assert (choices.differ, choices.of, choices.ties) == (2, 3, 1)
    assert choices.margin == pytest.approx(1e-6, rel=0.1)
    assert compare_choices(scores, own, np.array([2, 1, 2]), **at)[0].verdict == "fail"
    assert compare_choices(scores, own, np.array([3, 1, 2]), **at)[0].verdict == "fail"
    assert compare_choices(scores, own, np.array([0.0, 1.0, 2.0]), **at)[0].verdict == "fail"


@pytest.mark.parametrize(("other", "verdict"), [(-np.inf, "pass"), (np.inf, "fail"), (1.0, "fail"), (np.nan, "fail")])
def test_the_same_infinity_is_the_same_number(other: float, verdict: str) -> None:
    masked = np.array([0.5, -np.inf, 1.0], np.float32)
    found = compared(Result(masked, 1e-7, "mask"), np.array([0.5, other, 1.0], np.float32), 1e-5)
    assert found.verdict == verdict


def test_without_paddle_the_model_is_compared_and_the_operators_are_said_not_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "report.html"
    arguments = [str(EXPORT), "--program", "--json", "--report", str(page), "--size", "64x128", "--only"]
    without = tmp_path / "paddle"
    without.mkdir()
    (without / "__init__.py").write_text("raise ImportError('no paddle here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = CliRunner().invoke(verify, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["verdict"] == "pass"
    assert found["reference"] == "the program in torch"
    assert any("operators in torch are not proven" in line for line in found["warnings"])
    assert [stage["ran"] for stage in found["coverage"] if stage["stage"] == "operators"] == [False]
    assert "The program in torch against" in page.read_text()


def test_a_witness_in_torch_has_the_floor_of_its_own_rounding() -> None:
    module = load_program(EXPORT)
    height, width = (side if side > 0 else 64 for side in module.input_shape[2:])
    witness = TorchProgram(module, [photograph("coffee", height, width)])
    (name,) = witness.inputs
    floors = [each.floor for each in witness.on(name).values() if each.array.dtype.kind == "f"]
    assert floors
    assert all(floor is not None and 0 < floor < 1e-5 for floor in floors)


@pytest.fixture
def unknown(exports: Exports, tmp_path: Path) -> Path:
    """An export whose weights no map knows."""
    export = shutil.copytree(exports["pdmodel"], tmp_path / "unknown")
    (info,) = export.glob("*.info")
    names = read(export).name_table
    info.write_bytes(pickle.dumps({variable: {"structured_name": f"net.{name}"} for name, variable in names.items()}))
    return export


class Port(nn.Module):
    """A port of that, which takes the export's own names."""

    def __init__(self, export: Path, times: float = 1.0) -> None:
        super().__init__()
        self.program = [load_program(export).logits()]  # whose weights are no part of the port's names
        self.net = self.program[0].net
        self.times = times

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.times * self.program[0](image)[0]


TORCH = {"_mean": "running_mean", "_variance": "running_var"}


def map_of_equals(names: list[str]) -> str:
    """A map to layers of the same names."""
    layers: dict[str, list[str]] = {}
    for name in names:
        layer, _, end = name.rpartition(".")
        layers.setdefault(layer, []).append(end)
    kinds = {"_".join(ends): {end: TORCH.get(end, end) for end in ends} for ends in layers.values()}
    rows = [[layer, layer, "_".join(ends)] for layer, ends in layers.items()]
    return json.dumps({"format": 2, "architecture": "Net", "target": "none", "layers": kinds, "modules": rows})


def test_a_port_of_an_export_that_no_map_knows_is_held_against_paddles_run_of_it(unknown: Path, tmp_path: Path) -> None:
    pytest.importorskip("paddle")
    names = list(read(unknown))
    own = tmp_path / "own.yaml"
    own.write_text(map_of_equals(names))

    def build(path: Path, times: float = 1.0, scaled: str | None = None) -> Port:
        port = Port(unknown, times)
        tensors = load_file(path)
        if scaled is not None:
            tensors[scaled] *= 1.01
        port.load_state_dict(tensors)
        return port

    def judged(make: Any, **options: Any) -> Report:
        return ppls.verify(unknown, model=make, sizes=[(64, 96)], only=True, layers=False, **options)

    right = judged(build, map=own)
    stages = {stage.name: stage for stage in right.stages}
    assert right.verdict == "pass"
    assert (stages["weights"].compared, stages["weights"].verdict) == (len(names), "pass")
    assert (stages["model"].compared, stages["model"].expected) == (2, 2)
    assert right.candidate.startswith("the program in torch and ")
    weight = next(name for name in Port(unknown).state_dict() if name.endswith("conv.weight"))
    wrong = judged(partial(build, scaled=weight), map=own)
    assert {stage.name for stage in wrong.stages if stage.verdict == "fail"} == {"weights", "model"}
    assert any("the program in torch agrees with Paddle" in line for line in wrong.failures)
    ppls.convert(unknown, tmp_path / "port.safetensors", map=own)
    other = judged(partial(build, times=1.001), converted=tmp_path / "port.safetensors")
    assert {stage.name for stage in other.stages if stage.verdict == "fail"} == {"model"}
    with pytest.raises(UsageError, match="--model: give the --map that leads from the export to it"):
        judged(build)


@pytest.mark.parametrize(
    "option",
    [{"train_steps": 1}, {"architecture": "PPLiteSeg"}, {"map": "own.yaml"}],
)
def test_what_a_program_does_not_have_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="a program is verified as it is"):
        ppls.verify(EXPORT, program=True, **option)
