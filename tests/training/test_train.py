"""`ppls train`: a run from scratch, its folder, what ends it, and how it goes on."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image

import ppls
from ppls.cli.verbs import ppls as command
from ppls.errors import ConversionError, Error, InputError, UsageError
from ppls.models.resize import resize
from ppls.training import checkpoints
from ppls.training.checkpoints import checkpoints_in, last_checkpoint
from ppls.training.engine import Engine, PreciseResizes, accelerated
from ppls.training.folder import convert_run, convert_run_back
from tests.material import SMALL_RUN

pytest.importorskip("accelerate")
pytest.importorskip("cv2")

TRANSFORMS = [{"type": "RandomDistort"}, {"type": "RandomHorizontalFlip"}, {"type": "Normalize"}]
PLAIN = [{"type": "CrossEntropyLoss"}]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of eight small images, none of whose pixels are ignored."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.RandomState(0)
    lines = []
    for number in range(8):
        label = np.kron(random.randint(0, 5, (4, 4)), np.ones((16, 16), int)).astype(np.uint8)
        image = (label[..., None] * 40 + random.randint(0, 60, (64, 64, 3))).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{number}.png")
        Image.fromarray(label).save(folder / f"{number}_label.png")
        lines.append(f"{number}.png {number}_label.png\n")
    (folder / "train.txt").write_text("".join(lines))
    (folder / "val.txt").write_text("".join(lines[:2]))
    return folder


def write(path: Path, data: Path, **changes: Any) -> Path:
    config = yaml.safe_load((SMALL_RUN / "config.yml").read_text())
    config["train_dataset"] |= {"dataset_root": str(data), "train_path": str(data / "train.txt")}
    config["train_dataset"]["transforms"] = changes.pop("transforms", TRANSFORMS)
    config["val_dataset"] |= {"dataset_root": str(data), "val_path": str(data / "val.txt")}
    path.write_text(yaml.safe_dump(config | {"batch_size": 2, "iters": 6} | changes))
    return path


def run(config: Path, folder: Path, said: list[str] | None = None, **options: Any) -> ppls.Trained:
    options = {"seed": 3, "save_interval": 2, "log_iters": 2, "save_dir": folder} | options
    return ppls.train(config, ppls.TrainingOptions(**options), say=None if said is None else said.append)


def curve(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]


def same(one: Path, other: Path) -> None:
    """Two checkpoints of the same bits, and of the same place in the run."""
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    for path in one.iterdir():
        if path.name == "loop.json":
            first, second = (json.loads((folder / path.name).read_text()) for folder in (one, other))
            assert {key: first[key] for key in first.keys() - {"config"}} == {
                key: second[key] for key in second.keys() - {"config"}
            }
        else:
            assert path.read_bytes() == (other / path.name).read_bytes(), path.name


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed; beside it its config, `run.yml`."""
    folder = tmp_path_factory.mktemp("whole")
    said: list[str] = []
    done = run(write(folder / "run.yml", data), folder / "run", said, do_eval=True, use_ema=True, keep_checkpoint_max=2)
    assert (done.iteration, done.checkpoint) == (6, folder / "run" / "iter_6")
    best = max((row for row in curve(folder / "run") if "miou" in row), key=lambda row: row["miou"])
    assert done.best == {"miou": best["miou"], "iteration": best["iteration"]}
    (folder / "said.txt").write_text("\n".join(said))
    return folder / "run"


def test_a_run_from_scratch_leaves_its_last_checkpoints_its_best_model_and_its_curve(whole: Path) -> None:
    assert [number for number, _ in checkpoints_in(whole)] == [4, 6]
    names = {path.name for path in whole.iterdir()}
    assert {"best_model", "ema_best_model", "curve.jsonl"} <= names
    assert not [name for name in names if name.startswith(".")]
    assert ppls.load(whole / "best_model" / "model.safetensors").num_classes == 5
    rows = curve(whole)
    assert [row["iteration"] for row in rows if "loss" in row] == [2, 4, 6]
    assert all(
        row["loss"] == pytest.approx(sum(row["losses"])) and len(row["losses"]) == 3 for row in rows if "loss" in row
    )
    text = (whole.parent / "said.txt").read_text()
    assert "[TRAIN] epoch: 1, iter: 2/6, loss: " in text
    assert "[EVAL] #Images: 2 mIoU: " in text
    assert "[EVAL] The model with the best validation mIoU (" in text


def test_a_resumed_run_has_the_bits_of_one_that_was_not_disturbed(whole: Path, data: Path, tmp_path: Path) -> None:
    options = {"do_eval": True, "use_ema": True, "keep_checkpoint_max": 2}
    config = write(tmp_path / "run.yml", data, iters=6)
    run(config, tmp_path / "run", **options, settings={"lr_scheduler.decay_steps": 6}, iters=3)
    assert last_checkpoint(tmp_path / "run").name == "iter_3"
    said: list[str] = []
    run(config, tmp_path / "run", said, **options, resume=tmp_path / "run")
    assert any(line.strip() == "iters: 6, was 3" for line in said)
    same(tmp_path / "run" / "iter_6", whole / "iter_6")


def test_with_workers_the_batches_of_a_resumed_run_are_those_of_the_run(data: Path, tmp_path: Path) -> None:
    config = write(tmp_path / "run.yml", data)
    options = {"num_workers": 2, "settings": {"lr_scheduler.decay_steps": 6}}
    run(config, tmp_path / "whole", **options, save_interval=6)
    run(config, tmp_path / "run", **options, iters=5)
    run(config, tmp_path / "run", **options, resume=tmp_path / "run")
    same(tmp_path / "run" / "iter_6", tmp_path / "whole" / "iter_6")


KILLED = """
import os, signal, sys
import ppls.training.checkpoints as checkpoints
from ppls.cli.verbs import ppls
where, number = sys.argv[1], int(sys.argv[2])
calls = 0
real = getattr(checkpoints.os, where) if where in ("rename",) else getattr(checkpoints, where)
def counted(*arguments, **options):
    global calls
    calls += 1
    if calls == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **options)
if where == "rename":
    checkpoints.os.rename = counted
else:
    setattr(checkpoints, where, counted)
ppls(sys.argv[3:])
"""


@pytest.mark.parametrize(
    "moments",
    [
        pytest.param([("rename", "2")], id="before a checkpoint gets its name"),
        pytest.param([("rename", "2"), ("generators", "1")], id="and as the next one begins", marks=pytest.mark.slow),
        pytest.param([("write_model", "3")], id="as the best model is written", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_killed_goes_on_to_the_same_bits(
    moments: list[tuple[str, str]], whole: Path, tmp_path: Path
) -> None:
    arguments = ["train", str(whole.parent / "run.yml"), "--seed", "3", "--save-interval", "2", "--log_iters", "2"]
    arguments += ["--save_dir", str(tmp_path / "run"), "--do_eval", "--use_ema", "--keep-checkpoint-max", "2", "-q"]
    more: list[str] = []
    for where, number in moments:
        killed = subprocess.run([sys.executable, "-c", KILLED, where, number, *arguments, *more], timeout=300)
        assert killed.returncode == -signal.SIGKILL
        assert [found for found, _ in checkpoints_in(tmp_path / "run")] == [2]
        more = ["--resume", str(tmp_path / "run")]
    result = CliRunner().invoke(command, [*arguments, "--resume", str(tmp_path / "run"), "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["iteration"] == 6
    same(tmp_path / "run" / "iter_6", whole / "iter_6")
    assert curve(tmp_path / "run") == curve(whole)
    assert not [path.name for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]


def test_what_was_trained_goes_to_paddleseg_and_back(whole: Path, tmp_path: Path) -> None:
    back = convert_run_back(whole / "iter_4", tmp_path / "iter_4")
    assert not back.warnings
    convert_run(tmp_path / "iter_4", tmp_path / "ours")
    for name in ("model.safetensors", "optimizer.safetensors"):
        ours, again = ppls.read(whole / "iter_4" / name), ppls.read(tmp_path / "ours" / name)
        assert {key: tensor.tobytes() for key, tensor in ours.items()} == {k: t.tobytes() for k, t in again.items()}
    trained = ppls.read(SMALL_RUN / "model.pdparams").name_table
    ours = ppls.read(tmp_path / "iter_4" / "model.pdparams").name_table
    assert all(trained[name] == variable for name, variable in ours.items())
    assert {name for name in trained if "_scale" not in name} == set(ours)


RESUMED = """
import sys
import numpy as np
import paddle
from paddleseg.cvlibs import Config, SegBuilder, manager
from paddleseg.models.backbones.stdcnet import STDCNet
from paddleseg.utils import resume
import ppls
manager.BACKBONES.add_component(STDCNet)  # PaddleSeg names STDC1 and STDC2 alone
paddle.set_device("cpu")
config, folder = sys.argv[1:]
builder = SegBuilder(Config(config))
model, optimizer = builder.model, builder.optimizer
assert resume(model, optimizer, folder) == 4
weights, states = ppls.read(f"{folder}/model.pdparams"), ppls.read(f"{folder}/model.pdopt")
assert set(weights) == set(model.state_dict())
assert all(np.array_equal(model.state_dict()[name].numpy(), tensor) for name, tensor in weights.items())
trained = [parameter.name for parameter in model.parameters() if not parameter.stop_gradient]
assert set(states) == {f"{name}_velocity_0" for name in trained}
assert all(np.array_equal(optimizer.state_dict()[name].numpy(), tensor) for name, tensor in states.items())
"""


@pytest.mark.slow
def test_a_compiled_model_is_trained_alike_and_leaves_the_same_files(data: Path, tmp_path: Path) -> None:
    config = write(tmp_path / "run.yml", data, iters=2, loss={"types": PLAIN * 3, "coef": [1, 1, 1]})
    for name, compile in (("eager", False), ("compiled", True)):
        run(config, tmp_path / name, compile=compile, log_iters=1)
    eager, compiled = ([row["loss"] for row in curve(tmp_path / name)] for name in ("eager", "compiled"))
    assert compiled == pytest.approx(eager, rel=1e-3)
    written = [ppls.read(tmp_path / name / "iter_2" / "model.safetensors") for name in ("eager", "compiled")]
    shapes = [{name: tensor.shape for name, tensor in tensors.items()} for tensors in written]
    assert shapes[0] == shapes[1]


@pytest.mark.slow
def test_paddleseg_goes_on_with_a_run_that_began_here(whole: Path, tmp_path: Path) -> None:
    pytest.importorskip("paddleseg")
    convert_run_back(whole / "iter_4", tmp_path / "iter_4")
    command = [sys.executable, "-c", RESUMED, str(whole.parent / "run.yml"), str(tmp_path / "iter_4")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def test_of_paddleseg_s_checkpoint_the_data_begin_with_the_first_epoch(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "iter_1000"
    folder.mkdir()
    for name in ("model.pdparams", "model.pdopt"):
        (folder / name).symlink_to(SMALL_RUN / name)
    config = write(tmp_path / "run.yml", data, iters=1002)
    done = run(config, tmp_path / "run", resume=tmp_path, do_eval=True, eval_interval=1)
    assert (done.iteration, len(curve(tmp_path / "run"))) == (1002, 3)
    training = ppls.Training(config, resume=folder)
    for batch in training.batches(seed=3):
        training.step(batch.images, batch.labels, batch.edges)
    training.save(tmp_path / "by_hand")
    ours, hand = (
        ppls.read(path / "model.safetensors") for path in (tmp_path / "run" / "iter_1002", tmp_path / "by_hand")
    )
    assert all((tensor == hand[name]).all() for name, tensor in ours.items())


PRECISE = """
import copy
import sys
import ppls.training.train as train
import ppls.training.validation as validation
training, evaluate = train.Training, validation.evaluate
train.Training = lambda *given, **options: training(*given, **options, precision="float64")
validation.evaluate = lambda model, *given, **options: evaluate(copy.deepcopy(model).float(), *given, **options)
from ppls.cli.verbs import ppls
ppls(sys.argv[1:])
"""


def test_two_processes_with_batches_of_two_are_one_with_batches_of_four(data: Path, tmp_path: Path) -> None:
    """In float64, with losses that are the mean of the pixels and transforms that draw nothing."""
    losses = {"types": PLAIN, "coef": [1, 0.4, 0.4]}
    config = write(tmp_path / "run.yml", data, transforms=[{"type": "Normalize"}], loss=losses)
    command = [sys.executable, "-c", PRECISE, "train", str(config), "--iters", "3", "--seed", "1", "--log-iters", "1"]
    command += ["--do-eval", "-q"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    ranks = [os.environ | together | {"RANK": rank, "LOCAL_RANK": rank} for rank in "01"]  # as torchrun has it
    runs = [subprocess.Popen([*command, "--save-dir", str(tmp_path / "two")], env=rank) for rank in ranks]
    runs.append(subprocess.Popen([*command, "--batch_size", "4", "--save-dir", str(tmp_path / "one")]))
    assert [each.wait(300) for each in runs] == [0, 0, 0]
    for ours, theirs in zip(curve(tmp_path / "two"), curve(tmp_path / "one"), strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            assert value == pytest.approx(theirs[key], rel=1e-9)
    models = [ppls.read(tmp_path / name / "iter_3" / "model.safetensors") for name in ("one", "two")]
    for name, tensor in models[0].items():
        np.testing.assert_allclose(models[1][name], tensor, rtol=1e-7, atol=1e-9, err_msg=name)


def test_gradients_of_two_batches_are_those_of_both_together(data: Path, tmp_path: Path) -> None:
    """But for the statistics of the normalisations, which each batch has its own of: so with them frozen."""
    config = write(
        tmp_path / "run.yml", data, loss={"types": PLAIN, "coef": [1, 1, 1]}, transforms=[{"type": "Normalize"}]
    )
    trainings = []
    for accumulate, size in ((1, 4), (2, 2)):
        torch.manual_seed(0)
        training = ppls.Training(config, settings={"batch_size": size}, precision="float64")
        for module in training.model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.forward = lambda x: x  # type: ignore[method-assign]
        with accelerated("cpu", "float32") as accelerator:
            batches = training.all_batches(seed=0)
            taken = [batch for batch, _ in zip(batches, range(accumulate), strict=False)]
            losses, updated = Engine(training, accelerator).step(taken)
        assert updated
        trainings.append((losses, dict(training.model.named_parameters())))
    (first, one), (second, other) = trainings
    assert first == pytest.approx(second)
    for name, parameter in one.items():
        torch.testing.assert_close(parameter, other[name], rtol=1e-9, atol=1e-12)


def test_with_force_another_run_is_replaced(data: Path, tmp_path: Path) -> None:
    config = write(tmp_path / "run.yml", data)
    run(config, tmp_path / "run", do_eval=True, iters=4)
    run(config, tmp_path / "run", force=True, iters=2)
    assert {path.name for path in (tmp_path / "run").iterdir()} - {"curve.png"} == {"iter_2", "curve.jsonl"}


def test_without_accelerate_the_command_that_brings_it_is_said(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ppls.MissingDependencyError, match=r"pip install 'ppls\[train\]'"):
        run(write(tmp_path / "run.yml", data), tmp_path / "run")


@pytest.mark.parametrize("more", [["--precision", "bfloat16"], ["--channels-last"]], ids=["bfloat16", "channels-last"])
def test_other_ways_to_compute_give_nearly_the_same_losses(more: list[str], whole: Path, tmp_path: Path) -> None:
    arguments = ["train", str(whole.parent / "run.yml"), "--seed", "3", "--log-iters", "2", "--save-dir", str(tmp_path)]
    result = CliRunner().invoke(command, [*arguments, "--iters", "2", "--set", "lr_scheduler.decay_steps=6", *more])
    assert result.exit_code == 0, result.stderr
    assert curve(tmp_path)[0]["loss"] == pytest.approx(curve(whole)[0]["loss"], rel=0.03)


def test_in_mixed_precision_bilinear_resizes_are_in_float32() -> None:
    x = torch.rand(1, 2, 4, 4, dtype=torch.bfloat16)
    with PreciseResizes():
        assert resize(x, (8, 8)).dtype == torch.float32
        assert resize(x, (8, 8), "nearest").dtype == torch.bfloat16
        assert (x + 1).dtype == torch.bfloat16


def broken(value: str) -> Any:
    class Losses(Engine):
        def _mean(self, losses: list[torch.Tensor]) -> list[float]:
            return [float(value)] if self.training.iteration == 1 else super()._mean(losses)

    return Losses


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_loss_that_is_not_finite_ends_the_run_with_its_images(
    value: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppls.training.train.Engine", broken(value))
    config = write(tmp_path / "run.yml", data)
    with pytest.raises(Error, match=rf"iteration 2: the losses of the heads are {value}; nothing was updated") as error:
        run(config, tmp_path / "run", save_interval=1)
    assert str(error.value).count(".png") == 2
    assert [number for number, _ in checkpoints_in(tmp_path / "run")] == [1]


def test_logits_that_are_nan_are_found_where_the_loss_is_zero(data: Path, tmp_path: Path) -> None:
    """PaddleSeg's OHEM takes no pixel of them, and says 0."""
    with pytest.raises(Error, match=r"iteration 2: the losses of the heads are nan, nan, nan"):
        run(write(tmp_path / "run.yml", data), tmp_path / "run", learning_rate=1e30)


@pytest.mark.parametrize(
    "damage",
    [
        lambda loop: loop["processes"][0]["data"].update(epoch=-1),
        lambda loop: loop["processes"][0]["data"]["draws"].update(python=[3, [1], None]),
        lambda loop: loop["processes"][0]["torch"].update(cpu="AAAA"),
        lambda loop: loop.update(best={"best_model": 3}),
        lambda loop: loop["log"].update(losses=["a"]),
        lambda loop: loop.update(schema=2),
        lambda loop: loop.pop("skipped"),
    ],
)
def test_a_damaged_place_is_said(damage: Any, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "iter_4", tmp_path / "iter_4")
    loop = json.loads((tmp_path / "iter_4" / "loop.json").read_text())
    damage(loop)
    (tmp_path / "iter_4" / "loop.json").write_text(json.dumps(loop))
    with pytest.raises(Error, match=r"loop\.json: is not what ppls train writes|no state of a generator"):
        run(whole.parent / "run.yml", tmp_path / "run", resume=tmp_path / "iter_4")


def test_a_run_goes_on_without_a_batch_whose_loss_is_not_finite(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppls.training.train.Engine", broken("nan"))
    said: list[str] = []
    done = run(write(tmp_path / "run.yml", data), tmp_path / "run", said, save_interval=1, iters=2, on_nan="go-on")
    assert (done.iteration, done.skipped) == (2, 1)
    assert [line for line in said if line.startswith("iteration 2: losses nan, left out with its images ")]
    before, after = (ppls.read(tmp_path / "run" / name / "model.safetensors") for name in ("iter_1", "iter_2"))
    assert all((tensor == after[name]).all() for name, tensor in before.items())


def test_where_the_disk_is_full_the_checkpoint_before_stays(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = checkpoints.file_that_becomes

    @contextmanager
    def full(path: Path, **options: Any) -> Iterator[Any]:
        with real(path, **options) as file:
            if path.parent.name.startswith(".iter_4."):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            yield file

    monkeypatch.setattr(checkpoints, "file_that_becomes", full)
    with pytest.raises(ConversionError, match=r"iter_4: was not written; .*iter_2 is there still: .*the disk is full"):
        run(write(tmp_path / "run.yml", data), tmp_path / "run", log_iters=10)
    assert [path.name for path in (tmp_path / "run").iterdir() if "iter" in path.name] == ["iter_2"]


def test_what_is_missing_is_listed_before_the_first_iteration(data: Path, tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text("9.png 9_label.png\n8.png 0_label.png\n")
    config = write(tmp_path / "run.yml", data)
    said: list[str] = []
    with pytest.raises(InputError, match="3 files of the data set are missing"):
        run(config, tmp_path / "run", said, do_eval=True, settings={"val_dataset.val_path": str(tmp_path / "val.txt")})
    assert not [line for line in said if "[TRAIN]" in line]
    assert not (tmp_path / "run").exists()


def test_a_label_that_is_no_class_is_named_with_its_file(data: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 64), 77, np.uint8)).save(tmp_path / "bad.png")
    (tmp_path / "train.txt").write_text(f"{data / '0.png'} {tmp_path / 'bad.png'}\n" * 2)
    config = write(tmp_path / "run.yml", data)
    with pytest.raises(InputError, match=r"bad\.png: has the labels 77, but the data set has classes 0 to 4"):
        run(config, tmp_path / "run", settings={"train_dataset.train_path": str(tmp_path / "train.txt")})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"settings": {"loss.types": [{"type": "A"}, {"type": "B"}, {"type": "A"}]}},
            "loss.types[1]: B: no loss of ppls",
        ),
        ({"settings": {"train_dataset.transforms": [{"type": "X"}, {"type": "Y"}]}}, "Y"),
        ({"settings": {"model.type": "NoSuch"}}, "the model is 'NoSuch', which is none of"),
        ({"settings": {"model.colour": 3}}, "model.colour: 3"),
        ({"settings": {"model.num_classes": 7}}, "the model has 7 classes, the data set has 5"),
        ({"settings": {"model.pretrained": "https://host/model.pdparams"}}, "--set model.pretrained=null"),
        ({"settings": {"modle.type": "UNet"}}, "the config has no modle"),
        ({"settings": {"iters.first": 3}}, "is no table"),
        ({"precision": "float16"}, "scaled gradients are for GPUs"),
        ({"precision": "float8"}, "precision is 'float8'"),
        ({"save_interval": 0}, "save_interval is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"batch_size": 9}, "make no batch of 9"),
        ({"device": "abacus"}, "--device abacus"),
        ({"do_eval": True, "settings": {"val_dataset.type": "Photos"}}, "'Photos' is no data set that ppls evaluates"),
        ({"settings": {"optimizer.type": "AdamWDL_CAE"}}, "the backbone CAE, which ppls does not have"),
        ({"settings": {"loss.types": [{"type": "MaskFormerLoss"}]}}, "MaskFormer's, an architecture that ppls"),
    ],
)
def test_what_cannot_be_trained_is_said(options: dict[str, Any], said: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(Error) as error:
        run(write(tmp_path / "run.yml", data), tmp_path / "run", **options)
    assert said in str(error.value)
    assert not list(tmp_path.glob("run/iter_*"))


def test_all_unknown_classes_are_listed_at_once(data: Path, tmp_path: Path) -> None:
    wrong = {"optimizer": {"type": "Lion"}, "lr_scheduler": {"type": "Flat"}, "transforms": [{"type": "Blend"}]}
    loss = {"types": [{"type": "MixedLoss", "losses": [{"type": "Hope"}], "coef": [1]}], "coef": [1, 1, 1]}
    config = write(tmp_path / "run.yml", data, **wrong, loss=loss, model={"type": "Net", "backbone": {"type": "Spine"}})
    with pytest.raises(UsageError, match="the config has classes that ppls does not have") as error:
        run(config, tmp_path / "run")
    assert [line.split(": ")[1] for line in str(error.value).splitlines()[1:]] == [
        *("Net", "Spine", "Hope", "Lion", "Flat", "Blend")
    ]


def test_what_accelerate_launch_would_share_out_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")  # as `accelerate launch --use_fsdp` does
    with pytest.raises(UsageError, match=r"FSDP of accelerate launch is not supported: .* with --fsdp"):
        run(write(tmp_path / "run.yml", data), tmp_path / "run")


def test_a_run_is_not_mixed_with_another(whole: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has iter_4, iter_6, best_model, ema_best_model of another run already"):
        run(write(tmp_path / "run.yml", data), whole)


def test_what_tensorboard_needs_and_is_not_installed_is_said(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ppls.MissingDependencyError, match=r"pip install 'ppls\[train\]'"):
        run(write(tmp_path / "run.yml", data), tmp_path / "run", tensorboard=True)


def test_tensorboard_has_paddleseg_s_tags(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(write(tmp_path / "run.yml", data), tmp_path / "run", tensorboard=True, iters=2, do_eval=True)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    times = {"Train/batch_cost", "Train/reader_cost"}
    losses = {"Train/loss", "Train/loss_0", "Train/loss_1", "Train/loss_2", "Train/lr"}
    assert set(events.Tags()["scalars"]) == losses | times | {"Evaluate/mIoU", "Evaluate/Acc"}
    assert events.Scalars("Train/loss")[0].value == pytest.approx(curve(tmp_path / "run")[0]["loss"])
