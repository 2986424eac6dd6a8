"""A draft as a map: the text of its file, as a person would write it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ppls.checkpoint.checkpoint import StoredTensor
from ppls.drafting.blocks import PAIR, Block, with_blocks
from ppls.drafting.indices import generalised
from ppls.drafting.rows import LayerRow, Rows, TensorsRule
from ppls.errors import Error
from ppls.mappings.map_file import load_map
from ppls.mappings.maps import Map

Layout = tuple[tuple[str, str, tuple[int, ...]], ...]

KINDS: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {  # of paddle.yaml
    "conv": {"weight": ("weight", ()), "bias": ("bias", ())},
    "linear": {"weight": ("weight", (1, 0)), "bias": ("bias", ())},
    "batch_norm": {
        "weight": ("weight", ()),
        "bias": ("bias", ()),
        "_mean": ("running_mean", ()),
        "_variance": ("running_var", ()),
    },
    "layer_norm": {"weight": ("weight", ()), "bias": ("bias", ())},
    "pool": {},
}
_BLOCKS: dict[str, Block] = {  # of paddle.yaml, that every map has
    "conv_bn": (("_conv", "conv", "conv", ""), ("_batch_norm", "bn", "batch_norm", "")),
}


def map_text(rows: Rows, map: Map | None, title: str, architecture: str) -> str:
    """The map of a draft onto a port, whose source's facts are another map's.

    Args:
        map: that other map, on its backbone; None where there is none, and the table is all.
        title: what the file begins with, as comment.
        architecture: what upstream calls the source's class.

    Raises:
        Error: nothing was found that could stand in a map.
    """
    if not rows.layers:
        raise Error(f"no layer of the model is one of {architecture}'s: there is nothing to write into a map")
    head, backbone = _head(map, title, architecture), []
    if map is not None:
        short = "\n".join(
            [*head, "rest: same                                  # under the source's own names", *_tail(rows), ""]
        )
        if _says_it(short, rows):
            return short
        head.append("rest: none                                  # the table is whole, the backbone's layers included")
        backbone = [f"  - [{each.source}, backbone, backbone]" for each in map.includes if each.source != "backbone"]
    layers, kinds = _with_kinds(rows.layers)
    text = _text(rows, head, backbone, layers, kinds, general=True)
    if not _says_it(text, rows):
        text = _text(rows, head, backbone, layers, kinds, general=False)
        if not _says_it(text, rows):
            raise Error("the table that was found cannot be written as a map")
    return text


def _says_it(text: str, rows: Rows) -> bool:
    """Whether the map gives each tensor just what was found."""
    wanted = {target: row.source for row in rows.rows if row.confidence != "open" for target in row.target}
    names = {name for sources in wanted.values() for name in sources} | {*rows.unmatched_source}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "draft.yaml"
        path.write_text(text, encoding="utf-8")
        try:
            read = load_map(path)
        except Error:
            return False
        stored = {name: StoredTensor("float32", (), lambda: None) for name in names}  # type: ignore[arg-type, return-value]
        return _targets(read, stored) == wanted


def _targets(map: Map, names: Mapping[str, StoredTensor]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        for rule, at, indices in map.forward.matches(name):
            sources = tuple(pattern.fill(indices) for pattern in rule.sources)
            if at == 0 and all(source in names for source in sources):
                found |= {pattern.fill(indices): sources for pattern in rule.targets}
    return found


def _with_kinds(layers: Sequence[LayerRow]) -> tuple[list[LayerRow], dict[str, Layout]]:
    """The rows, each of a kind that has its tensors; and the kinds that are not every map's."""
    kinds: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {name: dict(kind) for name, kind in KINDS.items()}
    result = []
    for row in layers:
        layout = {source: (target, axes) for source, target, axes in row.tensors}
        name, number = row.kind, 1
        while not _takes(kinds.setdefault(name, {}), layout, name in KINDS):
            number += 1
            name = f"{row.kind}_{number}"
        result.append(LayerRow(row.source, row.target, name, row.tensors, row.options, row.doubt))
    own = {
        name: tuple((source, *rest) for source, rest in kind.items())
        for name, kind in kinds.items()
        if name not in KINDS
    }
    return result, own


def _takes(
    kind: dict[str, tuple[str, tuple[int, ...]]], layout: dict[str, tuple[str, tuple[int, ...]]], closed: bool
) -> bool:
    """Whether a layer is of a kind, to which what it has beyond is added, unless the kind is every map's."""
    if any(kind.get(source, said) != said for source, said in layout.items()):
        return False
    more = {source: said for source, said in layout.items() if source not in kind}
    if more and (closed or {target for target, _ in more.values()} & {target for target, _ in kind.values()}):
        return False
    kind |= more
    return True


def _head(map: Map | None, title: str, architecture: str) -> list[str]:
    lines = [*(f"# {line}" for line in title.splitlines()), "format: 2"]
    if map is None:
        return [
            *lines,
            f"architecture: {architecture}",
            "target: none                                # ppls has no model of it",
        ]
    lines.append(f"like: {map.name}")
    for included in map.includes:
        if map.backbones and included.map.name != map.backbones[0]:
            lines.append(f"backbones: [{included.map.name}]")
    return lines


def _text(
    rows: Rows,
    head: Sequence[str],
    backbone: Sequence[str],
    layers: Sequence[LayerRow],
    kinds: Mapping[str, Layout],
    *,
    general: bool,
) -> str:
    blocks: dict[str, Block] = {}
    table, tensors = list(layers), list(rows.tensors)
    if general:
        table, blocks = with_blocks(layers, {*KINDS, *kinds}, _BLOCKS)
        table = generalised(table, _left(rows))
        tensors = _general_tensors(rows.tensors)
    lines = [*head]
    if kinds:
        lines += ["", "layers:                                     # tensors of one layer, Paddle: PyTorch"]
        lines += [f"  {name}: {_kind(layout)}" for name, layout in kinds.items()]
    if blocks:
        lines += [
            "",
            "blocks:                                     # layers that stand together, Paddle: [PyTorch, kind]",
        ]
        for name, block in blocks.items():
            lines += _block(name, block)
    lines += ["", "modules:                                    # Paddle, PyTorch, kind of layer or block"]
    cells = [(_word(row.source), _word(row.target), row) for row in table]
    widths = [max(len(cell[at]) for cell in cells) + 1 for at in (0, 1)]  # type: ignore[arg-type]
    lines += backbone
    for source, target, row in cells:
        options = f", {{{row.options}}}" if row.options else ""
        lines.append(f"  - [{source + ',':<{widths[0]}} {target + ',':<{widths[1]}} {row.kind}{options}]{_doubt(row)}")
    if tensors:
        lines += ["", "tensors:                                    # what is more than renamed, and not layer by layer"]
        lines += [f"  - {{{each.text}}}{_doubt(each)}" for each in tensors]
    return "\n".join([*lines, *_tail(rows), ""])


def _doubt(row: LayerRow | TensorsRule) -> str:
    """The mark of a row that is only likely."""
    return f"  # likely: {row.doubt}" if row.doubt else ""


def _tail(rows: Rows) -> list[str]:
    """What stands below the table."""
    lines: list[str] = []
    if rows.left_out:
        lines += ["", "optional:                                   # the model has none of these"]
        for option, patterns in rows.left_out.items():
            modules = patterns[0] if len(patterns) == 1 else f"[{', '.join(patterns)}]"
            lines.append(f"  {option}: {{modules: {_word(modules)}, kept: false}}")
    if rows.constants:
        lines += ["", "constants:                                  # the model has these built in"]
        for name, (value, shape, beside) in rows.constants.items():
            lines.append(f"  {_word(name)}: {{value: {value!r}, shape: {list(shape)}, beside: {_word(beside)}}}")
    if rows.keep:
        lines += ["", "keep:                                       # tensors of the model that no checkpoint fills"]
        lines += [f"  - {_word(name):<40}  # {why}" for name, why in rows.keep.items()]
    if rows.open:
        lines += [
            "",
            "# What a draft could not settle, with what it may be. Write the right ones above and delete this section;",
            "# until then nothing is converted by this map.",
            "open:",
        ]
        lines += [f"  {_word(name)}: [{', '.join(_word(each) for each in found)}]" for name, found in rows.open.items()]
    return lines


def _left(rows: Rows) -> list[LayerRow]:
    """Modules of which nothing was found, that no row may have by an index."""

    def modules(names: Iterable[str]) -> set[str]:
        parts = [name.split(".") for name in names]
        return {".".join(each[:end]) for each in parts for end in range(1, len(each))}

    there = modules(name for row in rows.rows if row.confidence != "open" for name in row.source)
    open_rows = [name for row in rows.rows if row.confidence == "open" for name in row.source]
    return [LayerRow(name, "", "") for name in sorted(modules([*rows.unmatched_source, *open_rows]) - there)]


def _general_tensors(rules: Sequence[TensorsRule]) -> list[TensorsRule]:
    """Rules that differ in an index alone as one; there are no lists of words in them."""
    between = ".&."
    rows = [
        LayerRow(between.join(rule.sources), between.join(rule.targets), rule.how, doubt=rule.doubt) for rule in rules
    ]
    found = []
    for row in generalised(rows):
        if "|" in row.source:
            return list(rules)
        sources, targets = (tuple(side.split(between)) for side in (row.source, row.target))
        found.append(TensorsRule(sources, targets, row.kind, row.doubt))
    return found


def _kind(layout: Layout) -> str:
    entries = [
        f"{_word(source)}: {{to: {_word(target)}, transpose: {list(axes)}}}"
        if axes
        else f"{_word(source)}: {_word(target)}"
        for source, target, axes in layout
    ]
    return f"{{{', '.join(entries)}}}"


def _block(name: str, block: Block) -> list[str]:
    entries = [
        f"{_word(source)}: [{_word(target)}, {kind}{f', {{{options}}}' if options else ''}]"
        for source, target, kind, options in block
    ]
    if {entry[2] for entry in block} == PAIR or len(", ".join(entries)) < 90:
        return [f"  {name}: {{{', '.join(entries)}}}"]
    return [f"  {name}:", *(f"    {entry}" for entry in entries)]


def _word(text: str) -> str:
    """A name in a list or table of YAML, in quotes where it would be something else."""
    plain = re.fullmatch(r"[A-Za-z_$][A-Za-z0-9_.<>:|+*/-]*", text) and not re.search(r":(?![0-9A-Za-z])", text)
    return (
        text
        if plain and text.lower() not in {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
        else json.dumps(text)
    )
