"""ESPNetV1: the file of its contributor, whose model is not quite what PaddleSeg has, and other numbers of classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ppls
from ppls.models import ESPNetV1
from ppls.models.sizes import run_padded
from tests.conftest import run_with_upstream

# PaddleSeg's model with its contributor's blocks in place of those that PaddleSeg has for all models, on his weights.
ORIGINAL = """
import re
import numpy as np
import paddle
from paddle import nn
import paddleseg.models as upstream
from paddleseg.models import layers

class Block(nn.Layer):
    def __init__(self, before, after, kernel, padding=None, stride=1):
        super().__init__()
        self.conv = nn.Conv2D(before, after, kernel, stride, kernel // 2, bias_attr=False)
        self.bn, self.act = nn.BatchNorm2D(after), nn.PReLU(after)

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))

layers.ConvBNPReLU = Block
model = getattr(upstream, sys.argv[1])(num_classes=19, level2_depth=2, level3_depth=8)
weights = paddle.load(sys.argv[2], return_numpy=True)
weights.pop("StructuredToParameterName@@", None)
inner = re.compile(r"(conv1|d_conv\\d+|level2_proj)\\.conv\\.")
weights = {inner.sub(r"\\1.", name): array for name, array in weights.items()}
assert weights.keys() == model.state_dict().keys()
model.set_state_dict({name: paddle.to_tensor(array) for name, array in weights.items()})
model.eval()
x = paddle.to_tensor(np.random.default_rng(0).normal(size=(2, 3, 64, 96)).astype("float32"))
np.savez(sys.argv[3], input=x.numpy(), logits=model(x)[0].numpy())
"""


def test_the_file_of_its_contributor_computes_what_his_model_computes(shared: Path, tmp_path: Path) -> None:
    path = shared / "public" / "espnetv1.pdparams"
    conversion = ppls.convert(path, tmp_path / "out.safetensors")
    assert conversion.config == {
        "num_classes": 19,
        "in_channels": 3,
        "level2_depth": 2,
        "level3_depth": 8,
        "original": True,
    }
    assert conversion.era == "its contributor, before PaddleSeg took it in"
    run_with_upstream("import sys\n" + ORIGINAL, "ESPNetV1", str(path), str(tmp_path / "found.npz"))
    found = np.load(tmp_path / "found.npz")
    with torch.no_grad():
        (logits,) = ppls.load(tmp_path / "out.safetensors")(torch.from_numpy(found["input"]))
    assert np.abs(logits.numpy() - found["logits"]).max() <= 1e-5 * np.abs(found["logits"]).max()


def test_any_number_of_classes_and_channels_will_do_that_its_pyramids_can_share() -> None:
    with torch.no_grad():
        assert ESPNetV1(6, in_channels=4).eval()(torch.zeros(1, 4, 16, 24))[0].shape == (1, 6, 16, 24)
    with pytest.raises(ppls.Error, match="num_classes is 4: each of the 5 branches of a pyramid needs one"):
        ESPNetV1(4)


def test_sides_are_multiples_of_eight() -> None:
    image = torch.zeros(1, 3, 20, 33)
    with pytest.raises(ppls.Error, match=r"20x33 .*multiples of 8; pad it to 24x40"):
        ESPNetV1()(image)
    with torch.no_grad():
        assert run_padded(ESPNetV1().eval(), image).shape == (1, 19, 20, 33)
