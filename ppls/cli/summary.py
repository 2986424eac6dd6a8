"""What the converter's commands show a person: tables on stdout."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import yaml
from rich import box
from rich.console import Group
from rich.table import Table

from ppls.converter.back import BackConversion
from ppls.converter.conversion import Conversion
from ppls.converter.inspect import Inspection
from ppls.converter.recognise import Recognition
from ppls.mappings.maps import Map
from ppls.mappings.patterns import natural_key, shape_of_name
from ppls.shown import shown, shown_line
from ppls.terminal import console, lines, styled

_LISTED = 12  # names of a kind that are listed before the rest is counted
_LISTED_METADATA = 100


def print_conversion(result: Conversion | BackConversion) -> None:
    """What was converted, with what was dropped, inferred and assumed."""
    table = _two_columns()
    if isinstance(result, Conversion):
        table.add_row("checkpoint", lines([str(result.source), _origin(result)]))
        _add_plan(table, result)
    else:
        table.add_row("source", str(result.source))
        table.add_row("model", str(result.architecture))
        table.add_row("config", _config_lines(result))
        table.add_row("tensors", lines([f"{result.read} read, {len(result.tensors)} written", *_dropped(result)]))
    if result.destination is not None:
        size = result.destination.stat().st_size / 1e6
        table.add_row("written", lines([str(result.destination), f"{size:.1f} MB, read back and found equal"]))
    _print("converted" if isinstance(result, Conversion) else "converted back", table)


def print_inspection(result: Inspection) -> None:
    """What a file is."""
    checkpoint = result.checkpoint
    table = _two_columns()
    table.add_row("format", checkpoint.format)
    table.add_row("tensors", _tensor_counts(result))
    table.add_row("architecture", result.architecture or "none that ppls knows")
    if result.recognised is not None:
        table.add_row("recognised", _certainty(result.recognised))
    if result.conversion is not None:
        table.add_row("written by", result.conversion.era or "unknown")
        _add_plan(table, result.conversion)
    metadata = sorted(checkpoint.metadata.items())
    for key, value in metadata[:_LISTED_METADATA]:
        if key == "architecture" and value == result.architecture:
            continue
        table.add_row(_quoted(key), _quoted(value))
    if len(metadata) > _LISTED_METADATA:
        table.add_row("metadata", f"and {len(metadata) - _LISTED_METADATA:,} more")
    if result.problems:
        table.add_row("problems", lines(result.problems))
    _print(str(checkpoint.path), table)


def _certainty(recognised: Recognition) -> str:
    """By how many of its names a file was recognised, and what it would be else."""
    runner_up = recognised.runner_up
    other = f"; {runner_up[0]} knows {runner_up[1]:.0%}" if runner_up else ""
    return f"{recognised.share:.0%} of the tensors have its names{other}"


def print_map(map: Map) -> None:
    """What a map that was found well-formed covers."""
    table = _two_columns()
    table.add_row("architecture", map.architecture or "a backbone")
    table.add_row("layers", ", ".join(f"{count} {kind}" for kind, count in Counter(r.kind for r in map.rows).items()))
    table.add_row("rules", f"{len(map.rules)} for tensors, {len(map.options)} for options")
    one_way = [str(rule) for rule in map.rules if not rule.invertible]
    table.add_row("way back", lines(["not for", *one_way]) if one_way else "whole")
    _print(str(map.path), table)


def _print(title: str, table: Table) -> None:
    stdout = console()
    stdout.print(styled((title, "bold")))
    stdout.print(table)


def _quoted(text: str) -> str:
    """Metadata is whatever the file's author wrote: in quotes where something in it is escaped."""
    return shown(text) if shown_line(text) == text else f"'{shown(text)}'"


def _two_columns() -> Table:
    table = Table(show_header=False, box=box.ROUNDED)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _origin(result: Conversion) -> str:
    return result.checkpoint.format + (f", written by {result.era}" if result.era else "")


def _add_plan(table: Table, result: Conversion) -> None:
    table.add_row("model", str(result.architecture))
    table.add_row("config", _config_lines(result))
    assumed = [f"{key}: {_flow(value)}" for key, value in result.assumed.items()]
    table.add_row("assumed", lines(assumed or ["nothing"]))
    if result.recipe is not None:
        table.add_row(
            "recipe", f"{result.recipe}, as published, for what no tensor shows; --config RUN.yml knows better"
        )
    dropped = _dropped(result)
    counts = f"{len(result.checkpoint)} read, {len(result.tensors)} written"
    table.add_row("tensors", lines([f"{counts}, {len(result.dropped)} dropped", *dropped]))


def _config_lines(result: Conversion | BackConversion) -> Group:
    config: dict[str, Any] = dict(result.config)
    for included in result.map.includes:  # a backbone that has a name goes by it
        options = {k: v for k, v in config[included.option].items() if k != "type"}
        named = [name for name, preset in included.map.presets.items() if preset.items() <= options.items()]
        if named:
            rest = {k: v for k, v in options.items() if k not in included.map.presets[named[0]]}
            config[included.option] = {"type": named[0], **rest} if rest else named[0]
    return lines(f"{key}: {_flow(value)}" for key, value in config.items())


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    return str(text).removesuffix("\n").removesuffix("\n...")


def _dropped(result: Conversion | BackConversion) -> list[str]:
    reasons: dict[str, list[str]] = defaultdict(list)
    for dropped in result.dropped:
        duplicate = dropped.why.startswith("equal to ")
        reasons["a duplicate, found equal to its original" if duplicate else dropped.why].append(dropped.name)
    return [f"  {len(names)}: {why} ({_folded(names)})" for why, names in reasons.items()]


def _folded(names: list[str]) -> str:
    """Names with what differs between them as `#`, a few of them."""
    shapes = sorted({shape_of_name(name) for name in names}, key=natural_key)
    some = [next(name for name in names if shape_of_name(name) == shape) for shape in shapes[:2]]
    more = len(names) - len(some)
    return ", ".join(some) + (f" and {more} more" if more else "")


def _tensor_counts(result: Inspection) -> Group:
    stored: Mapping[str, Any] = result.checkpoint.tensors
    types = Counter(tensor.dtype for tensor in stored.values())
    found = [f"{len(stored)}: " + ", ".join(f"{count} {dtype}" for dtype, count in types.items())]
    if result.conversion is None:
        found += [f"  {name} {list(tensor.shape)}" for name, tensor in list(stored.items())[:_LISTED]]
        if len(stored) > _LISTED:
            found.append(f"  and {len(stored) - _LISTED} more")
    return lines(found)
