"""The commands that use a converted model: they parse, call the API and print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppls.cli.command import (
    PATH,
    command,
    echo,
    print_json,
    size_option,
    sizes_option,
)
from ppls.cli.options import inference_options, preprocessing_options
from ppls.parity.tolerances import TOLERANCE

if TYPE_CHECKING:
    from ppls.inference.inference import Inference
    from ppls.inference.preprocessing import Preprocessing


@click.argument("model", type=PATH)
@click.argument("images", type=PATH, nargs=-1, required=True)
@click.option("-o", "--output", type=PATH, required=True, metavar="FOLDER", help="Where the pictures go.")
@preprocessing_options
@inference_options
@click.option("--batch-size", type=click.IntRange(1), default=1, show_default=True, help="Of images of one size.")
@click.option("--force", is_flag=True, help="Replace pictures that exist.")
@click.option("--palette", default="paddleseg", show_default=True, help="paddleseg, voc, cityscapes, camvid, ade20k.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
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
            preprocessing=_preprocessing(options),
            config=options["config"],
            inference=_inference(options),
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


@click.argument("model", type=PATH)
@click.option("--data", type=PATH, metavar="LIST", help="An image and its label on each line, relative to --root.")
@click.option("--root", type=PATH, metavar="DIR", help="The folder of the data set.")
@click.option("--layout", help="list, cityscapes, camvid, voc or sbd. Default: list, or what --config says.")
@click.option("--split", default="val", show_default=True, help="Which part of the data set, where a layout has parts.")
@click.option("--separator", help="Between image and label in LIST. Default: a space.")
@click.option("--ignore-label", type=int, help="Pixels with this label do not count. Default: 255.")
@preprocessing_options
@inference_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
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
    from ppls.inference.datasets import read_samples
    from ppls.inference.evaluation import evaluate as run
    from ppls.inference.evaluation import is_first_process, run_settings

    told = run_settings(options["config"]) if options["config"] else {}
    root = root or told.get("root")
    if root is None:
        raise click.UsageError("--root DIR is needed: the folder of the data set.")
    layout = layout or ("list" if data is not None else told.get("layout", "list"))
    if layout == told.get("layout", "list"):
        data = data or told.get("data")
    separator = separator or told.get("separator", " ")
    samples = read_samples(root, data, layout=layout, split=split, separator=separator)
    with progress_bar("evaluating") as progress:
        metrics = run(
            model,
            samples,
            preprocessing=_preprocessing(options),
            config=options["config"],
            inference=_inference(options, told),
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


@click.argument("model", type=PATH)
@click.argument("destination", metavar="OUT", type=PATH)
@click.option("--format", help="onnx, torch-export or torchscript. Default: by OUT's suffix: .onnx, .pt2, .pt.")
@click.option("--size", callback=size_option, metavar="HEIGHTxWIDTH", help="Fix the size. Default: any, from 64 on.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Images at a time, with --size.")
@click.option("--output", default="logits", show_default=True, help="logits, softmax, or argmax (int32 labels).")
@click.option("--low-resolution", is_flag=True, help="Leave the last resize to the receiver: logits at 1/8, say.")
@click.option("--fold/--no-fold", default=True, help="Fold BatchNorms into convolutions.")
@click.option("--config", type=PATH, metavar="RUN.yml", help="PaddleSeg's config of the run, for a Paddle file.")
@click.option(
    "--tolerance", type=float, default=TOLERANCE, show_default=True, help="The largest scaled error of a runtime."
)
@click.option("--force", is_flag=True, help="Replace OUT if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def _export(model: Path, destination: Path, low_resolution: bool, as_json: bool, **options: Any) -> None:
    """Export MODEL to OUT, run it in ONNX Runtime and OpenVINO, and keep it if they agree with PyTorch.

    MODEL is a converted file, or a Paddle file. With ppls-convert --upsample nearest, its resizes are nearest here too.
    """
    from ppls.cli.tables import print_export
    from ppls.deploy.export import export as run

    echo("exporting, and running the export ...", err=True)
    result = run(model, destination, full_resolution=not low_resolution, **options)
    if as_json:
        print_json(result.to_json())
    else:
        print_export(result)


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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
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


def _preprocessing(options: dict[str, Any]) -> Preprocessing | None:
    from ppls.inference.preprocessing import Preprocessing

    given = {key: options[key] for key in ("mean", "std", "resize") if options[key] is not None}
    if given and options["config"]:
        raise click.UsageError("--config has the preprocessing: no --mean, --std or --resize beside it.")
    return Preprocessing.from_options(**given) if given else None


def _inference(options: dict[str, Any], told: dict[str, Any] | None = None) -> Inference:
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


predict = command(_predict)
evaluate = command(_evaluate)
export = command(_export)
bench = command(_bench)
