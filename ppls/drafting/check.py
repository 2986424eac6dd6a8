"""Whether a map is whole: well-formed, settled, and for a checkpoint and a model without anything left over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from ppls.converter.convert import open_model, plan_conversion
from ppls.converter.recognise import on_its_backbone
from ppls.drafting.draft import built
from ppls.drafting.units import COUNTER
from ppls.errors import ConversionError
from ppls.mappings.map_file import open_map
from ppls.mappings.maps import Map
from ppls.shown import listed


@dataclass
class Checked:
    """The outcome of `check_map`.

    Attributes:
        problems: what keeps the map from being used, a sentence each.
        one_way: rules that have no way back.
        compared: what the map was held against: `checkpoint`, `model`.
    """

    map: Map
    problems: list[str] = field(default_factory=list)
    one_way: list[str] = field(default_factory=list)
    compared: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The object that `ppls map check --json` prints."""
        return {
            "map": str(self.map.path),
            "architecture": self.map.title,
            "layers": len(self.map.rows),
            "rules": len(self.map.rules),
            "one_way": self.one_way,
            "compared": self.compared,
            "problems": self.problems,
        }


def check_map(
    map: str | Path,
    checkpoint: str | Path | None = None,
    *,
    model: str | nn.Module | None = None,
    allow_import: Sequence[str] = (),
    config: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Checked:
    """Says what is wrong with a map: what is open, and of a checkpoint and a model what is unused, unfilled or both.

    Args:
        map: its file, or the name of one of ppls's.
        checkpoint: of the source, which the map should use up.
        model: the port, or where a function is that makes it: `MODULE:CALLABLE`. It takes a checkpoint too.

    Raises:
        MapError: it is no map: file, line, rule. CheckpointError: the checkpoint cannot be read.
    """
    opened = open_map(map, allow_import)
    assert opened is not None
    result = Checked(opened)
    result.one_way = [str(rule) for rule in opened.rules if not rule.invertible]
    result.problems += [
        f"line {each.line}: {each.name} is open: {listed(each.candidates) or 'no candidate'}" for each in opened.open
    ]
    if checkpoint is None:
        return result
    result.compared.append("checkpoint")
    options: dict[str, Any] = {"config": config, "overrides": overrides}
    settled = replace(opened, open=())
    read = open_model(checkpoint, settled, **options)
    try:
        plan = plan_conversion(read, replace(on_its_backbone(settled, read), open=()), **options)
    except ConversionError as error:
        result.problems += error.problems or [str(error)]
        return result
    if model is not None:
        result.compared.append("model")
        filled = {name: tensor.shape for name, tensor in plan.tensors.items()}
        result.problems += _against(built(model), filled, opened)
    return result


def _against(model: nn.Module, filled: Mapping[str, tuple[int, ...]], map: Map) -> list[str]:
    """What the model has that is not filled, aliases left out, and the other way round."""
    has = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    tensors = model.state_dict(keep_vars=True)
    done = {id(tensors[name]) for name in filled if name in tensors}
    problems = [f"{name}: the model has no such tensor" for name in filled if name not in has]
    problems += [
        f"{name}: {list(filled[name])} for {list(has[name])}"
        for name in filled
        if name in has and filled[name] != has[name]
    ]
    problems += [
        f"{name}: {list(shape)} is not filled"
        for name, shape in has.items()
        if id(tensors[name]) not in done
        and not name.endswith(COUNTER)
        and not any(pattern.match_within(name) for pattern in map.keep)
    ]
    return problems
