"""`ppls map draft`, `ppls map show`, `ppls map check`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppls.cli.command import Ending, command, with_version
from ppls.cli.help import Explained, option
from ppls.cli.options import (
    PATH,
    allow_import_option,
    config_option,
    conversion_of,
    force_option,
    model_options,
    set_option,
)
from ppls.cli.output import asked_for, echo, print_json, say, show
from ppls.cli.waiting import shown_if_long

if TYPE_CHECKING:
    from ppls.drafting.check import Checked
    from ppls.drafting.draft import Draft

_MODEL = {"metavar": "MODULE:CALLABLE", "group": "Model"}


class _Actions(Ending, Explained, click.Group):
    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(context, formatter)
        Explained.format_options(self, context, formatter)


@command(
    summary="Draft the map that fills a port of your own, by running it; needs no Paddle.",
    example="ppls map draft model.pdparams --model my_port:build -o mine.yaml",
    statuses={
        0: "Every tensor is settled, and certain.",
        1: "Something is open or only likely, the map says what; or a file is missing or cannot be used.",
    },
)
@click.argument("checkpoint", type=PATH)
@option("--model", required=True, help="The port: a function that makes it, with any weights.", **_MODEL)  # type: ignore[arg-type]
@option("--output", "-o", type=PATH, metavar="MAP.yaml", group="Output", help="Write the map to this file.")
@force_option("MAP.yaml")
@model_options
def draft(checkpoint: Path, model: str, output: Path | None, force: bool, **options: Any) -> int:
    """Find out which tensor of the PaddleSeg checkpoint CHECKPOINT fills which of a PyTorch port, and write the map.

    ppls's own model of the architecture, or the export's program, and the port are run on one image: a layer is known
    by the input that it sees.
    """
    from ppls.destination import check_destination, file_that_becomes
    from ppls.drafting.draft import draft_map

    if output is not None:
        check_destination(output, force=force, inputs={"source": [checkpoint]})
    with shown_if_long("drafting"), contextlib.redirect_stdout(sys.stderr):
        found = draft_map(checkpoint, model, config=options.pop("config"), **conversion_of(options))
    if output is not None:
        with file_that_becomes(output, force=force) as file:
            file.write(found.text.encode())
    if asked_for("json"):
        print_json(found.to_json())
    else:
        if output is None:
            for line in found.text.splitlines():
                echo(line)
        _say_draft(found, output)
    return 0 if found.settled else 1


def _say_draft(found: Draft, output: Path | None) -> None:
    rows = found.rows
    counts = rows.counted()
    say(f"{counts['certain']} rows are certain, {counts['likely']} likely, {counts['open']} open")
    for row in rows.rows:
        if row.confidence != "certain":
            say(f"{row.confidence}: {', '.join(row.source)} -> {', '.join(row.target)}: {row.why}")
    for side, names in (("source", rows.unmatched_source), ("model", rows.unmatched_target)):
        for name in names:
            say(f"unmatched, of the {side}: {name}")
    for note in rows.notes:
        say(f"note: {note}")
    if output is not None:
        say(f"wrote {output}")


@command(
    summary="Print a map with every row expanded.",
    example="ppls map show pp_liteseg",
    statuses={2: "There is no such map, or it is malformed: file, line and rule."},
)
@click.argument("name")
@allow_import_option
def show_map(name: str, allow_import: tuple[str, ...]) -> None:
    """Print the map NAME, a file or one of ppls's (pp_liteseg, ports/midasklr), with every row expanded."""
    from ppls.mappings.map_file import open_map
    from ppls.mappings.operations import said

    opened = open_map(name, allow_import)
    assert opened is not None
    rows = [
        {
            "source": [pattern.text for pattern in rule.sources],
            "target": [pattern.text for pattern in rule.targets],
            "operation": said(rule.operation),
            "line": rule.line,
        }
        for rule in opened.rules
    ]
    if asked_for("json"):
        print_json({"map": str(opened.path), "architecture": opened.title, "rows": rows})
        return
    width = max((len(", ".join(row["source"])) for row in rows), default=0)  # type: ignore[arg-type]
    for row in rows:
        how = f"  {row['operation']}" if row["operation"] else ""
        echo(f"{', '.join(row['source']):<{width}}  {', '.join(row['target'])}{how}")  # type: ignore[arg-type]


@command(
    summary="Whether a map is whole, for a checkpoint and a model.",
    example="ppls map check mine.yaml model.pdparams --model my_port:build",
    statuses={0: "The map is whole.", 1: "Something is open, unused, unfilled or ambiguous; or a file is missing."},
)
@click.argument("file")
@click.argument("checkpoint", type=PATH, required=False)
@option("--model", help="The port that is to be filled.", **_MODEL)  # type: ignore[arg-type]
@allow_import_option
@config_option
@set_option
def check(
    file: str,
    checkpoint: Path | None,
    model: str | None,
    allow_import: tuple[str, ...],
    config: Path | None,
    overrides: dict[str, Any],
) -> int:
    """Say what of a map is open or ambiguous; with a CHECKPOINT what it leaves unused, with --model what unfilled."""
    from ppls.drafting.check import check_map

    if model is not None and checkpoint is None:
        raise click.UsageError("--model is filled from a CHECKPOINT: give one.")
    with contextlib.redirect_stdout(sys.stderr):
        found = check_map(file, checkpoint, model=model, allow_import=allow_import, config=config, overrides=overrides)
    show(found, _print_check)
    return 1 if found.problems else 0


def _print_check(found: Checked) -> None:
    from ppls.cli.summary import print_map

    print_map(found.map)
    for problem in found.problems:
        echo(problem)
    if not found.problems:
        echo("whole" + (f": {' and '.join(found.compared)} fit" if found.compared else ""))


@with_version
@click.group(
    cls=_Actions,
    short_help="Draft the map of a port, show one, check one.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    subcommand_metavar="ACTION ...",
    commands={"draft": draft, "show": show_map, "check": check},
    statuses={1: "Something is open, or a map does not fit; a file is missing or cannot be used."},
    example="ppls map draft model.pdparams --model my_port:build -o mine.yaml\nppls map show pp_liteseg",
)
def map() -> None:
    """Draft the map that fills a PyTorch port from PaddleSeg's weights, show a map, check one."""
