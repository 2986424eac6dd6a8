"""Makes this folder anew, with PaddleSeg's own tools: `python tests/data/run/make.py`, where paddleseg is installed.

A PP-LiteSeg on an STDC of an eighth of the usual width, trained on scenes drawn into photographs.
"""

from __future__ import annotations

import os
import shutil
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import yaml
from paddleseg import utils
from paddleseg.core import evaluate, predict, train
from paddleseg.cvlibs import Config, SegBuilder, manager
from paddleseg.deploy.export import WrappedModel
from paddleseg.models.backbones.stdcnet import STDCNet
from paddleseg.transforms import Compose
from PIL import Image, ImageDraw

HERE = Path(__file__).resolve().parent
PHOTOGRAPHS = HERE.parents[2] / "ppls" / "parity" / "photographs"
HEIGHT, WIDTH = 64, 128
ITERATIONS = 1000
COLOURS = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (210, 210, 40)]


def mend_promotion(name: str) -> None:
    """Lets a float tensor meet an integer one, as PaddleSeg 2.8's losses have it: Paddle 3 refuses."""
    original = getattr(paddle.Tensor, name)

    def mended(a: paddle.Tensor, b: Any) -> paddle.Tensor:
        integer = isinstance(b, paddle.Tensor) and not b.is_floating_point()
        return original(a, b.astype(a.dtype) if integer and a.is_floating_point() else b)

    setattr(paddle.Tensor, name, mended)


def mend_concat() -> None:
    """Lets scalars be joined, as PaddleSeg 2.8's metrics do: Paddle 3 refuses."""
    original = paddle.concat

    def mended(x: list[paddle.Tensor], *arguments: object, **options: object) -> paddle.Tensor:
        return original([part.reshape([1]) if part.ndim == 0 else part for part in x], *arguments, **options)

    paddle.concat = mended


def draw(name: str, random: np.random.RandomState) -> str:
    """One scene and its labels: shapes of four classes on a part of a photograph; some have a strip to ignore."""
    files = sorted([*PHOTOGRAPHS.glob("*.png"), *PHOTOGRAPHS.glob("*.jpg")])
    photograph = np.asarray(Image.open(files[random.randint(len(files))]).convert("RGB"))
    top, left = (random.randint(photograph.shape[i] - size) for i, size in enumerate((HEIGHT, WIDTH)))
    image = Image.fromarray(photograph[top : top + HEIGHT, left : left + WIDTH])
    label = Image.new("L", (WIDTH, HEIGHT), 0)
    on_image, on_label = ImageDraw.Draw(image), ImageDraw.Draw(label)
    for _ in range(random.randint(2, 6)):
        kind, x, y, r = random.randint(1, 5), random.randint(WIDTH), random.randint(HEIGHT), random.randint(8, 24)
        colour = tuple(int(v) for v in np.clip(np.array(COLOURS[kind - 1]) + random.randint(-30, 30, 3), 0, 255))
        corners = {
            2: [(x - r, y - r // 2), (x + r, y - r // 2), (x + r, y + r // 2), (x - r, y + r // 2)],
            3: [(x, y - r), (x - r, y + r), (x + r, y + r)],
            4: [(x, y - r), (x - r, y), (x, y + r), (x + r, y)],
        }
        for drawing, fill in ((on_image, colour), (on_label, kind)):
            if kind == 1:
                drawing.ellipse([x - r, y - r, x + r, y + r], fill=fill)
            else:
                drawing.polygon(corners[kind], fill=fill)
    if random.rand() < 0.3:
        on_label.rectangle([0, 0, random.randint(4, 20), HEIGHT], fill=255)
    image.save(HERE / "data" / "images" / f"{name}.png")
    label.save(HERE / "data" / "labels" / f"{name}.png")
    return f"images/{name}.png labels/{name}.png"


def main() -> None:
    os.chdir(HERE)  # the config names its data from here
    for folder in ("data", "golden", "export"):
        shutil.rmtree(HERE / folder, ignore_errors=True)
    for folder in ("data/images", "data/labels", "golden", "export"):
        (HERE / folder).mkdir(parents=True)
    random = np.random.RandomState(7)
    for split, count in (("train", 24), ("val", 6)):
        lines = [draw(f"{split}{i:03d}", random) for i in range(count)]
        (HERE / "data" / f"{split}.txt").write_text("\n".join(lines) + "\n")

    manager.BACKBONES.add_component(STDCNet)  # paddleseg names STDC1 and STDC2 alone
    for operation in ("__add__", "__mul__"):
        mend_promotion(operation)
    mend_concat()
    utils.utils.set_seed(0)
    config = SegBuilder(Config(str(HERE / "config.yml")))
    model, losses = config.model, config.loss
    scratch = HERE / "scratch"
    train(
        model,
        config.train_dataset,
        optimizer=config.optimizer,
        save_dir=str(scratch),
        iters=ITERATIONS,
        batch_size=4,
        save_interval=ITERATIONS,
        log_iters=ITERATIONS + 1,  # its log line fails beside Paddle 3
        losses=losses,
    )
    for name in ("model.pdparams", "model.pdopt"):
        shutil.copyfile(scratch / f"iter_{ITERATIONS}" / name, HERE / name)
    shutil.rmtree(scratch)

    for name, options in (
        ("val.txt", {}),
        (
            "val_scales_0.75_1.0_1.25_flip.txt",
            {"aug_eval": True, "scales": [0.75, 1.0, 1.25], "flip_horizontal": True},
        ),
    ):
        with open(HERE / "golden" / name, "w") as printed, redirect_stdout(printed):
            evaluate(model, config.val_dataset, num_workers=0, **options)
    predict(
        model,
        model_path=str(HERE / "model.pdparams"),
        transforms=Compose([manager.TRANSFORMS["Normalize"]()]),
        image_list=[str(HERE / "data" / "images" / "val000.png")],
        save_dir=str(HERE / "golden"),
    )
    model.eval()
    images = [np.asarray(Image.open(HERE / "data" / "images" / f"val00{i}.png"), np.float32) for i in range(2)]
    batch = ((np.stack(images) / 255 - 0.5) / 0.5).transpose(0, 3, 1, 2).astype(np.float32)
    with paddle.no_grad():
        logits = model(paddle.to_tensor(batch))[0].numpy()
    labels = paddle.jit.to_static(
        WrappedModel(model, "argmax"),
        input_spec=[paddle.static.InputSpec([1, 3, HEIGHT, WIDTH], "float32")],
        full_graph=True,
    )
    paddle.jit.save(labels, str(HERE / "export" / "model"))
    deploy = {"model": "model.json", "params": "model.pdiparams", "transforms": [{"type": "Normalize"}]}
    deploy |= {"input_shape": [1, 3, HEIGHT, WIDTH], "output_op": "argmax", "output_dtype": "int32"}
    (HERE / "export" / "deploy.yaml").write_text(yaml.safe_dump({"Deploy": deploy}))
    np.savez_compressed(HERE / "golden" / "logits_val000-001.npz", input=batch, logits=logits)


if __name__ == "__main__":
    main()
