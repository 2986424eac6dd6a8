"""A run in pure float16 (O2): its weights in float32, which its optimizer keeps, go there and back and on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

import ppls
from ppls.checkpoint.paddle_file import write_optimizer_file
from ppls.checkpoint.tensors import StoredTensor
from ppls.converter.convert import convert
from ppls.errors import ConversionError
from ppls.models.stored import to_torch
from ppls.training.folder import convert_run, convert_run_back
from ppls.training.state import read_state
from tests.conftest import made_once, run_with_upstream
from tests.material import SMALL_RUN

# Paddle steps float16 on GPUs alone; what its optimizer makes before a step, and saves, it makes on a CPU, too.
PADDLES = """
import sys
import numpy as np, paddle
from paddle.base.framework import default_main_program
from paddleseg.models import PPLiteSeg
from paddleseg.models.backbones.stdcnet import STDCNet
from paddleseg.utils import resume

def build(half):
    model = PPLiteSeg(5, STDCNet(base=8, layers=[2, 2, 2], block_num=4), cm_out_ch=16, arm_out_chs=[8, 12, 16],
                      seg_head_inter_chs=[8, 8, 12])
    if half:
        for layer in model.sublayers():
            if isinstance(layer, paddle.nn.Conv2D):
                layer.to(dtype="float16")
    rate = paddle.optimizer.lr.PolynomialDecay(0.05, 2000, end_lr=0, power=0.9)
    return model, paddle.optimizer.Momentum(rate, 0.9, model.parameters(), weight_decay=5e-4, multi_precision=half)

def begin(model, optimizer):
    trained = [parameter for parameter in model.parameters() if not parameter.stop_gradient]
    optimizer._create_accumulators(default_main_program().global_block(), trained)
"""
SAVE = """
with paddle.utils.unique_name.guard():
    whole, stepped = build(half=False)
    whole.set_state_dict(paddle.load(sys.argv[2] + "/model.pdparams"))
    stepped.set_state_dict(paddle.load(sys.argv[2] + "/model.pdopt"))
    begin(whole, stepped)
with paddle.utils.unique_name.guard():
    model, optimizer = build(half=True)
weights = {p.name: p for p in whole.parameters()}
for p in model.parameters():
    p.set_value(weights[p.name].astype(p.dtype))
begin(model, optimizer)
masters = optimizer._master_weights
assert 20 < len(masters) < len(weights)
for name, master in masters.items():
    assert master.dtype == paddle.float32
    master.set_value(weights[name])
for name, velocity in optimizer._accumulators["velocity"].items():
    velocity.set_value(stepped._accumulators["velocity"][name.partition("_fp32_master_0")[0]])
for _ in range(1000):
    optimizer._learning_rate.step()
paddle.save(model.state_dict(), sys.argv[3] + "/model.pdparams")
paddle.save(optimizer.state_dict(), sys.argv[3] + "/model.pdopt")
"""
RESUME = """
def resumed(folder):
    with paddle.utils.unique_name.guard():
        model, optimizer = build(half=True)
        assert resume(model, optimizer, folder) == 1000
        begin(model, optimizer)
        state = optimizer.state_dict()
        masters = {f"{m.name} of {name}": m for name, m in state.pop("master_weights").items()}
        schedule = state.pop("LR_Scheduler")
        return {**model.state_dict(), **state, **masters}, schedule

(before, at), (after, again) = map(resumed, sys.argv[2:4])
assert at == again and before.keys() == after.keys()
assert sum(name.endswith("_fp32_master_0_velocity_0") for name in before) > 20
for name, tensor in before.items():
    assert tensor.dtype == after[name].dtype and np.array_equal(tensor.numpy(), after[name].numpy()), name
"""


@pytest.fixture(scope="module")
def run() -> Path:
    """What PaddleSeg would have saved after a thousand iterations in float16."""

    def make(folder: Path) -> None:
        (folder / "iter_1000").mkdir()
        run_with_upstream(PADDLES + SAVE, "PPLiteSeg", str(SMALL_RUN), str(folder / "iter_1000"))

    return made_once("pure_float16_run", make) / "iter_1000"


def test_it_goes_there_and_back_and_paddleseg_resumes_from_it(run: Path, tmp_path: Path) -> None:
    convert_run(run, tmp_path / "ours")
    convert_run_back(tmp_path / "ours", tmp_path / "back_1000")
    for name in ("model.pdparams", "model.pdopt"):
        before, after = ppls.read(run / name), ppls.read(tmp_path / "back_1000" / name)
        assert (before.keys(), before.metadata, before.name_table) == (after.keys(), after.metadata, after.name_table)
        for tensor in before:
            assert before[tensor].dtype == after[tensor].dtype, tensor
            np.testing.assert_array_equal(before[tensor], after[tensor], err_msg=tensor)
    run_with_upstream(PADDLES + RESUME, "PPLiteSeg", str(run), str(tmp_path / "back_1000"))


def test_training_goes_on_with_the_weights_in_float32(run: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((SMALL_RUN / "config.yml").read_text()) | {"iters": 2000}
    (tmp_path / "run.yml").write_text(yaml.safe_dump(config))
    convert_run(run, tmp_path / "ours")
    whole = to_torch(convert(SMALL_RUN / "model.pdparams").tensors)
    for folder in (run, tmp_path / "ours"):
        training = ppls.Training(tmp_path / "run.yml", resume=folder)
        for name, parameter in training.model.named_parameters():
            assert parameter.dtype == whole[name].dtype, name
            assert parameter.equal(whole[name]), name
            assert training.optimizer.state[parameter]["velocity"].shape == parameter.shape


def test_an_optimizer_may_keep_master_weights_alone(run: Path, tmp_path: Path) -> None:
    checkpoint = ppls.read(run / "model.pdopt")
    masters = {name: checkpoint.stored(name) for name in checkpoint if name.startswith("master_weights.")}
    folder = tmp_path / "iter_1000"
    folder.mkdir()
    (folder / "model.pdparams").symlink_to(run / "model.pdparams")
    beside = {"LR_Scheduler": {"last_epoch": 1000, "last_lr": 0.001}}
    write_optimizer_file(
        folder / "model.pdopt", masters, {name: checkpoint.name_table[name] for name in masters}, beside=beside
    )
    convert_run(folder, tmp_path / "ours")
    convert_run_back(tmp_path / "ours", tmp_path / "back_1000")
    again = read_state(tmp_path / "back_1000/model.pdopt", convert(run / "model.pdparams"))
    assert (again.kind, len(again.masters)) == ("SGD", len(masters))


def test_what_does_not_fit_is_listed(run: Path, tmp_path: Path) -> None:
    checkpoint = ppls.read(run / "model.pdopt")
    tensors = {name: checkpoint.stored(name) for name in checkpoint}
    del tensors["master_weights.conv2d_0.w_0"]
    tensors["master_weights.conv2d_1.w_0"] = StoredTensor("float32", (3,), lambda: np.zeros(3, np.float32))
    tensors["master_weights.conv2d_99.w_0"] = tensors["master_weights.conv2d_2.w_0"]
    tensors["conv2d_2.w_0_fp32_master_1_velocity_0"] = tensors.pop("conv2d_2.w_0_fp32_master_0_velocity_0")
    write_optimizer_file(tmp_path / "model.pdopt", tensors, {name: name for name in tensors})
    with pytest.raises(ConversionError) as error:
        read_state(tmp_path / "model.pdopt", convert(run / "model.pdparams"))
    said = "\n".join(error.value.problems)
    assert "conv2d_0.w_0: no master weight, of which it has an accumulator" in said
    assert "master_weight [3], the weight is [" in said
    assert "master_weight of conv2d_99.w_0: the checkpoint has no parameter conv2d_99.w_0" in said
    assert "with master weights of several optimizers: _0, _1" in said
