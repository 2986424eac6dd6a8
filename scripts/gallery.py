"""Makes the pictures of docs/gallery.md, and its figures: `python scripts/gallery.py`, in five minutes of one core.

- `gallery-trained.png`: the run in `tests/data/run`, which PaddleSeg's tools trained, beside PaddleSeg's own logits.
- `gallery-models.png`: models of several architectures, drawn at random, trained for a few steps on scenes made of the
  photographs in the package, taken to PaddleSeg's format and back, and shown on a photograph that none was trained on.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import ppls

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
RUN = ROOT / "tests" / "data" / "run"
PHOTOGRAPHS = ROOT / "ppls" / "parity" / "photographs"
TRAINED_ON, HELD_OUT = ("astronaut", "coffee", "rocket"), "chelsea"

CLASSES = ("background", "disc", "box", "triangle", "diamond")
PAINTS = ((200, 40, 40), (40, 200, 40), (40, 40, 200), (210, 210, 40))  # of the shapes, give or take 30
PALETTE = np.array([(60, 60, 60), (230, 60, 60), (60, 190, 60), (70, 90, 240), (240, 200, 40)], np.uint8)
HEIGHT, WIDTH, BATCH = 96, 192, 4
STEPS = {"PP-LiteSeg-T": 200, "STDCSeg-STDC1": 200, "BiSeNetV2": 200, "SegFormer-B0": 200, "DeepLabV3P-R18": 100}
SHOWN, JUDGED = 3, 12  # scenes
GAP, LINE = 8, 22

Array = NDArray[Any]


def scene(photographs: tuple[str, ...], random: np.random.Generator) -> tuple[Array, Array]:
    """Shapes in a part of a photograph, RGB (H, W, 3), and their classes (H, W)."""
    photograph = Image.open(PHOTOGRAPHS / f"{random.choice(photographs)}.jpg").convert("RGB")
    x, y = (int(random.integers(0, side - own)) for side, own in zip(photograph.size, (WIDTH, HEIGHT), strict=True))
    image = photograph.crop((x, y, x + WIDTH, y + HEIGHT))
    labels = Image.new("L", image.size, 0)
    pens = ImageDraw.Draw(image), ImageDraw.Draw(labels)
    for _ in range(random.integers(2, 6)):
        kind, r = int(random.integers(1, len(CLASSES))), int(random.integers(10, 32))
        cx, cy = int(random.integers(WIDTH)), int(random.integers(HEIGHT))
        paint = tuple(int(v) for v in np.clip(np.array(PAINTS[kind - 1]) + random.integers(-30, 31, 3), 0, 255))
        fills: tuple[Any, ...] = (paint, kind)
        for pen, fill in zip(pens, fills, strict=True):
            if kind == 1:
                pen.ellipse((cx - r, cy - r, cx + r, cy + r), fill)
            elif kind == 2:
                pen.rectangle((cx - r, cy - r // 2, cx + r, cy + r // 2), fill)
            else:
                low = [(cx - r, cy + r), (cx + r, cy + r)] if kind == 3 else [(cx - r, cy), (cx, cy + r), (cx + r, cy)]
                pen.polygon([(cx, cy - r), *(low if kind == 4 else low[::-1])], fill)
    return np.asarray(image), np.asarray(labels)


def batches(steps: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    random = np.random.default_rng(0)
    for _ in range(steps):
        drawn = [scene(TRAINED_ON, random) for _ in range(BATCH)]
        images = np.stack([image for image, _ in drawn]).transpose(0, 3, 1, 2)
        yield (
            (torch.tensor(images).float() / 255 - 0.5) / 0.5,  # PaddleSeg's default, which `predict` assumes
            torch.tensor(np.stack([labels for _, labels in drawn])).long(),
        )


def trained(name: str, steps: int) -> torch.nn.Module:
    torch.manual_seed(0)
    model = ppls.create_model(name, num_classes=len(CLASSES)).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, steps, 0.9)
    for images, labels in batches(steps):
        heads = [logits for logits in model(images) if logits.shape[1] == len(CLASSES)]  # STDCSeg has two of edges
        loss = sum(F.cross_entropy(logits, labels) for logits in heads)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
        schedule.step()
    return model.eval()


def there_and_back(model: Any, folder: Path) -> Any:
    """The model as PaddleSeg's `.pdparams` has it, loaded from there."""
    model.save_pretrained(folder / "hub")
    ppls.convert_back(folder / "hub", folder / "model.pdparams")
    return ppls.load(folder / "model.pdparams")


def mean_iou(pairs: list[tuple[Array, Array]]) -> float:
    found, truth = (np.concatenate([one[side].ravel() for one in pairs]) for side in (0, 1))
    both = [np.count_nonzero((found == kind) & (truth == kind)) for kind in range(len(CLASSES))]
    either = [np.count_nonzero((found == kind) | (truth == kind)) for kind in range(len(CLASSES))]
    return float(np.mean([a / b for a, b in zip(both, either, strict=True) if b]))


def overlay(image: Array, labels: Array) -> Array:
    colours = PALETTE[np.minimum(labels, len(PALETTE) - 1)]
    colours[labels == 255] = 255
    mixed: Array = (0.4 * image + 0.6 * colours).astype(np.uint8)
    return mixed


def heat(values: Array) -> Array:
    """Numbers from 0 to 1 as black, red, yellow, white."""
    parts = np.clip(values[..., None] * 3 - np.arange(3), 0, 1)
    made: Array = (255 * parts).astype(np.uint8)
    return made


def sheet(columns: list[str], rows: list[list[Array]], scale: int, path: Path) -> None:
    """A table of pictures below their headings."""
    height, width = (scale * side for side in rows[0][0].shape[:2])
    page = Image.new("RGB", (len(columns) * (width + GAP) + GAP, LINE + len(rows) * (height + GAP)), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    for column, text in enumerate(columns):
        pen.text((GAP + column * (width + GAP), 2), text, "black", font)
        for row, pictures in enumerate(rows):
            shown = Image.fromarray(pictures[column]).resize((width, height), Image.Resampling.NEAREST)
            page.paste(shown, (GAP + column * (width + GAP), LINE + row * (height + GAP)))
    page.quantize(128).save(path, optimize=True)


def trained_run(folder: Path) -> dict[str, str]:
    """The run that PaddleSeg trained: what its model and the converted one see in two images."""
    ppls.convert(RUN / "model.pdparams", folder / "model.safetensors", config=RUN / "config.yml")
    model = ppls.load(folder / "model.safetensors")
    with np.load(RUN / "golden" / "logits_val000-001.npz") as golden:
        inputs, expected = golden["input"], golden["logits"]
    with torch.inference_mode():
        logits = model(torch.tensor(inputs))[0].numpy()
    scaled = np.abs(logits - expected).max(1) / np.abs(expected).max()
    rows = []
    for number in range(len(inputs)):
        image = np.asarray(Image.open(RUN / "data" / "images" / f"val{number:03d}.png").convert("RGB"))
        truth = np.asarray(Image.open(RUN / "data" / "labels" / f"val{number:03d}.png"))
        certainty = torch.tensor(logits[number]).softmax(0).amax(0).numpy()
        theirs, ours = expected[number].argmax(0), logits[number].argmax(0)
        pictures = [image, *(overlay(image, labels) for labels in (truth, theirs, ours))]
        rows.append([*pictures, heat(certainty), heat(scaled[number] / 1e-6)])
    columns = ["image", "truth", "PaddleSeg", "ppls", "certainty", "difference"]
    sheet(columns, rows, 2, DOCS / "gallery-trained.png")
    same = (logits.argmax(1) == expected.argmax(1)).mean()
    return {"largest": f"{scaled.max():.1e}", "same": f"{same:.2%}"}


def several_models() -> list[str]:
    """A row of the page's table for each model."""
    random = np.random.default_rng(1)
    scenes = [scene((HELD_OUT,), random) for _ in range(JUDGED)]
    columns, table = ["image", "truth"], []
    rows = [[image, overlay(image, truth)] for image, truth in scenes[:SHOWN]]
    for name, steps in STEPS.items():
        begun = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            model: Any = trained(name, steps)
            back = there_and_back(model, Path(folder))
        found = [back.predict(image) for image, _ in scenes]
        for labels, (image, _) in zip(found, scenes, strict=True):
            assert np.array_equal(labels, model.predict(image)), name
        iou = mean_iou([(labels, truth) for labels, (_, truth) in zip(found, scenes, strict=True)])
        columns.append(f"{name}")
        for row, (image, _), labels in zip(rows, scenes, found, strict=False):
            row.append(overlay(image, labels))
        count = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        table.append(f"| {name} | {count:.1f} M | {steps} | {iou:.2f} |")
        print(f"{table[-1]}  {time.process_time() - begun:.0f} s", flush=True)
    sheet(columns, rows, 1, DOCS / "gallery-models.png")
    return table


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        figures = trained_run(Path(folder))
    print(json.dumps(figures))
    table = several_models()
    page = DOCS / "gallery.md"
    text = page.read_text(encoding="utf-8")
    head = "| model | parameters | steps | mIoU |\n| --- | --- | --- | --- |\n"
    text = re.sub(rf"{re.escape(head)}(\|.*\n)*", head + "\n".join(table) + "\n", text)
    for key, value in figures.items():
        text = re.sub(rf"(<!-- {key} -->)[^<]*(<!-- -->)", rf"\g<1>{value}\g<2>", text)
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
