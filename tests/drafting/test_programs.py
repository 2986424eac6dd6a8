"""Drafts from an export's program alone: what no map knows, and what one does, which then says what is right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import ppls
from ppls.converter.convert import open_model, plan_conversion
from ppls.converter.recognise import choose_map
from ppls.drafting.draft import draft_from, draft_map
from ppls.drafting.source import Source, source_of_program
from ppls.errors import UsageError
from ppls.mappings.map_file import load_map
from ppls.mappings.targets import import_target
from ppls.programs.module import load_program
from tests.drafting.ports import Port, layers_of, scrambled, truth
from tests.material import SHARED, SMALL_RUN
from tests.programs.writer import Writer

RUNS = [
    SMALL_RUN,
    pytest.param(SHARED / "paddleseg_run", marks=pytest.mark.skipif(not SHARED.exists(), reason="absent")),
]


@pytest.mark.parametrize("run", RUNS)
def test_pp_litesegs_export_is_drafted_by_its_program_as_the_known_map_has_it(run: Path, tmp_path: Path) -> None:
    export = run / "export"
    known = open_model(export)
    map = choose_map(known, None)
    names = {variable: name for name, variable in known.name_table.items()}
    torch.manual_seed(1)
    model = import_target(map)(**plan_conversion(known, map).config)
    renamed = scrambled(layers_of(model))
    port = Port(model, renamed)
    layers = {new: old for old, new in renamed.items()}
    found = draft_map(export, port, program=True)
    assert found.settled, (found.rows.counted(), found.rows.open)
    assert found.rows.notes == []
    for row in found.rows.rows:
        for target in row.target:
            assert tuple(names[name] for name in row.source) == truth(map, layers, target), row
    filled = {target for row in found.rows.rows for target in row.target}
    assert filled == {key for key in port.state_dict() if not key.endswith("num_batches_tracked")}
    scales = {name for name in names.values() if name.endswith("._scale")}
    assert {names[name]: value for name, (value, _, _) in found.rows.constants.items()} == dict.fromkeys(scales, 1.0)
    file = tmp_path / "drafted.yaml"
    file.write_text(found.text)
    ppls.convert(export, tmp_path / "port.safetensors", map=file)
    port.load_state_dict(load_file(tmp_path / "port.safetensors"), strict=False)
    program = load_program(export).logits()
    image = torch.randn(program.input_shape)
    with torch.no_grad():
        torch.testing.assert_close(port.float().eval()(image)[0], program(image)[0], rtol=1e-3, atol=1e-4)


def test_a_program_has_no_options_of_an_architecture() -> None:
    with pytest.raises(UsageError, match="--program: the program is drafted as it is"):
        draft_map(SMALL_RUN / "export", nn.Conv2d(3, 3, 1), program=True, architecture="PPLiteSeg")


def tiny() -> Writer:
    """Attention over patches that have a table of places, as no architecture of ppls has it."""
    made = Writer()
    options = {"strides": [4, 4], "paddings": [0, 0], "dilations": [1, 1], "groups": 1}
    x = made.add("conv2d", "Output", options, Input=0, Filter=made.weight("conv2d_0.w_0", 4, 3, 4, 4))
    x = made.add("elementwise_add", attributes={"axis": 1}, X=x, Y=made.weight("conv2d_0.b_0", 4))
    x = made.add("transpose2", attributes={"axis": [0, 2, 3, 1]}, X=x)
    x = made.add("reshape2", attributes={"shape": [0, 24, 4]}, X=x)
    x = made.add("elementwise_add", X=x, Y=made.weight("create_parameter_0.w_0", 1, 24, 4))
    norm = {"Scale": made.weight("layer_norm_0.w_0", 4), "Bias": made.weight("layer_norm_0.b_0", 4)}
    y = made.add("layer_norm", "Y", {"begin_norm_axis": 2, "epsilon": 1e-6}, X=x, **norm)
    q, k, v = (made.linear(f"linear_{at}", y) for at in range(3))
    scores = made.add("matmul_v2", attributes={"trans_y": True}, X=q, Y=k)
    scores = made.add("softmax", attributes={"axis": -1}, X=made.add("scale", attributes={"scale": 0.5}, X=scores))
    made.output = made.linear("linear_3", made.add("matmul_v2", X=scores, Y=v))  # type: ignore[attr-defined]
    return made


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.zeros(1, 24, 4))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.places


class TinyPort(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(4, 1, batch_first=True)
        self.norm = nn.LayerNorm(4, eps=1e-6)
        self.table = Table()
        self.patch = nn.Conv2d(3, 4, 4, stride=4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.table(self.patch(x).flatten(2).transpose(1, 2)))
        return self.attend(x, x, x)[0]


def test_a_network_that_no_map_knows_is_drafted_by_its_program(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = tiny()
    shapes = {name: tuple(tensor.shape) for name, tensor in made.tensors.items()}
    source = source_of_program(made.module(made.output), {**shapes, "unused": (7,)})  # type: ignore[attr-defined]
    found = draft_from(source, TinyPort())
    fused = {end: tuple(f"linear_{at}.{end}" for at in range(3)) for end in ("w_0", "b_0")}
    assert {(row.source, row.target[0], row.operation, row.confidence) for row in found.rows.rows} == {
        (("conv2d_0.w_0",), "patch.weight", "", "certain"),
        (("conv2d_0.b_0",), "patch.bias", "", "certain"),
        (("create_parameter_0.w_0",), "table.places", "", "certain"),
        (("layer_norm_0.w_0",), "norm.weight", "", "certain"),
        (("layer_norm_0.b_0",), "norm.bias", "", "certain"),
        (fused["w_0"], "attend.in_proj_weight", "transpose, concat", "certain"),
        (fused["b_0"], "attend.in_proj_bias", "concat", "certain"),
        (("linear_3.w_0",), "attend.out_proj.weight", "transpose", "certain"),
        (("linear_3.b_0",), "attend.out_proj.bias", "", "certain"),
    }
    assert found.rows.unmatched_source == ["unused"]
    assert found.rows.unmatched_target == []
    (tmp_path / "tiny.yaml").write_text(found.text)
    read = load_map(tmp_path / "tiny.yaml")
    assert (read.architecture, read.target) == ("Tiny", None)
    assert found.rows.notes == []
    assert "linear_3, attend.out_proj, linear_2" in " ".join(found.text.split()), found.text
    assert "{epsilon: 1.0e-6}" in found.text


def test_numbers_that_the_program_has_in_float32_are_no_difference() -> None:
    made = Writer()
    options = {"strides": [1, 1], "paddings": [1, 1], "dilations": [1, 1], "groups": 1}
    x = made.add("conv2d", "Output", options, Input=0, Filter=made.weight("conv2d_0.w_0", 4, 3, 3, 3))
    x = made.add("scale", attributes={"scale": float(torch.tensor(0.1))}, X=x)
    x = made.add("conv2d", "Output", options, Input=x, Filter=made.weight("conv2d_1.w_0", 2, 4, 3, 3))
    source = source_of_program(made.module(x), {name: tuple(t.shape) for name, t in made.tensors.items()})

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Conv2d(4, 2, 3, padding=1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.two(0.1 * self.one(x))

    found = draft_from(source, Scaled())
    assert found.settled
    assert found.rows.notes == []


def with_tables() -> tuple[Writer, int]:
    """Two tables of one shape and one of another, between two convolutions; and what is returned."""
    made = Writer()
    patches = {"strides": [4, 4], "paddings": [0, 0], "dilations": [1, 1], "groups": 1}
    x = made.add("conv2d", "Output", patches, Input=0, Filter=made.weight("conv2d_0.w_0", 4, 3, 4, 4))
    x = made.add("elementwise_mul", X=x, Y=made.weight("create_parameter_0.w_0", 1, 4, 4, 6))
    x = made.add("elementwise_add", X=x, Y=made.weight("create_parameter_1.w_0", 1, 4, 4, 6))
    x = made.add("elementwise_add", X=x, Y=made.weight("create_parameter_2.w_0", 1, 4, 1, 6))
    pixels = {**patches, "strides": [1, 1]}
    return made, made.add("conv2d", "Output", pixels, Input=x, Filter=made.weight("conv2d_1.w_0", 2, 4, 1, 1))


class TablesPort(nn.Module):
    """It multiplies and adds itself; `scale` and `shift` could be each other, and so could `row` and `unused`."""

    def __init__(self, unused: bool) -> None:
        super().__init__()
        self.shift, self.scale = (nn.Parameter(torch.zeros(1, 4, 4, 6)) for _ in range(2))
        self.row = nn.Parameter(torch.zeros(1, 4, 1, 6))
        if unused:
            self.unused = nn.Parameter(torch.zeros(1, 4, 1, 6))
        self.first, self.last = nn.Conv2d(3, 4, 4, stride=4, bias=False), nn.Conv2d(4, 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x) * self.scale + self.shift + self.row)


@pytest.mark.parametrize("unused", [False, True])
def test_tensors_that_no_layer_holds_are_those_with_which_what_follows_agrees(unused: bool) -> None:
    torch.manual_seed(0)
    made, output = with_tables()
    source = source_of_program(made.module(output), {name: tuple(each.shape) for name, each in made.tensors.items()})
    found = draft_from(source, TablesPort(unused)).rows
    rows = {row.target[0]: (row.source[0], row.confidence) for row in found.rows}
    tables = {name: f"create_parameter_{at}.w_0" for at, name in enumerate(("scale", "shift", "row"))}
    assert rows["first.weight"] == ("conv2d_0.w_0", "certain")
    if unused:  # which of the two is the source's is not decided, and so nothing behind them
        assert not {*tables} & {*rows}
        assert {*tables, "unused"} <= {*found.open}
    else:
        expected = {"first.weight": "conv2d_0.w_0", "last.weight": "conv2d_1.w_0", **tables}
        assert rows == {name: (tensor, "certain") for name, tensor in expected.items()}
        assert found.open == {}


class WidePort(nn.Module):
    """Dilations of which a small image shows no more than that their kernels have a middle."""

    def __init__(self, *dilations: int) -> None:
        super().__init__()
        self.one, self.two = (nn.Conv2d(3, 2, 3, padding=side, dilation=side, bias=False) for side in dilations)
        self.last = nn.Conv2d(4, 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([self.one(x), self.two(x)], 1))


def dilated_by_24_and_30() -> Source:
    made = Writer()
    options = {"strides": [1, 1], "groups": 1}
    both = []
    for at, side in enumerate((24, 30)):
        dilated = {**options, "paddings": [side, side], "dilations": [side, side]}
        both.append(made.add("conv2d", "Output", dilated, Input=0, Filter=made.weight(f"conv2d_{at}.w_0", 2, 3, 3, 3)))
    x = made.add("concat", attributes={"axis": 1}, X=both[0])
    made.steps[-1] = made.steps[-1]._replace(inputs={"X": tuple(both)})
    pixels = {**options, "paddings": [0, 0], "dilations": [1, 1]}
    x = made.add("conv2d", "Output", pixels, Input=x, Filter=made.weight("conv2d_2.w_0", 2, 4, 1, 1))
    source = source_of_program(made.module(x), {name: tuple(each.shape) for name, each in made.tensors.items()})
    return replace(source, sizes=((16, 24),), large=(48, 64))


def test_of_two_dilations_that_an_image_does_not_tell_apart_each_is_its_own() -> None:
    """In the source's order the last layer would need no other order of its channels, and all would agree."""
    torch.manual_seed(0)
    rows = {row.target[0]: row for row in draft_from(dilated_by_24_and_30(), WidePort(30, 24)).rows.rows}
    assert (rows["one.weight"].source, rows["one.weight"].confidence) == (("conv2d_1.w_0",), "certain")
    assert (rows["two.weight"].source, rows["two.weight"].confidence) == (("conv2d_0.w_0",), "certain")
    assert "permute" in rows["last.weight"].operation


@pytest.mark.parametrize(("most_bytes", "why"), [(0, "the image is too small"), (1 << 30, "it computes otherwise")])
def test_what_is_dilated_otherwise_is_not_certain_on_an_image_of_any_size(
    most_bytes: int, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A larger image shows it, where what is recorded of that fits in memory."""
    torch.manual_seed(0)
    monkeypatch.setattr("ppls.drafting.draft.MOST_BYTES", most_bytes)
    rows = {row.target[0]: row for row in draft_from(dilated_by_24_and_30(), WidePort(24, 40)).rows.rows}
    assert rows["one.weight"].confidence == "certain"
    assert rows["two.weight"].confidence == "likely"
    assert why in rows["two.weight"].why
