"""The embedded default: what `ppls-verify` runs on when it is given no checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ppls.converter.expected import expected_sides, recipe_config
from ppls.converter.given import given_by_overrides
from ppls.converter.reference import upstream_model
from ppls.errors import UsageError
from ppls.mappings.config_rules import put
from ppls.mappings.map_index import map_called, on_recipe, titles
from ppls.mappings.maps import Map
from ppls.parity.inputs import calibration_crops
from ppls.parity.jobs import BuildJob
from ppls.parity.process import ReferenceProcess

ARCHITECTURE = "PPLiteSeg"  # where none is named


def embedded_map(architecture: str | None = None) -> Map:
    """The map of the architecture that is built, named by its class or its map. Raises `UsageError` for any other."""
    map = map_called(architecture or ARCHITECTURE)
    if map is None or not map.recipes:
        raise UsageError(f"--arch {architecture}: no model to build; there is one of {', '.join(titles())}")
    return map


def embedded_name(architecture: str | None = None, overrides: Mapping[str, Any] | None = None) -> str:
    """What reports call it: the first recipe that PaddleSeg publishes of the architecture, and what differs from it."""
    map = embedded_map(architecture)
    recipe = next(iter(map.recipes))
    given = {"num_classes": map.recipes[recipe]["num_classes"], **(overrides or {})}
    options = [f"{given.pop('num_classes')} classes", *(f"{name} {json.dumps(value)}" for name, value in given.items())]
    return f"embedded default ({recipe}, {', '.join(options)}, built by PaddleSeg)"


def build_embedded_default(
    process: ReferenceProcess,
    folder: Path,
    seed: int = 0,
    *,
    architecture: str | None = None,
    recipe: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    crop: tuple[int, int] = (128, 256),
    timeout: float | None = None,
) -> Path:
    """Has PaddleSeg build and save the model into the process's folder; returns the checkpoint's path.

    He-scaled weights, statistics calibrated on crops of photographs and on noise, logits of about 1: a witness in which
    a fault of any layer moves the output by more than rounding does. The same seed gives the same weights. `recipe` is
    one of the map's, by default the first, `overrides` what differs from it, by dotted path; `crop` is the height and
    width of what the statistics are taken on, at least: a model may need more.
    """
    map = embedded_map(architecture)
    recipe = recipe or next(iter(map.recipes))
    map, config = on_recipe(map, recipe), recipe_config(map, recipe)
    for path, given in given_by_overrides(map, overrides or {}).items():
        put(config, path, given.value)
    least = expected_sides(map, config).least_size
    height, width = (max(side, least) for side in crop)
    np.save(folder / "crops.npy", calibration_crops(seed, height=height, width=width))
    checkpoint = folder / "embedded.pdparams"
    job = BuildJob(
        model=upstream_model(map, config),
        seed=seed,
        crops="crops.npy",
        classifiers=tuple(pattern.expression for pattern in map.classifiers),
        exponents=tuple(pattern.expression for pattern in map.exponents),
        checkpoint=str(checkpoint),
        constants=tuple(constant.pattern.expression for constant in map.constants),
    )
    process.run(job, timeout)
    return checkpoint
