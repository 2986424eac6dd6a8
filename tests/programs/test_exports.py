"""Networks of PaddleSeg that it exports on the spot, with today's writer and the old one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ppls.programs.module import load_program
from tests.conftest import made_once, run_upstream
from tests.programs.in_paddle import run_in_paddle

TRANSFORMER = {
    "class": "paddleseg.models.backbones.mix_transformer.MixVisionTransformer",
    "kwargs": {
        "embed_dims": [8, 16, 24, 32],
        "num_heads": [1, 2, 3, 4],
        "mlp_ratios": [2, 2, 2, 2],
        "qkv_bias": True,
        "depths": [1, 1, 1, 1],
        "sr_ratios": [8, 4, 2, 1],
    },
}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "transformer": ("SegFormer", {"backbone": TRANSFORMER, "embedding_dim": 16}),
    "unpooling": ("ENet", {}),
}
OLD = ("unpooling",)  # Paddle 3.3 writes no matrix products in the old form


def job(name: str) -> dict[str, Any]:
    architecture, options = NETWORKS[name]
    model = {"class": f"paddleseg.models.{architecture}", "kwargs": {"num_classes": 5, **options}}
    return {"name": name, "model": model, "seed": 1, "shape": (2, 3, 64, 96), "export": True}


@pytest.fixture(scope="session")
def exported() -> dict[str, Path]:
    """The folder of each form's exports."""
    forms = {"pir": ("1", tuple(NETWORKS)), "pdmodel": ("0", OLD)}
    return {
        form: made_once(
            f"networks_{form}",
            lambda folder, names=names, flag=flag: run_upstream(
                [job(name) for name in names], folder, FLAGS_enable_pir_api=flag
            ),
        )
        for form, (flag, names) in forms.items()
    }


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "form"), [*((name, "pir") for name in NETWORKS), *((name, "pdmodel") for name in OLD)]
)
def test_a_network_that_paddleseg_exports_computes_what_paddleseg_computes(
    name: str, form: str, exported: dict[str, Path]
) -> None:
    module = load_program(exported[form] / name)
    assert module.program.form == form
    record = np.load(exported[form] / f"{name}.npz")
    found = module(torch.from_numpy(record["input"]))[0].numpy()
    assert np.abs(found - record["eval"]).max() <= 1e-5 * np.abs(record["eval"]).max()


READER = """
import sys
import numpy as np, paddle

class Reader(paddle.nn.Layer):  # of text, as CRNN is
    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 6, 3, stride=4)
        self.first = paddle.nn.LSTM(6, 5, num_layers=2, direction="bidirect")
        self.second = paddle.nn.GRU(10, 4, direction="bidirect")
        self.letters = paddle.nn.Linear(8, 7)

    def forward(self, image):
        columns = self.conv(image).mean(2).transpose([0, 2, 1])
        return paddle.nn.functional.softmax(self.letters(self.second(self.first(columns)[0])[0]), axis=2)

paddle.seed(1)
model = Reader()
model.eval()
image = paddle.randn([2, 3, 32, 100])
paddle.jit.save(model, sys.argv[1] + "/model", input_spec=[paddle.static.InputSpec([-1, 3, 32, 100], "float32")])
np.savez(sys.argv[1] + ".npz", image=image.numpy(), output=model(image).numpy())
"""


DETECTOR = """
import sys
import paddle
import numpy as np

class Detector(paddle.nn.Layer):  # of boxes around places, as FCOS is, of images of any size
    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 8, 5, stride=4, padding=2)
        self.sides = paddle.nn.Conv2D(8, 4, 1)
        self.classes = paddle.nn.Conv2D(8, 5, 1)

    def forward(self, image, scale_factor):
        features = paddle.nn.functional.relu(self.conv(image))
        height, width = paddle.shape(features)[2:]
        rows, columns = paddle.meshgrid(paddle.arange(height), paddle.arange(width))
        places = (paddle.stack([columns, rows], -1).astype("float32").reshape([1, -1, 2]) + 0.5) * 4
        sides = paddle.exp(self.sides(features)).flatten(2).transpose([0, 2, 1]) * 8
        boxes = paddle.concat([places - sides[:, :, :2], places + sides[:, :, 2:]], -1)
        boxes = boxes / paddle.concat([scale_factor.flip(1)] * 2, 1).unsqueeze(1)
        scores = paddle.nn.functional.sigmoid(self.classes(features) * 4).flatten(2)
        out, _, counts = paddle._C_ops.multiclass_nms3(boxes, scores, None, 0.9, 100, 500, 0.2, True, 1.0, -1)
        return out, counts

paddle.seed(1)
model = Detector()
model.eval()
given = paddle.randn([3, 3, 40, 56]), paddle.rand([3, 2]) + 0.5
shapes = [-1, 3, -1, -1], [-1, 2]
specs = [paddle.static.InputSpec(shape, "float32", name=f"in{at}") for at, shape in enumerate(shapes)]
paddle.jit.save(model, sys.argv[1] + "/model", input_spec=specs)
rows, counts = model(*given)
made = {"image": given[0], "scales": given[1], "rows": rows, "counts": counts}
np.savez(sys.argv[1] + ".npz", **{name: each.numpy() for name, each in made.items()})
"""


@torch.no_grad()
def test_a_detector_finds_the_boxes_that_paddle_finds(tmp_path: Path) -> None:
    """Of images of another size and number than any that the program knows."""
    folder, run = run_in_paddle(DETECTOR, tmp_path)
    module = load_program(folder)
    rows, counts = module(torch.from_numpy(run["image"]), torch.from_numpy(run["scales"]))
    assert counts.tolist() == run["counts"].tolist()
    assert run["counts"].min() > 10
    assert len(set(run["counts"].tolist())) > 1
    np.testing.assert_allclose(rows.numpy(), run["rows"], rtol=1e-5, atol=1e-4)


@torch.no_grad()
def test_a_reader_of_text_computes_what_paddle_computes(tmp_path: Path) -> None:
    """Its recurrent layers have each a tensor that the program names and no file keeps."""
    folder, run = run_in_paddle(READER, tmp_path)
    (found,) = load_program(folder).eval()(torch.from_numpy(run["image"]))
    np.testing.assert_allclose(found.numpy(), run["output"], atol=2e-6)
