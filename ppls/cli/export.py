"""ppls-export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ppls.cli.command import command, echo, print_json
from ppls.cli.options import PATH, json_option, size_option
from ppls.parity.tolerance import TOLERANCE


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
@json_option
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


export = command(_export)
