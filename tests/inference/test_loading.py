"""`ppls.load`, and the way to and from a hub folder."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import ppls
from ppls.models.numerics import apply_numerics
from tests.checkpoints import arrays_of, save


def logits(model: torch.nn.Module, checkpoint: Path) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.from_numpy(np.load(checkpoint.with_suffix(".npz"))["input"]))[0]


def test_a_converted_file_and_its_checkpoint_load_to_the_same_model(small_checkpoint: Path, converted: Path) -> None:
    from_file, from_paddle = ppls.load(converted), ppls.load(small_checkpoint)
    assert not from_file.training
    assert torch.equal(logits(from_file, small_checkpoint), logits(from_paddle, small_checkpoint))
    assert from_file.provenance["source_sha256"] == from_paddle.provenance["source_sha256"]


def test_the_weights_load_strictly_in_plain_torch(converted: Path) -> None:
    from safetensors.torch import load_file

    config = json.loads(ppls.load(converted).provenance["config"])
    model = ppls.models.PPLiteSeg(**config)
    assert model.load_state_dict(load_file(converted), strict=True) == ([], [])


def test_overrides_change_the_model_that_is_built(converted: Path) -> None:
    model = ppls.load(converted, raw_logits=True, resize_mode="nearest")
    assert model.raw_logits
    assert model.decoder[0].resize_mode == "nearest"
    with pytest.raises(ppls.Error, match="no_such_option"):
        ppls.load(converted, no_such_option=1)


def test_a_checkpoint_with_other_bins_loads_with_them(small_checkpoint: Path) -> None:
    model = ppls.load(small_checkpoint, cm_bin_sizes=[1, 3, 6])
    assert [branch.pool.output_size for branch in model.context.branches] == [1, 3, 6]


def test_the_recorded_numerics_are_applied(small_checkpoint: Path, converted: Path) -> None:
    norms = [module for module in ppls.load(converted).modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert {norm.eps for norm in norms} == {1e-5}
    assert {norm.momentum for norm in norms} == {0.1}  # Paddle's 0.9 is the weight of the old value


def test_numerics_by_pattern_override_those_of_the_kind() -> None:
    model = torch.nn.Sequential(torch.nn.LayerNorm(2), torch.nn.BatchNorm2d(2), torch.nn.LayerNorm(2))
    numerics = {"layer_norm": {"epsilon": 1e-6}, "batch_norm": {"momentum": 0.99}, "<i:2..>": {"epsilon": 1e-3}}
    apply_numerics(model, numerics)
    assert (model[0].eps, model[1].momentum, model[2].eps) == (1e-6, 0.01, 1e-3)


def test_a_hub_folder_holds_config_and_weights_and_comes_back_the_same(
    small_checkpoint: Path, converted: Path, tmp_path: Path
) -> None:
    model = ppls.load(converted)
    model.save_pretrained(tmp_path / "hub")
    assert {"config.json", "model.safetensors"} <= {path.name for path in (tmp_path / "hub").iterdir()}
    expected = logits(model, small_checkpoint)
    by_mixin = ppls.models.PPLiteSeg.from_pretrained(str(tmp_path / "hub"))
    by_load = ppls.load(tmp_path / "hub")
    for loaded in (by_mixin, by_load):
        assert not loaded.training
        assert torch.equal(logits(loaded, small_checkpoint), expected)
        assert loaded.provenance == model.provenance


def test_a_model_built_by_hand_goes_through_a_hub_folder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = {"backbone": {"type": "STDC1", "base": 8}, "arm_out_chs": [8], "cm_out_ch": 16}
    model = ppls.models.PPLiteSeg(num_classes=3, **options)
    model.save_pretrained(tmp_path / "hub")
    loaded = ppls.models.PPLiteSeg.from_pretrained(str(tmp_path / "hub"))
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_half_precision_weights_load_as_such(small_checkpoint: Path, tmp_path: Path) -> None:
    ppls.convert(small_checkpoint, tmp_path / "half.safetensors", dtype="bfloat16")
    model = ppls.load(tmp_path / "half.safetensors")
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.bfloat16}
    image = torch.randn(1, 3, 64, 96, dtype=torch.bfloat16)
    assert model(image)[0].dtype == torch.bfloat16


@pytest.mark.parametrize("change", ["drop", "shape"])
def test_a_converted_file_that_was_tampered_with_is_refused(converted: Path, tmp_path: Path, change: str) -> None:
    from safetensors import safe_open
    from safetensors.numpy import save_file

    with safe_open(converted, "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    name = "heads.0.classifier.weight"
    if change == "drop":
        del arrays[name]
    else:
        arrays[name] = np.zeros((9, 8, 1, 1), np.float32)
    save_file(arrays, tmp_path / "x.safetensors", metadata)
    with pytest.raises(ppls.CheckpointError, match=r"do not fit the model(.|\n)*heads\.0\.classifier\.weight"):
        ppls.load(tmp_path / "x.safetensors")


@pytest.mark.parametrize("name", ["config", "numerics"])
@pytest.mark.parametrize("document", ["{", "[1]", "[" * 50_000, '{"batch_norm": {"epsilon": "x"}}', '{"a.*": 3}'])
def test_metadata_that_were_tampered_with_are_refused(
    converted: Path, tmp_path: Path, name: str, document: str
) -> None:
    from safetensors.numpy import load_file as numpy_arrays
    from safetensors.numpy import save_file

    save_file(numpy_arrays(converted), tmp_path / "x.safetensors", {**ppls.read(converted).metadata, name: document})
    with pytest.raises(ppls.Error, match=r"metadata|x\.safetensors"):
        ppls.load(tmp_path / "x.safetensors")


CONFIGS = [
    {"num_classes": 3_000_000},
    {"num_classes": 8000},
    {"num_classes": 10**30},
    {"num_classes": -1},
    {"num_classes": "three"},
    {"num_classes": None},
    {"no_such_option": 1},
    {"backbone": 5},
    {"backbone": "x" * 100_000},
    {"backbone": {"type": "STDC1", "base": 8, "layers": [10**9, 2, 2]}},
    {"backbone": {"type": "STDC1", "base": 8, "layers": [8000, 2, 2]}},
    {"backbone": {"type": "STDC1", "base": 8, "block_num": 10**7}},
    {"backbone": {"type": "STDC1", "base": 8, "block_num": 8000}},
    {"backbone": {"type": "STDC1", "base": 8000}},
    {"backbone": {"type": "MixVisionTransformer", "depths": [10**9, 1, 1, 1]}},
    {"backbone": {"type": "MixVisionTransformer", "depths": [8000] * 4}},
    {"backbone": {"type": "ResNet200_vd", "multi_grid": [8000] * 1000}},
    {"backbone": {"type": "STDC1", "a": {"b": [[[[1]]]]}}},
    {"backbone_indices": [9, 9, 9]},
    {"backbone_indices": [0] * 100_000},
    {"cm_bin_sizes": [1] * 100_000},
    {"cm_bin_sizes": []},
    {"arm_out_chs": [0]},
    {"resize_mode": ["bilinear"], "seg_head_inter_chs": {}},
]


def costs(load: Callable[[], object]) -> float:
    """Seconds that a refusal takes, under a limit of memory."""
    with open("/proc/self/statm") as statm:
        in_use = int(statm.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    start = time.process_time()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + (1 << 30), before[1]))
    try:
        with pytest.raises(ppls.Error) as caught:
            load()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert len(str(caught.value)) < 4000
    assert "x.safetensors" in str(caught.value) or "hub" in str(caught.value)
    return time.process_time() - start


@pytest.mark.parametrize("change", CONFIGS, ids=lambda change: str(change)[:60])
def test_a_config_that_asks_for_another_model_than_the_files_is_refused_before_it_is_built(
    converted: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    from safetensors.numpy import load_file as numpy_arrays
    from safetensors.numpy import save_file

    metadata = ppls.read(converted).metadata
    config = {**json.loads(metadata["config"]), **change}
    save_file(numpy_arrays(converted), tmp_path / "x.safetensors", {**metadata, "config": json.dumps(config)})
    assert costs(lambda: ppls.load(tmp_path / "x.safetensors")) < 5
    ppls.load(converted).save_pretrained(tmp_path / "hub")
    (tmp_path / "hub" / "config.json").write_text(json.dumps(config))
    if "no_such_option" not in change:  # which huggingface_hub leaves out
        assert costs(lambda: ppls.models.PPLiteSeg.from_pretrained(tmp_path / "hub")) < 5


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[]", "{", "", '{"num_classes": ' + "9" * 100_000 + "}", '{"backbone": NaN}', "\0\xff"]
)
def test_a_hub_folder_with_a_config_that_is_none_is_refused(converted: Path, tmp_path: Path, text: str) -> None:
    ppls.load(converted).save_pretrained(tmp_path / "hub")
    (tmp_path / "hub" / "config.json").write_bytes(text.encode("latin-1"))
    assert costs(lambda: ppls.models.PPLiteSeg.from_pretrained(tmp_path / "hub")) < 5


def test_a_safetensors_of_somebody_else_is_converted_by_its_names(small_checkpoint: Path, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file(
        arrays_of(small_checkpoint), tmp_path / "paddle.safetensors"
    )  # what `paddle.save(safetensors=True)` writes
    assert torch.equal(
        logits(ppls.load(tmp_path / "paddle.safetensors"), small_checkpoint),
        logits(ppls.load(small_checkpoint), small_checkpoint),
    )
    save_file({"fc.weight": np.ones(3, np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(ppls.ConversionError, match="not a checkpoint of an architecture that ppls knows"):
        ppls.load(tmp_path / "other.safetensors")


def test_bfloat16_checkpoints_keep_their_type(small_checkpoint: Path, tmp_path: Path) -> None:
    from ppls.checkpoint.dtypes import float32_to_bfloat16

    arrays = {name: float32_to_bfloat16(array) for name, array in arrays_of(small_checkpoint).items()}
    model = ppls.load(save(tmp_path / "bf16.pdparams", arrays))  # Paddle stores bfloat16 as its bits, in uint16
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.bfloat16}


def test_a_paddle_file_loads_without_its_auxiliary_heads(small_checkpoint: Path, tmp_path: Path) -> None:
    model = ppls.load(small_checkpoint, auxiliary_heads=False)
    assert len(model.heads) == 1
    ppls.convert(small_checkpoint, tmp_path / "one.safetensors", overrides={"auxiliary_heads": False})
    assert model.state_dict().keys() == ppls.load(tmp_path / "one.safetensors").state_dict().keys()
    with pytest.raises(ppls.UsageError, match="no option"):
        ppls.load(small_checkpoint, auxiliary_head=False)
