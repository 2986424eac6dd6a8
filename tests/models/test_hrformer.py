"""HRFormer, small, under the architecture that PaddleSeg has it in: at a size that no window divides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ppls
from ppls.checkpoint.reader import read
from ppls.converter.translate import translate_back
from ppls.mappings.constants import window_offsets
from ppls.models.hrformer import DropPathBeyond, HighResolutionTransformer, offset_numbers
from ppls.models.stored import stored_from_torch
from tests.checkpoints import save
from tests.conftest import run_upstream

HRFORMER = "paddleseg.models.backbones.hrformer.HighResolutionTransformer"
NARROW = {
    f"stage{stage}_num_{what}": value
    for stage in (2, 3, 4)
    for what, value in (
        ("modules", 1),
        ("blocks", [1] * stage),
        ("channels", [8, 16, 24, 32][:stage]),
        ("heads", [2, 4, 4, 8][:stage]),
        ("mlp_ratios", [2, 4, 3, 2][:stage]),
        ("window_sizes", [3, 5, 7, 2][:stage]),
    )
} | {"stage1_num_blocks": [1], "stage1_num_channels": [8]}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"backbone_indices": [0], "ocr_mid_channels": 16, "ocr_key_channels": 8}
    backbone = {"class": HRFORMER, "kwargs": NARROW}
    model = {"class": "paddleseg.models.OCRNet", "kwargs": {"num_classes": 5, "backbone": backbone, **options}}
    job = {"name": "narrow", "model": model, "seed": 0, "shape": (1, 3, 75, 102)}
    return run_upstream([job], tmp_path_factory.mktemp("hrformer")) / "narrow.pdparams"


def test_it_computes_what_paddleseg_computes_and_goes_back_bit_for_bit(checkpoint: Path) -> None:
    record = np.load(checkpoint.with_suffix(".npz"))
    conversion = ppls.convert(checkpoint)
    assert conversion.config["backbone"].items() >= NARROW.items()
    model = ppls.load(checkpoint)
    with torch.no_grad():
        (logits,) = model(torch.from_numpy(record["input"]))
    assert np.abs(logits.numpy() - record["eval"]).max() <= 2e-5 * np.abs(record["eval"]).max()
    tensors = {name: stored_from_torch(tensor) for name, tensor in model.state_dict().items()}
    back = translate_back(tensors, conversion.map, conversion.config)
    assert back.problems == []
    stored = read(checkpoint).tensors
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in back.tensors.items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in stored.items()
    }
    for name, tensor in back.tensors.items():
        assert np.array_equal(tensor.load(), stored[name].load()), name


def test_a_state_dict_alone_goes_back_with_the_tables_of_its_windows(checkpoint: Path, tmp_path: Path) -> None:
    torch.save(ppls.load(checkpoint).state_dict(), tmp_path / "model.pt")
    back = ppls.convert_back(tmp_path / "model.pt")
    assert set(back.tensors) == set(ppls.read(checkpoint))


def test_a_table_of_other_offsets_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    tensors = dict(ppls.read(checkpoint))
    name = next(name for name in tensors if name.endswith("relative_position_index"))
    tensors[name] = tensors[name].T
    with pytest.raises(ppls.ConversionError, match=r"must be the table window_offsets of shape \[9, 9\]"):
        ppls.convert(save(tmp_path / "turned.pdparams", tensors))


def test_a_rate_beyond_1_drops_as_the_rest_to_2_would() -> None:
    torch.manual_seed(0)
    dropped = DropPathBeyond(1.6).train()(torch.ones(4096, 2))
    kept = dropped[:, 0] != 0
    assert abs(kept.float().mean() - 0.6) < 0.03
    assert torch.allclose(dropped[kept], torch.tensor(1 / 0.6))
    assert torch.equal(DropPathBeyond(1.6).eval()(torch.ones(4, 2)), torch.ones(4, 2))
    with pytest.raises(ppls.Error, match=r"drop_path_rate=0.3: from 0 to 0.25"):
        HighResolutionTransformer(drop_path_rate=0.3)


def test_offsets_are_counted_row_by_row_from_the_farthest_up_and_left() -> None:
    assert offset_numbers(2).tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
    for window in (1, 2, 7):
        assert offset_numbers(window).tolist() == window_offsets(((2 * window - 1) ** 2, 3)).tolist()


@pytest.mark.parametrize("count", [0, 2, 16, 47 * 47 + 1, 49 * 49, 999 * 999])
def test_biases_that_are_of_no_window_have_no_table(count: int) -> None:
    with pytest.raises(ppls.ConversionError, match=f"{count} biases are not those of the offsets"):
        window_offsets((count, 4))
