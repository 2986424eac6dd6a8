"""`ppls bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ppls.cli.command import command
from ppls.cli.help import option
from ppls.cli.options import OUTPUT as PLOT
from ppls.cli.options import (
    PATH,
    conversion_of,
    device_option,
    force_option,
    model_options,
    reference_python_option,
    sizes_option,
)
from ppls.cli.output import show, warn
from ppls.errors import MissingDependencyError

POINTS = "What is run"
MEASURING = "How it is measured"
DTYPES = ("float32", "bfloat16", "float16")
MODES = (
    *("eager", "channels-last", "compiled", "optimized"),
    *("exported", "onnxruntime", "openvino", "openvino-compiled"),
)


@command(
    summary="How fast a model is, in each way to run it.",
    example="ppls bench model.safetensors --size 512x1024 --against paddle",
    statuses={1: "No mode could run, or the model cannot be used."},
)
@click.argument("model", type=PATH)
@option(
    "--size",
    "sizes",
    multiple=True,
    callback=sizes_option,
    metavar="HEIGHTxWIDTH",
    group=POINTS,
    help="Default: 512x1024, or the only one of an export. Can be given several times.",
)
@option(
    "--batch",
    "batches",
    multiple=True,
    type=click.IntRange(1),
    metavar="N",
    group=POINTS,
    help="Images at a time. Default: 1. Can be given several times.",
)
@option(
    "--dtype",
    "dtypes",
    multiple=True,
    type=click.Choice(DTYPES),
    group=POINTS,
    help="Default: float32. Can be given several times.",
)
@option(
    "--mode",
    "modes",
    multiple=True,
    type=click.Choice(MODES),
    metavar="MODE",
    group=POINTS,
    help=f"{', '.join(MODES[:-1])} or {MODES[-1]}. Default: the first four, and the runtimes that are installed. "
    "Can be given several times.",
)
@option(
    "--chain",
    "images",
    multiple=True,
    type=PATH,
    metavar="IMAGE",
    group=POINTS,
    help="Time what becomes of these images and folders, from file to label map, instead of the model alone.",
)
@device_option(MEASURING)
@option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    group=MEASURING,
    help="On the CPU. Default: as many as PyTorch takes.",
)
@option(
    "--rounds",
    type=click.IntRange(1),
    metavar="N",
    default=8,
    show_default=True,
    group=MEASURING,
    help="In each, every mode has its turn.",
)
@option(
    "--against",
    type=click.Choice(["paddle"]),
    group=MEASURING,
    help="Time PaddleSeg, or the export of --program, on Paddle Inference too, in each of its modes.",
)
@reference_python_option("paddle_pythons", group=MEASURING, formerly=["--paddle-python"], multiple=True, type=PATH)
@option("--plot", type=PATH, metavar="FILE", group=PLOT, help="Draw the times: .png, .svg or .pdf.")
@force_option("the --plot")
@model_options
def bench(model: Path, images: tuple[Path, ...], plot: Path | None, force: bool, **options: Any) -> int:
    """Time MODEL, a converted file or a Paddle file, at every combination of --size, --batch and --dtype.

    The modes of one combination run in turns, so that ratios hold on a busy machine as well. A mode that cannot run is
    listed with the reason; the exit status is 1 if none can.

    --chain times what becomes of an image file: decoding, preprocessing, network, labels, writing; by default in the
    modes eager and optimized, and --against paddle then is PaddleSeg's own predict.py.
    """
    if images:
        if plot is not None or options["sizes"] or options["batches"] or options["dtypes"]:
            raise click.UsageError("--chain takes the images as they are: no --size, --batch, --dtype or --plot.")
        return _chain(model, images, options)
    from ppls.cli.progress import progress_bar
    from ppls.converter.inputs import config_files, weight_files
    from ppls.deploy.plot import check_plot, plot_benchmark

    missing: MissingDependencyError | None = None
    if plot is not None:
        inputs = {
            "model": weight_files(model),
            "config": config_files(options["config"]),
            "map": [options["map_path"]],
        }
        try:
            check_plot(plot, force=force, inputs=inputs)
        except MissingDependencyError as error:  # the figures are worth having without the picture
            missing = error
            warn([f"{error}; the figures follow without it"])
    with progress_bar("loading the model", "timing") as progress:
        from ppls.cli.tables import print_benchmark
        from ppls.deploy.benchmark import benchmark as run

        conversion = conversion_of(options)
        given = {name: value for name, value in options.items() if value not in ((), [])}
        result = run(model, **given, conversion=conversion, say=progress.say, progress=progress)
    try:  # the figures first, so that a picture that cannot be written loses none
        show(result, print_benchmark)
    finally:
        if plot is not None and missing is None:
            plot_benchmark(result, plot, force=force)
    if missing is not None:
        return missing.exit_status
    return 0 if result.timings else 1


def _chain(model: Path, images: tuple[Path, ...], options: dict[str, Any]) -> int:
    from ppls.cli.progress import progress_bar

    with progress_bar("loading the model", "timing") as progress:
        from ppls.cli.tables import print_chain
        from ppls.deploy.chain import benchmark_chain

        conversion = conversion_of(options)
        given = {name: value for name, value in options.items() if value not in ((), [])}
        result = benchmark_chain(model, images, **given, conversion=conversion, say=progress.say, progress=progress)
    show(result, print_chain)
    return 0 if result.timings else 1
