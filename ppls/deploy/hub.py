"""`ppls.to_hub_folder`: weights, config, and a model card that says where they came from and how that was proved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from ppls.converter.inputs import weight_files
from ppls.deploy.card import card_of, figures_for
from ppls.destination import check_destinations, file_that_becomes
from ppls.errors import ConversionError, UsageError
from ppls.inference.loading import load
from ppls.models.base import CARD, HUB_FILES, SegmentationModel
from ppls.parity.report.data import Report


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
        report: of `ppls.verify` on this very model, or what `ppls-verify --json` printed, as a file or an object.
            Its figures stand in the card; without it the card says that none were taken.
        force: replace the files of a folder that is not empty.

    Raises:
        ConversionError: the folder is not empty (without `force`), or a file cannot be written.
        UsageError: the report cannot be read, or is of another checkpoint, of other weights or of another config.
    """
    place = Path(folder)
    inputs = {
        "model": weight_files(model) if isinstance(model, (str, Path)) else (),
        "report": [report] if isinstance(report, (str, Path)) else [],
    }
    check_destinations([place / name for name in HUB_FILES], force=True, inputs=inputs, new_folders=True)
    if place.exists() and any(place.iterdir()) and not force:
        raise ConversionError(f"{place}: exists already and is not empty; give force=True to replace its files")
    loaded = load(model) if isinstance(model, (str, Path)) else model
    if not isinstance(loaded, SegmentationModel):
        name = model if isinstance(model, (str, Path)) else type(model).__name__
        raise UsageError(f"{name}: is a backbone alone; a hub folder holds a segmentation model")
    figures = None if report is None else figures_for(loaded, report)
    card = ModelCard(card_of(loaded, place.resolve().name or ".", figures))
    loaded.save_pretrained(place)
    with file_that_becomes(place / CARD, force=True) as file:  # last: it vouches for the others
        file.write(str(card).encode())
    return place
