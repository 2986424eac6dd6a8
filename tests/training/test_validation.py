"""The evaluation within a run, of data sets that PaddleSeg has a class for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ppls.converter.run_config import load_run
from ppls.errors import InputError, UsageError
from ppls.training.validation import Validation


class FirstClass(torch.nn.Module):
    """Of three classes it always sees the first."""

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        logits = torch.zeros(len(images), 3, *images.shape[2:])
        logits[:, 0] = 1
        return [logits]


def validation(folder: Path, section: str, data: Path | None = None) -> Validation:
    (folder / "run.yml").write_text(f"val_dataset: {{{section}, transforms: [{{type: Normalize}}]}}\n")
    return Validation(load_run(folder / "run.yml"), data, lambda line: None)


def test_ade20k_is_evaluated_with_its_first_class_from_1_and_0_ignored(tmp_path: Path) -> None:
    for part, value in (("validation", 1), ("training", 2)):
        for kind in ("images", "annotations"):
            (tmp_path / kind / part).mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "images" / part / "a.jpg")
        label = np.full((4, 4), value, np.uint8)
        label[0], label[1] = 0, 3
        Image.fromarray(label).save(tmp_path / "annotations" / part / "a.png")
    metrics = validation(tmp_path, "type: ADE20K, mode: val", tmp_path)(FirstClass(), torch.device("cpu"))
    assert metrics.acc == pytest.approx(8 / 12)  # four pixels are ignored, four are of the third class


@pytest.mark.parametrize("name", ["EG1800", "SUPERVISELY", "PSSLDataset"])
def test_what_paddleseg_cannot_evaluate_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    why = "pretraining" if name == "PSSLDataset" else "by PaddleSeg either"
    with pytest.raises(UsageError, match=why):
        validation(tmp_path, f"type: {name}")


def test_messages_name_the_options_of_ppls_train(tmp_path: Path) -> None:
    for section in ("type: Dataset, val_path: val.txt", "type: OpticDiscSeg", "type: Cityscapes"):
        with pytest.raises(UsageError, match=r"no dataset_root; give the folder of the data set with --data$"):
            validation(tmp_path, section)
        with pytest.raises(InputError, match=r"nowhere: no such folder; --data is where the data set is$"):
            validation(tmp_path, section, tmp_path / "nowhere")
    with pytest.raises(UsageError, match="has no val_path"):
        validation(tmp_path, "type: Dataset", tmp_path)
    (tmp_path / "images" / "validation").mkdir(parents=True)
    with pytest.raises(InputError, match="has no images of ADE20K"):
        validation(tmp_path, "type: ADE20K", tmp_path)
