"""A run that begins from scratch: its model as the config has it, drawn anew, with what `pretrained` says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import ppls
from ppls.checkpoint.paddle_file import write_paddle_file
from ppls.checkpoint.reader import read
from ppls.errors import UsageError
from ppls.mappings.map_file import architectures
from ppls.training import begin
from ppls.training.settings import differences
from tests.material import SMALL_RUN

CONFIG = SMALL_RUN / "config.yml"
ADDRESS = "https://bj.bcebos.com/paddleseg/dygraph/backbone.pdparams"


def of(**settings: Any) -> ppls.Training:
    return ppls.Training(CONFIG, settings=settings)


def test_the_model_is_the_config_s_and_its_seed_s() -> None:
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(of().model.state_dict())
    assert all(torch.equal(tensor, drawn[1][name]) for name, tensor in drawn[0].items())
    assert any(not torch.equal(tensor, drawn[2][name]) for name, tensor in drawn[0].items())
    theirs = ppls.load(SMALL_RUN / "model.pdparams").state_dict()
    assert {name: tensor.shape for name, tensor in drawn[0].items()} == {n: t.shape for n, t in theirs.items()}


def test_variables_have_the_names_that_paddle_gave_them() -> None:
    names = json.loads(of().model.provenance["name_table"])
    trained = read(SMALL_RUN / "model.pdparams").name_table
    assert names == {name: variable for name, variable in trained.items() if not name.endswith("_scale")}


def test_the_file_of_the_model_says_how_it_is_used(tmp_path: Path) -> None:
    training = of(**{"val_dataset.transforms": [{"type": "Normalize", "mean": [0.4, 0.4, 0.4]}]})
    training.save(tmp_path / "run")
    usage = ppls.load(tmp_path / "run" / "model.safetensors").usage
    assert usage.preprocessing is not None
    assert "0.4" in str(usage.preprocessing)


def backbone(folder: Path) -> Path:
    """Weights of the backbone alone, as PaddleSeg publishes them, one of another shape and one of no use."""
    checkpoint = read(SMALL_RUN / "model.pdparams")
    prefix = "backbone."
    tensors = {name.removeprefix(prefix): t for name, t in checkpoint.tensors.items() if name.startswith(prefix)}
    tensors["features.0.bn.weight"] = tensors["features.1.bn.weight"]
    tensors["fc.weight"] = tensors["features.1.bn.weight"]
    path = folder / "backbone.pdparams"
    write_paddle_file(path, tensors, {name: name for name in tensors})
    return path


@pytest.mark.filterwarnings("ignore:.*fills")
def test_pretrained_weights_fill_what_fits(tmp_path: Path) -> None:
    path = backbone(tmp_path)
    with pytest.warns(UserWarning, match=r"fills \d+ of \d+ tensors; drawn are backbone.blocks.0.bn.weight"):
        model = of(**{"model.backbone.pretrained": str(path)}).model.state_dict()
    trained = ppls.load(SMALL_RUN / "model.pdparams").state_dict()
    other = [name for name, tensor in model.items() if not torch.equal(tensor, trained[name])]
    assert "backbone.blocks.0.bn.weight" in other
    assert [name for name in other if name.startswith("backbone.")] == ["backbone.blocks.0.bn.weight"]


@pytest.mark.filterwarnings("ignore:.*fills")
def test_what_paddleseg_publishes_is_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, asked = backbone(tmp_path), []

    def fetched(address: str, path: Path) -> None:
        asked.append(address)
        path.parent.mkdir(parents=True)
        shutil.copy(file, path)

    monkeypatch.setenv("PPLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(begin, "download", fetched)
    of(**{"model.backbone.pretrained": ADDRESS})
    assert asked == [ADDRESS]


@pytest.mark.parametrize(
    "said", ["no/such/file.pdparams", "https://bcebos.com.evil.org/w.pdparams", "file:///etc/passwd"]
)
def test_what_is_no_file_of_weights_is_refused(said: str) -> None:
    with pytest.raises(UsageError, match=r"--set model\.backbone\.pretrained=null to begin without"):
        of(**{"model.backbone.pretrained": said})


@pytest.mark.parametrize("name", sorted({"UNet", "SegFormer", "OCRNet"} & set(architectures())))
def test_a_config_as_short_as_paddleseg_s_defaults_allow(name: str, tmp_path: Path) -> None:
    config = yaml.safe_load(CONFIG.read_text())
    backbones = {"SegFormer": {"type": "MixVisionTransformer_B0"}, "OCRNet": {"type": "HRNet_W18_Small_V1"}}
    config["model"] = {"type": name} | ({"backbone": backbones[name]} if name in backbones else {})
    if name == "OCRNet":
        config["model"]["backbone_indices"] = [0]
    (tmp_path / "run.yml").write_text(yaml.safe_dump(config))
    training = ppls.Training(tmp_path / "run.yml")
    assert type(training.model).__name__ == name
    assert training.model.num_classes == 5
    assert json.loads(training.model.provenance["name_table"])


def test_differences_of_configs_are_lines() -> None:
    before = {"iters": 3, "loss": {"coef": [1, 1], "types": 1}, "gone": 0}
    now = {"iters": 4, "loss": {"coef": [1, 2], "types": 1}, "new": None}
    assert list(differences(before, now)) == [
        "iters: 4, was 3",
        "loss.coef: [1, 2], was [1, 1]",
        "gone: was 0, is not there now",
        "new: None, was not there",
    ]
