"""`ppls train --fsdp`: two processes that share a model out follow two that each have the whole of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ppls
from ppls.errors import UsageError
from tests.material import SMALL_RUN
from tests.training.test_train import PLAIN, curve, data, run, write

pytest.importorskip("accelerate")
pytest.importorskip("cv2")
__all__ = ["data"]  # a fixture

GROUPS = [{"name": "backbone", "lr_mult": 0.5, "weight_decay_mult": 0.5}, {"name": "arm", "lr_mult": 2.0}]
CLIP = {"name": "ClipGradByGlobalNorm", "clip_norm": 0.5}
MOMENTUM = {"type": "SGD", "momentum": 0.9, "weight_decay": 5e-2, "custom_cfg": GROUPS, "grad_clip_cfg": CLIP}
ADAMW = {"type": "AdamW", "weight_decay": 0.05, "custom_cfg": GROUPS}
FEW = {"loss": {"types": PLAIN, "coef": [1, 1, 1]}, "lr_scheduler": {"type": "PolynomialDecay", "learning_rate": 0.01}}
WITH_ALL = {"do_eval": True, "use_ema": True}

WORKER = """
import copy, json, os, sys
import torch
import ppls
import ppls.training.train as train
import ppls.training.validation as validation
from ppls.training.sharded import own_parts

training, evaluate, engine = train.Training, validation.evaluate, train.Engine
validation.evaluate = lambda model, *given, **options: evaluate(copy.deepcopy(model).float(), *given, **options)

class Watched(engine):
    def __init__(self, *given, **options):
        super().__init__(*given, **options)
        made.append(self)
        if scale:
            self.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale, backoff_factor=2.0**-16)

    def _mean(self, losses):
        found = super()._mean(losses)
        return [float("nan")] * len(found) if self.skip and self.training.iteration == 1 else found

train.Engine = Watched
for port, config, options in json.loads(sys.argv[1]):
    os.environ["MASTER_PORT"], made = str(port), []
    precision, scale = options.pop("of_training", "float32"), options.pop("scale", None)
    train.Training = lambda *given, **more: training(*given, **more, precision=precision)
    ppls.train(config, ppls.TrainingOptions(**{"seed": 3, "save_interval": 2, "log_iters": 1} | options))
    run = made[0].training
    parameters = list(run.model.parameters())
    states = run.optimizer.state.values()
    slots = [kept for state in states for slot, kept in state.items() if not slot.endswith("_pow")]
    for every in (parameters, slots, [parameter.grad for parameter in parameters if parameter.grad is not None]):
        assert every
        part = sum(tensor.numel() for tensor in own_parts(every)) / sum(tensor.numel() for tensor in every)
        assert 0.4 < part < 0.6 if options.get("fsdp") else part == 1, part
"""


def together(*runs: tuple[Path, dict[str, Any]]) -> None:
    """Runs one after the other, each in two processes."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in runs]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        ports = [free.getsockname()[1] for free in sockets]
    given = json.dumps([(port, str(config), options) for port, (config, options) in zip(ports, runs, strict=True)])
    shared = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WORKER, given]
    processes = [subprocess.Popen(command, env=shared | {"RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]
    try:
        assert [each.wait(300) for each in processes] == [0, 0]
    finally:
        for each in processes:
            each.kill()


def both(config: Path, folder: Path, **options: Any) -> list[tuple[Path, dict[str, Any]]]:
    """A run that has the whole model in each process, `whole`, and one that shares it out, `shared`."""
    return [
        (config, {**options, "save_dir": str(folder / name), "fsdp": name == "shared"}) for name in ("whole", "shared")
    ]


def nearly_same(one: Path, other: Path) -> None:
    """Two checkpoints of the same numbers in float64."""
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    for path in one.glob("*.safetensors"):
        ours, theirs = ppls.read(path), ppls.read(other / path.name)
        assert ours.keys() == theirs.keys()
        for name, tensor in ours.items():
            np.testing.assert_allclose(tensor, theirs[name], rtol=1e-7, atol=1e-9, err_msg=name)


def test_two_processes_that_share_a_model_out_are_two_with_the_whole_of_it(data: Path, tmp_path: Path) -> None:
    """In float64, with groups, decay, gradients of two batches whose norm is a sum over both processes, and an
    iteration that was left out."""
    config = write(tmp_path / "run.yml", data, optimizer=MOMENTUM, **FEW)
    options = {"accumulate": 2, "on_nan": "go-on", "of_training": "float64", "save_interval": 3}
    together(*both(config, tmp_path, iters=3, **options, **WITH_ALL))
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    nearly_same(shared / "iter_3", whole / "iter_3")
    nearly_same(shared / "ema_best_model", whole / "ema_best_model")
    assert [row["iteration"] for row in curve(shared) if "loss" in row] == [1, 3]
    for ours, theirs in zip(curve(shared), curve(whole), strict=True):
        assert ours == {key: pytest.approx(value, rel=1e-9) for key, value in theirs.items()}


@pytest.mark.slow
def test_adamw_shares_what_it_keeps_out_too(data: Path, tmp_path: Path) -> None:
    config = write(tmp_path / "run.yml", data, optimizer=ADAMW, **FEW)
    together(*both(config, tmp_path, iters=4, of_training="float64"))
    nearly_same(tmp_path / "shared" / "iter_4", tmp_path / "whole" / "iter_4")


@pytest.mark.slow
def test_where_scaled_gradients_are_infinite_all_parts_stay(data: Path, tmp_path: Path) -> None:
    config = write(tmp_path / "run.yml", data, optimizer=ADAMW, **FEW)
    together(*both(config, tmp_path, iters=4, scale=2.0**126))
    for ours, theirs in zip(curve(tmp_path / "shared"), curve(tmp_path / "whole"), strict=True):
        assert ours == {key: pytest.approx(value, rel=1e-5) for key, value in theirs.items()}
    for folder in ("shared", "whole"):
        for name in ("iter_2", "iter_4"):
            assert json.loads((tmp_path / folder / name / "loop.json").read_text())["scaler"]["scale"] == 2.0**110


@pytest.mark.slow
def test_a_run_goes_on_with_or_without_sharing_whatever_it_was(data: Path, tmp_path: Path) -> None:
    config = write(tmp_path / "run.yml", data, optimizer=MOMENTUM, **FEW)
    options: dict[str, Any] = {"iters": 4, "of_training": "float64", **WITH_ALL}
    folder = tmp_path / "iter_1000"
    folder.mkdir()
    for name in ("model.pdparams", "model.pdopt"):
        (folder / name).symlink_to(SMALL_RUN / name)
    paddles = write(tmp_path / "paddles.yml", data, iters=1001, transforms=[{"type": "Normalize"}])
    before = both(config, tmp_path, **options)
    after = [
        (config, {**options, "save_dir": str(tmp_path / f"after_{name}"), "resume": str(tmp_path / name / "iter_2")})
        for name in ("whole", "shared")
    ]
    after[0][1]["fsdp"] = True
    together(*before, *after, *both(paddles, tmp_path / "paddles", resume=str(folder), of_training="float64"))
    for name in ("shared", "after_whole", "after_shared"):
        nearly_same(tmp_path / name / "iter_4", tmp_path / "whole" / "iter_4")
    nearly_same(*(tmp_path / "paddles" / name / "iter_1001" for name in ("shared", "whole")))


@pytest.mark.slow
@pytest.mark.parametrize("more", [{"precision": "bfloat16"}, {"channels_last": True}], ids=str)
def test_other_ways_to_compute_share_a_model_out_too(more: dict[str, Any], data: Path, tmp_path: Path) -> None:
    config = write(tmp_path / "run.yml", data, **FEW)
    together(*both(config, tmp_path, iters=2, **more, **WITH_ALL))
    for ours, theirs in zip(curve(tmp_path / "shared"), curve(tmp_path / "whole"), strict=True):
        assert ours.keys() == theirs.keys()
        if "losses" in ours:
            assert ours["losses"] == pytest.approx(theirs["losses"], rel=3e-2)


def test_one_process_has_nobody_to_share_with(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--fsdp shares the model out among processes, and there is one: .*torchrun"):
        run(write(tmp_path / "run.yml", data), tmp_path / "run", fsdp=True)


def test_a_model_that_is_shared_out_is_not_compiled() -> None:
    with pytest.raises(UsageError, match="--fsdp and --compile do not go together"):
        ppls.TrainingOptions(fsdp=True, compile=True)
