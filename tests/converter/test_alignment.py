"""Structured names of exports that have none: recovered from PaddleSeg's order of construction, or refused."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ppls.checkpoint.checkpoint import Checkpoint, StoredTensor
from ppls.checkpoint.reader import read
from ppls.converter.alignment import TABLES, construction_orders, with_structured_names
from ppls.mappings.map_file import architectures

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
RUN = SHARED / "paddleseg_run"
needs_run = pytest.mark.skipif(not RUN.is_dir(), reason="the training run is not here")

Shapes = dict[str, tuple[int, ...]]


def shifted(shapes: Shapes, **by: int) -> Shapes:
    """The names that the same model gets in a process that built others before."""
    renamed = {}
    for name, shape in shapes.items():
        kind, counter, end = re.fullmatch(r"(\w+)_(\d+)\.(\w+)", name).groups()
        renamed[f"{kind}_{int(counter) + by.get(kind, 0)}.{end}"] = shape
    return renamed


def checkpoint_of(shapes: Shapes) -> Checkpoint:
    tensors = {name: StoredTensor("float32", shape, lambda s=shape: np.zeros(s)) for name, shape in shapes.items()}
    return Checkpoint(Path(__file__), "Paddle exported model", tensors, naming="variables")


def fits_shapes_of(known: Shapes):
    return lambda architecture, candidate: all(known.get(name) == shape for name, shape in candidate.shapes.items())


@needs_run
def test_the_238_tensors_of_a_real_export_get_the_names_of_the_training_run() -> None:
    exported, trained = read(RUN / "export"), read(RUN / "model.pdparams")
    named = with_structured_names(exported, fits_shapes_of(trained.shapes))
    assert len(named) == 238
    assert named.naming == "structured"
    for name, array in named.items():
        assert array.tobytes() == trained[name].tobytes(), name
    assert named.name_table.items() <= trained.name_table.items()
    assert named.sha256 == exported.sha256


@needs_run
def test_counters_that_other_models_have_moved_are_moved_back() -> None:
    trained = read(RUN / "model.pdparams")
    exported = shifted(read(RUN / "export").shapes, conv2d=103, batch_norm2d=96, uafm__sp_atten=6)
    named = with_structured_names(checkpoint_of(exported), fits_shapes_of(trained.shapes))
    assert named.name_table["backbone.features.0.conv.weight"] == "conv2d_103.w_0"
    variables = dict.fromkeys(named.name_table.values(), ())
    back = shifted(variables, conv2d=-103, batch_norm2d=-96, uafm__sp_atten=-6)
    assert list(back) == [trained.name_table[name] for name in named.name_table]


@pytest.mark.skipif(not (SHARED / "eras").is_dir(), reason="the checkpoints of three releases are not here")
@pytest.mark.parametrize("era", ["2.5", "2.6.0", "2.8.0"])
@pytest.mark.parametrize("model", ["t", "b"])
def test_the_order_of_construction_is_that_of_each_release(era: str, model: str) -> None:
    saved = read(SHARED / "eras" / f"pp_liteseg_{model}_base16_written_by_paddleseg_{era}.pdparams")
    # 2.5 saved the backbone twice; an export has neither the copies nor the heads for training
    kept = {
        name: variable
        for name, variable in saved.name_table.items()
        if not re.match(r"backbone\.(x\d+|conv_last)\.|seg_heads\.[12]\.", name)
    }
    exported = {variable: saved.shapes[name] for name, variable in kept.items()}
    named = with_structured_names(checkpoint_of(exported), fits_shapes_of(saved.shapes))
    assert named.name_table == kept


EXPORT = """
import sys
import paddle
from ppls.converter.convert import open_model
from ppls.converter.reference import upstream_model
from ppls.converter.expected import recipe_config
from ppls.mappings.map_file import architectures
from ppls.parity.reference.network import build
map = architectures()[sys.argv[1]]
description = upstream_model(map, recipe_config(map, next(iter(map.recipes))))
paddle.nn.Linear(2, 2), paddle.nn.BatchNorm2D(2), paddle.nn.Conv2D(2, 2, 3), build(description)
model = build(description)
model.eval()
paddle.save(model.state_dict(), sys.argv[2] + ".pdparams")
paddle.jit.save(model, sys.argv[2], input_spec=[paddle.static.InputSpec([1, 3, 128, 256], "float32")])
"""


@pytest.mark.slow
def check_tables(*names: str) -> None:
    if importlib.util.find_spec("paddleseg") is None:
        pytest.skip("PaddleSeg is not installed")
    command = [sys.executable, str(ROOT / "scripts" / "construction_order.py"), "--check", *names]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr[-500:]


def test_every_architecture_has_a_table_and_the_smallest_is_what_paddleseg_builds_today() -> None:
    without = [name for name, map in architectures().items() if not (TABLES / f"{map.name}.json").exists()]
    check_tables(min(construction_orders(), key=lambda name: len(construction_orders()[name][0])), *without)


@pytest.mark.slow
def test_the_tables_are_what_paddleseg_builds_today() -> None:
    check_tables()
