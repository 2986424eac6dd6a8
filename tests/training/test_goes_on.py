"""`ppls.Training` on a small run: saved, resumed, taken to PaddleSeg's form and back, and what it cannot resume."""

from __future__ import annotations

import shutil
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

import ppls
from ppls.checkpoint.paddle_file import write_optimizer_file
from ppls.errors import ConversionError, Error, InputError, MissingDependencyError, UsageError
from ppls.training.folder import convert_run, convert_run_back
from ppls.training.training import check_decay
from tests.material import SMALL_RUN


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what PaddleSeg saved after a thousand iterations, and the config of a run of two thousand."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "iter_1000").mkdir()
    for name in ("model.pdparams", "model.pdopt"):
        shutil.copy(SMALL_RUN / name, folder / "iter_1000")
    write(folder / "run.yml")
    return folder


def write(path: Path, **changes: Any) -> Path:
    config = yaml.safe_load((SMALL_RUN / "config.yml").read_text())
    config |= {"iters": 2000, **changes}
    path.write_text(yaml.safe_dump(config))
    return path


def batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(2, 3, 64, 64, generator=generator),
            torch.randint(0, 5, (2, 64, 64), generator=generator),
        )
        for _ in range(count)
    ]


def same(one: ppls.Training, other: ppls.Training) -> None:
    assert (one.iteration, one.rate) == (other.iteration, other.rate)
    for (name, ours), theirs in zip(one.model.state_dict().items(), other.model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name
    for ours, theirs in zip(one.model.parameters(), other.model.parameters(), strict=True):
        kept, again = one.optimizer.state[ours], other.optimizer.state[theirs]
        assert all(torch.equal(kept[slot], again[slot]) for slot in kept.keys() | again.keys())


def test_a_run_goes_on_from_either_form_to_the_same_bits(run: Path, tmp_path: Path) -> None:
    whole = ppls.Training(run / "run.yml", resume=run / "iter_1000")
    for batch in batches(2):
        whole.step(*batch)
    whole.save(tmp_path / "iter_1002")
    convert_run_back(tmp_path / "iter_1002", tmp_path / "paddles_1002")
    convert_run(tmp_path / "paddles_1002", tmp_path / "again")
    others = [ppls.Training(run / "run.yml", resume=tmp_path / name) for name in ("iter_1002", "paddles_1002", "again")]
    losses = [whole.step(*batch) for batch in batches(4)[2:]]
    for other in others:
        assert [other.step(*batch) for batch in batches(4)[2:]] == losses
        same(other, whole)
    assert whole.iteration == 1004


def test_a_step_moves_the_weights_and_leaves_the_labels(run: Path) -> None:
    training = ppls.Training(
        write(run / "dice.yml", loss={"types": [{"type": "DiceLoss"}], "coef": [1, 0.5, 0.25]}),
        resume=run / "iter_1000",
    )
    before = [parameter.clone() for parameter in training.model.parameters()]
    for images, labels in batches(2):
        labels[0, :10] = 255
        given = labels.clone()
        assert len(training.step(images, labels)) == 3
        assert torch.equal(labels, given)
    assert all(not torch.equal(*pair) for pair in zip(training.model.parameters(), before, strict=True))


def test_groups_are_of_paddleseg_s_names(run: Path) -> None:
    custom = [{"name": "backbone", "lr_mult": 0.1}, {"name": "ppseg_head", "weight_decay_mult": 0.0}]
    optimizer = {"type": "SGD", "momentum": 0.9, "weight_decay": 5e-4, "custom_cfg": custom}
    training = ppls.Training(write(run / "groups.yml", optimizer=optimizer), resume=run / "iter_1000")
    backbone, head, rest = training.optimizer.param_groups
    assert {id(p) for p in backbone["params"]} == {id(p) for p in training.model.backbone.parameters()}
    assert (backbone["lr_mult"], backbone["weight_decay"]) == (0.1, 5e-4)
    assert (head["lr_mult"], head["weight_decay"]) == (1.0, 0.0)
    assert head["params"]
    assert rest["params"]


LOSS = {"type": "CrossEntropyLoss"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"loss": {"types": [LOSS], "coef": [1, 1]}},
            "the model has 3 outputs in training, but the config has 2 losses",
        ),
        (
            {"loss": {"types": [{"type": "A"}, {"type": "B"}], "coef": [1, 1]}},
            "loss has A, B, which ppls does not have",
        ),
        ({"loss": {"types": [LOSS, LOSS], "coef": [1]}}, "2 types, but 1 coef"),
        ({"loss": {"types": [{**LOSS, "wight": 1}], "coef": [1]}}, "has wight, which it may not"),
        ({"loss": {"types": [3], "coef": [1]}}, "names no type"),
        ({"loss": {"types": [{"type": "DistillCrossEntropyLoss"}], "coef": [1, 1, 1]}}, "the logits of a teacher"),
        ({"loss": None}, "has no section loss"),
        ({"iters": "many"}, "iters is 'many'"),
        ({"optimizer": {"type": "Lion"}}, "the type 'Lion', which is none of SGD, Momentum, Adam, AdamW"),
        ({"optimizer": {"type": "AdamW"}}, "its optimizer is Momentum, the config's optimizer is AdamW"),
        ({"optimizer": {"type": "SGD", "momentum": 0.9, "nesterof": True}}, "has nesterof, which it may not"),
        ({"optimizer": {"type": "Momentum", "grad_clip_cfg": {"name": "Clip"}}}, "the name 'Clip'"),
        ({"optimizer": {"type": "Momentum", "custom_cfg": [{"lr_mult": 2}]}}, "which has no name"),
        ({"lr_scheduler": {"type": "StepDecay", "learning_rate": 0.1}}, "lacks step_size"),
        ({"model": {"type": "PPLiteSeg", "backbone": {"type": "STDC1", "relative_lr": 0.5}}}, "relative_lr: 0.5"),
        ({"model": {"type": "UNet"}}, "describes a UNet, the checkpoint is a PPLiteSeg"),
    ],
)
def test_what_cannot_go_on_is_said(changes: dict[str, Any], said: str, run: Path, tmp_path: Path) -> None:
    config = write(tmp_path / "run.yml", **changes)
    with pytest.raises(Error) as error:
        ppls.Training(config, resume=run / "iter_1000").step(*batches(1)[0])
    assert said in str(error.value)


def test_a_folder_named_for_other_iterations_is_refused(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "iter_1000", tmp_path / "iter_400")
    with pytest.raises(ConversionError, match="is named for 400 iterations, its optimizer has done 1000"):
        ppls.Training(run / "run.yml", resume=tmp_path / "iter_400")


def test_an_unknown_precision_is_said(run: Path) -> None:
    with pytest.raises(UsageError, match="precision is 'float8'"):
        ppls.Training(run / "run.yml", resume=run / "iter_1000", precision="float8")


@pytest.mark.parametrize(
    ("optimizer", "refused"),
    [
        ({"weight_decay": 1e-4}, True),
        ({"weight_decay": 1e-4, "custom_cfg": [{"name": "backbone"}]}, False),
        ({"weight_decay": None}, False),
    ],
)
def test_a_lite_hrnet_is_refused_where_its_normalisations_would_decay(optimizer: dict[str, Any], refused: bool) -> None:
    with pytest.raises(UsageError, match="decays no normalisation") if refused else nullcontext():
        check_decay(optimizer, "run.yml")


def test_labels_that_are_no_class_are_said(run: Path) -> None:
    training = ppls.Training(run / "run.yml", resume=run / "iter_1000")
    images, labels = batches(1)[0]
    labels[0, 0, :3] = torch.tensor([255, 5, 77])
    with pytest.raises(UsageError, match="labels have 5, 77, but the model has classes 0 to 4 and 255 is ignored"):
        training.step(images, labels)
    assert training.iteration == 1000


def lists_of(folder: Path, count: int = 3) -> dict[str, Any]:
    """A data set of so many images, and the section of a config that has it."""
    lines = []
    for number in range(count):
        Image.new("RGB", (64, 64), (60 * number, 80, 90)).save(folder / f"{number}.png")
        Image.new("L", (64, 64), number).save(folder / f"{number}_label.png")
        lines.append(f"{number}.png {number}_label.png\n")
    (folder / "train.txt").write_text("".join(lines))
    steps = [{"type": "RandomHorizontalFlip"}, {"type": "Normalize"}]
    lists = {"type": "Dataset", "mode": "train", "dataset_root": "data", "train_path": "data/train.txt"}
    return lists | {"num_classes": 5, "transforms": steps}


def test_batches_last_to_the_end_of_the_run(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    config = write(tmp_path / "run.yml", iters=1003, batch_size=2, train_dataset=lists_of(tmp_path))
    training = ppls.Training(config, resume=run / "iter_1000", data=tmp_path)
    for batch in training.batches(seed=1):
        training.step(batch.images, batch.labels, batch.edges)
    assert training.iteration == 1003
    assert list(training.batches()) == []


def test_a_data_set_with_missing_files_is_refused_before_all_else(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    config = write(tmp_path / "run.yml", batch_size=2, train_dataset=lists_of(tmp_path))
    for name in ("1.png", "2_label.png"):
        (tmp_path / name).unlink()
    with pytest.raises(InputError, match="2 files of the data set are missing"):
        ppls.Training(config, resume=run / "iter_1000", data=tmp_path)


@pytest.mark.parametrize("size", [None, 0, "four", True])
def test_a_batch_size_that_is_none_is_said(size: Any, run: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    config = write(tmp_path / "run.yml", batch_size=size, train_dataset=lists_of(tmp_path))
    with pytest.raises(UsageError, match="batch_size is"):
        ppls.Training(config, resume=run / "iter_1000", data=tmp_path).batches()


def test_without_opencv_the_command_that_brings_it_is_said(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("ppls.training.data.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cv2", None)
    training = ppls.Training(run / "run.yml", resume=run / "iter_1000")
    with pytest.raises(MissingDependencyError, match=r"pip install 'ppls\[train\]'"):
        training.batches()


def test_a_run_of_plain_sgd_goes_on(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "iter_1000", tmp_path / "iter_1000")
    beside = {"LR_Scheduler": {"last_epoch": 1000, "last_lr": 0.001}}
    write_optimizer_file(tmp_path / "iter_1000/model.pdopt", {}, {}, beside=beside, force=True)
    config = write(tmp_path / "run.yml", optimizer={"type": "SGD"})
    training = ppls.Training(config, resume=tmp_path / "iter_1000")
    training.step(*batches(1)[0])
    training.save(tmp_path / "ours")
    again = ppls.Training(config, resume=tmp_path / "ours")
    same(training, again)
    with pytest.raises(ConversionError, match="its optimizer is SGD, the config's optimizer is Momentum"):
        ppls.Training(run / "run.yml", resume=tmp_path / "iter_1000")
