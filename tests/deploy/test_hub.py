"""The hub folder: comes back the same, and its card tells the truth and runs."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import ppls
from ppls.models.digest import model_sha256

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sha256(training_run: Path) -> str:
    return hashlib.sha256((training_run / "model.pdparams").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def digest(converted_run: Path) -> str:
    return model_sha256(ppls.load(converted_run))


def report_of(sha256: str, digest: str) -> dict[str, Any]:
    output = {"input": "coffee 512x1024", "name": "logits", "scaled": 4.4e-7, "floor": 6.7e-7, "argmax_agreement": 1.0}
    figures = {"verdict": "pass", "tolerance": 1e-4, "dtype": "float32", "sha256": sha256, "outputs": [output]}
    return {**figures, "candidate": "ppls's model, converted anew", "candidate_sha256": digest}


@pytest.fixture(scope="module")
def folder(converted_run: Path, sha256: str, digest: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("hub")
    (parent / "report.json").write_text(json.dumps(report_of(sha256, digest)))
    return ppls.to_hub_folder(converted_run, parent / "model", report=parent / "report.json")


def test_the_folder_loads_to_the_same_model(folder: Path, converted_run: Path) -> None:
    a, b = ppls.load(folder).state_dict(), ppls.load(converted_run).state_dict()
    assert list(a) == list(b)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_card_has_source_figures_and_config(folder: Path, sha256: str) -> None:
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: ppls\n")
    for said in (
        sha256,
        "**pass** at tolerance 0.0001",
        "| coffee 512x1024 | logits | 4.4e-07 | 6.7e-07 | 100.0000% |",
    ):
        assert said in card
    assert "num_classes: 5" in card


def test_the_cards_snippet_runs(folder: Path) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", snippet + "print(tuple(labels.shape))"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(1, 512, 1024)"


def test_without_a_report_the_card_says_so(converted_run: Path, tmp_path: Path) -> None:
    ppls.to_hub_folder(converted_run, tmp_path)
    assert "Not verified for this card" in (tmp_path / "README.md").read_text()


def test_a_report_of_another_checkpoint_is_refused(converted_run: Path, digest: str, tmp_path: Path) -> None:
    with pytest.raises(ppls.UsageError, match="the report is of the checkpoint 00ff, the model comes from"):
        ppls.to_hub_folder(converted_run, tmp_path / "model", report=report_of("00ff", digest))
    assert not (tmp_path / "model").exists()


def test_a_file_that_is_no_report_is_refused(converted_run: Path, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[]")
    for name, said in (("list.json", "it has no verdict"), ("none.json", "No such file")):
        with pytest.raises(ppls.UsageError, match=said):
            ppls.to_hub_folder(converted_run, tmp_path / "model", report=tmp_path / name)


def test_a_folder_with_something_in_it_is_kept(converted_run: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(ppls.ConversionError, match="is not empty; give force=True"):
        ppls.to_hub_folder(converted_run, tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"
    ppls.to_hub_folder(converted_run, tmp_path, force=True)
    assert "PPLiteSeg" in (tmp_path / "README.md").read_text()
