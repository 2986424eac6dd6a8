"""The way back: a PyTorch state dict to a file that `paddle.load` and PaddleSeg accept, by the map's inverse."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from ppls.checkpoint.checkpoint import StoredTensor
from ppls.checkpoint.converted_file import file_in, recorded
from ppls.checkpoint.paddle_file import write_paddle_file
from ppls.checkpoint.reader import read
from ppls.checkpoint.torch_file import is_torch_file, read_torch_file
from ppls.completeness import differences
from ppls.converter.expected import expected_shapes
from ppls.converter.given import given_by_overrides
from ppls.converter.infer import infer_model_config
from ppls.converter.inputs import check_suffix, weight_files
from ppls.converter.recognise import SHARE, named_map
from ppls.converter.translate import Dropped, Translation, translate_back, translate_back_by_rules, wrong_types
from ppls.destination import check_destination
from ppls.errors import ConversionError
from ppls.mappings.map_file import architectures, open_map, shipped_map
from ppls.mappings.map_index import map_called, on_backbone, recorded_map
from ppls.mappings.maps import Map
from ppls.mappings.patterns import lookup, natural_key
from ppls.records import dataclass
from ppls.shown import listed, shown

# What wraps a model puts in front of every name: DistributedDataParallel, torch.compile.
_WRAPPERS = ("module.", "_orig_mod.")


@dataclass
class BackConversion:
    """What became of a PyTorch state dict: the outcome of `ppls.convert_back`.

    Attributes:
        source: the PyTorch file.
        map: the map whose inverse was applied.
        config: the model's options.
        tensors: Paddle's, lazily, by structured name: the map's constants and aliases among them.
        read: how many tensors the source holds.
        dropped: tensors of the source that Paddle's model does not have, each with the reason.
        name_table: Paddle's variable names by structured name, as far as the source kept them.
        warnings: what a user should know.
        destination: the file, once it is written.
    """

    source: Path
    map: Map
    config: dict[str, Any]
    tensors: dict[str, StoredTensor]
    read: int
    dropped: list[Dropped]
    name_table: dict[str, str]
    sha256: str
    warnings: list[str] = field(default_factory=list)
    destination: Path | None = None

    @property
    def architecture(self) -> str:
        """PaddleSeg's class name: of the model, or of a backbone alone."""
        return self.map.title

    def to_json(self) -> dict[str, Any]:
        """The object that `ppls-convert --to paddle --json` prints."""
        return {
            "source": str(self.source),
            "destination": None if self.destination is None else str(self.destination),
            "architecture": self.architecture,
            "era": None,
            "config": self.config,
            "assumed": {},
            "tensors": {
                "read": self.read,
                "written": len(self.tensors),
                "dropped": [{"name": dropped.name, "why": dropped.why} for dropped in self.dropped],
            },
            "sha256": self.sha256,
            "warnings": self.warnings,
        }


def convert_back(
    source: str | Path,
    destination: str | Path | None = None,
    *,
    architecture: str | None = None,
    map: str | Path | Map | None = None,
    allow_import: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    force: bool = False,
) -> BackConversion:
    """Converts a PyTorch state dict of ppls's model to PaddleSeg's, in today's scheme.

    Args:
        source: a file that ppls converted, a hub folder, or a state dict of a model fine-tuned elsewhere
            (`.safetensors`, or `.pt` as `torch.save` writes it).
        destination: the `.pdparams` to write; None to keep the result in memory.
        architecture: PaddleSeg's class name; recognised where not given.
        map: the user's own map, if the file was converted with one.
        allow_import: modules that such a map may name classes of too; they are imported.
        overrides: options that no tensor shows.
        force: replace an existing destination.

    Raises:
        CheckpointError: the source cannot be read.
        ConversionError: it does not fit its model, or its map has rules that cannot be reversed; all are listed.
    """
    source = Path(source)
    map = open_map(map, allow_import)
    if destination is not None:
        destination = Path(destination)
        check_destination(
            destination, force=force, inputs={"source": weight_files(source), "map": [map.path if map else None]}
        )
        check_suffix(destination, ".pdparams")
    state = _read_state_dict(source)
    dropped = [Dropped(n, "PyTorch's counter of batches, which Paddle does not keep") for n in state.counters]
    chosen = _choose_map(state, named_map(architecture, map))
    translation, config = _translate(state, chosen, dict(overrides or {}))
    problems = list(translation.problems)
    try:
        expected = expected_shapes(chosen, config)
    except ConversionError as error:
        raise ConversionError(f"{source}: {error}", problems) from None
    if expected is not None:
        shapes = {name: tensor.shape for name, tensor in state.tensors.items()}
        problems += [*differences(expected, shapes), *wrong_types(state.tensors)]
    if problems:
        raise ConversionError(f"{source}: does not fit {chosen.title}:{state.hint(chosen)}", problems)
    tensors = translation.tensors | translation.unused
    order = {name: i for i, name in enumerate(state.name_table)}
    names = sorted(tensors, key=lambda name: (order.get(name, len(order)), natural_key(name)))
    result = BackConversion(
        source,
        chosen,
        config,
        {name: tensors[name] for name in names},
        len(state.tensors) + len(state.counters),
        dropped,
        {name: variable for name, variable in state.name_table.items() if name in tensors},
        state.sha256,
        [*state.warnings(chosen), *_unused(translation)],
    )
    if destination is not None:
        write_paddle_file(
            destination, result.tensors, result.name_table, force=force, before_naming=state.check_unchanged
        )
        result.destination = destination
    return result


def _unused(translation: Translation) -> list[str]:
    names = listed(list(translation.unused))
    return [f"written as zeros, since no forward pass uses them: {names}"] if names else []


@dataclass
class _StateDict:
    path: Path
    file: Path
    tensors: dict[str, StoredTensor]
    counters: list[str]
    metadata: dict[str, str]
    sha256: str
    check_unchanged: Callable[[], None]

    @property
    def name_table(self) -> dict[str, str]:
        return recorded(self.metadata, "name_table", self.path) if "name_table" in self.metadata else {}

    def hint(self, map: Map) -> str:
        """What to give where the file was converted with a map of the user's own."""
        if self.metadata.get("map_sha256", map.digest) == map.digest:
            return ""
        return f" it was converted with a map {self.metadata.get('map')} of other content; give that with --map FILE;"

    def warnings(self, map: Map) -> list[str]:
        """What did not survive the way there."""
        warnings = []
        if self.metadata.get("map_sha256", map.digest) != map.digest:
            warnings.append(f"{self.path} was converted with another version of the map {map.name}")
        if source := self.metadata.get("trained_from"):
            warnings.append(
                f"{self.path} was trained or edited in PyTorch, from the checkpoint {shown(source)}: it is not that one"
            )
        if self.metadata.get("dtype"):
            dtype = self.metadata["dtype"]
            warnings.append(f"{self.path} was converted with --dtype {dtype}: its weights stay rounded to that")
        return warnings


def _read_state_dict(path: Path) -> _StateDict:
    checkpoint = read_torch_file(path) if path.is_file() and is_torch_file(path) else read(file_in(path))
    if "safetensors" not in checkpoint.format and "PyTorch" not in checkpoint.format:
        raise ConversionError(f"{path}: is a {checkpoint.format}; the way back starts from PyTorch's weights")
    tensors = dict(checkpoint.tensors)
    for wrapper in _WRAPPERS * 2:  # either may stand around the other
        if tensors and all(name.startswith(wrapper) for name in tensors):
            tensors = {name.removeprefix(wrapper): tensor for name, tensor in tensors.items()}
    counters = [name for name in tensors if name.endswith("num_batches_tracked")]
    kept = {name: tensor for name, tensor in tensors.items() if name not in counters}
    if not kept:
        raise ConversionError(f"{path}: holds no tensors")
    return _StateDict(
        path,
        checkpoint.path,
        kept,
        counters,
        dict(checkpoint.metadata),
        checkpoint.sha256,
        checkpoint.check_unchanged,
    )


def _choose_map(state: _StateDict, named: Map | None) -> Map:
    """The map given, recorded, or the one whose targets have these names; on the backbone that the tensors are of."""
    map = named or recorded_map(state.metadata) or map_called(state.metadata.get("architecture", ""))
    map = map or _recognise(state)
    if len(map.backbones) < 2:
        return map
    inside = f"{map.includes[0].target}."
    bare = [name.removeprefix(inside) for name in state.tensors if name.startswith(inside)]
    return on_backbone(map, max(map.backbones, key=lambda name: _filled(shipped_map(name), bare)))


def _filled(map: Map, names: Collection[str]) -> float:
    """The share of the names that are a target's."""
    return sum(any(True for _ in map.fills.matches(name)) for name in names) / max(len(names), 1)


def _used(map: Map, names: Collection[str]) -> float:
    """The share of a map's targets outside its backbone that have one of the names."""
    inside = tuple(f"{included.target}." for included in map.includes)
    targets = {target.text for rule in map.rules for target in rule.targets if not target.text.startswith(inside)}
    filled = {target.text for name in names for rule, *_ in map.fills.matches(name) for target in rule.sources}
    return len(targets & filled) / max(len(targets), 1)


def _recognise(state: _StateDict) -> Map:
    """The map whose own targets have these names."""
    shares = {}
    for name, map in architectures().items():
        inside = tuple(f"{included.target}." for included in map.includes)
        shares[name] = _filled(map, [tensor for tensor in state.tensors if not tensor.startswith(inside)])
    best = max(shares.values())
    fitting = [name for name, share in shares.items() if share == best]
    if best < SHARE:
        names = ", ".join(list(state.tensors)[:3])
        raise ConversionError(
            f"{state.path}: not the weights of a model of ppls: its tensors are called {names}... "
            f"Known are {', '.join(shares)}; for a model of your own give its map with --map FILE"
        )
    if len(fitting) > 1:  # one may have all that another has, and more
        used = {name: _used(architectures()[name], state.tensors) for name in fitting}
        fitting = [name for name in fitting if used[name] == max(used.values())]
    if len(fitting) > 1:
        raise ConversionError(f"{state.path}: fits {' and '.join(fitting)} equally; say which with --arch NAME")
    return architectures()[fitting[0]]


def _translate(state: _StateDict, map: Map, overrides: dict[str, Any]) -> tuple[Translation, dict[str, Any]]:
    map.check_work(len(state.tensors))
    given = given_by_overrides(map, overrides)
    if "config" in state.metadata:
        config = recorded(state.metadata, "config", state.path)
        problems = [
            f"{option}: the file says {value!r}, {user.origin} says {user.value!r}"
            for option, user in given.items()
            if (value := lookup(config, option)) != user.value
        ]
        if problems:
            return Translation(problems=problems), config
    else:  # the constants depend on options, which Paddle's tensors reveal
        plain = translate_back_by_rules(state.tensors, map)
        shapes = {name: tensor.shape for name, tensor in plain.tensors.items()}
        inferred = infer_model_config(map, shapes, given)
        config = inferred.config
        if inferred.problems:
            return Translation(problems=[*plain.problems, *inferred.problems]), config
    return translate_back(state.tensors, map, config), config
