"""Networks of PaddleSeg that it exports on the spot, with today's writer and the old one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ppls.programs.module import load_program
from tests.conftest import made_once, run_upstream

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


@torch.no_grad()
def test_a_reader_of_text_computes_what_paddle_computes(tmp_path: Path) -> None:
    """Its recurrent layers have each a tensor that the program names and no file keeps."""
    pytest.importorskip("paddle")
    folder = tmp_path / "export"
    (tmp_path / "reader.py").write_text(READER)  # Paddle reads the source of what it exports
    command = [sys.executable, str(tmp_path / "reader.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(f"{folder}.npz") as run:
        image, expected = run["image"], run["output"]
    (found,) = load_program(folder).eval()(torch.from_numpy(image))
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)
