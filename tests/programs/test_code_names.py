"""`model.py` of weights by any name: it compiles, computes what the program does, and runs nothing that a name says."""

from __future__ import annotations

import builtins
from typing import Any

import pytest
import torch

from ppls.errors import ConversionError
from ppls.programs.code.network import code_of
from ppls.programs.module import ProgramModule
from ppls.programs.program import Input, Program, Step

SHAPES = ((4, 4, 1, 1), (1, 4, 1, 1), (1, 1, 1, 1))
CODE = '"""\nran()\n"""'
HOSTILE = [
    "'", '"', "'''", '"""', "\\", "\\'", "a\nb", "a\r\nran()\n#", "\0", "\x0c", "\u2028", "{}", "%s", "a  # b", "(",
    ")", ",", "),ran(", "x'+ran()+'", CODE, "self", "forward", "training", "nn", "torch", "F", "Tensor", "Parts",
    "super", "getattr", "class", "None", "match", "_", "__foo", "__class__", "__dict__", "__debug__", "_parameters",
    "weight", "batch", "x", "p_0", "\u0441lass", "\uff33\uff45\uff4c\uff46", "\u0660", "\u202e", "0", "-1", " ", "a b",
    "a" * 121, "\u4e2d" * 121, "a" * 100_000, '"' * 100_000,
]  # fmt: skip


def network(names: tuple[str, str, str], layer: str = "") -> ProgramModule:
    """A convolution by the first, plus the second, times the third."""
    steps = (
        Step(1, "conv2d", {"Input": (0,), "Filter": (1,)}, {"Output": (4,)}, {"strides": [1, 1]}, layer),
        Step(2, "elementwise_add", {"X": (4,), "Y": (2,)}, {"Out": (5,)}, {"axis": -1}, layer),
        Step(3, "elementwise_mul", {"X": (5,), "Y": (3,)}, {"Out": (6,)}, {"axis": -1}, layer),
    )
    inputs = (Input(layer or "x", 0, "float32", (-1, 4, -1, -1)),)
    random = torch.Generator().manual_seed(0)
    tensors = {name: torch.rand(shape, generator=random) + 0.5 for name, shape in zip(names, SHAPES, strict=True)}
    program = Program(layer or "file", "pdmodel", steps, inputs, (6,), dict(enumerate(names, 1)))
    return ProgramModule(program, tensors).eval()


def agrees(module: ProgramModule) -> bool:
    """Whether the code of a module compiles and computes the same."""
    code = code_of(module)
    assert code.isascii()
    names: dict[str, Any] = {}
    exec(compile(code, "model.py", "exec"), names)
    made = names["Network"]()
    made.load_state_dict(module.state_dict(), strict=True)
    image = torch.rand(2, 4, 5, 6)
    with torch.no_grad():
        return torch.allclose(made.eval()(image)[0], module(image)[0], atol=1e-5)


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:24])
def test_a_name_is_data_wherever_it_stands(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(builtins, "ran", lambda *given: ran.append(given), raising=False)
    assert agrees(network((f"{name}.conv.weight", f"{name}.add", f"{name}.mul"), f"/{name}/"))
    assert agrees(network((f"net.{name}.weight", f"net.{name}_.{name}", f"net.{name}_.more"), f"/net/{name}/"))
    assert agrees(network(("a.weight", f"b.{name}", name), f"/{name}/{name}/"))
    assert not ran


LONG = "backbone.encoder_of_the_network.0.transformer_blocks.1.attention_of_the_windows.2.relative_position"


@pytest.mark.parametrize(
    "names",
    [
        (f"{LONG}.weight", f"{LONG}.bias_table", f"{LONG}.scale"),  # a line that ends in a weight is no tuple
        ("a.weight", "a.alpha", "a.stride"),  # in the convolution's own module, by an attribute's name
        ("a.weight", "a.weight.b", "a.weight.b.c"),
        ("a.weight", "b\0c", "b.c"),
        ("self", "a.self", "self.self"),
        (".", "..", "..."),
    ],
    ids=["long", "within", "below", "zero", "self", "empty"],
)
def test_names_that_fall_together(names: tuple[str, str, str]) -> None:
    assert agrees(network(names))


def test_a_weight_within_a_layer_is_a_sentence() -> None:
    roles = {"X": (0,), "Scale": (1,), "Bias": (2,), "Mean": (3,), "Variance": (4,)}
    steps = (
        Step(1, "batch_norm", roles, {"Y": (6,)}, {"epsilon": 1e-5, "momentum": 0.9, "is_test": True}, ""),
        Step(2, "elementwise_add", {"X": (6,), "Y": (5,)}, {"Out": (7,)}, {"axis": -1}, ""),
    )
    weights = {at: f"norm.{end}" for at, end in enumerate(("weight", "bias", "_mean", "_variance", "eps"), 1)}
    tensors = {name: torch.ones(1 if name == "norm.eps" else 4) for name in weights.values()}
    inputs = (Input("x", 0, "float32", (-1, 4, -1, -1)),)
    module = ProgramModule(Program("file", "pdmodel", steps, inputs, (7,), weights), tensors).eval()
    with pytest.raises(ConversionError, match="file: no code can be written for it: a weight or a layer has its name"):
        code_of(module)
