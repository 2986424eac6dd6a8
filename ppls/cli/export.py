"""`ppls export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ppls.cli.command import command
from ppls.cli.help import option
from ppls.cli.options import PATH, conversion_of, force_option, model_options, size_option
from ppls.cli.output import show
from ppls.parity.tolerance import TOLERANCE

EXPORT = "Export"
FORMATS = ("onnx", "openvino", "torch-export", "torchscript")
VALUES = ("logits", "softmax", "argmax")


@command(
    summary="To ONNX, OpenVINO, torch.export or TorchScript, run and compared.",
    example="ppls export model.safetensors model.onnx --size 512x1024",
    statuses={1: "The model cannot be exported, or a runtime disagrees with PyTorch; no file is written."},
)
@click.argument("model", type=PATH)
@click.argument("destination", metavar="OUT", type=PATH)
@option("--format", type=click.Choice(FORMATS), group=EXPORT, help="Default: by OUT's suffix.")
@option(
    "--size",
    callback=size_option,
    metavar="HEIGHTxWIDTH",
    group=EXPORT,
    help="Fix the size. Default: any, from 64 on; of an export for one size, that.",
)
@option(
    "--batch",
    type=click.IntRange(1),
    metavar="N",
    default=1,
    show_default=True,
    group=EXPORT,
    help="Images at a time, with --size.",
)
@option(
    "--values",
    "output",
    formerly=["--output"],
    type=click.Choice(VALUES),
    default="logits",
    show_default=True,
    group=EXPORT,
    help="What it gives; argmax: int32 labels.",
)
@option("--argmax", is_flag=True, group=EXPORT, help="The same as --values argmax: labels (N, H, W).")
@option(
    "--low-resolution", is_flag=True, group=EXPORT, help="Leave the last resize to the receiver: logits at 1/8, say."
)
@option("--fold/--no-fold", default=True, show_default=True, group=EXPORT, help="Fold BatchNorms into convolutions.")
@option(
    "--tolerance",
    type=float,
    metavar="T",
    default=TOLERANCE,
    show_default=True,
    group=EXPORT,
    help="The largest scaled error of a runtime.",
)
@force_option("OUT")
@model_options
def export(model: Path, destination: Path, argmax: bool, low_resolution: bool, **options: Any) -> None:
    """Export MODEL to OUT, run it in the runtime of its format and in OpenVINO if installed, and keep it if they agree
    with PyTorch.

    MODEL is a converted file, or a Paddle file. With ppls convert --upsample nearest, its resizes are nearest here too.
    """
    from ppls.cli.progress import progress_bar

    if argmax:
        if options["output"] == "softmax":
            raise click.UsageError("--argmax and --values softmax: one of them.")
        options["output"] = "argmax"
    with progress_bar("exporting") as progress:
        progress.say("exporting, and running the export ...")
        from ppls.cli.tables import print_export
        from ppls.deploy.export import export as run

        conversion = conversion_of(options)
        result = run(model, destination, full_resolution=not low_resolution, conversion=conversion, **options)
    show(result, print_export, summary=True)
