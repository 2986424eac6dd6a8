"""`ppls.to_hub_folder`: weights, config, and a model card that says where they came from and how that was proved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard

from ppls.errors import ConversionError, UsageError
from ppls.models.base import SegmentationModel
from ppls.models.loading import load
from ppls.parity.report import Report

_FRONT = {"library_name": "ppls", "pipeline_tag": "image-segmentation", "tags": ["paddleseg", "semantic-segmentation"]}


def to_hub_folder(
    model: str | Path | SegmentationModel,
    folder: str | Path,
    *,
    report: Report | Mapping[str, Any] | str | Path | None = None,
    force: bool = False,
) -> Path:
    """Writes what `ppls.load` and the Hugging Face hub take: `config.json`, `model.safetensors` and `README.md`.

    Args:
        model: a converted file, anything that `ppls.load` takes, or a model of ppls.
        folder: made if it does not exist.
        report: of `ppls.verify` on this checkpoint, or what `ppls-verify --json` printed, as a file or an object.
            Its figures stand in the card; without it the card says that none were taken.
        force: replace the files of a folder that is not empty.

    Raises:
        ConversionError: the folder is not empty.
        UsageError: the report cannot be read, or is of another checkpoint.
    """
    place = Path(folder)
    if place.exists() and (not place.is_dir() or any(place.iterdir())) and not force:
        raise ConversionError(f"{place}: exists already and is not empty; give force=True to replace its files")
    loaded = load(model) if isinstance(model, (str, Path)) else model
    if not isinstance(loaded, SegmentationModel):
        raise UsageError(f"{model}: is a backbone alone; a hub folder holds a segmentation model")
    figures = None if report is None else _figures(report)
    source = loaded.provenance.get("source_sha256")
    if figures is not None and figures.get("sha256") != source:
        raise UsageError(f"the report is of the checkpoint {figures.get('sha256')}, the model comes from {source}")
    card = ModelCard(_card(loaded, place.resolve().name, figures))
    place.mkdir(parents=True, exist_ok=True)
    (place / "README.md").unlink(missing_ok=True)
    loaded.save_pretrained(place)
    card.save(place / "README.md")
    return place


def _figures(report: Report | Mapping[str, Any] | str | Path) -> dict[str, Any]:
    if isinstance(report, Report):
        return report.to_json()
    if isinstance(report, Mapping):
        return dict(report)
    try:
        figures = json.loads(Path(report).read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{report}: is not what ppls-verify --json printed: {error}") from None
    if not isinstance(figures, dict) or "verdict" not in figures:
        raise UsageError(f"{report}: is not what ppls-verify --json printed: it has no verdict")
    return figures


def _card(model: SegmentationModel, name: str, figures: dict[str, Any] | None) -> str:
    provenance = model.provenance
    architecture = provenance.get("architecture", type(model).__name__)
    origin = (
        f"Converted by ppls {provenance['ppls_version']} from a PaddleSeg checkpoint ({provenance.get('era', '')}), "
        f"SHA-256 `{provenance['source_sha256']}`."
        if "source_sha256" in provenance
        else "Built in PyTorch; no PaddleSeg checkpoint is recorded."
    )
    config = json.loads(provenance.get("config", "{}"))
    front = yaml.safe_dump(_FRONT, sort_keys=False)
    return f"""---
{front}---

# {architecture}

{origin}

## Use

```python
import torch
import ppls

model = ppls.load("{name}")  # this folder
image = torch.randn(1, 3, 512, 1024)  # RGB, normalised as in training; PaddleSeg's default: (x / 255 - 0.5) / 0.5
with torch.inference_mode():
    (logits,) = model(image)  # (1, num_classes, 512, 1024)
labels = logits.argmax(1)
```

`ppls-predict {name} photo.jpg -o out` makes pictures.

## Parity with PaddleSeg

{_parity(figures)}
## Config

```yaml
{yaml.safe_dump(config, sort_keys=False, default_flow_style=None)}```
"""


def _parity(figures: dict[str, Any] | None) -> str:
    if figures is None:
        return "Not verified for this card; `ppls-verify` takes the figures.\n"
    lines = [
        f"`ppls-verify`: **{figures['verdict']}** at tolerance {figures['tolerance']:g} in {figures['dtype']}.",
        "Scaled: max|a - b| / max|a|; floor: PaddleSeg's own float32 against its float64.",
        "",
        "| input | output | scaled | floor | pixels of the same class |",
        "| --- | --- | --- | --- | --- |",
    ]
    for output in figures["outputs"]:
        values = [_number(output[key], ".1e") for key in ("scaled", "floor")]
        agreement = _number(output["argmax_agreement"], ".4%")
        lines.append(f"| {output['input']} | {output['name']} | {values[0]} | {values[1]} | {agreement} |")
    return "\n".join(lines) + "\n"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
