"""`ppls eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ppls.cli.command import command
from ppls.cli.help import option
from ppls.cli.options import (
    PATH,
    conversion_of,
    inference_of,
    inference_options,
    model_options,
    preprocessing_of,
    preprocessing_options,
)
from ppls.cli.output import show

DATA = "Data"
LAYOUTS = ("list", "cityscapes", "camvid", "voc", "sbd")


@command(
    summary="mIoU and the rest on a data set, as PaddleSeg's val.py has them.",
    example="ppls eval model.safetensors --data val.txt --root data",
    statuses={1: "The model, an image or a label cannot be used."},
)
@click.argument("model", type=PATH)
@option("--data", type=PATH, metavar="LIST", group=DATA, help="An image and its label on each line, below --root.")
@option("--root", type=PATH, metavar="DIR", group=DATA, help="The folder of the data set.")
@option(
    "--layout", type=click.Choice(LAYOUTS), group=DATA, help="Where its files are. Default: list, or as --config says."
)
@option(
    "--split",
    metavar="NAME",
    default="val",
    show_default=True,
    group=DATA,
    help="Which part of the data set, where a layout has parts.",
)
@option("--separator", metavar="TEXT", group=DATA, help="Between image and label in LIST. Default: a space.")
@option("--ignore-label", type=int, metavar="N", group=DATA, help="Pixels with this label do not count. Default: 255.")
@preprocessing_options
@inference_options
@model_options
def evaluate(
    model: Path,
    data: Path | None,
    root: Path | None,
    layout: str | None,
    split: str,
    separator: str | None,
    ignore_label: int | None,
    **options: Any,
) -> None:
    """Evaluate MODEL on a data set: mIoU, accuracy, kappa, dice and each class's, as PaddleSeg's val.py defines them.

    MODEL is a converted file, or a Paddle file. With --config, what the options leave open is as the run's own
    evaluation had it. Across processes: torchrun --nproc-per-node N --no-python ppls eval ...
    """
    from ppls.cli.progress import progress_bar

    with progress_bar("loading the model", "evaluating") as progress:
        from ppls.cli.tables import print_metrics
        from ppls.inference.evaluation import evaluate as run
        from ppls.inference.evaluation import is_first_process, run_settings, samples_of_run

        told = run_settings(options["config"]) if options["config"] else {}
        metrics = run(
            model,
            samples_of_run(told, root, data, layout=layout, split=split, separator=separator),
            preprocessing=preprocessing_of(options),
            config=options["config"],
            conversion=conversion_of(options),
            inference=inference_of(options, told),
            ignore_label=told.get("ignore_label", 255) if ignore_label is None else ignore_label,
            max_pixels=options["max_pixels"],
            device=options["device"],
            say=progress.say if is_first_process() else lambda _line: None,
            progress=progress,
        )
    if is_first_process():
        show(metrics, print_metrics)
