"""Drafts every map of ppls with the map hidden, and says how many of its rows come out right, open and wrong.

    python scripts/drafts.py [NAME]...      architectures by PaddleSeg's class name; all without one

The source is ppls's model under PaddleSeg's names, the port the same class under ppls's, with weights of its own.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch

from ppls.converter.expected import recipe_config
from ppls.drafting.draft import draft
from ppls.errors import Error
from ppls.mappings.map_file import architectures
from ppls.mappings.map_index import on_recipe
from ppls.mappings.maps import Map
from ppls.mappings.targets import import_target


def drafted(map: Map, config: Mapping[str, Any], seconds: float = 120.0) -> dict[str, list[str]]:
    """The tensors of the model by what the draft says of them: certain, likely, open or wrong."""
    model = import_target(map)(**config)
    names = list(model.state_dict())
    rows = {target: row for row in draft(map, config, model, seconds=seconds).rows.rows for target in row.target}
    found: dict[str, list[str]] = {"certain": [], "likely": [], "open": [], "wrong": []}
    for name in names:
        wanted = [{pattern.fill(indices) for pattern in rule.targets} for rule, _, indices in map.fills.matches(name)]
        row = rows.get(name)
        if row is None or row.confidence == "open":
            found["open"].append(name)
        elif {*row.source} not in wanted:
            found["wrong"].append(name)
        else:
            found[row.confidence].append(name)
    return found


def main(names: list[str]) -> int:
    """Prints a line for each architecture; 1 where a row is wrong."""
    if unknown := [name for name in names if name not in architectures()]:
        print(f"no architecture {', '.join(unknown)}; there are {', '.join(architectures())}", file=sys.stderr)
        return 2
    torch.manual_seed(0)
    status = 0
    total = dict.fromkeys(("certain", "likely", "open", "wrong"), 0)
    for name in names or list(architectures()):
        map = architectures()[name]
        recipe = next(iter(map.recipes))
        map = on_recipe(map, recipe)
        started = time.process_time()
        try:
            found = drafted(map, recipe_config(map, recipe))
        except Error as error:
            print(f"{name:<20} {error}", flush=True)
            status = 1
            continue
        counts = {word: len(tensors) for word, tensors in found.items()}
        total = {word: total[word] + counts[word] for word in total}
        gc.collect()  # what was recorded stands in cycles
        examples = [*found["wrong"], *found["open"], *found["likely"]][:3]
        said = "  ".join(f"{counts[word]:>4} {word}" for word in counts)
        print(f"{name:<20} {said}  {time.process_time() - started:5.1f} s  {' '.join(examples)}", flush=True)
        status = status or int(counts["wrong"] > 0)
    share = total["certain"] / max(sum(total.values()), 1)
    print(f"{'all':<20} {'  '.join(f'{total[word]:>4} {word}' for word in total)}  {share:.1%} certain")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
