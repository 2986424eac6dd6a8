"""The way back: what PaddleSeg gets is what it saved, bit for bit."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ppls
from ppls.cli.convert import convert as command
from ppls.mappings.map_file import MAPPINGS
from tests.checkpoints import arrays_of, save


def assert_same(back: Path, original: Path) -> None:
    a, b = ppls.read(back), ppls.read(original)
    assert set(a) == set(b)
    for name in b:
        assert a.stored(name).dtype == b.stored(name).dtype, name
        assert a[name].shape == b[name].shape, name
        assert a[name].tobytes() == b[name].tobytes(), name


def test_a_round_trip_gives_back_tensors_constants_order_and_name_table(
    small_checkpoint: Path, converted: Path, tmp_path: Path
) -> None:
    result = ppls.convert_back(converted, tmp_path / "back.pdparams")
    assert len(result.tensors) == 250
    assert_same(tmp_path / "back.pdparams", small_checkpoint)
    back, original = ppls.read(tmp_path / "back.pdparams"), ppls.read(small_checkpoint)
    assert list(back) == list(original)
    assert back.name_table == original.name_table


@pytest.mark.skipif(importlib.util.find_spec("paddleseg") is None, reason="paddleseg is not installed")
def test_paddle_loads_it_and_paddleseg_accepts_it(small_checkpoint: Path, converted: Path, tmp_path: Path) -> None:
    ppls.convert_back(converted, tmp_path / "back.pdparams")
    script = """
import sys, json
import paddle
from paddleseg.models import PPLiteSeg
from paddleseg.models.backbones.stdcnet import STDCNet
back, original = paddle.load(sys.argv[1]), paddle.load(sys.argv[2])
assert list(back) == list(original)
for name in original:
    assert back[name].name == original[name].name
    assert back[name].dtype == original[name].dtype and (back[name] == original[name]).all(), name
backbone = STDCNet(base=8, layers=[2, 2, 2])
model = PPLiteSeg(3, backbone, cm_out_ch=16, arm_out_chs=[8, 12, 16], seg_head_inter_chs=[8, 8, 12])
print(model.set_state_dict(back))
"""
    arguments = [str(tmp_path / "back.pdparams"), str(small_checkpoint)]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
    assert done.stdout.strip().endswith("([], [])"), done.stderr


@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_a_state_dict_fine_tuned_elsewhere_goes_back(
    small_checkpoint: Path, converted: Path, tmp_path: Path, wrapper: str
) -> None:
    state = {f"{wrapper}{name}": tensor for name, tensor in ppls.load(converted).state_dict().items()}
    state[f"{wrapper}backbone.blocks.0.bn.num_batches_tracked"] = torch.tensor(7)  # of torch's own BatchNorm2d
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "tuned.pt")
    result = ppls.convert_back(tmp_path / "tuned.pt", tmp_path / "back.pdparams")
    assert [dropped.name for dropped in result.dropped] == ["backbone.blocks.0.bn.num_batches_tracked"]
    assert_same(tmp_path / "back.pdparams", small_checkpoint)


def test_plain_safetensors_and_hub_folders_go_back(small_checkpoint: Path, converted: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = ppls.load(converted)
    save_file(model.state_dict(), tmp_path / "plain.safetensors")
    model.save_pretrained(tmp_path / "hub")
    for i, source in enumerate([tmp_path / "plain.safetensors", tmp_path / "hub"]):
        ppls.convert_back(source, tmp_path / f"{i}.pdparams")
        assert_same(tmp_path / f"{i}.pdparams", small_checkpoint)


def test_an_older_releases_file_comes_back_in_todays_scheme(small_checkpoint: Path, tmp_path: Path) -> None:
    arrays = {name: array for name, array in arrays_of(small_checkpoint).items() if not name.endswith("_scale")}
    ppls.convert(save(tmp_path / "old.pdparams", arrays), tmp_path / "out.safetensors")
    ppls.convert_back(tmp_path / "out.safetensors", tmp_path / "back.pdparams")
    assert_same(tmp_path / "back.pdparams", small_checkpoint)  # the constants are there again


def test_a_file_without_auxiliary_heads_goes_back_without_them(small_checkpoint: Path, tmp_path: Path) -> None:
    ppls.convert(small_checkpoint, tmp_path / "o.safetensors", overrides={"auxiliary_heads": False})
    assert len(ppls.convert_back(tmp_path / "o.safetensors").tensors) == 250 - 12


def test_rounded_weights_stay_rounded_and_that_is_said(small_checkpoint: Path, tmp_path: Path) -> None:
    ppls.convert(small_checkpoint, tmp_path / "half.safetensors", dtype="float16")
    result = ppls.convert_back(tmp_path / "half.safetensors")
    assert "stay rounded" in result.warnings[0]
    assert {tensor.dtype for tensor in result.tensors.values()} == {"float16"}


def refused(source: Path, destination: Path, **options: object) -> str:
    with pytest.raises(ppls.Error) as error:
        ppls.convert_back(source, destination, **options)  # type: ignore[arg-type]
    assert not destination.exists()
    return str(error.value)


def test_missing_unknown_and_mis_shaped_tensors_are_all_listed(converted: Path, tmp_path: Path) -> None:
    state = ppls.load(converted).state_dict()
    del state["heads.1.conv.bn.bias"]
    state["mystery"] = torch.zeros(1)
    state["heads.2.conv.bn.bias"] = torch.zeros(99)
    torch.save(state, tmp_path / "x.pt")
    message = refused(tmp_path / "x.pt", tmp_path / "back.pdparams")
    for problem in (
        "missing: heads.1.conv.bn.bias [8]",
        "mystery [1] has no rule",
        "heads.2.conv.bn.bias [99], the model",
    ):
        assert problem in message


def test_the_destination_is_neither_the_source_nor_named_as_pytorchs(converted: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    copy.write_bytes(converted.read_bytes())
    with pytest.raises(ppls.ConversionError, match="is the source itself"):
        ppls.convert_back(copy, copy, force=True)
    assert copy.read_bytes() == converted.read_bytes()
    assert "name it" in refused(converted, tmp_path / "back.safetensors")


def test_options_that_contradict_the_file_show_both(converted: Path, tmp_path: Path) -> None:
    message = refused(converted, tmp_path / "back.pdparams", overrides={"num_classes": 4})
    assert "num_classes: the file says 3, --set num_classes says 4" in message
    assert len(ppls.convert_back(converted, overrides={"num_classes": 3}).tensors) == 250


def test_a_source_that_changes_on_the_way_back_is_an_error(
    converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ppls.converter import back as module

    copy = tmp_path / "x.safetensors"
    copy.write_bytes(converted.read_bytes())
    expected_shapes = module.expected_shapes

    def change_it(*arguments: Any) -> Any:
        copy.touch()
        return expected_shapes(*arguments)

    monkeypatch.setattr(module, "expected_shapes", change_it)
    assert "changed while it was being read" in refused(copy, tmp_path / "back.pdparams")


def test_a_pickle_that_is_no_state_dict_runs_nothing(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> object:
            return Path.touch, (tmp_path / "ran",)

    for name in ("x.pt", "y.pth"):
        (tmp_path / name).write_bytes(pickle.dumps(Evil()))
        assert "asks to call pathlib" in (message := refused(tmp_path / name, tmp_path / "back.pdparams"))
        assert "Nothing was called" in message
    for zipped in (True, False):
        torch.save(torch.nn.Linear(1, 1), tmp_path / "z.pt", _use_new_zipfile_serialization=zipped)
        message = refused(tmp_path / "z.pt", tmp_path / "back.pdparams")
        assert "it asks for 'torch.nn.modules.linear.Linear'" in message
        assert "torch.save(model.state_dict(), ...)" in message
        assert "to `False`" not in message  # torch's own advice
    torch.save([1, 2], tmp_path / "list.pt")
    assert "holds no state dict" in refused(tmp_path / "list.pt", tmp_path / "back.pdparams")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_whatever_a_damaged_file_makes_torch_raise_is_an_error(tmp_path: Path, zipped: bool) -> None:
    torch.save({"w": torch.zeros(2, 3)}, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "x.pt").read_bytes()
    random = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole[: random.integers(len(whole) + 1)] if random.random() < 0.3 else whole)
        for place in random.integers(len(damaged), size=3) if damaged else ():
            damaged[place] = random.integers(256)
        (tmp_path / "y.pt").write_bytes(damaged)
        refused(tmp_path / "y.pt", tmp_path / "back.pdparams")


def test_tensors_that_paddle_cannot_have_are_named(converted: Path, tmp_path: Path) -> None:
    state = ppls.load(converted).state_dict()
    name = "heads.0.classifier.weight"
    for tensor, what in (
        (state[name].to("meta"), f"{name}: on the meta device"),
        (state[name].to_sparse(), f"{name}: sparse"),
        (state[name].int(), f"wrong type: {name} is int32"),
    ):
        torch.save({**state, name: tensor}, tmp_path / "x.pt")
        assert what in refused(tmp_path / "x.pt", tmp_path / "back.pdparams")


def test_what_is_no_model_of_ppls_is_refused(small_checkpoint: Path, tmp_path: Path) -> None:
    assert "the way back starts from PyTorch's weights" in refused(small_checkpoint, tmp_path / "b.pdparams")
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "x.pt")
    assert "its tensors are called fc.weight" in refused(tmp_path / "x.pt", tmp_path / "b.pdparams")
    (tmp_path / "text.pt").write_text("not torch")
    assert "a text file, not weights" in refused(tmp_path / "text.pt", tmp_path / "b.pdparams")
    (tmp_path / "paddle.pt").write_bytes(small_checkpoint.read_bytes())
    assert "is a Paddle state dict" in refused(tmp_path / "paddle.pt", tmp_path / "b.pdparams")
    assert "none.pt" in refused(tmp_path / "none.pt", tmp_path / "b.pdparams")


def test_the_command_goes_back(small_checkpoint: Path, converted: Path, tmp_path: Path) -> None:
    from click.testing import CliRunner

    back = str(tmp_path / "back.pdparams")
    done = CliRunner().invoke(command, ["--to", "paddle", str(converted), back, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["tensors"] == {"read": 247, "written": 250, "dropped": []}
    assert CliRunner().invoke(command, ["--to", "paddle", str(converted), back]).exit_code == 1  # exists
    assert CliRunner().invoke(command, ["--to", "paddle", str(converted), back, "--dtype", "float16"]).exit_code == 2
    done = CliRunner().invoke(command, ["--to", "paddle", str(converted), back, "--force"])
    assert "247 read, 250 written" in done.stdout


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "bool"])
def test_every_type_is_written_as_paddle_reads_it(tmp_path: Path, dtype: str) -> None:
    from ppls.checkpoint.checkpoint import StoredTensor
    from ppls.checkpoint.paddle_file import write_paddle_file

    arrays = {
        "scalar": np.ones((), dtype),
        "empty": np.ones((0, 3), dtype),
        "transposed": np.arange(6).reshape(2, 3).T.astype(dtype),
        "long": np.ones(70_000, dtype),
    }
    tensors = {name: StoredTensor(dtype, array.shape, lambda a=array: a) for name, array in arrays.items()}
    write_paddle_file(tmp_path / "x.pdparams", tensors, {})
    import pickle

    loaded = pickle.loads((tmp_path / "x.pdparams").read_bytes())  # Python's own reader agrees
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype


def test_what_is_unused_is_written_so_that_nothing_is_missing_and_that_is_said(
    small_checkpoint: Path, converted: Path, tmp_path: Path
) -> None:
    text = (MAPPINGS / "pp_liteseg.yaml").read_text()
    (tmp_path / "stdc.yaml").write_text((MAPPINGS / "stdc.yaml").read_text())
    shape = '[num_classes, "seg_heads.0.conv_out.weight[1]", 1, 1]'
    dead = f"dead: {{loss_head: {{why: never run, written: {{conv.weight: {shape}}}}}}}\n"
    (tmp_path / "pp_liteseg.yaml").write_text(text + dead)
    back = ppls.convert_back(converted, tmp_path / "back.pdparams", map=tmp_path / "pp_liteseg.yaml")
    assert set(ppls.read(tmp_path / "back.pdparams")) == {*ppls.read(small_checkpoint), "loss_head.conv.weight"}
    assert ppls.read(tmp_path / "back.pdparams")["loss_head.conv.weight"].shape == (3, 8, 1, 1)
    assert "written as zeros, since no forward pass uses them: loss_head.conv.weight" in back.warnings
