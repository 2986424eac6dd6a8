"""A model to train from scratch: the one that a run's config describes, drawn as PaddleSeg draws it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor

from ppls.checkpoint.download import download
from ppls.checkpoint.reader import read
from ppls.converter.alignment import Layer, construction_orders
from ppls.converter.given import given_by_run
from ppls.converter.published import cache_folder
from ppls.converter.translate import translate_back_by_rules, translate_by_rules
from ppls.converter.usage import data_set_of_run, transforms_of_run
from ppls.errors import ConversionError, UsageError, first_line
from ppls.images.transforms import Transforms
from ppls.images.usage import Usage
from ppls.mappings.config_rules import put
from ppls.mappings.map_file import architectures
from ppls.mappings.map_index import on_named
from ppls.mappings.maps import Map
from ppls.mappings.targets import import_target
from ppls.models.base import SegmentationModel
from ppls.models.initialization import draw
from ppls.models.stored import stored_from_torch, to_torch
from ppls.schema import Node, Word, build
from ppls.shown import listed, shown
from ppls.training.data.classes import classes_of

_PADDLES_HOST = ".bcebos.com"


def new_model(document: Node, path: Path) -> tuple[Map, SegmentationModel, list[str]]:
    """The model that a config describes, with every parameter drawn as PaddleSeg draws it.

    Args:
        document: the config.
        path: its file, for messages.

    Returns:
        Its map, the model, and what a user should know: what `pretrained` weights filled.

    Raises:
        ppls.ConversionError: it has an option that the model does not have.
        ppls.UsageError: ppls has no such architecture, none on that backbone, or the model cannot be built so.
        ppls.CheckpointError: `pretrained` weights cannot be read.
    """
    section: dict[str, Node] = document.value["model"].value
    name = build(section["type"], Word) if "type" in section else None
    if name is None or name not in architectures():
        known = ", ".join(sorted(architectures()))
        raise UsageError(f"{path}: the model is {shown(repr(name), 80)}, which is none of {known}")
    map = architectures()[name]
    backbone = next((_type_of(section[included.option]) for included in map.includes if included.option in section), "")
    map = on_named(map, backbone) if backbone else map
    config: dict[str, Any] = {}
    for option, given in given_by_run(map, path, document).items():
        put(config, option, given.value)
    count = classes_of(document)
    if count is not None and config.setdefault("num_classes", count) != count:
        raise UsageError(f"{path}: the model has {config['num_classes']} classes, the data set has {count}")
    kind = import_target(map)
    try:
        model = kind(**config)
    except Exception as error:  # a constructor raises what it likes when its options are wrong
        raise UsageError(f"{path}: no {map.title} with {shown(config)}: {first_line(error)}") from None
    assert isinstance(model, SegmentationModel)
    draw(model)
    said = list(_fill(model, map, section, path))
    model.provenance = {
        **model.metadata(),
        **_usage(document, model).metadata,
        "name_table": json.dumps(_name_table(map, model.state_dict())),
    }
    return map, model, said


def _type_of(node: Node) -> str:
    found = node.value["type"] if isinstance(node.value, dict) and "type" in node.value else node
    return str(build(found, Word))


def _usage(document: Node, model: SegmentationModel) -> Usage:
    """What the config says of preprocessing and classes, for the file of the model."""
    try:
        steps, labels = transforms_of_run(document), data_set_of_run(document)
        preprocessing = None if steps is None else Transforms.of(steps)
    except ConversionError:  # of an evaluation that ppls cannot do; it says so where it is asked for
        return Usage()
    if labels is None or len(labels.classes) != model.num_classes:
        return Usage(preprocessing)
    return Usage(preprocessing, labels.classes, labels.palette)


def _fill(model: SegmentationModel, map: Map, section: Mapping[str, Node], path: Path) -> Iterator[str]:
    """Fills what `pretrained` says, the backbone's before the whole model's; what does not fit stays drawn."""
    places = [(included.option, f"{included.source}.") for included in map.includes]
    for option, prefix in [*places, ("", "")]:
        table = section if not option else section[option].value if option in section else {}
        node = table.get("pretrained") if isinstance(table, dict) else None
        if node is None or node.value in (None, ""):
            continue
        file = _weights(node, ".".join(filter(None, ("model", option, "pretrained"))))
        tensors = {f"{prefix}{name}": tensor for name, tensor in read(file).tensors.items()}
        own = model.state_dict()
        found = {
            name: tensor
            for name, tensor in translate_by_rules(tensors, map).tensors.items()
            if name in own and tensor.shape == tuple(own[name].shape)
        }
        with torch.no_grad():
            for name, tensor in to_torch(found).items():
                own[name].copy_(tensor)
        inside = [name for name in own if not option or name.startswith(f"{option}.")]
        lacking = [name for name in inside if name not in found]
        yield f"{file}: fills {len(found)} of {len(inside)} tensors" + (
            f"; drawn are {listed(lacking, 5)}" if lacking else ""
        )


def _weights(node: Node, key: str) -> Path:
    """The file that `pretrained` says; what PaddleSeg publishes is downloaded once, as there."""
    said = build(node, str)
    address = urlparse(said)
    if address.scheme == "https" and (address.hostname or "").endswith(_PADDLES_HOST):
        name = f"{hashlib.sha256(said.encode()).hexdigest()[:12]}-{Path(address.path).name}"
        path = cache_folder() / "pretrained" / name
        download(said, path)
        return path
    if address.scheme or not Path(said).exists():
        raise UsageError(
            f"{node.place}: {shown(said, 300)} is no file here, nor of PaddleSeg's weights; give --set {key}=FILE, or "
            f"--set {key}=null to begin without"
        )
    return Path(said)


def _name_table(map: Map, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """What Paddle would call the variables, by which its optimizer keeps its state; empty where that is not known."""
    stored = {name: stored_from_torch(tensor) for name, tensor in tensors.items()}
    names = set(translate_back_by_rules(stored, map).tensors)
    best: dict[str, str] = {}
    for layers in construction_orders().get(map.title, []):
        table = dict(_variables(layers))
        if names <= table.keys() and (not best or len(table) < len(best)):
            best = table
    return best


def _variables(layers: list[Layer]) -> Iterator[tuple[str, str]]:
    """Paddle's names by structured ones, for a model that is the first of its process."""
    counts: dict[str, int] = {}
    for layer in layers:
        number = counts.get(layer.kind, 0)
        counts[layer.kind] = number + 1
        for end, (own, _) in layer.tensors.items():
            yield f"{layer.name}.{own}", f"{layer.kind}_{number}.{end}"
