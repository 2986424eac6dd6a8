"""The maps for public PyTorch ports: complete, and with the arithmetic that the other model needs.

`ports/*.json` are the names and shapes of what each port's state dict holds, aliases and torch's counters of batches
left out; `conv_last` of midasklr's never runs. The ports are not here: docs/ports.md tells how they were run.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

from ppls.checkpoint.checkpoint import StoredTensor
from ppls.cli.convert import convert
from ppls.cli.inspect import inspect
from ppls.converter.convert import convert as run_conversion
from ppls.converter.expected import expected_shapes, recipe_config
from ppls.converter.infer import infer_model_config
from ppls.converter.translate import Translation, translate, translate_back
from ppls.mappings.map_file import architectures, load_map, named_file, port_maps
from ppls.parity.stages.weights import compare_weights
from tests.checkpoints import save

PORTS = [
    ("ports/midasklr", "midasklr_t", "PP-LiteSeg-T"),
    ("ports/midasklr", "midasklr_b", "PP-LiteSeg-B"),
    ("ports/super_gradients", "super_gradients_t", "PP-LiteSeg-T"),
    ("ports/super_gradients_b", "super_gradients_b", "PP-LiteSeg-B"),
]
SUPER_GRADIENTS = [port for port in PORTS if "super" in port[0]]


def _random(name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith("._scale"):
        return np.ones(shape, np.float32)
    values = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape).astype(np.float32)
    return np.abs(values) + 0.5 if name.endswith("_variance") else values


@lru_cache
def sources(recipe: str, auxiliary_heads: bool = True) -> dict[str, StoredTensor]:
    """The tensors that PaddleSeg's own model has, each with random values of its own."""
    map = architectures()["PPLiteSeg"]
    config = {**recipe_config(map, recipe), "arm_type": "UAFM_SpAtten", "auxiliary_heads": auxiliary_heads}
    targets = {
        name: StoredTensor("float32", shape, partial(np.zeros, shape))
        for name, shape in (expected_shapes(map, config) or {}).items()
    }
    return {
        name: StoredTensor("float32", tensor.shape, partial(_random, name, tensor.shape))
        for name, tensor in translate_back(targets, map, config).tensors.items()
    }


def translated(name: str, recipe: str, auxiliary_heads: bool = True) -> Translation:
    map, tensors = load_map(named_file(name)), sources(recipe, auxiliary_heads)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    return translate(tensors, map, infer_model_config(map, shapes, {}).config)


def test_every_map_of_a_port_is_tested_here() -> None:
    elsewhere = {"ports/transformers_segformer", "ports/timm_vit"}  # tests/mappings/test_libraries.py
    assert {name for name, _, _ in PORTS} | elsewhere == port_maps().keys()


@pytest.mark.parametrize(("name", "port", "recipe"), PORTS)
@pytest.mark.parametrize("auxiliary_heads", [True, False])
def test_every_tensor_is_taken_once_and_fills_what_the_port_has(
    name: str, port: str, recipe: str, auxiliary_heads: bool
) -> None:
    result = translated(name, recipe, auxiliary_heads)
    assert result.problems == []
    uses = Counter(source for origins in result.origins.values() for source in origins)
    uses.update(dropped.name for dropped in result.dropped)
    # what is folded into a mean is taken once; nothing else may be
    assert uses == Counter(sources(recipe, auxiliary_heads).keys())
    has = json.loads((Path(__file__).parent / "ports" / f"{port}.json").read_text())
    expected = {name: tuple(shape) for name, shape in has.items() if not name.startswith("backbone.conv_last.")}
    if not auxiliary_heads:
        expected = {
            name: shape for name, shape in expected.items() if not name.startswith(("seg_heads.1", "seg_heads.2"))
        }
    assert {name: tensor.shape for name, tensor in result.tensors.items()} == expected


@pytest.mark.parametrize(("name", "port", "recipe"), SUPER_GRADIENTS)
def test_what_super_gradients_has_no_place_for_is_left_out_and_said(name: str, port: str, recipe: str) -> None:
    why = Counter(dropped.why for dropped in translated(name, recipe).dropped)
    assert why == {
        "left out: the model is built without it": 12,  # two auxiliary heads
        "the constant 1, which the PyTorch model has built in": 3,
    }


@pytest.mark.parametrize(("name", "port", "recipe"), SUPER_GRADIENTS)
@pytest.mark.parametrize(
    ("source", "target"),
    [
        *[(f"ppseg_head.cm.stages.{i}.1", f"encoder.context_module.branches.{i}.1.seq") for i in range(3)],
        ("ppseg_head.cm.conv_out", "encoder.context_module.conv_out.seq"),
    ],
)
def test_a_folded_bias_leaves_what_the_layer_computes(
    name: str, port: str, recipe: str, source: str, target: str
) -> None:
    paddle, port_s = tensors_of(sources(recipe)), tensors_of(translated(name, recipe).tensors)
    assert f"{target}.conv.bias" not in port_s
    kernel = paddle[f"{source}._conv.weight"]
    x = torch.rand(2, kernel.shape[1], 4, 4, dtype=torch.float64)

    def normalised(y: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(
            y, mean, *(paddle[f"{source}._batch_norm.{rest}"] for rest in ("_variance", "weight", "bias"))
        )

    right = normalised(F.conv2d(x, kernel, paddle[f"{source}._conv.bias"]), paddle[f"{source}._batch_norm._mean"])
    folded = normalised(F.conv2d(x, port_s[f"{target}.conv.weight"]), port_s[f"{target}.bn.running_mean"])
    torch.testing.assert_close(folded, right, rtol=1e-6, atol=1e-5)  # the mean is stored as float32


@pytest.mark.parametrize(("name", "port", "recipe"), SUPER_GRADIENTS)
@pytest.mark.parametrize("level", [0, 1, 2])
def test_swapped_roles_are_undone_by_permuting_and_negating(name: str, port: str, recipe: str, level: int) -> None:
    low, high = torch.randn(2, 1, 8, 5, 6, dtype=torch.float64)
    right = fused(tensors_of(sources(recipe)), f"ppseg_head.arm_list.{level}.conv_xy_atten.", PADDLE, low, high)
    port_s = tensors_of(translated(name, recipe).tensors)
    # theirs weighs the upsampled map, and counts its stages from the coarsest
    torch.testing.assert_close(fused(port_s, f"decoder.up_stages.{2 - level}.conv_atten.", TORCH, high, low), right)
    assert (right - fused(port_s, f"decoder.up_stages.{2 - level}.conv_atten.", TORCH, low, high)).abs().max() > 0.1


PADDLE = ("_conv.weight", "_batch_norm._mean", "_batch_norm._variance", "_batch_norm.weight", "_batch_norm.bias")
TORCH = ("seq.conv.weight", "seq.bn.running_mean", "seq.bn.running_var", "seq.bn.weight", "seq.bn.bias")


def fused(
    tensors: dict[str, torch.Tensor], prefix: str, names: tuple[str, ...], weighed: torch.Tensor, other: torch.Tensor
) -> torch.Tensor:
    """The fusion of two maps by spatial attention, as both frameworks' code has it: `weighed` comes first."""
    x = torch.cat([f(map) for map in (weighed, other) for f in (_mean, _maximum)], dim=1)
    for index, last in ((0, False), (1, True)):
        kernel, *norm = (tensors[f"{prefix}{index}.{name}"] for name in names)
        x = F.batch_norm(F.conv2d(x, kernel, padding=1), *norm)
        x = x.sigmoid() if last else x.relu()
    return weighed * x + other * (1 - x)


def _mean(map: torch.Tensor) -> torch.Tensor:
    return map.mean(1, keepdim=True)


def _maximum(map: torch.Tensor) -> torch.Tensor:
    return map.amax(1, keepdim=True)


def tensors_of(stored: dict[str, StoredTensor]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(tensor.load())).double() for name, tensor in stored.items()}


class Port(torch.nn.Module):
    """A module that holds tensors under given names, and nothing else."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        super().__init__()
        inner: dict[str, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            head, _, rest = name.partition(".")
            if rest:
                inner.setdefault(head, {})[rest] = tensor
            else:
                self.register_buffer(head, tensor)
        for name, part in inner.items():
            self.add_module(name, Port(part))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arrays = {name: tensor.load() for name, tensor in sources("PP-LiteSeg-T").items()}
    return save(tmp_path_factory.mktemp("ports") / "model.pdparams", arrays)


@pytest.mark.parametrize(("name", "compared"), [("ports/midasklr", 250), ("ports/super_gradients", 231)])
def test_the_weights_of_a_port_are_compared_aliases_and_unused_layers_left_out(
    checkpoint: Path, name: str, compared: int
) -> None:
    conversion = run_conversion(checkpoint, map=name)
    tensors = {name: torch.from_numpy(np.array(tensor.load())) for name, tensor in conversion.tensors.items()}
    if "midasklr" in name:
        tensors["backbone.x2.0.0.conv.weight"] = tensors["backbone.features.0.conv.weight"]
        tensors["backbone.conv_last.conv.weight"] = torch.zeros(3)
    counted = [name.removesuffix("running_var") for name in tensors if name.endswith("running_var")]
    tensors |= {f"{name}num_batches_tracked": torch.tensor(1) for name in counted}
    weights = compare_weights(conversion, Port(tensors), own=False)
    assert (weights.failures, weights.warnings, weights.figures) == ((), (), ())
    assert (weights.compared, weights.expected) == (compared, compared)
    last = next(name for name in reversed(tensors) if name.endswith("running_var"))
    tensors[last] *= 1.001
    assert len(compare_weights(conversion, Port(tensors), own=False).figures) == 1


def test_a_map_of_the_package_is_given_by_its_name(checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    result = CliRunner().invoke(convert, [str(checkpoint), str(target), "--map", "ports/midasklr", "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["tensors"]["written"] == 247
    result = CliRunner().invoke(inspect, ["--map", "ports/super_gradients_b", "--json"])
    assert result.exit_code == 0, result.stderr
    result = CliRunner().invoke(inspect, ["--map", "ports/nobody"])
    assert result.exit_code == 2
    assert "ports/nobody: cannot be read" in result.stderr
