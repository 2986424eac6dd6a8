"""`ppls predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppls.cli.command import command
from ppls.cli.help import option
from ppls.cli.options import (
    INFERENCE,
    OUTPUT,
    PATH,
    conversion_of,
    force_option,
    inference_of,
    inference_options,
    model_options,
    preprocessing_of,
    preprocessing_options,
)
from ppls.cli.output import asked_for, echo, print_json

if TYPE_CHECKING:
    from ppls.inference.prediction import Prediction

PALETTES = ("paddleseg", "voc", "cityscapes", "camvid", "ade20k")


@command(
    summary="Label maps, colours and overlays of images.",
    example="ppls predict model.safetensors photo.jpg --output out",
    statuses={1: "An image or the model cannot be used, or a picture cannot be written."},
)
@click.argument("model", type=PATH)
@click.argument("images", type=PATH, nargs=-1, required=True)
@option("-o", "--output", type=PATH, required=True, metavar="FOLDER", group=OUTPUT, help="Where the pictures go.")
@option(
    "--palette",
    type=click.Choice(PALETTES),
    group=OUTPUT,
    help="The colours of the classes. Default: the model's own, else paddleseg.",
)
@force_option("a picture")
@preprocessing_options
@inference_options
@option(
    "--batch",
    "batch_size",
    formerly=["--batch-size"],
    type=click.IntRange(1),
    metavar="N",
    default=1,
    show_default=True,
    group=INFERENCE,
    help="Images of one size at a time.",
)
@model_options
def predict(model: Path, images: tuple[Path, ...], output: Path, **options: Any) -> int:
    """Predict the class of every pixel of IMAGES (files and folders) with MODEL.

    MODEL is a converted file, or a Paddle file. Writes pseudo_color_prediction/NAME.png, an indexed PNG whose values
    are the label map, and added_prediction/NAME, the image with the colours over it, and prints their names. An image
    that cannot be read is named and left out; the exit status is 1 then.
    """
    from ppls.cli.progress import progress_bar

    failed: list[str] = []
    done: list[dict[str, Any]] = []
    with progress_bar("loading the model", "predicting") as progress:
        from ppls.inference.prediction import predict as run

        def note(error: Exception) -> None:
            failed.append(str(error))
            progress.error(f"error: {error}")

        def take(prediction: Prediction) -> None:
            if asked_for("json"):
                done.append(prediction.to_json())
            elif not asked_for("quiet"):
                for file in prediction.files:
                    echo(str(file))

        run(
            model,
            images,
            output,
            preprocessing=preprocessing_of(options),
            config=options["config"],
            conversion=conversion_of(options),
            inference=inference_of(options),
            palette=options["palette"],
            device=options["device"],
            batch_size=options["batch_size"],
            max_pixels=options["max_pixels"],
            force=options["force"],
            on_error=note,
            on_prediction=take,
            say=progress.say,
            progress=progress,
        )
    if asked_for("json"):
        print_json({"predictions": done, "errors": failed})
    return 1 if failed else 0
