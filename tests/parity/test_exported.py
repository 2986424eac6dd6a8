"""The export itself, run by Paddle: what it does beside PaddleSeg's network, and that nothing else of it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import nn

import ppls
from ppls.checkpoint.pure_program import PureProgram
from ppls.checkpoint.reader import read
from ppls.converter.convert import convert
from ppls.errors import ParityError
from ppls.parity.dump import dump_reference
from ppls.parity.exported import RecordedExport, input_of, program_of, run_export
from ppls.parity.figures import ExportFigures, OutputFigures
from ppls.parity.inputs import noise, photograph
from ppls.parity.judge import judge
from ppls.parity.source import Request, Source
from ppls.parity.stages.export import compare_export
from ppls.parity.stages.outputs import compare_outputs
from ppls.parity.stages.stage import Stage
from ppls.parity.tolerance import Tolerances
from tests.checkpoint.programs import CLASSES, CONV, END, START, altered, attribute, operation, pdmodel, value
from tests.checkpoint.streams import field, tensor
from tests.parity.conftest import Recorded, record

MEMORY = 1 << 30


@pytest.fixture(scope="module")
def recorded(exports, reference, folder) -> Recorded:
    """PaddleSeg's network with the options of the export, on two inputs."""
    export = exports["pir"] / "model.pdiparams"
    return record(reference, export, folder, [noise(64, 96), photograph("coffee", 65, 97)], layers=False)


@pytest.fixture
def run(reference, recorded, folder) -> Callable[[Path], RecordedExport]:
    """Has Paddle run an export of the same weights."""

    def run(path: Path) -> RecordedExport:
        conversion = convert(path, None)
        program = program_of(conversion)
        assert program is not None
        return run_export(reference, conversion, program, recorded.recording.job, folder, memory=MEMORY, timeout=120)

    return run


def figures_of(stage: Stage) -> list[ExportFigures]:
    return [found for found in stage.figures if isinstance(found, ExportFigures)]


def stage_of(export: RecordedExport, recorded: Recorded, module: nn.Module | None = None) -> Stage:
    module = module or recorded.candidate()
    outputs, _ = compare_outputs(recorded.recording, module, Tolerances())
    compared = [found for found in outputs.figures if isinstance(found, OutputFigures)]
    return compare_export(export, recorded.recording, module, Tolerances(), compared)


def set_attribute(operation: dict[str, Any], name: str, found: Any) -> None:
    (entry,) = [entry for entry in operation["A"] if entry["N"] == name]
    entry["AT"]["D"] = found


@pytest.mark.parametrize("form", ["pir", "pdmodel"])
def test_an_export_is_its_network_bit_for_bit_and_the_candidate_to_the_floor(exports, run, recorded, form):
    stage = stage_of(run(exports[form]), recorded)
    assert (stage.verdict, stage.compared, stage.expected, stage.gap) == ("pass", 2, 2, None)
    assert [found.against for found in figures_of(stage)] == ["network", "candidate"] * 2
    assert [found.comparison.scaled for found in figures_of(stage) if found.against == "network"] == [0, 0]
    assert stage.scope is None


def test_an_export_of_another_function_with_the_same_options_is_found(exports, run, recorded):
    """Nothing but its operations tells: the tensors and all options are those of the right one."""
    export = run(exports["altered"])
    report = judge(recorded.recording, recorded.candidate(), recorded.conversion, export=export)
    assert report.verdict == "fail"
    assert all(output.verdict == "pass" for output in report.outputs)
    (failure,) = report.failures
    assert "the export is another function than the network that PaddleSeg builds" in failure
    assert failure.endswith("; the candidate agrees with the network")


def test_a_candidate_that_does_what_an_altered_export_does_is_said_to(exports, run, recorded):
    module = recorded.candidate()
    for part in module.modules():
        if isinstance(part, nn.AvgPool2d):
            part.count_include_pad = True
    (failure,) = stage_of(run(exports["altered"]), recorded, module).failures
    assert failure.endswith("; the candidate agrees with the export")


def a_resize_of_logits(operations: list[dict[str, Any]]) -> None:
    last = [operation for operation in operations if operation["#"] == "1.bilinear_interp"][-1]
    last["#"] = "1.nearest_interp"
    set_attribute(last, "interp_method", "nearest")


def a_kernel(operations: list[dict[str, Any]]) -> None:
    """A dilated convolution of the same shape."""
    one, two = ([{"#": "0.a_i32", "D": side}] * 2 for side in (1, 2))
    convolutions = [found for found in operations if found["#"] == "1.conv2d"]
    padded = next(found for found in convolutions if [entry["AT"]["D"] for entry in found["A"][:2]] == [one, one])
    set_attribute(padded, "paddings", two)
    set_attribute(padded, "dilations", two)


def an_activation(operations: list[dict[str, Any]]) -> None:
    [operation for operation in operations if operation["#"] == "1.relu"][-1]["#"] = "1.tanh"


def a_maximum(operations: list[dict[str, Any]]) -> None:
    pools = [operation for operation in operations if operation["#"] == "1.pool2d"]
    set_attribute(pools[0], "pooling_type", "max")


@pytest.mark.parametrize("change", [a_resize_of_logits, a_kernel, an_activation, a_maximum])
def test_what_no_option_shows_is_found(exports, run, recorded, tmp_path, change):
    stage = stage_of(run(altered(exports["pir"], tmp_path, change)), recorded)
    assert "is another function than the network" in stage.failures[0]
    assert stage.verdict == "fail"


def end_in(kind: str, code: str, **attributes: tuple[str, Any]) -> Callable[[list[dict[str, Any]]], None]:
    """Has an export of PIR end as PaddleSeg's `--output_op` has it."""

    def change(operations: list[dict[str, Any]]) -> None:
        fetch = operations[-1]
        logits = fetch["I"][0]["%"]
        axis = {"#": "0.t_dtensor", "D": [{"#": "0.t_i64"}, [1], "NCHW", [], 0]}
        full = {
            "#": "1.full",
            "A": [
                {"AT": {"#": "1.a_intarray", "D": [1]}, "N": "shape"},
                {"AT": {"#": "0.a_f64", "D": 1.0}, "N": "value"},
                {"AT": {"#": "1.a_dtype", "D": "int64"}, "N": "dtype"},
                {"AT": {"#": "1.a_place", "D": [1, 0, ""]}, "N": "place"},
            ],
            "I": [],
            "O": [{"%": 90001, "TT": axis}],
            "OA": [],
        }
        shape = [-1, -1, -1] if kind == "1.argmax" else [-1, 3, -1, -1]
        type_ = {"#": "0.t_dtensor", "D": [{"#": code}, shape, "NCHW", [], 0]}
        ending = {
            "#": kind,
            "A": [{"AT": {"#": of, "D": found}, "N": name} for name, (of, found) in attributes.items()],
            "I": [{"%": logits}, *([{"%": 90001}] if kind == "1.argmax" else [])],
            "O": [{"%": 90002, "TT": type_}],
            "OA": [],
        }
        fetch["I"][0]["%"] = 90002
        fetch["O"][0]["TT"] = type_
        operations[-1:] = [full, ending, fetch]

    return change


ARGMAX = end_in(
    "1.argmax",
    "0.t_i32",
    keepdims=("0.a_bool", False),
    flatten=("0.a_bool", False),
    dtype=("1.a_dtype", "int32"),
)
SOFTMAX = end_in("1.softmax", "0.t_f32", axis=("0.a_i32", 1))
SOFTMAX_ELSEWHERE = end_in("1.softmax", "0.t_f32", axis=("0.a_i32", 3))


@pytest.mark.parametrize("change", [ARGMAX, SOFTMAX], ids=["classes", "probabilities"])
def test_an_export_that_ends_in_classes_or_probabilities_is_compared_by_its_logits(
    exports, run, recorded, tmp_path, change
):
    stage = stage_of(run(altered(exports["pir"], tmp_path, change)), recorded)
    assert stage.verdict == "pass"
    assert [found.against for found in figures_of(stage)] == ["network", "candidate", "logits"] * 2


def test_probabilities_over_something_else_than_the_classes_are_found(exports, run, recorded, tmp_path):
    stage = stage_of(run(altered(exports["pir"], tmp_path, SOFTMAX_ELSEWHERE)), recorded)
    assert [line[:50] for line in stage.failures] == ["the export does not make of its logits what it sho"]


def fixed(operations: list[dict[str, Any]]) -> None:
    (data,) = [operation for operation in operations if operation["#"] == "1.data"]
    set_attribute(data, "shape", [1, 3, 64, 96])
    data["O"][0]["TT"]["D"][1] = [1, 3, 64, 96]


def test_an_export_of_one_size_says_what_it_was_not_run_on(exports, run, recorded, tmp_path):
    path = altered(exports["pir"], tmp_path, fixed)
    stage = stage_of(run(path), recorded)
    assert (stage.verdict, stage.on, stage.gap) == ("pass", ("noise 64x96",), None)
    assert stage.scope == "it takes 1x3x64x96 alone; 1 inputs of the run are otherwise: coffee 65x97"
    program = program_of(convert(path, None))
    assert isinstance(program, PureProgram)
    own = input_of(program, 3)
    assert own is not None
    assert own.array.shape == (1, 3, 64, 96)


def test_an_operator_that_is_not_on_the_list_is_named_and_nothing_is_run(exports, recorded, tmp_path):
    def save(operations: list[dict[str, Any]]) -> None:
        save = {"AT": {"#": "0.a_str", "D": str(tmp_path / "written")}, "N": "file_path"}
        tensor = operations[-1]["I"]
        operations.insert(-1, {"#": "1.save_combine", "A": [save], "I": tensor, "O": [], "OA": []})

    conversion = convert(altered(exports["pir"], tmp_path, save), None)
    why = program_of(conversion)
    assert isinstance(why, str)
    stage = stage_of(RecordedExport(tmp_path, why=why), recorded)
    assert not stage.ran
    assert "it has a text" in why or "it runs 'save_combine', which is not on ppls's list" in why
    report = judge(recorded.recording, recorded.candidate(), conversion, export=RecordedExport(tmp_path, why=why))
    assert report.verdict == "pass"
    assert replace(report, strict=True).verdict == "inconclusive"
    assert any(line.startswith("export: nothing compared: ") for line in report.unproven)


def test_with_other_resizes_it_is_not_run(recorded, folder):
    program = program_of(recorded.conversion)
    assert program is not None
    other = replace(recorded.recording.job, upsample="nearest")
    found = run_export(None, recorded.conversion, program, other, folder, memory=0)  # type: ignore[arg-type]
    assert "it is run without --upsample" in str(found.why)


@pytest.mark.parametrize("form", ["pir", "pdmodel"])
def test_in_double_precision_an_export_agrees_to_many_digits(exports, reference, folder, form):
    inputs = [noise(64, 64), photograph("coffee", 65, 97)]  # of ratios that float32 holds, and does not
    double = record(reference, exports[form], folder, inputs, layers=False, dtype="float64")
    program = program_of(double.conversion, double=True)
    assert isinstance(program, PureProgram)
    export = run_export(reference, double.conversion, program, double.recording.job, folder, memory=MEMORY)
    module = double.candidate().double()
    stage = compare_export(export, double.recording, module, Tolerances().during("float64", []))
    assert (stage.verdict, stage.gap) == ("pass", None)
    assert len(stage.figures) == 4
    assert all((found.comparison.scaled or 0.0) < 1e-6 for found in figures_of(stage))


def test_a_process_that_dies_is_the_reason_and_is_started_anew(recorded, folder):
    program = program_of(recorded.conversion)
    assert program is not None
    renewed = []

    def die(*_: object) -> None:
        raise ParityError("the reference process was ended by SIGSEGV", ["| its last words"])

    process = SimpleNamespace(run=die, renew=lambda: renewed.append(True))
    found = run_export(process, recorded.conversion, program, recorded.recording.job, folder, memory=0)  # type: ignore[arg-type]
    assert found.why == "Paddle does not run it: the reference process was ended by SIGSEGV"
    assert renewed == [True]


def by_hand(folder: Path, content: bytes) -> SimpleNamespace:
    """What a conversion has of an export that is written by hand: a convolution, and its classes."""
    (folder / "model.pdmodel").write_bytes(content)
    arrays = {"unused": np.zeros(2, np.float32), "w": np.ones((5, 3, 1, 1), np.float32)}
    (folder / "model.pdiparams").write_bytes(b"".join(tensor(arrays[name]) for name in sorted(arrays)))
    checkpoint = read(folder)
    return SimpleNamespace(checkpoint=checkpoint, sha256=checkpoint.sha256)


def huge() -> bytes:
    """A tensor of 256 GiB, made of one of the largest that may stand in a program."""
    made = operation("fill_constant", {}, {"Out": ["m"]}, attribute("shape", 11, field(15, 1 << 24)))
    shape = field(6, 1 << 12) + field(6, 1 << 24)
    wide = operation("expand_v2", {"X": ["m"]}, {"Out": ["n"]}, attribute("shape", 3, shape))
    values = value("m", 5, 1 << 24), value("n", 5, 1 << 12, 1 << 24)
    return pdmodel(*START[:5], *values, START[5], CONV, made, wide, CLASSES, END)


def misfit() -> bytes:
    """A convolution of weights by themselves."""
    wrong = operation("matmul_v2", {"X": ["w"], "Y": ["x"]}, {"Out": ["y"]})
    return pdmodel(*START, wrong, CLASSES, END)


@pytest.mark.parametrize(
    ("content", "says"), [(huge(), "memory|Memory|allocate|alloc"), (misfit(), "[Dd]im|[Ss]hape|width|InvalidArgument")]
)
def test_what_paddle_cannot_run_is_a_sentence_and_the_process_goes_on(
    reference, recorded, folder, tmp_path, content, says
):
    conversion: Any = by_hand(tmp_path, content)
    program = program_of(conversion)
    assert isinstance(program, PureProgram), program
    found = run_export(reference, conversion, program, recorded.recording.job, folder, memory=MEMORY, timeout=120)
    assert found.result is None
    assert str(found.why).startswith("Paddle does not run it: ")
    assert any(word in str(found.why) for word in says.split("|")), found.why
    right = by_hand(tmp_path, pdmodel(*START, CONV, CLASSES, END))
    again = run_export(reference, right, program_of(right), recorded.recording.job, folder, memory=MEMORY, timeout=120)  # type: ignore[arg-type]
    assert again.result is not None


def test_a_dump_carries_what_the_export_computes(exports, needs_reference, tmp_path):
    """From the first line of `verify` to the report, with one start of Paddle."""
    source = Source(exports["altered"])
    request = Request([(64, 96)], layers=False, only=True, timeout=120)
    dump_reference(source, request, tmp_path / "dump", say=lambda line: None)
    report = ppls.verify(exports["altered"], reference=tmp_path / "dump", layers=False)
    assert report.verdict == "fail"
    stage = report.stage("export")
    assert stage is not None
    assert (stage.compared, len(stage.on)) == (2, 2)
    assert "is another function than the network" in report.failures[0]
    figures = report.to_json()["export"]
    assert [(found["against"], found["verdict"]) for found in figures] == [
        ("network", "fail"),
        ("candidate", "fail"),
    ] * 2
    assert next(entry for entry in report.to_json()["coverage"] if entry["stage"] == "export")["ran"]
