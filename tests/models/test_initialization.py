"""What is drawn anew is drawn as PaddleSeg draws it, layer by layer."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ppls
from ppls.converter.reference import upstream_model
from ppls.mappings.map_file import architectures
from ppls.mappings.targets import import_target
from ppls.models.building import without_values
from ppls.models.initialization import draw, drawn
from tests.architectures import small_config

ELSEWHERE = ("PIDNet", "PSANet", "ShuffleNetV2")  # of another release, or another repository

# PaddleSeg builds each model as for training from scratch, and saves it.
UPSTREAM = """
import importlib, json, sys
import paddle
paddle.seed(0)
def build(job):
    kwargs = {k: build(v) if isinstance(v, dict) and "class" in v else v for k, v in job["kwargs"].items()}
    module, _, name = job["class"].rpartition(".")
    return getattr(importlib.import_module(module), name)(**kwargs)
for name, job in json.load(open("jobs.json")).items():
    paddle.save(build(job).state_dict(), f"{name}.pdparams")
"""


def standard_deviations(model: type[nn.Module], config: dict[str, Any], name: str) -> float:
    return float(drawn(without_values(model, config), name, torch.float32).std())


@pytest.mark.parametrize(
    ("model", "name", "expected"),
    [
        # Paddle's own: sqrt(2 / (channels * kernel height * kernel width))
        ("PPLiteSeg", "heads.0.classifier.weight", math.sqrt(2 / 64)),
        ("SegFormer", "classifier.weight", math.sqrt(2 / 256)),
        ("UNet", "classifier.weight", math.sqrt(2 / (64 * 9))),
        ("UNet", "stem.0.conv.weight", math.sqrt(2 / (3 * 9))),
        ("PSPNet", "backbone.stem.0.conv.weight", math.sqrt(2 / (3 * 9))),
        ("PPLiteSeg", "backbone.blocks.0.conv.weight", 0.001),  # stdcnet.py
        ("SegFormer", "backbone.stages.0.embed.conv.weight", math.sqrt(2 / (32 * 49))),  # mix_transformer.py: fan out
        ("SegFormer", "backbone.stages.0.blocks.0.mlp.expand.weight", 0.02),
        ("SegFormer", "projections.3.weight", math.sqrt(2 / (256 + 256))),  # Paddle's Linear: Xavier
        ("GloRe", "reasoning.gcn.over_state.weight", math.sqrt(2 / 128)),  # of one dimension
        (
            "ENCNet",
            "context.encoding.codewords",
            (32 * 512 * 3) ** -0.5,
        ),  # encnet.py: uniform within 1 / sqrt(32 * 512)
        ("ENCNet", "context.encoding.scale", 12**-0.5),  # uniform from -1 to 0
        ("GINet", "words", 0),
        ("BiSeNetV2", "stages.0.0.expand.conv.weight", math.sqrt(2 / 9)),  # bisenet.py: of a group's channels
    ],
)
def test_weights_have_paddles_spread(model: str, name: str, expected: float) -> None:
    torch.manual_seed(0)
    count = {"num_classes": 4096}
    found = standard_deviations(getattr(ppls.models, model), count, name)
    assert found == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("model", ["UNet", "SegFormer"])
def test_biases_are_zero_and_normalisations_do_nothing(model: str) -> None:
    built = getattr(ppls.models, model)(num_classes=2)
    with torch.no_grad():
        for tensor in built.state_dict().values():
            tensor.fill_(3)
    draw(built)
    values: dict[str, Tensor] = dict(built.state_dict())
    assert {
        float(each) for name, each in values.items() if name.endswith(("bias", "running_mean")) for each in each
    } == {0}
    assert {
        float(each) for n, t in values.items() if t.dim() == 1 and n.endswith(("weight", "running_var")) for each in t
    } == {1}


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("paddleseg") is None, reason="paddleseg is not installed")
def test_every_tensor_of_every_architecture_is_spread_as_paddleseg_spreads_it(tmp_path: Path) -> None:
    maps = {name: map for name, map in architectures().items() if name not in ELSEWHERE}
    jobs = {name: upstream_model(map, small_config(map)) for name, map in maps.items()}
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    subprocess.run([sys.executable, "-c", UPSTREAM], cwd=tmp_path, check=True, capture_output=True, timeout=600)
    for name, map in maps.items():
        theirs = ppls.load(tmp_path / f"{name}.pdparams").state_dict()
        model = import_target(map)(**small_config(map))
        draw(model)
        for tensor, values in model.state_dict().items():
            spread = float(theirs[tensor].std(correction=0))
            error = 6 / math.sqrt(values.numel())  # of a standard deviation of so many numbers
            assert float(values.std(correction=0)) == pytest.approx(spread, rel=error), f"{name}: {tensor}"
            assert float(values.mean()) == pytest.approx(float(theirs[tensor].mean()), abs=error * max(spread, 1e-6))
