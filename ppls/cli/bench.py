"""ppls-bench."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ppls.cli.command import command, print_json
from ppls.cli.options import PATH, json_option, sizes_option


@click.argument("model", type=PATH)
@click.option(
    "--size", "sizes", multiple=True, callback=sizes_option, metavar="HEIGHTxWIDTH", help="Default: 512x1024."
)
@click.option("--batch", "batches", multiple=True, type=click.IntRange(1), help="Images at a time. Default: 1.")
@click.option("--dtype", "dtypes", multiple=True, help="float32, bfloat16 or float16. Default: float32.")
@click.option(
    "--mode",
    "modes",
    multiple=True,
    help="eager, channels-last, compiled, optimized, exported, onnxruntime, openvino or openvino-compiled. "
    "Default: the first four, and the runtimes that are installed.",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1.")
@click.option("--threads", type=click.IntRange(1), help="On the CPU. Default: as many as PyTorch takes.")
@click.option(
    "--rounds", type=click.IntRange(1), default=8, show_default=True, help="In each, every mode has its turn."
)
@click.option("--against", metavar="paddle", help="Time PaddleSeg on Paddle Inference too, in each of its modes.")
@click.option(
    "--paddle-python",
    "paddle_pythons",
    multiple=True,
    type=PATH,
    metavar="PYTHON",
    help="Interpreters that have paddlepaddle and paddleseg. Default: this one.",
)
@click.option("--config", type=PATH, metavar="RUN.yml", help="PaddleSeg's config of the run, for a Paddle file.")
@click.option("--plot", type=PATH, metavar="FILE", help="Draw the times: .png, .svg or .pdf.")
@click.option("--force", is_flag=True, help="Replace the --plot if it exists.")
@json_option
def _bench(model: Path, plot: Path | None, force: bool, as_json: bool, **options: Any) -> int:
    """Time MODEL, a converted file or a Paddle file, at every combination of --size, --batch and --dtype.

    The options that say so may be repeated. The modes of one combination run in turns, so that ratios hold on a busy
    machine as well. A mode that cannot run is listed with the reason; the exit status is 1 if none can.
    """
    from ppls.cli.progress import progress_bar
    from ppls.cli.tables import print_benchmark
    from ppls.converter.inputs import config_files, weight_files
    from ppls.deploy.benchmark import benchmark as run
    from ppls.deploy.plot import check_plot, plot_benchmark

    if plot is not None:
        inputs = {"model": weight_files(model), "config": config_files(options["config"])}
        check_plot(plot, force=force, inputs=inputs)
    with progress_bar("timing") as progress:
        given = {name: value for name, value in options.items() if value not in ((), [])}
        result = run(model, **given, say=progress.say, progress=progress)
    if plot is not None:
        plot_benchmark(result, plot, force=force)
    if as_json:
        print_json(result.to_json())
    else:
        print_benchmark(result)
    return 0 if result.timings else 1


bench = command(_bench)
