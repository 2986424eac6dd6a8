"""`ppls inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ppls.cli.command import command
from ppls.cli.help import option
from ppls.cli.options import PATH, conversion_of, paddle_file_options
from ppls.cli.output import asked_for, print_json, show, warn
from ppls.cli.waiting import shown_if_long


@command(
    summary="What a file is, and what would be converted; whether a map is well-formed.",
    example="ppls inspect model.pdparams --tensors",
    statuses={1: "The file is missing, or no weight file."},
)
@click.argument("file", type=PATH, required=False)
@option("--tensors", is_flag=True, group="Output", help="Every tensor, and what it becomes.")
@paddle_file_options
def inspect(file: Path | None, tensors: bool, **options: Any) -> None:
    """Say what FILE is: format, tensors, architecture, config, and what would be converted; of a converted file, what
    it was converted from, and what was assumed.

    With --map alone, check the map.
    """
    from ppls.cli.summary import print_inspection, print_map
    from ppls.converter.inspect import inspect as run
    from ppls.mappings.map_file import open_map

    if file is None:
        checked = open_map(options["map_path"], options["allow_import"])
        if checked is None:
            raise click.UsageError("Give a FILE, a --map, or both.")
        if asked_for("json"):
            name = str(options["map_path"])
            print_json({"map": name, "architecture": checked.architecture, "layers": len(checked.rows)})
        else:
            print_map(checked)
        return
    with shown_if_long("inspecting"):
        result = run(file, config=options["config"], **conversion_of(options))
    warn(result.checkpoint.warnings)
    show(result, lambda found: print_inspection(found, tensors=tensors))
