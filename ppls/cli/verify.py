"""ppls-verify."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppls.cli.command import command, echo, print_json
from ppls.cli.options import (
    PATH,
    allow_import_option,
    arch_option,
    config_option,
    json_option,
    map_option,
    max_pixels_option,
    set_option,
    sizes_option,
    tolerances_option,
)
from ppls.parity.tolerance import TOLERANCE
from ppls.shown import shell_word

if TYPE_CHECKING:
    from ppls.parity.source import Source


@click.argument("checkpoint", type=PATH, required=False)
@click.argument("converted", type=PATH, required=False)
@click.option(
    "--tolerance",
    multiple=True,
    metavar="[OUTPUT=]T",
    callback=tolerances_option,
    help=f"The largest scaled error, max|a - b| / max|a|; of one output: 'head 1=1e-3'. Can be given several times. "
    f"[default: {TOLERANCE:g}]",
)
@click.option("--strict", is_flag=True, help="What was assumed or not compared leaves the verdict inconclusive.")
@arch_option
@config_option
@set_option
@click.option(
    "--size",
    "sizes",
    multiple=True,
    metavar="HEIGHTxWIDTH",
    callback=sizes_option,
    help="Run on a photograph and on noise of this size too. Can be given several times.",
)
@click.option(
    "--image",
    "images",
    multiple=True,
    type=PATH,
    metavar="FILE",
    help="Run on this image too, prepared as PaddleSeg does. Can be given several times.",
)
@click.option("--only", is_flag=True, help="Run on those sizes and images alone, without the default inputs.")
@max_pixels_option
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of noise and the embedded default.")
@click.option("--model", metavar="MODULE:CALLABLE", help="Judge this torch module; called with the converted file.")
@map_option
@allow_import_option
@click.option("--upsample", type=click.Choice(["bilinear", "nearest"]), help="Have PaddleSeg resize like this too.")
@click.option("--layers/--no-layers", default=True, help="Compare layer by layer.")
@click.option("--float64", is_flag=True, help="Run both in double precision, to a tolerance of 1e-9.")
@click.option(
    "--train-steps",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Train both for N steps too, and compare losses, gradients, weights and statistics.",
)
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="S", default=600.0, show_default=True)
@click.option("--reference-python", metavar="PATH", help="The Python that has paddlepaddle and paddleseg.")
@click.option("--paddleseg", type=PATH, metavar="PATH", help="A folder with the paddleseg package to use instead.")
@click.option("--dump", type=PATH, metavar="FILE", help="Only run PaddleSeg, and write what it did to FILE.")
@click.option("--reference", type=PATH, metavar="FILE", help="Judge against such a FILE; no Paddle is needed then.")
@click.option("--report", type=PATH, metavar="FILE.html", help="Write a page with the figures, a plot and pictures.")
@click.option("--force", is_flag=True, help="Replace the --report or --dump if it exists.")
@json_option
def _verify(
    checkpoint: Path | None,
    converted: Path | None,
    arch: str | None,
    map_path: Path | None,
    allow_import: tuple[str, ...],
    dump: Path | None,
    report: Path | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Run PaddleSeg's model and PyTorch's on the same inputs, and say how far apart they are.

    CHECKPOINT is PaddleSeg's, CONVERTED what ppls-convert made of it. Without CONVERTED it is converted anew; without
    CHECKPOINT PaddleSeg builds a PP-LiteSeg on the spot.
    """
    from ppls.converter.inputs import weight_files
    from ppls.mappings.map_file import open_map
    from ppls.parity.source import Source

    map = open_map(map_path, allow_import)
    source = Source(checkpoint, arch, map, options["config"], options["overrides"], options["upsample"])
    if dump is not None:
        if converted is not None or options["model"] or options["reference"] or report is not None:
            raise click.UsageError("--dump runs PaddleSeg alone: no CONVERTED, --model, --reference or --report.")
        return _dump(source, dump, force, as_json, options)
    from ppls.parity.report.page import check_page, write_page
    from ppls.parity.report.terminal import print_report
    from ppls.parity.verify import verify as run

    if report is not None:
        given = {"converted file": weight_files(converted), "image": options["images"]}
        check_page(report, force=force, inputs={**source.files(), **given, "reference": [options["reference"]]})
    from ppls.cli.progress import progress_bar

    with (
        progress_bar("inputs") as bar,
        contextlib.redirect_stdout(sys.stderr),
    ):  # what a user's own model prints is no result
        found = run(
            checkpoint,
            converted,
            architecture=arch,
            map=map,
            say=lambda line: bar.say(f"{line} ..."),
            progress=bar,
            **options,
        )
    try:  # the figures first, so that a page that cannot be written loses none; and the page even if nobody reads them
        if as_json:
            print_json(found.to_json())
        else:
            print_report(found)
    finally:
        if report is not None:
            write_page(found, report, force=force)
            echo(f"wrote {report}", err=True)
    return 0 if found.passed else 1


def _dump(source: Source, dump: Path, force: bool, as_json: bool, options: dict[str, Any]) -> int:
    from ppls.parity.dump import dump_reference
    from ppls.parity.source import Request

    recording = dump_reference(
        source,
        Request(
            options["sizes"],
            options["images"],
            options["seed"],
            options["layers"],
            options["float64"],
            options["train_steps"],
            options["timeout"],
            options["reference_python"],
            options["paddleseg"],
            options["max_pixels"],
            options["only"],
        ),
        dump,
        force=force,
        say=lambda line: echo(f"{line} ...", err=True),
    )
    if as_json:
        print_json(
            {
                "dump": str(dump),
                "sha256": recording.sha256,
                "dtype": recording.dtype,
                "inputs": list(recording.inputs),
                "layers": len(recording.calls),
                "versions": recording.versions,
            }
        )
    else:
        size = dump.stat().st_size / 1e6
        counts = f"{len(recording.inputs)} inputs and {len(recording.calls)} layers"
        echo(f"{dump}: {counts} of PaddleSeg's run, {size:.0f} MB")
        given = [] if source.checkpoint is None else [shell_word(str(source.checkpoint))]
        echo(" ".join(["on the machine with torch: ppls-verify", *given, "--reference", shell_word(str(dump))]))
    return 0


verify = command(_verify)
