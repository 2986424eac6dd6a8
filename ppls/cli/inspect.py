"""ppls-inspect."""

from __future__ import annotations

from pathlib import Path

import click

from ppls.cli.command import command, print_json, warn
from ppls.cli.options import PATH, allow_import_option, json_option


@click.argument("file", type=PATH, required=False)
@click.option(
    "--map",
    "map_path",
    type=PATH,
    metavar="FILE",
    help="A map of your own, or one of ppls's by its name: check it, and apply it.",
)
@allow_import_option
@json_option
def _inspect(file: Path | None, map_path: Path | None, allow_import: tuple[str, ...], as_json: bool) -> None:
    """Say what FILE is: format, tensors, architecture, config, and what would be converted.

    With --map alone, check the map.
    """
    from ppls.cli.summary import print_inspection, print_map
    from ppls.converter.inspect import inspect as run
    from ppls.mappings.map_file import open_map

    if file is None:
        checked = open_map(map_path, allow_import)
        if checked is None:
            raise click.UsageError("Give a FILE, a --map, or both.")
        if as_json:
            print_json({"map": str(map_path), "architecture": checked.architecture, "layers": len(checked.rows)})
        else:
            print_map(checked)
        return
    result = run(file, map=map_path, allow_import=allow_import)
    warn(list(result.checkpoint.warnings))
    if as_json:
        print_json(result.to_json())
    else:
        print_inspection(result)


inspect = command(_inspect)
