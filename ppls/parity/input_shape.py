"""What images a candidate takes, where it does not take all, and those that it is judged on then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ppls.parity.inputs import Input, constant, default_inputs, noise, photograph, shaded, strong_noise


@dataclass(frozen=True)
class Sides:
    """The lengths that a dimension may have: from `low` to `high`, None for any, and of these the multiples of one."""

    low: int = 1
    high: int | None = None
    multiple: int = 1

    @property
    def fixed(self) -> int | None:
        """The one length, if there is but one."""
        return self.low if self.low == self.high else None

    def next(self, length: int) -> int:
        """The least of these that is no less than a length; of one that is fixed, that."""
        return self.fixed or -(-max(length, self.low) // self.multiple) * self.multiple

    def __contains__(self, length: int) -> bool:
        return self.low <= length and (self.high is None or length <= self.high) and length % self.multiple == 0

    def __str__(self) -> str:
        if self.fixed is not None:
            return str(self.fixed)
        of = f" in multiples of {self.multiple}" if self.multiple > 1 else ""
        if self.high is None:
            return ("any" if self.low <= 1 else f"{self.low} and more") + of
        return f"{self.low} to {self.high}{of}"


ANY = Sides()


@dataclass(frozen=True)
class InputShape:
    """The shapes (N, C, H, W) that a candidate takes."""

    batch: Sides = ANY
    channels: Sides = ANY
    height: Sides = ANY
    width: Sides = ANY

    @property
    def sides(self) -> tuple[Sides, Sides, Sides, Sides]:
        return self.batch, self.channels, self.height, self.width

    @property
    def is_any(self) -> bool:
        """Whether every batch, height and width is taken."""
        return all(sides == ANY for sides in (self.batch, self.height, self.width))

    def in_multiples(self, multiple: int, least: int = 1) -> InputShape:
        """Of these, the shapes whose height and width are multiples of that, and no less than `least`."""
        height, width = (
            replace(sides, low=max(sides.low, least), multiple=multiple) for sides in (self.height, self.width)
        )
        return replace(self, height=height, width=width)

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether an array of this shape is taken."""
        return len(shape) == 4 and all(length in sides for length, sides in zip(shape, self.sides, strict=True))

    def __str__(self) -> str:
        if all(sides.fixed is not None for sides in self.sides):
            return "x".join(map(str, self.sides))
        names = ("batch", "channels", "height", "width")
        return ", ".join(f"{name} {sides}" for name, sides in zip(names, self.sides, strict=True))


def inputs_of_shape(shape: InputShape, seed: int, channels: int) -> list[Input]:
    """The default inputs that are taken; where the size or the batch is fixed, their like in that shape.

    Where an export has one size, whatever depends on the size is fixed with it; what the values are still matters:
    photographs, noise, dark, bright, of one colour, and stronger than any image.
    """
    taken = [given for given in default_inputs(seed, channels) if shape.takes(given.array.shape)]
    count = shape.batch.fixed or 1
    height, width = shape.height.fixed, shape.width.fixed
    if height is None and width is None and count == 1 and shape.takes((1, channels, 96, 64)):
        return taken
    height, width = shape.height.next(96), shape.width.next(64)
    alike = [
        photograph("coffee", height, width, channels),
        photograph("astronaut", height, width, channels),
        noise(height, width, seed, channels),
        shaded("dark", height, width, channels),
        shaded("bright", height, width, channels),
        constant(height, width, channels),
        strong_noise(height, width, seed, channels),
    ]
    made = [_batched(given, count) for given in alike]
    if shape.batch.fixed is None and 2 in shape.batch:
        made.append(_batched(alike[0], 2))
    found = {given.name: given for given in (*made, *taken) if shape.takes(given.array.shape)}
    return list(found.values())


def _batched(given: Input, count: int) -> Input:
    """So many images in a batch: the one that is given, shifted to the side a little further each time."""
    if count == 1:
        return given
    images = [np.roll(given.array, 7 * place, axis=-1) for place in range(count)]
    return Input(f"batch of {count}, {given.name}", np.concatenate(images), strong=given.strong)
