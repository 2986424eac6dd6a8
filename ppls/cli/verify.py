"""`ppls verify`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppls.cli.command import command
from ppls.cli.help import option
from ppls.cli.options import (
    OUTPUT,
    PADDLE_FILE,
    PATH,
    force_option,
    max_pixels_option,
    paddle_file_options,
    reference_python_option,
    sizes_option,
    tolerances_option,
)
from ppls.cli.output import asked_for, echo, print_json, say, show
from ppls.parity.tolerance import TOLERANCE
from ppls.shown import shell_word

if TYPE_CHECKING:
    from ppls.parity.source import Source

VERDICT, INPUTS, CANDIDATE = "Verdict", "Inputs", "Candidate"
COMPARED, REFERENCE = "What is compared", "Reference"


@command(
    summary="Both frameworks on the same inputs: how far apart, and where.",
    example="ppls verify model.pdparams model.safetensors --report report.html",
    statuses={0: "Parity holds.", 1: "Parity does not hold or cannot be decided, or a file cannot be used."},
)
@click.argument("checkpoint", type=PATH, required=False)
@click.argument("converted", type=PATH, required=False)
@option(
    "--tolerance",
    multiple=True,
    metavar="[OUTPUT=]T",
    callback=tolerances_option,
    group=VERDICT,
    help=f"The largest scaled error, max|a - b| / max|a|; of one output: 'head 1=1e-3'. Can be given several times. "
    f"[default: {TOLERANCE:g}]",
)
@option(
    "--strict", is_flag=True, group=VERDICT, help="What was assumed or not compared leaves the verdict inconclusive."
)
@option(
    "--size",
    "sizes",
    multiple=True,
    metavar="HEIGHTxWIDTH",
    callback=sizes_option,
    group=INPUTS,
    help="Run on a photograph and on noise of this size too. Can be given several times.",
)
@option(
    "--image",
    "images",
    multiple=True,
    type=PATH,
    metavar="FILE",
    group=INPUTS,
    help="Run on this image too, prepared as PaddleSeg does. Can be given several times.",
)
@option("--only", is_flag=True, group=INPUTS, help="Run on those sizes and images alone, without the default inputs.")
@max_pixels_option(INPUTS)
@option(
    "--seed",
    type=click.IntRange(0),
    metavar="N",
    default=0,
    show_default=True,
    group=INPUTS,
    help="Of noise and the embedded default.",
)
@option(
    "--model",
    metavar="MODULE:CALLABLE",
    group=CANDIDATE,
    help="Judge this torch module; called with the converted file.",
)
@option(
    "--candidate",
    type=PATH,
    metavar="FILE",
    group=CANDIDATE,
    help="Judge this exported file by its outputs: .onnx, .xml (OpenVINO), .pt2, .pt, .engine.",
)
@option(
    "--program",
    is_flag=True,
    group=CANDIDATE,
    help="Judge the program of an export, run in torch, and the model beside it. Default: where no map knows it.",
)
@option("--layers/--no-layers", default=True, show_default=True, group=COMPARED, help="Compare layer by layer.")
@option("--float64", is_flag=True, group=COMPARED, help="Run both in double precision, to a tolerance of 1e-9.")
@option(
    "--train-steps",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    group=COMPARED,
    help="Train both for N steps too, and compare losses, gradients, weights and statistics.",
)
@reference_python_option(group=REFERENCE)
@option("--paddleseg", type=PATH, metavar="PATH", group=REFERENCE, help="A folder with the paddleseg package to use.")
@option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    default=600.0,
    show_default=True,
    group=REFERENCE,
    help="Seconds that one answer of PaddleSeg may take.",
)
@option("--dump", type=PATH, metavar="FILE", group=REFERENCE, help="Only run PaddleSeg, and write what it did to FILE.")
@option(
    "--reference",
    type=PATH,
    metavar="FILE",
    group=REFERENCE,
    help="Judge against such a FILE; no Paddle is needed then.",
)
@option(
    "--report",
    type=PATH,
    metavar="FILE.html",
    group=OUTPUT,
    help="Write a page with the figures, a plot and pictures.",
)
@force_option("the --report or --dump")
@paddle_file_options
@option(
    "--upsample",
    type=click.Choice(["bilinear", "nearest"]),
    group=PADDLE_FILE,
    help="Have PaddleSeg resize like this too.",
)
def verify(
    checkpoint: Path | None,
    converted: Path | None,
    arch: str | None,
    map_path: Path | None,
    allow_import: tuple[str, ...],
    dump: Path | None,
    report: Path | None,
    force: bool,
    **options: Any,
) -> int:
    """Run PaddleSeg's model and PyTorch's on the same inputs, and say how far apart they are.

    An export that no map knows, or any with --program, runs in Paddle alone, beside its program in torch; and beside
    the port of --model, if one is given.
    CHECKPOINT is PaddleSeg's, CONVERTED what ppls convert made of it. Without CONVERTED it is converted anew; without
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
        if options.pop("program"):
            raise click.UsageError("--dump runs PaddleSeg alone: no --program.")
        if options["candidate"] is not None:
            raise click.UsageError("--dump runs PaddleSeg alone: no --candidate.")
        return _dump(source, dump, force, options)
    from ppls.parity.report.page import check_page, write_page
    from ppls.parity.report.terminal import print_report
    from ppls.parity.verify import verify as run

    if report is not None:
        given = {"converted file": weight_files(converted), "image": options["images"]}
        beside = {"reference": [options["reference"]], "candidate": [options["candidate"]]}
        check_page(report, force=force, inputs={**source.files(), **given, **beside})
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
        show(found, lambda found: print_report(found, everything=asked_for("verbose")))
    finally:
        if report is not None:
            write_page(found, report, force=force)
            say(f"wrote {report}")
    return 0 if found.passed else 1


def _dump(source: Source, dump: Path, force: bool, options: dict[str, Any]) -> int:
    from ppls.cli.progress import progress_bar
    from ppls.parity.dump import dump_reference
    from ppls.parity.source import Request

    with progress_bar("inputs") as bar:
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
            say=lambda line: bar.say(f"{line} ..."),
            progress=bar,
        )
    if asked_for("json"):
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
    elif not asked_for("quiet"):
        size = dump.stat().st_size / 1e6
        counts = f"{len(recording.inputs)} inputs and {len(recording.calls)} layers"
        echo(f"{dump}: {counts} of PaddleSeg's run, {size:.0f} MB")
        given = [] if source.checkpoint is None else [shell_word(str(source.checkpoint))]
        echo(" ".join(["on the machine with torch: ppls-verify", *given, "--reference", shell_word(str(dump))]))
    return 0
