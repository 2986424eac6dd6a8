"""Structured names of exports that have none: recovered from PaddleSeg's order of construction, or refused."""

import importlib.util
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ppls.checkpoint.checkpoint import Checkpoint, StoredTensor
from ppls.checkpoint.reader import read
from ppls.converter import alignment
from ppls.converter.alignment import TABLES, Layer, candidates, construction_orders, with_structured_names
from ppls.converter.convert import open_model
from ppls.converter.dropping import is_traced
from ppls.errors import CheckpointError
from ppls.mappings.map_file import architectures
from tests.architectures import NOT_EXPORTED
from tests.conftest import run_upstream, run_with_upstream
from tests.converter.test_backbones import BACKBONES, SMALL
from tests.material import SHARED, SMALL_RUN

ROOT = Path(__file__).parents[2]

Shapes = dict[str, tuple[int, ...]]

PAIRED = ["PPLiteSeg", "DeepLabV3P", "PSPNet"]


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


def test_the_238_tensors_of_a_real_export_get_the_names_of_the_training_run() -> None:
    exported, trained = read(SMALL_RUN / "export"), read(SMALL_RUN / "model.pdparams")
    named = with_structured_names(exported, fits_shapes_of(trained.shapes))
    assert len(named) == 238
    assert named.naming == "structured"
    for name, array in named.items():
        assert array.tobytes() == trained[name].tobytes(), name
    assert named.name_table.items() <= trained.name_table.items()
    assert named.sha256 == exported.sha256


def test_counters_that_other_models_have_moved_are_moved_back() -> None:
    trained = read(SMALL_RUN / "model.pdparams")
    exported = shifted(read(SMALL_RUN / "export").shapes, conv2d=103, batch_norm2d=96, uafm__sp_atten=6)
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


def test_the_ways_to_take_buffers_and_layers_are_tried_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    [layers, *_] = construction_orders()["EMANet"]
    shapes = {f"eager_tmp_{number}": (1, 1, 1) for number in range(200)}
    for layer in layers:
        counter = sum(f"{layer.kind}_{number}.w_0" in shapes for number in range(200))
        shapes |= {f"{layer.kind}_{counter}.{end}": (1,) * rank for end, (_, rank) in layer.tensors.items() if end}
    taken = 0

    def endless(*_: object) -> Iterator[alignment.Choice]:
        nonlocal taken
        while True:
            taken += 1
            yield {}

    monkeypatch.setattr(alignment, "_choices", endless)
    monkeypatch.setattr(alignment, "_MAX_CANDIDATES", 250)
    with pytest.raises(CheckpointError, match="in more than 250 ways"):
        list(alignment.candidates(shapes, "EMANet"))
    assert taken == 3  # of a hundred ways to take the buffer each


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
@pytest.mark.parametrize("architecture", [name for name in construction_orders() if name not in NOT_EXPORTED])
def test_what_paddle_exports_after_other_models_gets_the_names_of_its_state_dict(
    tmp_path: Path, architecture: str
) -> None:
    run_with_upstream(EXPORT, architecture, str(tmp_path / "model"))
    named, saved = open_model(tmp_path / "model.pdiparams"), read(tmp_path / "model.pdparams")
    assert named.naming == "structured"
    for name, array in named.items():
        assert is_traced(name) or array.tobytes() == saved[name].tobytes(), name


@pytest.mark.slow
@pytest.mark.parametrize("architecture", PAIRED)
def test_a_published_backbone_under_another_published_head_gets_its_names(tmp_path: Path, architecture: str) -> None:
    other = "stdc" if architectures()[architecture].backbones[0] != "stdc" else "resnet_vd"
    kwargs = {**SMALL[architecture], "backbone": BACKBONES[other]}
    model = {"class": f"paddleseg.models.{architecture}", "kwargs": kwargs}
    run_upstream([{"name": "pair", "model": model, "seed": 0, "shape": (1, 3, 64, 96), "export": True}], tmp_path)
    named, saved = open_model(tmp_path / "pair"), read(tmp_path / "pair.pdparams")
    assert named.naming == "structured"
    for name, array in named.items():
        assert array.tobytes() == saved[name].tobytes(), name


def test_what_the_tables_hold_is_among_the_orders() -> None:
    for path in TABLES.glob("*.json"):
        table = json.loads(path.read_bytes())
        orders = [by_kind(layers) for layers in construction_orders()[table["architecture"]]]
        for variant in table["variants"]:
            assert by_kind([alignment._layer(line) for line in variant["layers"]]) in orders


def by_kind(layers: list[Layer]) -> dict[str, list[Layer]]:
    """What the counters of variables tell: the order of the layers of each type."""
    return {kind: [layer for layer in layers if layer.kind == kind] for kind in {layer.kind for layer in layers}}


def toy(monkeypatch: pytest.MonkeyPatch, *layers: Layer) -> None:
    monkeypatch.setattr(alignment, "construction_orders", lambda: {"Toy": [list(layers)]})


def test_a_repetitive_model_that_fits_in_several_orders_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    toy(monkeypatch, *(Layer(f"block.{index}", "linear", {"w_0": ("weight", 2)}) for index in range(2)))
    with pytest.raises(CheckpointError, match="Toy in more than one order"):
        with_structured_names(checkpoint_of({"linear_4.w_0": (2, 2)}), lambda architecture, candidate: True)


@pytest.mark.parametrize("fitting", [["Narrow"], ["Wide"], ["Narrow", "Wide"]])
def test_architectures_of_the_same_names_are_told_apart_by_what_fits(
    fitting: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [Layer("a", "linear", {"w_0": ("weight", 2)})]
    monkeypatch.setattr(alignment, "construction_orders", lambda: {"Narrow": [layers], "Wide": [layers]})
    named = with_structured_names(checkpoint_of({"linear_4.w_0": (2, 2)}), lambda name, _: name in fitting)
    assert list(named) == ["a.weight"]


def test_variables_that_fit_no_order_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    toy(monkeypatch, Layer("a", "conv2d", {"w_0": ("weight", 4)}), Layer("b", "conv2d", {"w_0": ("weight", 4)}))
    for shapes in (
        {"linear_0.w_0": (2, 2)},  # no layer of this kind
        {"conv2d_0.w_0": (2, 2)},  # no convolution's rank
        {"conv2d_0.b_0": (2,)},  # no bias
        {"conv2d_0.w_0": (1, 1, 1, 1), "conv2d_2.w_0": (1, 1, 1, 1)},  # further apart than they were built
        {"generated_tensor_0": (1,)},
    ):
        assert list(candidates(shapes, "Toy")) == []
        with pytest.raises(CheckpointError, match=r"\.pdparams of the training run"):
            with_structured_names(checkpoint_of(shapes), lambda architecture, candidate: True)


def test_names_that_upstream_itself_gave_are_their_tensors_whatever_was_built_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    toy(
        monkeypatch,
        Layer("backbone.conv", "conv1_weights", {"": ("weight", 4)}),
        Layer("backbone.bn", "conv1_bn_mean", {"": ("_mean", 1)}),
        Layer("head.a", "conv2d", {"w_0": ("weight", 4)}),
        Layer("dropped.conv2d_1", "conv2d", {}),  # built, and another in its place: its number is left out
        Layer("head.b", "conv2d", {"w_0": ("weight", 4)}),
    )
    ranks = {"conv1_weights": 4, "conv1_bn_mean": 1, "conv2d_5.w_0": 4, "conv2d_7.w_0": 4}
    (names,) = candidates({name: (1,) * rank for name, rank in ranks.items()}, "Toy")
    assert list(names.values()) == ["head.a.weight", "head.b.weight", "backbone.conv.weight", "backbone.bn._mean"]


def test_more_candidates_than_can_be_tried_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = ("conv2d", "linear", "embedding", "norm")
    toy(monkeypatch, *(Layer(f"{kind}.{i}", kind, {"w_0": ("weight", 1)}) for kind in kinds for i in range(40)))
    with pytest.raises(CheckpointError, match="more than 10,000 ways"):
        list(candidates({f"{kind}_{50 + i}.w_0": (1,) for kind in kinds for i in range(20)}, "Toy"))


def test_a_few_tensors_are_not_looked_for_in_a_large_model(monkeypatch: pytest.MonkeyPatch) -> None:
    toy(monkeypatch, *(Layer(f"{i}", "linear", {"w_0": ("weight", 2)}) for i in range(5)))
    assert len(list(candidates({f"linear_{i}.w_0": (1, 1) for i in range(3)}, "Toy"))) == 3
    assert list(candidates({f"linear_{i}.w_0": (1, 1) for i in range(2)}, "Toy")) == []


def test_layers_are_looked_for_in_no_backbone_alone() -> None:
    orders = construction_orders()[PAIRED[0]]
    numbers: Counter[str] = Counter()
    whole: Shapes = {}
    inside: Shapes = {}
    for layer in orders[0]:
        named = {f"{layer.kind}_{numbers[layer.kind]}.{end}": (8,) * rank for end, (_, rank) in layer.tensors.items()}
        numbers[layer.kind] += 1
        whole |= named
        inside |= named if layer.name.startswith("backbone.") else {}
    assert len(inside) > len(whole) / 2
    assert list(candidates(whole, PAIRED[0]))
    beside = {layer.name for layer in orders[0] if not layer.name.startswith("backbone.")}
    for names in candidates(inside, PAIRED[0]):
        assert beside & {name.rpartition(".")[0] for name in names.values()}


def test_layers_of_one_module_are_taken_together(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, norm = {"w_0": ("weight", 4)}, {"w_0": ("weight", 1)}
    blocks = [(f"block.{i}.conv", "conv2d", conv) for i in range(3)] + [
        (f"block.{i}.bn", "norm", norm) for i in range(3)
    ]
    toy(monkeypatch, *(Layer(*block) for block in blocks))
    shapes = {
        f"{name}.w_0": (1,) * rank for i in (0, 1) for name, rank in ((f"conv2d_{7 + i}", 4), (f"norm_{4 + i}", 1))
    }
    found = list(candidates(shapes, "Toy"))
    assert [set(names.values()) for names in found] == [
        {f"block.{i}.{name}.weight" for i in there for name in ("conv", "bn")} for there in ((1, 2), (0, 1))
    ]


def test_the_table_names_every_tensor_of_an_architecture_once() -> None:
    for variants in construction_orders().values():
        for layers in variants:
            names = [f"{layer.name}.{name}" for layer in layers for name, _ in layer.tensors.values()]
            assert len(set(names)) == len(names)


def check_tables(*names: str) -> None:
    if importlib.util.find_spec("paddleseg") is None:
        pytest.skip("PaddleSeg is not installed")
    command = [sys.executable, str(ROOT / "scripts" / "construction_order.py"), "--check", *names]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr[-500:]


def test_every_architecture_has_a_table_and_the_smallest_is_what_paddleseg_builds_today() -> None:
    smallest = min(construction_orders(), key=lambda name: len(construction_orders()[name][0]))
    without = [name for name, map in architectures().items() if not (TABLES / f"{map.name}.json").exists()]
    check_tables(smallest, *without)


@pytest.mark.slow
def test_the_tables_are_what_paddleseg_builds_today() -> None:
    check_tables()
