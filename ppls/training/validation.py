"""The evaluation of a run by its config, as PaddleSeg's `core/val.py` does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ppls.converter.usage import transforms_of_run
from ppls.errors import InputError, UsageError
from ppls.inference.datasets import Sample, check_files
from ppls.inference.evaluation import evaluate, run_settings, samples_of_run
from ppls.inference.inference import Inference
from ppls.inference.metrics import Metrics
from ppls.inference.preprocessing import Preprocessing
from ppls.schema import Node
from ppls.shown import shown

_LAYOUTS = ("Dataset", "Cityscapes", "PascalVOC")  # those that `ppls eval` knows
_PORTRAIT = "cannot be evaluated by PaddleSeg either, whose evaluation ends at its first image (no trans_info)"
_REFUSED = {
    "EG1800": _PORTRAIT,
    "SUPERVISELY": _PORTRAIT,
    "PSSLDataset": "is for pretraining, and has no part to evaluate on",
}


class Validation:
    """A config's `val_dataset`, whose files are there.

    Args:
        document: the config.
        data: the folder of the data set, in place of `dataset_root`.
        say: told what is used.

    Raises:
        ppls.InputError: files are missing, all of them listed.
        ppls.UsageError: the config has none, or one that ppls cannot evaluate.
        ppls.ConversionError: the section is malformed, or has a transform that ppls does not know.
    """

    def __init__(self, document: Node, data: str | Path | None, say: Callable[[str], None]) -> None:
        if "val_dataset" not in document.value:
            raise UsageError("--do-eval: the config has no val_dataset")
        told = run_settings(document)
        self.samples = _samples(document.value["val_dataset"], told, data)
        listed = transforms_of_run(document)
        if listed is None:
            raise UsageError("--do-eval: val_dataset has no transforms")
        self.preprocessing = Preprocessing.of(listed)
        self.inference = Inference(
            told.get("scales", (1.0,)),
            told.get("flip", False),
            told.get("flip_vertical", False),
            told.get("window"),
            told.get("stride"),
        )
        self.ignored: int = told.get("ignore_label", 255)
        say(f"evaluates on {len(self.samples)} images")

    def __call__(self, model: torch.nn.Module, device: torch.device) -> Metrics:
        """The figures of a model, which is in the mode again then that it was in."""
        return evaluate(
            model,
            self.samples,
            preprocessing=self.preprocessing,
            inference=self.inference,
            ignore_label=self.ignored,
            device=device,
            say=lambda _line: None,
        )


def _samples(section: Node, told: Mapping[str, Any], data: str | Path | None) -> list[Sample]:
    from ppls.training.data.datasets import KINDS

    given: dict[str, Any] = {key: node.value for key, node in section.value.items()}
    kind = given.get("type")
    if kind not in (*_LAYOUTS, *KINDS):
        why = _REFUSED.get(str(kind), "is no data set that ppls evaluates")
        raise UsageError(
            f"{section.place}: {shown(repr(kind), 80)} {why}; train without --do-eval, or evaluate on one of "
            f"{', '.join(dict.fromkeys([*_LAYOUTS, *KINDS]))}"
        )
    own = given.get("dataset_root")
    if data is None and own is None:
        raise UsageError(f"{section.place}: has no dataset_root; give the folder of the data set with --data")
    root = Path(data or str(own))
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; --data is where the data set is")
    if kind in _LAYOUTS:
        path = told.get("data")
        if kind == "Dataset" and path is None:
            raise UsageError(f"{section.place}: has no val_path, the list of images and labels")
        if path is not None and own is not None and Path(path).is_relative_to(own):
            path = root / Path(path).relative_to(own)
        return samples_of_run({**told, "data": path} if path is not None else told, root)
    first = KINDS[kind].first
    samples = [replace(sample, first=first) for sample in KINDS[kind].files(root, str(given.get("mode", "val")))]
    if not samples:
        raise InputError(f"{root}: has no images of {kind} to evaluate on")
    check_files(samples)
    return samples
