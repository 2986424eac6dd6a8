"""The options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ppls.cli.command import PATH, max_pixels_option, numbers_option, size_option
from ppls.errors import UsageError

Function = TypeVar("Function", bound=Callable[..., Any])


def _settings(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    from ppls.converter.given import parse_setting

    try:
        return dict(parse_setting(value) for value in values)
    except UsageError as error:
        raise click.UsageError(str(error)) from None


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
