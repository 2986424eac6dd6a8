"""What both frameworks are run on: photographs, noise, awkward sizes, and the user's own images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ppls.errors import InputError, ParityError, UsageError
from ppls.images import read_rgb
from ppls.images.normalisation import batch_of, normalise

Array = np.ndarray[Any, Any]

PHOTOGRAPHS = Path(__file__).with_name("photographs")
NOISE = 0.5  # standard deviation: spans the range of a normalised image, [-1, 1], without leaving what models know
STRENGTH = 16  # times that noise: drives activations to where a bound would cut them off
SMALL = 1 << 14  # pixels, of all images of a batch: what is asked of it is cheap


@dataclass(frozen=True)
class Input:
    """One input: a name for the report, and float32 values (N, channels, H, W), normalised.

    `strong` says that its values are beyond those of any image, so that the logits are large and only the scaled error
    means anything. `heads` asks for the outputs of all heads too, those that only train mode runs.
    """

    name: str
    array: Array
    strong: bool = False
    heads: bool = False


def default_inputs(seed: int = 0, channels: int = 3) -> list[Input]:
    """What an output may depend on, each question on the smallest input that asks it; docs/verifying.md has the list.

    Layers are compared on the first, the only large one. Then sizes: an odd ratio, beyond 1024 on either side, odd,
    prime, one pixel at a 1/32 of the side, four tokens there as 2x2 and as 1x4. Then values, all of one shape, so that
    what is kept of one image shows in the next: dark, bright, of one colour, a photograph, and stronger than any
    image. Then batches: of two, and of three that are also there one by one.
    """
    dark, bright = (shaded(light, 96, 64, channels) for light in ("dark", "bright"))
    plain = photograph("coffee", 96, 64, channels)
    return [
        photograph("coffee", 512, 1024, channels),
        photograph("astronaut", 200, 250, channels),
        photograph("rocket", 32, 1056, channels),
        photograph("coffee", 1056, 33, channels),
        noise(128, 256, seed, channels),
        replace(photograph("chelsea", 65, 129, channels), heads=True),
        replace(photograph("coffee", 97, 61, channels), heads=True),
        photograph("rocket", 32, 32, channels),
        photograph("astronaut", 64, 64, channels),
        photograph("astronaut", 32, 128, channels),
        dark,
        bright,
        constant(96, 64, channels),
        plain,
        strong_noise(96, 64, seed, channels),
        replace(batch(64, 96, channels), heads=True),
        Input("batch of 3, 96x64", np.concatenate([given.array for given in (bright, plain, dark)]), heads=True),
    ]


def choose_inputs(
    sizes: Sequence[tuple[int, int]] = (),
    images: Iterable[str | Path] = (),
    seed: int = 0,
    channels: int = 3,
    max_pixels: int | None = None,
    *,
    only: bool = False,
    defaults: Sequence[Input] | None = None,
) -> list[Input]:
    """The inputs of one verification: the defaults, then the images, then a photograph and noise at each size.

    Args:
        sizes: (height, width) in pixels.
        images: image files, taken at their own size with PaddleSeg's preprocessing.
        only: without the defaults.
        seed: of the noise.
        channels: of the model's input; beyond three, those of a photograph repeat.
        max_pixels: larger images are refused; see `ppls.images.read_rgb`.
        defaults: in place of `default_inputs`.

    Raises:
        UsageError: a size is not positive, or there is nothing but the defaults to leave out.
        ParityError: a file is missing or not an image.
    """
    paths = [Path(path) for path in images]
    short = len({path.name for path in paths}) == len(set(paths))
    chosen = [
        Input(path.name if short else str(path), _with_channels(read_image(path, max_pixels), channels))
        for path in paths
    ]
    for height, width in sizes:
        if height < 1 or width < 1:
            raise UsageError(f"--size {height}x{width}: a size is HEIGHTxWIDTH in pixels, each at least 1")
        chosen += [photograph("coffee", height, width, channels), noise(height, width, seed, channels)]
    if only and not chosen:
        raise UsageError("--only leaves out the default inputs: say with --size or --image what to run on")
    first = [] if only else default_inputs(seed, channels) if defaults is None else defaults
    return list({given.name: given for given in (*first, *chosen)}.values())


def names_left_out(
    inputs: Sequence[Input], seed: int = 0, channels: int = 3, defaults: Sequence[Input] | None = None
) -> list[str]:
    """The default inputs that are not among these."""
    names = {given.name for given in inputs}
    all_of_them = default_inputs(seed, channels) if defaults is None else defaults
    return [given.name for given in all_of_them if given.name not in names]


def for_gradient(inputs: Sequence[Input]) -> str | None:
    """The input on which the gradient of the image is taken: a small image of an odd size, if there is one."""
    small = [given for given in inputs if not given.strong and given.array[:, 0].size <= SMALL]
    odd = [given for given in small if given.heads and len(given.array) == 1]
    chosen = sorted(odd or small, key=lambda given: given.array.size)
    return chosen[0].name if chosen else None


def noise(height: int, width: int, seed: int = 0, channels: int = 3) -> Input:
    """Normally distributed noise."""
    values = np.random.default_rng([seed, height, width]).normal(0.0, NOISE, (1, channels, height, width))
    return Input(f"noise {height}x{width}", values.astype(np.float32))


def strong_noise(height: int, width: int, seed: int = 0, channels: int = 3) -> Input:
    """Noise as `noise` has it, many times stronger than an image can be."""
    given = noise(height, width, seed, channels)
    return Input(f"strong {given.name}", given.array * np.float32(STRENGTH), strong=True, heads=True)


def shaded(light: str, height: int, width: int, channels: int = 3) -> Input:
    """A photograph of which a tenth of the range is left, at its `dark` or its `bright` end."""
    given = photograph("chelsea", height, width, channels)
    end = {"dark": -1.0, "bright": 1.0}[light]
    return Input(f"{light} {height}x{width}", (end + (given.array - end) / 10).astype(np.float32))


def constant(height: int, width: int, channels: int = 3) -> Input:
    """One colour everywhere: nothing varies, whatever it is that is normalised over the image."""
    colour = np.resize(np.array([0.5, -0.25, 0.125], np.float32), channels)
    return Input(f"one colour {height}x{width}", np.tile(colour[:, None, None], (1, 1, height, width)))


def batch(height: int, width: int, channels: int = 3) -> Input:
    """Two photographs in one batch."""
    pair = [photograph(name, height, width, channels).array for name in ("coffee", "astronaut")]
    return Input(f"batch of 2, {height}x{width}", np.concatenate(pair))


def photograph(name: str, height: int, width: int, channels: int = 3) -> Input:
    """The centre of one of the photographs that ppls ships, enlarged where it is too small."""
    image = _of_size(_open(PHOTOGRAPHS / f"{name}.jpg"), height, width)
    top, left = (image.height - height) // 2, (image.width - width) // 2
    array = batch_of(normalise(np.asarray(image)[top : top + height, left : left + width]))
    return Input(f"{name} {height}x{width}", _with_channels(array, channels))


def _of_size(image: Any, height: int, width: int) -> Any:
    """An image, enlarged where it is too small."""
    scale = max(1.0, height / image.height, width / image.width)
    if scale == 1.0:
        return image
    return image.resize((max(width, round(image.width * scale)), max(height, round(image.height * scale))))


def calibration_crops(seed: int, count: int = 16, height: int = 128, width: int = 256) -> Array:
    """Distinct crops of all photographs, and noise of several strengths: (count + 4, 3, height, width), float32.

    Statistics of photographs alone leave the channels that answer to fine detail a tiny variance, and noise then drives
    the logits to several hundred, where float32 cannot resolve the tolerance.
    """
    rng = np.random.default_rng(seed)
    images = [np.asarray(_of_size(_open(path), height, width)) for path in sorted(PHOTOGRAPHS.glob("*.jpg"))]
    corners: set[tuple[int, int, int]] = set()
    crops: list[Array] = []
    while len(crops) < count:
        which = len(crops) % len(images)
        image = images[which]
        corner = (which, int(rng.integers(image.shape[0] - height + 1)), int(rng.integers(image.shape[1] - width + 1)))
        if corner not in corners:
            corners.add(corner)
            crops.append(batch_of(normalise(image[corner[1] : corner[1] + height, corner[2] : corner[2] + width]))[0])
    crops += [rng.normal(0.0, NOISE * strength, (3, height, width)) for strength in (0.5, 1.0, 2.0, 2.0)]
    return np.stack(crops).astype(np.float32)


def read_image(path: str | Path, max_pixels: int | None = None) -> Array:
    """Reads an image as PaddleSeg's predict.py does: RGB, 8 bits, (x / 255 - 0.5) / 0.5, at its own size.

    Returns float32 (1, 3, H, W). Raises `ParityError` where the file is missing, not an image, or of more than
    `max_pixels` (see `ppls.images.read_rgb`).
    """
    try:
        return batch_of(normalise(read_rgb(path, max_pixels)))
    except InputError as error:
        raise ParityError(str(error)) from None


def _with_channels(array: Array, channels: int) -> Array:
    return array if channels == array.shape[1] else array[:, np.arange(channels) % array.shape[1]]


def _open(path: Path) -> Any:
    try:
        pixels = read_rgb(path)
    except InputError as error:
        raise ParityError(str(error)) from None
    from PIL import Image

    return Image.fromarray(pixels)
