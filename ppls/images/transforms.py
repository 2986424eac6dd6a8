"""From an image to a model's input and back, as PaddleSeg's transforms do it (`paddleseg/transforms/`).

Without torch until an image is prepared: the converter reads what a run's config lists.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import numpy as np

from ppls.errors import InputError, UsageError
from ppls.images.normalisation import HALF, batch_of, normalise
from ppls.schema import Node, Word, at_least, at_most, between, build

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]
Size = tuple[int, int]  # height, width
Found = TypeVar("Found", bound="Transforms")

# OpenCV's interpolations that torch computes with the same weights
_MODES = {"NEAREST": "nearest", "LINEAR": "bilinear", "CUBIC": "bicubic"}
MOST_PIXELS = 1 << 23  # that an image may be enlarged to: 100 MB in float32

Side = Annotated[int, between(1, 1 << 15)]  # pixels
PixelValue = Annotated[float, between(-1e6, 1e6)]


@dataclass
class Prepared:
    """An image on its way through the steps.

    Attributes:
        pixels: float32 (H, W, 3), RGB.
        undo: what changed its size, the first step first: a resize or a padding, and the size (H, W) before it.
    """

    pixels: Array
    undo: list[tuple[str, Size]] = field(default_factory=list)

    @property
    def size(self) -> Size:
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def tensor(self) -> Tensor:
        """The model's input (1, 3, H, W)."""
        import torch

        return torch.from_numpy(batch_of(self.pixels))


class Transforms:
    """PaddleSeg's `Compose` in evaluation: RGB in float32, then the steps in their order.

    Args:
        steps: in the words of PaddleSeg's config: `[{"type": "Resize", "target_size": [1024, 512]}, {"type":
            "Normalize"}]`. Default: `Normalize` with mean and std 0.5.
        origin: where the steps were read, for messages.

    Raises:
        UsageError: a step or one of its options is not known, or is random.
    """

    def __init__(self, steps: Sequence[Mapping[str, Any]] = ({"type": "Normalize"},), origin: str = "steps") -> None:
        self.steps = _steps(Node.of(list(steps), lambda place, why: UsageError(f"{place}: {why}"), origin))
        self.origin = origin

    @classmethod
    def of(cls: type[Found], node: Node, origin: str = "the model's file") -> Found:
        """The steps that a document lists; the node's error where one is not known, or is random."""
        result = cls()
        result.steps, result.origin = _steps(node), origin
        return result

    @property
    def words(self) -> list[dict[str, Any]]:
        """The steps in PaddleSeg's words again, with the values of all their options that matter to an image."""
        return [step.words for step in self.steps]

    def __call__(self, pixels: Array) -> Prepared:
        """`pixels`: RGB (H, W, 3) in 0..255. Raises `InputError` where an image is too large to be padded."""
        prepared = Prepared(pixels.astype(np.float32))
        for step in self.steps:
            step(prepared)
        return prepared

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Transforms) and self.steps == other.steps

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        """The steps in one line, for a message."""
        return ", ".join(map(str, self.steps)) or "none"


def restore(values: Tensor, undo: Sequence[tuple[str, Size]]) -> Tensor:
    """`values` (N, C, H, W), a model's output, at the size of the image before preprocessing."""
    import torch.nn.functional as F

    for kind, (height, width) in reversed(undo):
        if kind == "padding":
            values = values[:, :, :height, :width]
        elif values.shape[-2:] != (height, width):
            values = F.interpolate(values, (height, width), mode="bilinear")
    return values


def _steps(node: Node) -> list[Step]:
    listed = build(node, Annotated[list[dict[str, Node]], at_most(20)])
    return [_step(options, place) for options, place in zip(listed, node.value, strict=True)]


def _step(options: dict[str, Node], node: Node) -> Step:
    name = build(options["type"], Word) if "type" in options else ""
    if name not in _STEPS:
        node.fail(f"{name!r} is no transform for evaluation; ppls knows {', '.join(_STEPS)}")
    rest = {key: item for key, item in options.items() if key != "type"}
    return build(dataclasses.replace(node, value=rest), _STEPS[name])  # type: ignore[no-any-return]


def _resized(image: Prepared, size: Size, mode: str = "bilinear") -> None:
    image.undo.append(("resize", image.size))
    _interpolate(image, size, mode)


def _interpolate(image: Prepared, size: Size, mode: str = "bilinear") -> None:
    if size == image.size:
        return
    height, width = max(1, size[0]), max(1, size[1])
    _check_size(image, height, width)
    import torch.nn.functional as F

    resized = F.interpolate(image.tensor, (height, width), mode=mode)
    image.pixels = resized[0].permute(1, 2, 0).numpy()


def _check_size(image: Prepared, height: int, width: int) -> None:
    """Raises `InputError` where an image is enlarged beyond what memory may be taken for."""
    if height * width > max(MOST_PIXELS, image.size[0] * image.size[1]):
        raise InputError(
            f"the image, {image.size[1]}x{image.size[0]}, would become {width}x{height}: "
            f"more than {MOST_PIXELS:,} pixels"
        )


def _scaled_to(image: Prepared, side: int, target: float) -> Size:
    """The size at which `side` has `target` pixels, rounded as PaddleSeg's `resize_long` and `resize_short` do."""
    scale = float(target) / float(side)
    height, width = image.size
    return round(height * scale), round(width * scale)


def _pad(image: Prepared, height: int, width: int, value: float) -> None:
    below, right = height - image.size[0], width - image.size[1]
    if below < 0 or right < 0:
        raise InputError(
            f"the image, {image.size[1]}x{image.size[0]}, is larger than the {width}x{height} that Padding makes; "
            "reduce it, or give another preprocessing"
        )
    _check_size(image, height, width)
    image.undo.append(("padding", image.size))
    image.pixels = np.pad(image.pixels, ((0, below), (0, right), (0, 0)), constant_values=value)


_OF_LABELS = "label_padding_value"


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


class Step:
    """A transform, with PaddleSeg's names and defaults of its options."""

    @property
    def words(self) -> dict[str, Any]:
        """As PaddleSeg's config has it, without what says nothing or is of the labels."""
        options = {field.name: getattr(self, field.name) for field in fields(self) if field.name != _OF_LABELS}  # type: ignore[arg-type]
        return {
            "type": type(self).__name__,
            **{key: _as_json(value) for key, value in options.items() if value is not None},
        }

    def __str__(self) -> str:
        name, *options = self.words.items()
        return f"{name[1]}({', '.join(f'{key} {value}' for key, value in options)})"

    def __call__(self, image: Prepared) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class Resize(Step):
    """To `target_size` (width, height), or as large as fits within."""

    target_size: tuple[Side, Side] = (512, 512)
    keep_ratio: bool = False
    size_divisor: Side | None = None
    interp: Literal["NEAREST", "LINEAR", "CUBIC"] = "LINEAR"

    def __call__(self, image: Prepared) -> None:
        width, height = self.target_size
        if self.keep_ratio:
            h, w = image.size
            scale = min(max(self.target_size) / max(w, h), min(self.target_size) / min(w, h))
            width, height = round(w * scale), round(h * scale)
        if self.size_divisor:
            width, height = (math.ceil(side / self.size_divisor) * self.size_divisor for side in (width, height))
        _resized(image, (height, width), _MODES[self.interp])


@dataclass(frozen=True)
class ResizeByLong(Step):
    long_size: Side

    def __call__(self, image: Prepared) -> None:
        _resized(image, _scaled_to(image, max(image.size), self.long_size))


@dataclass(frozen=True)
class ResizeByShort(Step):
    """A list for `short_size`, of which PaddleSeg draws one, is for training."""

    short_size: Side
    max_size: Annotated[float, at_least(1)] = 1e10

    def __call__(self, image: Prepared) -> None:
        # PaddleSeg keeps a size that one long image reduced for all that follow; here each image stands alone
        short, long = min(image.size), max(image.size)
        fits = self.short_size / short * long <= self.max_size
        _resized(image, _scaled_to(image, short, self.short_size if fits else int(self.max_size / long * short)))


@dataclass(frozen=True)
class LimitLong(Step):
    max_long: Side | None = None
    min_long: Side | None = None

    def __post_init__(self) -> None:
        if self.max_long is not None and self.min_long is not None and self.min_long > self.max_long:
            raise ValueError(f"min_long, {self.min_long}, is more than max_long, {self.max_long}")

    def __call__(self, image: Prepared) -> None:
        long = max(image.size)
        target = min(long, self.max_long or long)
        if target == long:
            target = max(long, self.min_long or long)
        _resized(image, image.size if target == long else _scaled_to(image, long, target))


@dataclass(frozen=True)
class Normalize(Step):
    """Of pixels in 0..1; one number for all channels, or one for each."""

    mean: tuple[float, ...] = HALF
    std: tuple[float, ...] = HALF

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (1, 3):
                raise ValueError(f"{name} is a list of 1 or 3 numbers, got {len(getattr(self, name))}")
        if not all(self.std):
            raise ValueError(f"std must not be 0, got {list(self.std)}")

    def __call__(self, image: Prepared) -> None:
        image.pixels = normalise(image.pixels, self.mean, self.std)


@dataclass(frozen=True)
class Padding(Step):
    """To `target_size` (width, height), below and to the right."""

    target_size: tuple[Side, Side]
    im_padding_value: PixelValue = 127.5
    label_padding_value: Any = 255

    def __call__(self, image: Prepared) -> None:
        width, height = self.target_size
        _pad(image, height, width, self.im_padding_value)


@dataclass(frozen=True)
class PaddingByAspectRatio(Step):
    """To width / height of `aspect_ratio`."""

    aspect_ratio: Annotated[float, between(1e-3, 1e3)] = 1.0
    im_padding_value: PixelValue = 127.5
    label_padding_value: Any = 255

    def __call__(self, image: Prepared) -> None:
        height, width = image.size
        if width / height > self.aspect_ratio:
            height = int(width / self.aspect_ratio)
        elif width / height < self.aspect_ratio:
            width = int(height * self.aspect_ratio)
        else:
            return
        _pad(image, height, width, self.im_padding_value)


_STEPS: dict[str, type[Step]] = {
    step.__name__: step
    for step in (Normalize, Resize, ResizeByLong, ResizeByShort, LimitLong, Padding, PaddingByAspectRatio)
}
