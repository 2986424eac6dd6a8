"""What the converter's commands show a person: tables on stdout."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ppls.cli.output import echo
from ppls.cli.pairs import Pairs
from ppls.converter.conversion import Conversion
from ppls.files import files_below
from ppls.mappings.patterns import natural_key, shape_of_name
from ppls.shown import listed, shown, shown_line

if TYPE_CHECKING:
    from ppls.checkpoint.checkpoint import StoredTensor
    from ppls.converter.back import BackConversion
    from ppls.converter.inspect import Inspection
    from ppls.converter.published import Published
    from ppls.converter.recognise import Recognition
    from ppls.images.usage import Usage
    from ppls.mappings.known import Known
    from ppls.mappings.maps import Map

_LISTED = 12  # names of a kind that are listed before the rest is counted
_LISTED_METADATA = 100
_PROVENANCE = {  # of a converted file: what is said about what, and the digest of that
    "converted from": ("source_format", "source_sha256"),
    "trained from": ("trained_from",),
    "map": ("map", "map_sha256"),
    "ppls": ("ppls_version",),
}
_NOT_PLAIN = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")


def print_conversion(result: Conversion | BackConversion, *, tensors: bool = False) -> None:
    """What was converted, with what was dropped, inferred and assumed; with `tensors` each of them."""
    table = Pairs()
    if isinstance(result, Conversion):
        table.add("checkpoint", str(result.source), _origin(result))
        table.add("model", str(result.architecture))
        _add_plan(table, result, "written")
    else:
        table.add("source", str(result.source))
        table.add("model", str(result.architecture))
        table.add("config", *_config_lines(result))
        table.add("tensors", f"{result.read} read, {len(result.tensors)} written", *_dropped(result))
    if result.destination is not None:
        written = result.destination
        files = files_below(written) if written.is_dir() else [written]
        size = sum(file.stat().st_size for file in files) / 1e6
        table.add("written", str(result.destination), f"{size:.1f} MB, read back and found equal")
    table.print("converted" if isinstance(result, Conversion) else "converted back")
    if tensors and isinstance(result, Conversion):
        _print_tensors(result.checkpoint.tensors, result)


def print_inspection(result: Inspection, *, tensors: bool = False) -> None:
    """What a file is; with `tensors` each of them."""
    checkpoint, conversion = result.checkpoint, result.conversion
    table = Pairs()
    written_by = f", written by {result.era}" if result.era else ""
    table.add("format", checkpoint.format if result.provenance is not None else checkpoint.format + written_by)
    table.add("tensors", *_tensor_counts(result, tensors))
    table.add("architecture", result.architecture or "none that ppls knows")
    if result.recognised is not None:
        table.add("recognised", _certainty(result.recognised))
    if conversion is not None:
        _add_plan(table, conversion, "would be written")
    if result.provenance is not None:
        _add_provenance(table, result)
    metadata = [(key, value) for key, value in result.metadata.items() if (key, value) != ("format", "pt")]
    for key, value in metadata[:_LISTED_METADATA]:
        table.add(_quoted(key), _quoted(value))
    if len(metadata) > _LISTED_METADATA:
        table.add("metadata", f"and {len(metadata) - _LISTED_METADATA:,} more")
    if result.problems:
        table.add("problems", *result.problems)
    table.print(str(checkpoint.path))
    if tensors:
        _print_tensors(checkpoint.tensors, conversion)


def _add_provenance(table: Pairs, result: Inspection) -> None:
    """What a converted file says about itself."""
    table.add("config", *(f"{key}: {_flow(value)}" for key, value in (result.config or {}).items()))
    table.add("assumed", *([f"{key}: {_flow(value)}" for key, value in (result.assumed or {}).items()] or ["nothing"]))
    _add_usage(table, result.usage)
    told = dict(result.provenance or {})
    for heading, (key, *beside) in _PROVENANCE.items():
        if key in told:
            era = f", written by {result.era}" if key == "source_format" and result.era else ""
            digests = [_quoted(told.pop(name)) for name in beside if name in told]
            table.add(heading, _quoted(told.pop(key)) + era, *digests)
    for key, value in told.items():
        table.add(_quoted(key), _quoted(value))


def _add_usage(table: Pairs, usage: Usage | None) -> None:
    """How the model is used with images, where somebody said it."""
    if usage is not None and usage.preprocessing is not None:
        table.add("preprocessing", str(usage.preprocessing))
    if usage is not None and usage.classes is not None:
        table.add("classes", listed([shown(name, 40) for name in usage.classes]))


def _print_tensors(stored: Mapping[str, StoredTensor], conversion: Conversion | None) -> None:
    """Every tensor of a file on a line, and what it becomes."""
    becomes: dict[str, list[str]] = defaultdict(list)
    if conversion is not None:
        for target, origins in conversion.origins.items():
            for origin in origins:
                becomes[origin].append(target)
        for dropped in conversion.dropped:
            becomes[dropped.name].append("dropped")
    for name, tensor in stored.items():
        arrow = f" -> {', '.join(becomes[name])}" if becomes[name] else ""
        echo(f"{name} {list(tensor.shape)} {tensor.dtype}{arrow}")


def print_models(found: Sequence[Known], backbones: Mapping[str, Sequence[str]]) -> None:
    """The architectures, where each may stand, and its published configs; then the backbones that they stand on."""
    models, bodies = Pairs(), Pairs()
    for model in found:
        on = f"on {', '.join(model.backbones)}" if model.backbones else "with a body of its own"
        models.add(model.architecture, ", ".join(model.names) or "no published config", on)
    used = {name for model in found for name in model.backbones}
    for name, sizes in backbones.items():
        if name in used:
            bodies.add(name, ", ".join(sizes) or "one size")
    if found:
        models.print("models")
    if used:
        bodies.print("backbones")


def print_published(rows: Sequence[Published]) -> None:
    """The files that PaddleSeg publishes, by architecture, with what it measured."""
    table = Pairs()
    lines: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        figure = next((f", mIoU {cell}" for cell in row.row if cell.endswith("%")), "")
        lacking = f"; {row.unavailable}" if row.unavailable else ""
        lines[row.architecture or "unknown"] += [row.name, f"  {row.dataset}{figure}{lacking}"]
    for architecture, said in lines.items():
        table.add(architecture, *said)
    if rows:
        table.print("published by PaddleSeg")


def _certainty(recognised: Recognition) -> str:
    """By how many of its names a file was recognised, and what it would be else."""
    runner_up = recognised.runner_up
    other = f"; {runner_up[0]} knows {runner_up[1]:.0%}" if runner_up else ""
    return f"{recognised.share:.0%} of the tensors have its names{other}"


def print_map(map: Map) -> None:
    """What a map that was found well-formed covers."""
    table = Pairs()
    table.add("architecture", map.architecture or "a backbone")
    table.add("layers", ", ".join(f"{count} {kind}" for kind, count in Counter(r.kind for r in map.rows).items()))
    table.add("rules", f"{len(map.rules)} for tensors, {len(map.options)} for options")
    one_way = [str(rule) for rule in map.rules if not rule.invertible]
    table.add("way back", *(["not for", *one_way] if one_way else ["whole"]))
    table.print(str(map.path))


def _quoted(text: str) -> str:
    """Metadata is whatever the file's author wrote: in quotes where something in it is escaped."""
    return shown(text) if shown_line(text) == text else f"'{shown(text)}'"


def _origin(result: Conversion) -> str:
    return result.checkpoint.format + (f", written by {result.era}" if result.era else "")


def _add_plan(table: Pairs, result: Conversion, written: str) -> None:
    """What a conversion does; `written`: whether it has."""
    table.add("config", *_config_lines(result))
    assumed = [f"{key}: {_flow(value)}" for key, value in result.assumed.items()]
    table.add("assumed", *(assumed or ["nothing"]))
    if result.by_default:
        lines = [f"{key}: {_flow(value)}" for key, value in result.by_default.items()]
        table.add("by upstream's default", *lines)
    _add_usage(table, result.usage)
    if result.recipe is not None:
        table.add("recipe", f"{result.recipe}, as published, for what no tensor shows; --config RUN.yml knows better")
    dropped = _dropped(result)
    counts = f"{len(result.checkpoint)} read, {len(result.tensors)} {written}"
    table.add("tensors" if written == "written" else "conversion", f"{counts}, {len(result.dropped)} dropped", *dropped)


def _config_lines(result: Conversion | BackConversion) -> list[str]:
    config: dict[str, Any] = dict(result.config)
    for included in result.map.includes:  # a backbone that has a name goes by it
        options = {k: v for k, v in config[included.option].items() if k != "type"}
        named = [name for name, preset in included.map.presets.items() if preset.items() <= options.items()]
        if named:
            rest = {k: v for k, v in options.items() if k not in included.map.presets[named[0]]}
            config[included.option] = {"type": named[0], **rest} if rest else named[0]
    return [f"{key}: {_flow(value)}" for key, value in config.items()]


def _flow(value: Any) -> str:
    """A value as YAML has it, in one line."""
    if value is None or isinstance(value, (bool, int)):
        return json.dumps(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value) if "." in repr(value) else repr(value).replace("e", ".0e")  # 1.0e-05
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, str) and value.isascii() and value.isidentifier() and value.lower() not in _NOT_PLAIN:
        return value
    import yaml  # takes as long to import as all else here

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


def _tensor_counts(result: Inspection, tensors: bool) -> list[str]:
    stored = result.checkpoint.tensors
    types = Counter(tensor.dtype for tensor in stored.values())
    found = [f"{len(stored)}: " + ", ".join(f"{count} {dtype}" for dtype, count in types.items())]
    if result.conversion is None and result.provenance is None and not tensors:
        found += [f"  {name} {list(tensor.shape)}" for name, tensor in list(stored.items())[:_LISTED]]
        if len(stored) > _LISTED:
            found.append(f"  and {len(stored) - _LISTED} more; --tensors shows them all")
    return found
