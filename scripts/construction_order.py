"""Writes ppls/mappings/construction/: the layers of every architecture in the order in which PaddleSeg builds them.

    python scripts/construction_order.py [NAME ...]     writes them anew (needs paddlepaddle and paddleseg)
    python scripts/construction_order.py --check ...    exit status 1 if one is not current

Paddle names a variable by the layer's type and how many of that type were built before it (`conv2d_29.w_0`), and an
export under PIR holds nothing else. The order of construction turns these names into structured ones; the order of the
state dict would not: PP-LiteSeg builds 15 BatchNorms out of it. NAME is an architecture's or its map's; one that is not
in paddleseg is named alone, and `PPLS_PADDLESEG` names a checkout that has it.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import paddle

sys.path.insert(0, str(Path(__file__).parents[1]))

from ppls.converter.alignment import BUFFER, TABLES, split_variable
from ppls.converter.expected import recipe_config
from ppls.converter.reference import upstream_model
from ppls.errors import UsageError
from ppls.mappings.map_file import architectures
from ppls.mappings.map_index import on_recipe
from ppls.mappings.maps import Map
from ppls.parity.embedded import embedded_map
from ppls.parity.reference.operators import replace_operators

# A layer's name, its type, and by the end of its variable's name each tensor's own name and rank
Row = tuple[str, str, dict[str, str]]

# Dead since the first release: PaddleSeg 2.5 built it after the features of STDC, and wrote it
LAST = "conv_last"


def rows(map: Map, recipe: str, further: Mapping[str, object]) -> list[Row]:
    """The layers, those of each type in the order of their construction."""
    from ppls.parity.reference.network import build

    with paddle.utils.unique_name.guard():  # every counter begins with 0, as in a process of its own
        model = build(upstream_model(on_recipe(map, recipe), {**recipe_config(map, recipe), **further}))
    layers: dict[tuple[str, int], Row] = {}
    for name, tensor in model.state_dict().items():
        kind, counter, end = split_variable(tensor.name) or (BUFFER, int(tensor.name.rpartition("_")[2]), "")
        layer, _, own = name.rpartition(".")
        row = layers.setdefault((kind, counter), (layer, kind, {}))
        if row[0] == layer:  # otherwise it is another name of the same layer
            row[2][end] = f"{own}:{len(tensor.shape)}"
    return [*_with_gaps(layers)]


def _with_gaps(layers: Mapping[tuple[str, int], Row]) -> Iterator[Row]:
    """The layers in order, and one without tensors for each that PaddleSeg builds between them and drops again."""
    last: tuple[str, int] | None = None
    for kind, counter in sorted(layers):
        if last is not None and last[0] == kind != BUFFER:
            yield from ((f"dropped.{kind}_{gap}", kind, {}) for gap in range(last[1] + 1, counter))
        yield layers[kind, counter]
        last = kind, counter


def of_release_2_5(layers: list[Row], backbone: str) -> list[Row]:
    """PaddleSeg 2.5 built a `conv_last` after the features of STDC, without using it, and UAFM had no `_scale`."""
    found = [row for row in layers if row[1] in ("conv2d", "batch_norm2d")]
    for kind, own in (("conv2d", "conv"), ("batch_norm2d", "bn")):
        last = max(i for i, row in enumerate(found) if row[1] == kind and row[0].startswith(f"{backbone}.features."))
        found.insert(last + 1, (f"{backbone}.{LAST}.{own}", kind, found[last][2]))
    return found


def further(map: Map, recipe: str) -> Iterator[dict[str, object]]:
    """Options with which upstream may build other layers: the values by which the map tells tensors apart.

    With the first recipe alone: a head is tried with every backbone that stands in the table.
    """
    yield {}
    for rule in map.options if recipe == next(iter(map.recipes)) else ():
        if "." not in rule.path:
            yield from ({rule.path: case.value} for case in getattr(rule.reading, "cases", ()))


def variants(map: Map) -> Iterator[tuple[str, list[Row]]]:
    for recipe in map.recipes:
        for options in further(map, recipe):
            label = " ".join([recipe, *(f"{key}={value}" for key, value in options.items())])
            try:
                layers = rows(map, recipe, options)
            except Exception:
                if not options:
                    raise
                continue  # upstream does not build the recipe with this value
            yield label, layers
            for included in on_recipe(map, recipe).includes:
                stdc = any(name.startswith(f"{included.source}.features.") for name, _, _ in layers)
                if stdc and any(dead.pattern.text == f"{included.source}.{LAST}" for dead in map.dead):
                    yield f"{label}, PaddleSeg 2.5", of_release_2_5(layers, included.source)


def table(map: Map) -> str:
    """A file's content; variants that build the same layers stand in it once."""
    distinct: dict[tuple[str, ...], list[str]] = {}
    for label, layers in variants(map):
        lines = (
            " ".join([name, kind, *(f"{end}={own}" for end, own in sorted(ends.items()))])
            for name, kind, ends in layers
        )
        labels = distinct.setdefault(tuple(lines), [])
        if not labels or "=" not in label:
            labels.append(label)
    entries = [{"variant": "; ".join(labels), "layers": list(lines)} for lines, labels in distinct.items()]
    return json.dumps({"architecture": map.architecture, "variants": entries}, indent=0) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    TABLES.mkdir(exist_ok=True)
    checkout = os.environ.get("PPLS_PADDLESEG")
    if checkout and options.names:
        replace_operators(Path(checkout))
        sys.path.insert(0, checkout)
    from ppls.parity.reference.network import JobError, find_class

    try:
        named = {embedded_map(name).name for name in options.names}
    except UsageError as error:
        parser.error(str(error))
    stale = []
    for map in architectures().values():
        if named and map.name not in named:
            continue
        try:
            find_class(str(map.source))
        except JobError:  # a model of another repository: the map was made without PaddleSeg
            continue
        path, content = TABLES / f"{map.name}.json", table(map)
        if not options.check:
            path.write_text(content)
        elif not path.exists() or path.read_text() != content:
            stale.append(path.name)
    if stale:
        sys.exit(f"not what PaddleSeg builds: {', '.join(stale)}; run make tables")


if __name__ == "__main__":
    main()
