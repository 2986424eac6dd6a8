"""The optimizer's state: from PaddleSeg's folder to ppls's and back, bit for bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import ppls
from ppls.checkpoint.paddle_file import write_optimizer_file, write_paddle_file
from ppls.checkpoint.tensors import StoredTensor
from ppls.cli.convert import convert as convert_command
from ppls.converter.convert import convert
from ppls.errors import CheckpointError, ConversionError, Error
from ppls.training.folder import convert_run, convert_run_back
from ppls.training.state import paddles_state, read_state
from tests.conftest import run_with_upstream
from tests.material import SMALL_RUN


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What PaddleSeg saved after its last iteration."""
    folder = tmp_path / "iter_1000"
    folder.mkdir()
    for name in ("model.pdparams", "model.pdopt"):
        shutil.copy(SMALL_RUN / name, folder)
    return folder


def stored(array: np.ndarray) -> StoredTensor:
    return StoredTensor(str(array.dtype), array.shape, lambda: array)


def save(path: Path, tensors: dict[str, np.ndarray], epoch: int = 1000) -> None:
    beside = {"LR_Scheduler": {"last_epoch": epoch, "last_lr": 0.001}}
    kept = {name: stored(array) for name, array in tensors.items()}
    write_optimizer_file(path, kept, {name: name for name in kept}, beside=beside, force=True)


def test_a_run_goes_there_and_back_bit_for_bit(run: Path, tmp_path: Path) -> None:
    convert_run(run, tmp_path / "ours")
    convert_run_back(tmp_path / "ours", tmp_path / "back_1000")
    for name in ("model.pdparams", "model.pdopt"):
        before, after = ppls.read(run / name), ppls.read(tmp_path / "back_1000" / name)
        assert before.keys() == after.keys()
        assert before.metadata == after.metadata
        for tensor in before:
            np.testing.assert_array_equal(before[tensor], after[tensor], err_msg=tensor)


RESUME = """
import shutil, numpy as np, paddle
from pathlib import Path
from paddleseg.models import PPLiteSeg
from paddleseg.models.backbones.stdcnet import STDCNet
from paddleseg.utils import resume

def step(folder):
    with paddle.utils.unique_name.guard():
        model = PPLiteSeg(5, STDCNet(base=8, layers=[2, 2, 2], block_num=4), cm_out_ch=16, arm_out_chs=[8, 12, 16],
                          seg_head_inter_chs=[8, 8, 12])
        rate = paddle.optimizer.lr.PolynomialDecay(0.05, 2000, end_lr=0, power=0.9)
        optimizer = paddle.optimizer.Momentum(rate, 0.9, model.parameters(), weight_decay=5e-4)
        assert resume(model, optimizer, folder) == 1000
        image = paddle.to_tensor(np.random.RandomState(0).randn(2, 3, 64, 64).astype("float32"))
        sum(output.mean() for output in model(image)).backward()
        optimizer.step()
        rate.step()
        return {**model.state_dict(), **{k: v for k, v in optimizer.state_dict().items() if "velocity" in k}}, rate()

(before, rate), (after, again) = step(sys.argv[2]), step(sys.argv[3])
assert rate == again and before.keys() == after.keys()
assert sum("velocity" in name for name in before) == 151
for name, tensor in before.items():
    assert np.array_equal(tensor.numpy(), after[name].numpy()), name
"""


def test_paddleseg_resumes_from_what_went_there_and_back(run: Path, tmp_path: Path) -> None:
    convert_run(run, tmp_path / "ours")
    convert_run_back(tmp_path / "ours", tmp_path / "back_1000")
    run_with_upstream("import sys\n" + RESUME, "PPLiteSeg", str(run), str(tmp_path / "back_1000"))


def test_each_tensor_takes_the_way_of_its_weight(tmp_path: Path) -> None:
    """A moment that is the weight itself becomes that of the same parameter: Linear weights are transposed with it."""
    ppls.create_model("SegFormer-B0", num_classes=3).save_pretrained(tmp_path / "hub")
    back = ppls.convert_back(tmp_path / "hub")
    table = {name: f"parameter_{i}.w_0" for i, name in enumerate(back.tensors)}
    write_paddle_file(tmp_path / "model.pdparams", back.tensors, table)
    weights = {name: t.load() for name, t in back.tensors.items() if not name.endswith(("_mean", "_variance"))}
    kept = {}
    for name, array in weights.items():
        kept[f"{table[name]}_moment1_0"] = array
        kept[f"{table[name]}_moment2_0"] = array * array
        kept[f"{table[name]}_beta1_pow_acc_0"] = np.array([0.25], np.float32)
        kept[f"{table[name]}_beta2_pow_acc_0"] = np.array([0.5], np.float32)
    save(tmp_path / "model.pdopt", kept)
    conversion = convert(tmp_path / "model.pdparams")
    state = read_state(tmp_path / "model.pdopt", conversion)
    assert (state.kind, state.iteration) == ("Adam", 1000)
    parameters = dict(ppls.load(tmp_path / "hub").named_parameters())
    assert all(slot.keys() == parameters.keys() for slot in state.slots.values())
    for name, parameter in parameters.items():
        weight = parameter.detach().numpy()
        np.testing.assert_array_equal(state.slots["moment1"][name].load(), weight, err_msg=name)
        np.testing.assert_array_equal(state.slots["moment2"][name].load(), weight * weight, err_msg=name)
        assert state.slots["beta1_pow"][name].load() == [0.25]
    again = ppls.convert_back(_written(conversion, tmp_path))
    returned, _ = paddles_state(state, again)
    assert returned.keys() == kept.keys()
    for name, tensor in returned.items():
        np.testing.assert_array_equal(tensor.load(), kept[name], err_msg=name)


def _written(conversion: ppls.Conversion, folder: Path) -> Path:
    conversion.write(folder / "converted.safetensors")
    return folder / "converted.safetensors"


def test_all_that_does_not_fit_is_listed(run: Path) -> None:
    tensors = dict(ppls.read(run / "model.pdopt"))
    tensors["conv2d_99.w_0_velocity_0"] = tensors.pop("conv2d_0.w_0_velocity_0")
    tensors["conv2d_1.w_0_velocity_0"] = np.zeros(3, np.float32)
    tensors["conv2d_2.w_0_velocity_1"] = tensors.pop("conv2d_2.w_0_velocity_0")
    tensors["conv2d_3.w_0_mean_square_0"] = tensors.pop("conv2d_3.w_0_velocity_0")
    save(run / "model.pdopt", tensors)
    with pytest.raises(ConversionError) as error:
        convert_run(run, run.parent / "ours")
    said = "\n".join(error.value.problems)
    assert "no parameter conv2d_99.w_0" in said
    assert "velocity [3], the weight is [" in said
    assert "of several optimizers, which end in _0, _1" in said
    assert "conv2d_3.w_0_mean_square_0: nothing that an optimizer of ppls keeps" in said
    assert not (run.parent / "ours").exists()


def test_plain_sgd_keeps_a_schedule_alone(run: Path, tmp_path: Path) -> None:
    save(run / "model.pdopt", {})
    convert_run(run, tmp_path / "ours")
    convert_run_back(tmp_path / "ours", tmp_path / "back_1000")
    state = read_state(tmp_path / "back_1000/model.pdopt", convert(run / "model.pdparams"))
    assert (state.kind, state.iteration, state.slots) == ("SGD", 1000, {})


def test_half_of_what_adam_keeps_is_nothing(run: Path) -> None:
    tensors = {name.replace("velocity", "moment1"): array for name, array in ppls.read(run / "model.pdopt").items()}
    save(run / "model.pdopt", tensors)
    with pytest.raises(ConversionError, match="keeps moment1, as no optimizer does that ppls has"):
        convert_run(run, run.parent / "ours")


def test_a_state_is_of_the_checkpoint_beside_it(run: Path) -> None:
    checkpoint = ppls.read(run / "model.pdparams")
    write_paddle_file(run / "model.pdparams", checkpoint.tensors, {}, force=True)
    with pytest.raises(ConversionError, match="no table of Paddle's variable names"):
        convert_run(run, run.parent / "ours")


@pytest.mark.parametrize("name", ["model.pdparams", "model.pdopt"])
def test_a_folder_without_a_file_is_none(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(CheckpointError, match=f"has no {name}"):
        convert_run(run, run.parent / "ours")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "is damaged"),
        (b"[]", "is not what ppls writes"),
        (b'{"schema": 1, "iteration": 3, "optimizer": "Lion", "count": "0", "schedule": {}}', "another version"),
    ],
)
def test_a_damaged_record_of_a_run_is_said(run: Path, tmp_path: Path, content: bytes, said: str) -> None:
    convert_run(run, tmp_path / "ours")
    (tmp_path / "ours" / "training.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=said):
        convert_run_back(tmp_path / "ours", tmp_path / "back_1000")


def test_the_command_converts_folders(run: Path, tmp_path: Path) -> None:
    there = CliRunner().invoke(convert_command, [str(run), str(tmp_path / "ours"), "--optimizer", "--json"])
    assert there.exit_code == 0, there.output
    assert json.loads(there.stdout)["destination"] == str(tmp_path / "ours")
    back = [str(tmp_path / "ours"), str(tmp_path / "last"), "--to", "paddle", "--optimizer"]
    result = CliRunner().invoke(convert_command, back)
    assert result.exit_code == 0, result.output
    assert "call it iter_1000" in " ".join(result.stderr.split())
    again = CliRunner().invoke(convert_command, back)
    assert again.exit_code == 1
    assert "model.pdparams" in again.output
    nothing = CliRunner().invoke(convert_command, [str(tmp_path / "none"), str(tmp_path / "x"), "--optimizer"])
    assert nothing.exit_code == 1
    assert "no folder" in nothing.output


@pytest.mark.parametrize("options", [{"dtype": "float16"}])
def test_rounded_weights_have_no_optimizer(run: Path, options: dict[str, str]) -> None:
    with pytest.raises(Error, match="--dtype and --optimizer"):
        convert_run(run, run.parent / "ours", **options)
