"""ppls-eval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ppls.cli.command import command, print_json
from ppls.cli.options import PATH, inference_of, inference_options, json_option, preprocessing_of, preprocessing_options


@click.argument("model", type=PATH)
@click.option("--data", type=PATH, metavar="LIST", help="An image and its label on each line, relative to --root.")
@click.option("--root", type=PATH, metavar="DIR", help="The folder of the data set.")
@click.option("--layout", help="list, cityscapes, camvid, voc or sbd. Default: list, or what --config says.")
@click.option("--split", default="val", show_default=True, help="Which part of the data set, where a layout has parts.")
@click.option("--separator", help="Between image and label in LIST. Default: a space.")
@click.option("--ignore-label", type=int, help="Pixels with this label do not count. Default: 255.")
@preprocessing_options
@inference_options
@json_option
def _evaluate(
    model: Path,
    data: Path | None,
    root: Path | None,
    layout: str | None,
    split: str,
    separator: str | None,
    ignore_label: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Evaluate MODEL on a data set: mIoU, accuracy, kappa, dice and each class's, as PaddleSeg's val.py defines them.

    MODEL is a converted file, or a Paddle file. With --config, what the options leave open is as the run's own
    evaluation had it. Across processes: torchrun --nproc-per-node N --no-python ppls-eval ...
    """
    from ppls.cli.progress import progress_bar
    from ppls.cli.tables import print_metrics
    from ppls.inference.evaluation import evaluate as run
    from ppls.inference.evaluation import is_first_process, run_settings, samples_of_run

    told = run_settings(options["config"]) if options["config"] else {}
    samples = samples_of_run(told, root, data, layout=layout, split=split, separator=separator)
    with progress_bar("evaluating") as progress:
        metrics = run(
            model,
            samples,
            preprocessing=preprocessing_of(options),
            config=options["config"],
            inference=inference_of(options, told),
            ignore_label=told.get("ignore_label", 255) if ignore_label is None else ignore_label,
            max_pixels=options["max_pixels"],
            device=options["device"],
            progress=progress,
        )
    if not is_first_process():
        return
    if as_json:
        print_json(metrics.to_json())
    else:
        print_metrics(metrics)


evaluate = command(_evaluate)
