"""A model in a folder: each file is the old one or the new one, whatever happens, and lies where it seems to lie."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import nn

from ppls.errors import ConversionError
from ppls.models import base
from ppls.models.base import HUB_FILES, SegmentationModel


class Tiny(SegmentationModel):
    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 1)


def test_what_huggingface_hub_writes_beside_the_weights_is_written(tmp_path: Path) -> None:
    Tiny(5).save_pretrained(tmp_path / "new" / "ours")
    PyTorchModelHubMixin.save_pretrained(Tiny(5), tmp_path / "theirs")
    assert sorted(os.listdir(tmp_path / "new" / "ours")) == sorted(HUB_FILES)
    for name in ("config.json", "README.md"):
        assert (tmp_path / "new" / "ours" / name).read_text() == (tmp_path / "theirs" / name).read_text()
    assert json.loads((tmp_path / "theirs" / "config.json").read_text()) == {"width": 5}


def test_it_is_read_back_by_from_pretrained(tmp_path: Path) -> None:
    model = Tiny(4)
    model.save_pretrained(tmp_path)
    assert torch.equal(Tiny.from_pretrained(str(tmp_path)).conv.weight, model.conv.weight)


def test_files_are_replaced_and_a_card_is_kept(tmp_path: Path) -> None:
    Tiny(2).save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "config.json").chmod(0o600)
    Tiny(3).save_pretrained(tmp_path, config={"width": 3, "note": "mine"})
    assert json.loads((tmp_path / "config.json").read_text()) == {"width": 3, "note": "mine"}
    assert (tmp_path / "config.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "README.md").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == sorted(HUB_FILES)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("target", ["victim", "nowhere"])
def test_no_link_leads_out_of_the_folder(tmp_path: Path, name: str, target: str) -> None:
    (tmp_path / "victim").write_text("of somebody else")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / name).symlink_to(tmp_path / target)
    with pytest.raises(ConversionError, match=f"{name}: is a link"):
        Tiny().save_pretrained(tmp_path / "hub")
    assert os.listdir(tmp_path / "hub") == [name]
    assert (tmp_path / "victim").read_text() == "of somebody else"


def test_a_card_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "README.md").symlink_to(tmp_path / "nowhere")
    Tiny().save_pretrained(tmp_path / "hub")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("fails", HUB_FILES[1:])
def test_a_failure_leaves_the_old_or_the_new_of_each_file_and_the_card_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    Tiny(2).save_pretrained(tmp_path)
    (tmp_path / "README.md").unlink()
    before = {name: (tmp_path / name).read_bytes() for name in HUB_FILES[:2]}
    write = base.file_that_becomes

    def until(path: Path, **options: Any) -> Any:
        if path.name == fails:
            raise OSError("the disk is gone")
        return write(path, **options)

    monkeypatch.setattr(base, "file_that_becomes", until)
    with pytest.raises(OSError, match="the disk is gone"):
        Tiny(3).save_pretrained(tmp_path)
    changed = [name for name in HUB_FILES[:2] if (tmp_path / name).read_bytes() != before[name]]
    assert changed == list(HUB_FILES[: HUB_FILES.index(fails)])
    assert sorted(os.listdir(tmp_path)) == sorted(HUB_FILES[:2])


def test_pushing_gets_what_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def push(self: Tiny, repo_id: str, **options: Any) -> str:
        return f"{repo_id} {options}"

    monkeypatch.setattr(Tiny, "push_to_hub", push)
    assert Tiny().save_pretrained(tmp_path / "name") is None
    pushed = Tiny().save_pretrained(tmp_path / "name", push_to_hub=True, config={"width": 2}, private=True)
    assert pushed == "name {'config': {'width': 2}, 'model_card_kwargs': None, 'private': True}"
