"""ppls-convert."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ppls.cli.command import command, print_json, warn
from ppls.cli.options import PATH, allow_import_option, arch_option, config_option, json_option, map_option, set_option


@click.argument("source", type=PATH)
@click.argument("destination", type=PATH)
@arch_option
@map_option
@allow_import_option
@config_option
@set_option
@click.option(
    "--to",
    type=click.Choice(["torch", "paddle"]),
    default="torch",
    show_default=True,
    help="paddle: the way back, from PyTorch's weights to a .pdparams.",
)
@click.option(
    "--upsample", type=click.Choice(["bilinear", "nearest"]), help="How every resize within the model is done."
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    help="The type of the converted weights; by default that of the checkpoint.",
)
@click.option("--force", is_flag=True, help="Replace DESTINATION if it exists.")
@json_option
def _convert(
    source: Path,
    destination: Path,
    to: str,
    arch: str | None,
    map_path: Path | None,
    config: Path | None,
    upsample: str | None,
    dtype: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Convert the PaddleSeg checkpoint SOURCE to the safetensors file DESTINATION, without Paddle.

    With --to paddle, convert PyTorch's weights SOURCE (a converted file, a hub folder, a .pt) back to a .pdparams.
    """
    options |= {"architecture": arch, "map": map_path}
    if to == "paddle":
        from ppls.converter.back import convert_back

        if config or upsample or dtype:
            raise click.UsageError("--config, --upsample and --dtype have no meaning on the way back (--to paddle).")
        result: Any = convert_back(source, destination, **options)
    else:
        from ppls.converter.convert import convert as run

        usual = sys.getswitchinterval()
        sys.setswitchinterval(1e-4)  # seconds; with 5 ms the thread that hashes waits most of the time
        try:
            result = run(source, destination, config=config, upsample=upsample, dtype=dtype, **options)
        finally:
            sys.setswitchinterval(usual)
    warn(result.warnings)
    if as_json:
        print_json(result.to_json())
    else:
        from ppls.cli.summary import print_conversion

        print_conversion(result)


convert = command(_convert)
