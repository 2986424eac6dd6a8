"""The evaluation of a run by its config, as PaddleSeg's `core/val.py` does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ppls.converter.usage import transforms_of_run
from ppls.errors import UsageError
from ppls.inference.datasets import Sample, check_files
from ppls.inference.evaluation import evaluate, run_settings, samples_of_run
from ppls.inference.inference import Inference
from ppls.inference.metrics import Metrics
from ppls.inference.preprocessing import Preprocessing
from ppls.schema import Node
from ppls.shown import shown

_LAYOUTS = ("Dataset", "Cityscapes", "PascalVOC")  # those that `ppls eval` knows


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
    kind = section.value["type"].value if isinstance(section.value, dict) and "type" in section.value else None
    if kind in _LAYOUTS:
        root, path = told.get("root"), told.get("data")
        if data is not None and root is not None and path is not None and Path(path).is_relative_to(root):
            path = str(Path(data) / Path(path).relative_to(root))
        return samples_of_run({**told, "data": path} if path is not None else told, data)
    from ppls.training.data.datasets import KINDS

    known = [name for name, found in KINDS.items() if not found.first and name not in _LAYOUTS]
    if kind not in known:
        raise UsageError(
            f"{section.place}: ppls evaluates no {shown(repr(kind), 80)}; without --do-eval it trains on one. It "
            f"evaluates {', '.join([*_LAYOUTS, *known])}"
        )
    root = data or (section.value["dataset_root"].value if "dataset_root" in section.value else None)
    if root is None:
        raise UsageError(f"{section.place}: has no dataset_root; give the folder of the data set with --data")
    mode = section.value["mode"].value if "mode" in section.value else "val"
    samples = list(KINDS[kind].files(Path(root), str(mode)))
    check_files(samples)
    return samples
