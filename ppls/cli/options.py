"""The options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ppls.cli.help import option
from ppls.errors import UsageError

if TYPE_CHECKING:
    from ppls.inference.inference import Inference
    from ppls.inference.preprocessing import Preprocessing

Function = TypeVar("Function", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)


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


def _architectures(_context: click.Context, _option: click.Parameter, incomplete: str) -> Iterable[str]:
    """What a shell completes `--arch` to."""
    from ppls.mappings.map_index import titles

    found = sorted({*titles(), *titles(backbones=True)})
    return [title for title in found if title.lower().startswith(incomplete.lower())]


def _options(*options: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """Several options at once, shown by --help in their order."""

    def add(function: Function) -> Function:
        for each in reversed(options):
            function = each(function)
        return function

    return add


PADDLE_FILE = "PaddleSeg's file"
PREPROCESSING = "Preprocessing"
INFERENCE = "Inference"
OUTPUT = "Output"

arch_option = option(
    "--arch",
    metavar="NAME",
    group=PADDLE_FILE,
    shell_complete=_architectures,
    help="The architecture, if it is not to be recognised.",
)
map_option = option(
    "--map",
    "map_path",
    type=PATH,
    metavar="FILE",
    group=PADDLE_FILE,
    help="A map of your own, or one of ppls's by its name, such as ports/midasklr.",
)
allow_import_option = option(
    "--allow-import",
    multiple=True,
    metavar="MODULE",
    group=PADDLE_FILE,
    help="Let --map name classes of this module, which is imported then. Can be given several times.",
)
config_option = option(
    "--config", type=PATH, metavar="RUN.yml", group=PADDLE_FILE, help="PaddleSeg's config of the run."
)
set_option = option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_settings,
    group=PADDLE_FILE,
    help="An option that no tensor shows, the value in YAML. Can be given several times.",
)
paddle_file_options = _options(arch_option, map_option, allow_import_option, config_option, set_option)
program_option = option(
    "--program",
    is_flag=True,
    group=PADDLE_FILE,
    help="Make the model from the program of the export, operator by operator. Default: where no map knows it.",
)
model_options = _options(paddle_file_options, program_option)  # of a command that runs a model


def reference_python_option(*name: str, group: str, **settings: Any) -> Callable[[Function], Function]:
    """The Python that Paddle runs in; `name`: of the parameter, where it has another."""
    more = " Can be given several times." if settings.get("multiple") else ""
    return option(
        "--reference-python",
        *name,
        metavar="PATH",
        group=group,
        help=f"The Python that has paddlepaddle and paddleseg; by default this one.{more}",
        **settings,
    )


def force_option(what: str) -> Callable[[Function], Function]:
    """The option to replace what exists."""
    return option("--force", is_flag=True, group=OUTPUT, help=f"Replace {what} if it exists.")


def device_option(group: str) -> Callable[[Function], Function]:
    """The option that says where PyTorch runs."""
    return option(
        "--device", metavar="NAME", default="cpu", show_default=True, group=group, help="cpu, cuda, cuda:1, mps."
    )


def max_pixels_option(group: str) -> Callable[[Function], Function]:
    """The option that bounds images."""
    return option(
        "--max-pixels",
        type=click.IntRange(1),
        metavar="N",
        group=group,
        help="Refuse larger images and label maps. Default: 8 million, and 8 for each byte of the file; of a label map "
        "36 million, and 6.",
    )


preprocessing_options = _options(
    option(
        "--mean",
        callback=numbers_option,
        metavar="M[,M,M]",
        group=PREPROCESSING,
        help="Of pixels in 0..1, RGB. Default: 0.5.",
    ),
    option(
        "--std",
        callback=numbers_option,
        metavar="S[,S,S]",
        group=PREPROCESSING,
        help="Of pixels in 0..1, RGB. Default: 0.5.",
    ),
    option(
        "--resize", callback=size_option, metavar="HEIGHTxWIDTH", group=PREPROCESSING, help="Resize each image first."
    ),
    max_pixels_option(PREPROCESSING),
)

inference_options = _options(
    option(
        "--scales",
        callback=numbers_option,
        metavar="S,S",
        group=INFERENCE,
        help="Average over these scales: 0.75,1.0,1.25.",
    ),
    option("--flip", is_flag=True, group=INFERENCE, help="Average with the mirror image (left and right exchanged)."),
    option("--flip-vertical", is_flag=True, group=INFERENCE, help="Average with the image upside down."),
    option(
        "--tile", callback=size_option, metavar="HEIGHTxWIDTH", group=INFERENCE, help="Slide a window of this size."
    ),
    option(
        "--stride",
        callback=size_option,
        metavar="HEIGHTxWIDTH",
        group=INFERENCE,
        help="Of the window. Default: its size.",
    ),
    device_option(INFERENCE),
)


def conversion_of(options: dict[str, Any]) -> dict[str, Any]:
    """What the options of a Paddle file say beside --config, which they are taken out of, in the words of
    `ppls.convert`."""
    return {
        "architecture": options.pop("arch"),
        "map": options.pop("map_path"),
        "allow_import": options.pop("allow_import"),
        "overrides": options.pop("overrides"),
        **({"program": True} if options.pop("program", False) else {}),
    }


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
