"""mIoU, accuracy, kappa, dice, precision and recall as PaddleSeg's `utils/metrics.py` defines them.

They differ from those of common libraries: a class that occurs nowhere counts as 0 in the means, and areas are summed
over all images before anything is divided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppls.errors import InputError

Array = np.ndarray[Any, Any]


@dataclass
class Areas:
    """Pixels of each class, summed over images.

    Attributes:
        intersect: predicted and labelled as the class; int64 (num_classes,), as the others are.
        predicted: predicted as the class, where the label is not ignored.
        labelled: labelled as the class.
        images: how many images were counted.
    """

    intersect: Tensor
    predicted: Tensor
    labelled: Tensor
    images: int = 0

    @classmethod
    def zero(cls, num_classes: int) -> Areas:
        intersect, predicted, labelled = torch.zeros(3, num_classes, dtype=torch.int64)
        return cls(intersect, predicted, labelled)

    def add(self, prediction: Tensor, label: Tensor, ignore_label: int = 255) -> None:
        """Counts one image.

        Args:
            prediction: classes (H, W), of any integer type.
            label: classes (H, W); `ignore_label` where the prediction does not count.

        Raises:
            InputError: of different sizes, or a label that is no class.
        """
        classes = len(self.intersect)
        if prediction.shape != label.shape:
            sizes = ["x".join(map(str, x.shape)) for x in (label, prediction)]
            raise InputError(f"the label is {sizes[0]} (height x width), the image {sizes[1]}")
        label, prediction = label.long(), prediction.long()
        counted = label != ignore_label
        strange = label[counted & ((label >= classes) | (label < 0))]
        if len(strange):
            raise InputError(
                f"the label holds {_listed(strange)}, the model has {classes} classes (0 to {classes - 1}) and "
                f"{ignore_label} is ignored; --ignore-label chooses another"
            )
        label_area = torch.bincount(label[(label >= 0) & (label < classes)], minlength=classes)
        self.labelled += label_area.cpu()
        self.predicted += torch.bincount(prediction[counted], minlength=classes).cpu()
        self.intersect += torch.bincount(label[counted & (label == prediction)], minlength=classes).cpu()
        self.images += 1

    def packed(self) -> Tensor:
        """All counts in one tensor, to be summed across processes."""
        images = torch.tensor([self.images], dtype=torch.int64)
        return torch.cat([self.intersect, self.predicted, self.labelled, images])

    @classmethod
    def unpacked(cls, counts: Tensor) -> Areas:
        """The inverse of `packed`."""
        intersect, predicted, labelled = counts[:-1].chunk(3)
        return cls(intersect, predicted, labelled, int(counts[-1]))


@dataclass(frozen=True)
class Metrics:
    """The figures of val.py; the arrays have a value for each class, `classes` their names where they are known."""

    images: int
    miou: float
    acc: float
    kappa: float
    dice: float
    class_iou: tuple[float, ...]
    class_precision: tuple[float, ...]
    class_recall: tuple[float, ...]
    classes: tuple[str, ...] | None = None

    @classmethod
    def of(cls, areas: Areas, classes: tuple[str, ...] | None = None) -> Metrics:
        """The figures of summed areas; without one counted pixel they are 0, kappa is NaN.

        `classes` are the names, if they are known.
        """
        intersect, predicted, labelled = (
            x.numpy().astype(np.float64) for x in (areas.intersect, areas.predicted, areas.labelled)
        )
        iou = _ratio(intersect, predicted + labelled - intersect)
        dice = _ratio(2 * intersect, predicted + labelled)
        total = labelled.sum()
        with np.errstate(invalid="ignore", divide="ignore"):
            observed = intersect.sum() / total
            expected = (predicted * labelled).sum() / (total * total)
            kappa = (observed - expected) / (1 - expected)
        return cls(
            images=areas.images,
            miou=float(iou.mean()),
            acc=float(_ratio(intersect.sum(), predicted.sum())),
            kappa=float(kappa),
            dice=float(dice.mean()),
            class_iou=tuple(iou.tolist()),
            class_precision=tuple(_ratio(intersect, predicted).tolist()),
            class_recall=tuple(_ratio(intersect, labelled).tolist()),
            classes=classes,
        )

    def to_json(self) -> dict[str, Any]:
        """The figures by name; a figure that is not defined is None."""
        figures: dict[str, Any] = {"images": self.images}
        for name in ("miou", "acc", "kappa", "dice"):
            value = getattr(self, name)
            figures[name] = None if np.isnan(value) else value
        for name in ("class_iou", "class_precision", "class_recall"):
            figures[name] = list(getattr(self, name))
        if self.classes is not None:
            figures["classes"] = list(self.classes)
        return figures


def _ratio(part: Any, whole: Any) -> Any:
    """`part / whole`, 0 where `whole` is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole != 0)


def _listed(values: Tensor) -> str:
    unique = sorted(set(values.tolist()))
    return ", ".join(map(str, unique[:5])) + (", ..." if len(unique) > 5 else "")
