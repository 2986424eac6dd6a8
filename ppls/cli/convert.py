"""`ppls convert`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ppls.cli.command import command
from ppls.cli.help import option
from ppls.cli.options import PADDLE_FILE, PATH, conversion_of, force_option, paddle_file_options, program_option
from ppls.cli.output import asked_for, show, warn
from ppls.cli.waiting import shown_if_long

RESULT = "Converted file"


@command(
    summary="From PaddleSeg's weights to a safetensors file, and back; needs no Paddle.",
    example="ppls convert model.pdparams model.safetensors --config run.yml",
    statuses={1: "The file is missing, or cannot be converted or written."},
)
@click.argument("source", type=PATH)
@click.argument("destination", type=PATH)
@paddle_file_options
@option(
    "--to",
    type=click.Choice(["torch", "paddle"]),
    default="torch",
    show_default=True,
    group=RESULT,
    help="paddle: the way back, from PyTorch's weights to a .pdparams.",
)
@option(
    "--upsample",
    type=click.Choice(["bilinear", "nearest"]),
    group=RESULT,
    help="How every resize within the model is done.",
)
@option(
    "--dtype",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    group=RESULT,
    help="The type of the converted weights; by default that of the checkpoint.",
)
@option(
    "--classes",
    metavar="SET",
    group=RESULT,
    help="Whose names are recorded: cityscapes, camvid, voc or ade20k, or a file with a name on each line.",
)
@option(
    "--optimizer",
    is_flag=True,
    group=RESULT,
    help="Both are folders, and the optimizer's state (model.pdopt) goes along; see ppls.Training.",
)
@program_option
@option(
    "--until",
    metavar="NAME",
    group=PADDLE_FILE,
    help="Of a program the part up to an operation, by its number or its layer's name; implies --program.",
)
@force_option("DESTINATION")
def convert(
    source: Path,
    destination: Path,
    to: str,
    config: Path | None,
    upsample: str | None,
    dtype: str | None,
    classes: str | None,
    optimizer: bool,
    until: str | None,
    force: bool,
    **options: Any,
) -> None:
    """Convert the PaddleSeg checkpoint SOURCE to the safetensors file DESTINATION, without Paddle.

    SOURCE is a file, or the name of one that PaddleSeg publishes, which is downloaded once (ppls.list_published()).

    With --to paddle, convert PyTorch's weights SOURCE (a converted file, a hub folder, a .pt) back to a .pdparams.

    An export that no map knows, or any with --program, becomes a folder DESTINATION: model.safetensors, the program
    that ppls.load makes the model of, and model.py, which makes the same of PyTorch alone.

    With --optimizer, SOURCE is a folder that PaddleSeg saved (iter_400), DESTINATION one that ppls.Training resumes;
    with --to paddle the other way round.
    """
    conversion = conversion_of(options)
    by_program = conversion.pop("program", False) or until is not None
    if to == "torch" and not optimizer:
        from ppls.converter.by_program import is_for_its_program

        given = {**conversion, "config": config, "upsample": upsample, "dtype": dtype, "classes": classes}
        asked = [f"--{name}" for name, value in given.items() if value]
        if by_program and asked:
            raise click.UsageError(f"{', '.join(asked)}: a program is converted as it is.")
        if by_program or (not asked and is_for_its_program(source, destination)):
            from ppls.converter.program_conversion import convert_program

            with shown_if_long("converting the program"):
                done = convert_program(source, destination, until=until, force=force)
            warn(done.warnings)
            show(done, _summarise_program, summary=True)
            return
    elif by_program:
        raise click.UsageError("--program and --until have no meaning on the way back, or with --optimizer.")
    run = _what_runs(to, optimizer)
    if to == "paddle":
        if config or upsample or dtype or classes:
            raise click.UsageError(
                "--config, --upsample, --dtype and --classes have no meaning on the way back (--to paddle)."
            )
        with shown_if_long("converting back"):
            result = run(source, destination, force=force, **conversion)
    else:
        usual = sys.getswitchinterval()
        sys.setswitchinterval(1e-4)  # seconds; with 5 ms the thread that hashes waits most of the time
        try:
            told: dict[str, Any] = {"config": config, "upsample": upsample, "dtype": dtype, "classes": classes}
            with _shown(source) as progress:
                result = run(source, destination, force=force, progress=progress, **told, **conversion)
        finally:
            sys.setswitchinterval(usual)
    warn(result.warnings)

    def summarise(result: Any) -> None:
        from ppls.cli.summary import print_conversion

        print_conversion(result, tensors=asked_for("verbose"))

    show(result, summarise, summary=True)


def _summarise_program(done: Any) -> None:
    from ppls.cli.pairs import Pairs

    pairs = Pairs()
    pairs.add("source", str(done.source))
    pairs.add("operators", ", ".join(f"{name} {count}" for name, count in done.operators.items()))
    pairs.add("tensors", f"{done.tensors} written, {len(done.unused)} not used by the program")
    pairs.add("code", "model.py, of torch alone" if done.code else "none: see the warning")
    pairs.print(str(done.destination))


def _what_runs(to: str, optimizer: bool) -> Callable[..., Any]:
    """Imported when asked for: one of them is never needed."""
    if optimizer:
        from ppls.training.folder import convert_run, convert_run_back

        return convert_run_back if to == "paddle" else convert_run
    if to == "paddle":
        from ppls.converter.back import convert_back

        return convert_back
    from ppls.converter.convert import convert as there

    return there


@contextmanager
def _shown(source: Path) -> Iterator[Callable[[int, int], None] | None]:
    """Shows what takes long: of what is no file it may be a download."""
    if os.path.lexists(source):
        with shown_if_long("converting"):
            yield None
    else:
        from ppls.cli.progress import progress_bar

        with progress_bar(f"downloading {source}, bytes") as progress:
            yield progress
