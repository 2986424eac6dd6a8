"""Opening exported files: what they take and tell, and what is refused with a sentence."""

from __future__ import annotations

import importlib.util
import json
import os
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import ppls
from ppls.parity.files.candidate import kind_of, open_candidate
from ppls.parity.files.onnx_data import check_external_data
from ppls.parity.input_shape import ANY, InputShape, Sides, inputs_of_shape


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.conv(image)
        return found


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture(scope="module")
def files(model: nn.Module, tmp_path_factory) -> dict[str, Path]:
    """One file of each format whose runtime is installed, of any size."""
    folder = tmp_path_factory.mktemp("files")
    image = torch.zeros(2, 3, 16, 24)
    told = json.dumps({"output": "logits", "classes": ["road", "<b>"]})
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(model, image)
        torch.jit.save(traced, str(folder / "model.pt"), _extra_files={"ppls.json": told})
        free = {"image": dict.fromkeys((0, 2, 3), torch.export.Dim.AUTO)}
        program = torch.export.export(model, (image,), dynamic_shapes=free)
        torch.export.save(program, folder / "model.pt2", extra_files={"ppls.json": told})
        if importlib.util.find_spec("onnxruntime"):
            axes = {"image": {0: "batch", 2: "height", 3: "width"}}
            names = {"input_names": ["image"], "dynamic_axes": axes, "opset_version": 18}
            torch.onnx.export(model, (image,), str(folder / "model.onnx"), dynamo=False, **names)
        if importlib.util.find_spec("openvino"):
            import openvino

            converted = openvino.convert_model(program)
            converted.set_rt_info('["road", "<b>"]', ["ppls", "classes"])
            openvino.save_model(converted, str(folder / "model.xml"), compress_to_fp16=False)
    return {path.suffix: path for path in folder.iterdir()}


@pytest.mark.parametrize("suffix", [".pt", ".pt2", ".onnx", ".xml"])
def test_each_format_is_run_as_it_is_and_tells_what_it_was_given(
    suffix: str, files: dict[str, Path], model: nn.Module
) -> None:
    if suffix not in files:
        pytest.skip("its runtime is not installed")
    candidate = open_candidate(files[suffix])
    assert not candidate.training
    assert candidate.shape.takes((1, 3, 33, 47))
    for size in ((2, 3, 16, 24), (1, 3, 33, 47)):
        image = torch.randn(size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            (found,), expected = candidate(image), model(image)
        assert (found - expected).abs().max() < 1e-5
    assert kind_of(candidate, image) == "logits"
    if suffix != ".onnx":
        assert candidate.opened.metadata["classes"] == ["road", "<b>"]


@pytest.mark.parametrize("suffix", [".pt", ".pt2", ".onnx", ".xml"])
@pytest.mark.parametrize("damage", ["empty", "half", "words", "zeros"])
def test_a_damaged_file_is_one_sentence_and_nothing_else_is_said(
    suffix: str, damage: str, files: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if suffix not in files:
        pytest.skip("its runtime is not installed")
    whole = files[suffix].read_bytes()
    content = {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "words": b"this is no model\n" * 20,
        "zeros": bytes(len(whole)),
    }[damage]
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    path.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(ppls.ParityError, match=r"model\.\w+: .*(cannot open it|is no ONNX|is no Open)") as error:
        open_candidate(path)
    assert error.value.exit_status == 1
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


DOCUMENT_TYPE = '<!DOCTYPE net [<!ENTITY x "xxxxxxxx">]><net name="&x;"/>'


@pytest.mark.parametrize(
    ("text", "said"), [("<html/>", "first element is not <net>"), (DOCUMENT_TYPE, "declares a document type")]
)
def test_xml_that_is_no_network_is_not_given_to_openvino(text: str, said: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "model.xml").write_text(text)
    (tmp_path / "model.bin").touch()
    with pytest.raises(ppls.ParityError, match=rf"model\.xml: is no OpenVINO IR, or is damaged: .*{said}"):
        open_candidate(tmp_path / "model.xml")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8), st.floats(0, 1))
def test_an_onnx_file_changed_at_random_is_read_or_refused(
    files: dict[str, Path], tmp_path: Path, changes: list[tuple[float, int]], end: float
) -> None:
    if ".onnx" not in files:
        pytest.skip("onnxruntime is not installed")
    content = bytearray(files[".onnx"].read_bytes())
    for place, byte in changes:
        content[int(place * (len(content) - 1))] = byte
    (tmp_path / "model.onnx").write_bytes(content[: int(len(content) * end) + 1])
    with suppress(ppls.ParityError):
        check_external_data(tmp_path / "model.onnx")


def test_what_is_no_file_or_of_no_known_format_is_said(tmp_path: Path) -> None:
    with pytest.raises(ppls.UsageError, match=r"model.tflite: its suffix tells no format; known are .onnx, .xml"):
        open_candidate(tmp_path / "model.tflite")
    with pytest.raises(ppls.ParityError, match="no such file"):
        open_candidate(tmp_path / "model.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ppls.ParityError, match="is not a file"):
        open_candidate(tmp_path / "folder.onnx")


@pytest.mark.parametrize(
    ("name", "package"), [("m.onnx", "onnxruntime"), ("m.xml", "openvino"), ("m.engine", "tensorrt")]
)
def test_a_runtime_that_is_missing_is_said_with_the_one_command(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    (tmp_path / name).touch()
    with pytest.raises(ppls.MissingDependencyError, match=rf"{package} is not installed; .*: pip install {package}$"):
        open_candidate(tmp_path / name)


def test_an_ir_without_its_weights_is_said(files: dict[str, Path], tmp_path: Path) -> None:
    if ".xml" not in files:
        pytest.skip("openvino is not installed")
    (tmp_path / "model.xml").write_bytes(files[".xml"].read_bytes())
    with pytest.raises(ppls.ParityError, match=r"its weights, model\.bin, are missing beside it"):
        open_candidate(tmp_path / "model.xml")


def onnx_with_data(model: nn.Module, path: Path, location: str) -> Path:
    """An ONNX file whose weights lie in another."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (torch.zeros(1, 3, 8, 8),), str(path), dynamo=False, opset_version=18)
    found = onnx.load(path)
    for tensor in found.graph.initializer:
        content = onnx.numpy_helper.to_array(tensor).tobytes()
        target = path.parent / location
        if target.parent.is_dir():
            target.write_bytes(content.ljust(4096, b"\0"))
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        tensor.external_data.add(key="length", value=str(len(content)))
    path.write_bytes(found.SerializeToString())
    return path


def test_weights_beside_an_onnx_file_are_read(model: nn.Module, tmp_path: Path) -> None:
    candidate = open_candidate(onnx_with_data(model, tmp_path / "model.onnx", "weights.bin"))
    assert candidate(torch.zeros(1, 3, 8, 8))[0].shape == (1, 4, 8, 8)


@pytest.mark.parametrize("location", ["../weights.bin", "{outside}", "within/../../weights.bin", "link"])
def test_weights_outside_the_folder_of_an_onnx_file_are_not_read(
    location: str, model: nn.Module, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    (folder / "within").mkdir(parents=True)
    outside = tmp_path / "weights.bin"
    outside.write_bytes(bytes(4096))
    if location == "link":
        os.symlink(outside, folder / "link")
    path = onnx_with_data(model, folder / "model.onnx", location.format(outside=outside))
    with pytest.raises(ppls.ParityError, match="outside its own folder; not opened"):
        open_candidate(path)


def test_weights_outside_are_found_wherever_in_the_model_they_lie(tmp_path: Path) -> None:
    """In a constant of a branch, in a function, in a sparse tensor."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import helper

    def tensor() -> object:
        made = helper.make_tensor("t", onnx.TensorProto.FLOAT, [1], [0.0])
        made.ClearField("float_data")
        made.data_location = onnx.TensorProto.EXTERNAL
        made.external_data.add(key="location", value="/etc/hostname")
        return made

    constant = helper.make_node("Constant", [], ["c"], value=tensor())
    branch = helper.make_graph([constant], "branch", [], [helper.make_tensor_value_info("c", 1, [1])])
    plain = helper.make_graph([], "main", [], [])
    sparse = onnx.SparseTensorProto(values=tensor(), dims=[1])
    for graph, functions in (
        (helper.make_graph([helper.make_node("If", ["x"], ["y"], then_branch=branch)], "main", [], []), []),
        (plain, [helper.make_function("f", "F", [], ["c"], [constant], [])]),
        (helper.make_graph([], "main", [], [], sparse_initializer=[sparse]), []),
    ):
        path = tmp_path / "model.onnx"
        path.write_bytes(helper.make_model(graph, functions=functions).SerializeToString())
        with pytest.raises(ppls.ParityError, match="has weights in /etc/hostname, outside its own folder"):
            open_candidate(path)


def test_what_takes_no_image_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    from onnx import helper

    def write(*inputs: tuple[int, list[int]]) -> Path:
        values = [helper.make_tensor_value_info(f"i{n}", kind, shape) for n, (kind, shape) in enumerate(inputs)]
        node = helper.make_node("Identity", ["i0"], ["o"])
        graph = helper.make_graph([node], "g", values, [helper.make_tensor_value_info("o", *inputs[0])])
        path = tmp_path / "model.onnx"
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        path.write_bytes(model.SerializeToString())
        return path

    proto = onnx.TensorProto
    for inputs, said in (
        ([(proto.INT64, [1, 3, 8, 8])], r"takes i0: tensor\(int64\); one image"),
        ([(proto.FLOAT, [1, 3, 8, 8]), (proto.FLOAT, [1])], "takes i0: .*, i1: .*; one image"),
        ([(proto.FLOAT, [1, 3, 8])], "takes 3 dimensions; images"),
        ([(proto.FLOAT, [1, 8, 9, 3])], "takes 1x8x9x3, channels last"),
    ):
        with pytest.raises(ppls.ParityError, match=said):
            open_candidate(write(*inputs))


def test_a_fixed_shape_has_inputs_of_that_shape_alone() -> None:
    shape = InputShape(Sides(2, 2), Sides(3, 3), Sides(48, 48), Sides(80, 80))
    inputs = inputs_of_shape(shape, 0, 3)
    assert {each.array.shape for each in inputs} == {(2, 3, 48, 80)}
    assert len({each.name for each in inputs}) == len(inputs) == 7
    assert sum(each.strong for each in inputs) == 1
    assert not np.array_equal(inputs[0].array[0], inputs[0].array[1])
    one = InputShape(Sides(1, 1), ANY, ANY, ANY)
    assert all(len(each.array) == 1 for each in inputs_of_shape(one, 0, 3))
    large = inputs_of_shape(InputShape(height=Sides(64, None), width=Sides(64, 256)), 0, 3)
    assert large
    assert all(min(each.array.shape[2:]) >= 64 and each.array.shape[3] <= 256 for each in large)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("give", "kind"), [("logits", "logits"), ("softmax", "softmax"), ("argmax", "argmax")])
def test_what_a_file_gives_is_seen_where_it_does_not_say(give: str, kind: str, tmp_path: Path) -> None:
    class Giving(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return {"logits": image, "softmax": image.softmax(1), "argmax": image.argmax(1)}[give]

    torch.jit.save(torch.jit.trace(Giving(), torch.randn(1, 3, 8, 8)), str(tmp_path / "model.pt"))
    assert kind_of(open_candidate(tmp_path / "model.pt"), torch.randn(1, 3, 8, 8)) == kind
