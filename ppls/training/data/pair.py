"""An image with its label on the way through the transforms, and what a transform is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppls.training.data.draws import Draws

Array = np.ndarray[Any, Any]


@dataclass
class Pair:
    """What PaddleSeg's transforms hand on as a dictionary.

    Attributes:
        image: (H, W, 3) in RGB, or (H, W); float32, after some transforms uint8.
        label: (H, W), whole numbers; None where none moves with the image.
        instances: of `GenerateInstanceTargets`.
    """

    image: Array
    label: Array | None = None
    instances: dict[str, Array] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self.image.shape[0], self.image.shape[1]

    def change(self, of_image: Callable[[Array], Array], of_label: Callable[[Array], Array]) -> None:
        """Both change, or the image alone where there is no label."""
        self.image = of_image(self.image)
        if self.label is not None:
            self.label = of_label(self.label)


class Transform:
    """A class of `paddleseg/transforms/transforms.py`, with its name and the names and defaults of its options."""

    def begin(self, draws: Draws) -> None:
        """What is drawn when PaddleSeg makes the transform, before all images."""

    def __call__(self, pair: Pair, draws: Draws) -> None:
        raise NotImplementedError
