"""ppls-predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ppls.cli.command import command, echo, print_json
from ppls.cli.options import PATH, inference_of, inference_options, json_option, preprocessing_of, preprocessing_options


@click.argument("model", type=PATH)
@click.argument("images", type=PATH, nargs=-1, required=True)
@click.option("-o", "--output", type=PATH, required=True, metavar="FOLDER", help="Where the pictures go.")
@preprocessing_options
@inference_options
@click.option("--batch-size", type=click.IntRange(1), default=1, show_default=True, help="Of images of one size.")
@click.option("--force", is_flag=True, help="Replace pictures that exist.")
@click.option("--palette", default="paddleseg", show_default=True, help="paddleseg, voc, cityscapes, camvid, ade20k.")
@json_option
def _predict(
    model: Path, images: tuple[Path, ...], output: Path, palette: str, batch_size: int, as_json: bool, **options: Any
) -> int:
    """Predict the class of every pixel of IMAGES (files and folders) with MODEL.

    MODEL is a converted file, or a Paddle file. Writes pseudo_color_prediction/NAME.png, an indexed PNG whose values
    are the label map, and added_prediction/NAME, the image with the colours over it. An image that cannot be read is
    named and left out; the exit status is 1 then.
    """
    from ppls.cli.progress import progress_bar
    from ppls.inference.prediction import predict as run

    failed: list[str] = []
    with progress_bar("predicting") as progress:

        def note(error: Exception) -> None:
            failed.append(str(error))
            progress.say(f"error: {error}")

        predictions = run(
            model,
            images,
            output,
            preprocessing=preprocessing_of(options),
            config=options["config"],
            inference=inference_of(options),
            palette=palette,
            device=options["device"],
            batch_size=batch_size,
            max_pixels=options["max_pixels"],
            force=options["force"],
            on_error=note,
            progress=progress,
        )
    if as_json:
        print_json({"predictions": [prediction.to_json() for prediction in predictions], "errors": failed})
    else:
        for prediction in predictions:
            for file in prediction.files:
                echo(str(file))
    return 1 if failed else 0


predict = command(_predict)
