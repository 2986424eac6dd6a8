"""What a run does with images and classes, and who said so: the user, the model's own file, or nobody."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ppls.images.transforms import Transforms
from ppls.images.usage import ASSUMED, Usage
from ppls.inference.palettes import Array, colours_of, palette
from ppls.models.images import check_rgb
from ppls.models.sizes import least_size, size_multiple
from ppls.shown import listed, shown

Say = Callable[[str], None]
_MOST_NAMES = 4  # of classes, in a line


@dataclass
class ImageUse:
    """What is used.

    Attributes:
        preprocessing: what happens to an image first.
        own: what the model's file says.
        palette: the name of the colours that the user asked for.
        say: told of each thing, in a line, when it is known; None warns of what was assumed, and of nothing else.
    """

    preprocessing: Transforms
    own: Usage
    palette: str | None
    say: Say | None

    @classmethod
    def of(
        cls, model: torch.nn.Module, given: Transforms | None, palette: str | None = None, say: Say | None = None
    ) -> ImageUse:
        """What was `given`, else what the model's own file says. Raises `CheckpointError` where that is damaged.

        Raises `UsageError` for a model whose images are not RGB.
        """
        own = getattr(model, "usage", None)  # also of a model that was compiled
        if isinstance(own, Usage):
            check_rgb(model)  # of a model of ppls; where another's first convolution is nobody knows
        else:
            own = Usage()
        steps = given or own.preprocessing
        if steps is not None and say is not None:
            other = own.preprocessing is not None and own.preprocessing != steps
            instead = f", in place of the model's own {own.preprocessing}" if other else ""
            say(f"preprocessing from {shown(steps.origin)}: {steps}{instead}")
        elif steps is None and say is not None:
            say(f"{ASSUMED}; --config, --mean, --std and --resize do")
        elif steps is None:
            warnings.warn(ASSUMED, stacklevel=3)
        multiple, least = size_multiple(model), least_size(model)
        wanted = [f"multiples of {multiple}"] * (multiple > 1) + [f"no less than {least}"] * (least > 1)
        if wanted and say is not None:
            say(
                f"images are padded below and at the right to sides that are {' and '.join(wanted)}, as the model "
                "takes them, and its logits are cropped"
            )
        return cls(steps or own.steps, own, palette, say)

    def classes(self, count: int) -> tuple[str, ...] | None:
        """The names of `count` classes, where the model's file has them; said."""
        found = self.own.for_classes(count).classes
        if self.own.classes is not None:
            names = listed([shown(name, 40) for name in self.own.classes], _MOST_NAMES)
            self._say(
                f"class names from the model's file: {names}"
                + ("" if found else f": not used, the model has {count} classes")
            )
        return found

    def colours(self, count: int) -> Array:
        """The colours of `count` classes: uint8 (count, 3), RGB; said.

        Raises `UsageError` where the palette that was asked for has not so many.
        """
        own = self.own.for_classes(count).palette
        if own is None or self.palette is not None:
            if own is not None:
                self._say(f"colours of the palette {self.palette}, in place of the model's own")
            return palette(self.palette or "paddleseg", count)
        self._say("colours from the model's file")
        return colours_of(own)

    def _say(self, line: str) -> None:
        if self.say is not None:
            self.say(line)
