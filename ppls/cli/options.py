"""The options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ppls.errors import UsageError

if TYPE_CHECKING:
    from ppls.inference.inference import Inference
    from ppls.inference.preprocessing import Preprocessing

Function = TypeVar("Function", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)
max_pixels_option = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    metavar="N",
    help="Refuse larger images and label maps. Default: 8 million, and 8 for each byte of the file; of a label map 36 "
    "million, and 6.",
)


def sizes_option(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> list[tuple[int, int]]:
    """The callback of an option that can be given several times, HEIGHTxWIDTH."""
    return [_size(value) for value in values]


def size_option(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """The callback of an option HEIGHTxWIDTH."""
    return None if value is None else _size(value)


def tolerances_option(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    """The callback of an option that can be given several times, NUMBER or OUTPUT=NUMBER; `default` is the number."""
    found: dict[str, float] = {}
    for value in values:
        name, _, number = value.rpartition("=")
        try:
            tolerance = float(number)
        except ValueError:
            raise click.BadParameter(f"{value!r} is not a number such as 1e-4, nor 'head 1=1e-3'.") from None
        if found.setdefault(name.strip() or "default", tolerance) != tolerance:
            raise click.BadParameter(f"{value!r} says otherwise than one before it.")
    return found


def numbers_option(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """The callback of an option that is a list of numbers, with commas between them."""
    if value is None:
        return None
    try:
        return tuple(float(number) for number in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of numbers, such as 0.75,1.0,1.25.") from None


def _size(value: str) -> tuple[int, int]:
    height, separator, width = value.lower().partition("x")
    if not (separator and height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise click.BadParameter(f"{value!r} is not HEIGHTxWIDTH in pixels, such as 512x1024.")
    return int(height), int(width)


def _settings(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    from ppls.converter.given import parse_setting

    try:
        return dict(parse_setting(value) for value in values)
    except UsageError as error:
        raise click.UsageError(str(error)) from None


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
arch_option = click.option("--arch", metavar="NAME", help="The architecture, if it is not to be recognised.")
config_option = click.option("--config", type=PATH, metavar="RUN.yml", help="PaddleSeg's config of the run.")
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_settings,
    help="An option that no tensor shows, the value in YAML. Can be given several times.",
)
map_option = click.option(
    "--map",
    "map_path",
    type=PATH,
    metavar="FILE",
    help="A map of your own, or one of ppls's by its name, such as ports/midasklr.",
)
allow_import_option = click.option(
    "--allow-import",
    "allow_import",
    multiple=True,
    metavar="MODULE",
    help="Let --map name classes of this module, which is imported then. Can be given several times.",
)


def _options(*options: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """Several options at once, shown by --help in their order."""

    def add(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return add


preprocessing_options = _options(
    click.option("--config", type=PATH, metavar="RUN.yml", help="PaddleSeg's config of the run: its preprocessing."),
    click.option("--mean", callback=numbers_option, metavar="M[,M,M]", help="Of pixels in 0..1, RGB. Default: 0.5."),
    click.option("--std", callback=numbers_option, metavar="S[,S,S]", help="Of pixels in 0..1, RGB. Default: 0.5."),
    click.option("--resize", callback=size_option, metavar="HEIGHTxWIDTH", help="Resize each image first."),
    max_pixels_option,
)

inference_options = _options(
    click.option("--scales", callback=numbers_option, metavar="S,S", help="Average over these scales: 0.75,1.0,1.25."),
    click.option("--flip", is_flag=True, help="Average with the mirror image (left and right exchanged)."),
    click.option("--flip-vertical", is_flag=True, help="Average with the image upside down."),
    click.option("--tile", callback=size_option, metavar="HEIGHTxWIDTH", help="Slide a window of this size."),
    click.option("--stride", callback=size_option, metavar="HEIGHTxWIDTH", help="Of the window. Default: its size."),
    click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, mps."),
)


def preprocessing_of(options: dict[str, Any]) -> Preprocessing | None:
    """What the options say about the preprocessing; None where they leave it open."""
    from ppls.inference.preprocessing import Preprocessing

    given = {key: options[key] for key in ("mean", "std", "resize") if options[key] is not None}
    if given and options["config"]:
        raise click.UsageError("--config has the preprocessing: no --mean, --std or --resize beside it.")
    return Preprocessing.from_options(**given) if given else None


def inference_of(options: dict[str, Any], told: dict[str, Any] | None = None) -> Inference:
    """What the options say, else what the run's config told."""
    from ppls.inference.inference import Inference

    told = told or {}
    tile = options["tile"] or told.get("window")
    return Inference(
        options["scales"] or told.get("scales", (1.0,)),
        options["flip"] or told.get("flip", False),
        options["flip_vertical"] or told.get("flip_vertical", False),
        tile,
        options["stride"] or (None if options["tile"] else told.get("stride")),
    )
