"""The options that a user gives: `--set KEY=VALUE`, and PaddleSeg's own config of the run with `--config RUN.yml`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ppls.checkpoint.converted_file import file_in, recorded
from ppls.checkpoint.reader import read
from ppls.errors import ConversionError, Error, UsageError
from ppls.mappings.backbone_options import WITHOUT_EFFECT, spread_option
from ppls.mappings.config_rules import Given
from ppls.mappings.forms import Size, plain_value
from ppls.mappings.map_index import map_called
from ppls.mappings.maps import Map
from ppls.mappings.patterns import lookup
from ppls.records import dataclass
from ppls.schema import Node, Part, Word, build
from ppls.shown import shown
from ppls.yaml_documents import YamlReader


def parse_setting(text: str) -> tuple[str, Any]:
    """`KEY=VALUE`, the value in YAML. Raises `UsageError`."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UsageError(f"--set {shown(text)}: expected KEY=VALUE, as in --set 'cm_bin_sizes=[1,3,6,8]'")
    place = f"--set {shown(key)}"
    return key, YamlReader(lambda place, why: UsageError(f"{place}: {why}")).text(value, lambda line: place).plain()


def given_by_overrides(map: Map, overrides: Mapping[str, Any]) -> dict[str, Given]:
    """What `overrides` say about the options of `map`, by dotted path.

    Raises:
        UsageError: there is no such option, or its value is none that an option may have.
        ConversionError: a backbone that the architecture does not have in ppls.
    """
    known = _known_options(map)
    given = {}
    for key, value in overrides.items():
        origin = f"--set {key}"
        for path, item in _spread(map, key, value, origin, UsageError).items():
            if path not in known:
                names = ", ".join(sorted(known))
                raise UsageError(f"{origin}: {map.name} has no option '{shown(path)}'; it has {names}")
            given[path] = Given(_plain(item, origin, UsageError), origin)
    return given


def given_by_preset(map: Map, name: str | None) -> dict[str, Given]:
    """The options of a backbone that `--arch` calls by the name of a preset, `ResNet50_vd`; none for another name."""
    for preset, values in map.presets.items():
        if name is not None and preset.lower() == name.lower():
            return {option: Given(value, f"--arch {name}") for option, value in values.items()}
    return {}


@dataclass
class Recorded:
    """What a converted file records of its own conversion.

    Attributes:
        file: the converted file.
        config: its options.
        assumed: those of them that nothing told then, by dotted path.
        upsample: how its model was asked to resize, where that is not as PaddleSeg has it.
    """

    file: Path
    config: dict[str, Any]
    assumed: set[str]
    upsample: str | None

    def given(self, map: Map, *, run: bool) -> dict[str, Given]:
        """What the file says about the options of `map`, by dotted path.

        How it was asked to resize is nothing that PaddleSeg does. Where the config of the `run` is given, that decides
        every option that PaddleSeg's class has.
        """
        others = set(map.upsample) if self.upsample is not None else set()
        given = {}
        for rule in map.options:
            if rule.path in others or (run and not rule.target_only):
                continue
            with suppress(KeyError):
                given[rule.path] = Given(lookup(self.config, rule.path), str(self.file))
        return given


def recorded_in(path: Path) -> Recorded | None:
    """What a converted file records of its conversion; None if it is no file that ppls wrote.

    Raises `CheckpointError` where its metadata is damaged.
    """
    file = file_in(path)
    if file.suffix != ".safetensors":
        return None
    metadata = read(file).metadata
    if not metadata.get("map_sha256"):
        return None
    config, assumed = (recorded(metadata, name, file) for name in ("config", "assumed"))
    return Recorded(file, config, set(assumed), metadata.get("upsample"))


@dataclass(eq=False, repr=False)
class _Dataset(Part):
    num_classes: Size | None = None


@dataclass(eq=False, repr=False)
class _Run(Part):
    """What is read of a config of a run: the model, and its number of classes where the model does not say it."""

    model: dict[str, Node] | None = None
    train_dataset: _Dataset | None = None
    val_dataset: _Dataset | None = None


def given_by_run(map: Map, path: Path, run: Node | None = None) -> dict[str, Given]:
    """What PaddleSeg's config of a run says about the options of `map`, by dotted path; `run` if it is loaded already.

    Raises:
        ConversionError: the file is no such config, of another architecture, or has an option that ppls's model lacks.
    """
    from ppls.converter.run_config import load_run  # not every conversion needs it

    said: _Run = build(run or load_run(path), _Run)
    if said.model is None:
        raise ConversionError(f"{path}: no `model:` section; is it PaddleSeg's config of the run?")
    if map.architecture is not None and "type" in said.model:
        name = build(said.model["type"], Word)
        if name != map.architecture:
            raise ConversionError(f"{path}: describes a {name}, the checkpoint is a {map.architecture}")
    given, strange, known = {}, [], _known_options(map)
    for dataset in (said.val_dataset, said.train_dataset):  # where PaddleSeg looks if the model does not say
        if dataset is not None and dataset.num_classes is not None and "num_classes" in known:
            given["num_classes"] = Given(dataset.num_classes, str(path))
    for key, node in said.model.items():
        if key in WITHOUT_EFFECT:
            continue
        for option, value in _spread(map, key, build(node, Any), node.place, ConversionError).items():
            if option in known:
                plain = _plain(value, f"{node.place}: {option}", ConversionError)
                given[option] = Given(plain, str(path), node.place)
            else:
                strange.append(f"model.{option}: {shown(repr(value))}")
    if strange:
        raise ConversionError(f"{path}: options that ppls's {map.title} does not have:", strange[:50])
    return given


def _spread(map: Map, key: str, value: Any, origin: str, error: type[Error]) -> dict[str, Any]:
    """As `spread_option`, and a table of options one by one.

    Another backbone that the architecture may stand on is said to be none of these tensors'.
    """
    name = value.get("type") if isinstance(value, Mapping) else value
    included = next((included for included in map.includes if included.option == key), None)
    if included is not None and isinstance(name, str):
        named = map_called(name)
        if named is not None and named.name != included.map.name and named.name in map.backbones:
            raise ConversionError(f"{origin}: says the backbone {shown(name)}, the tensors are of {included.map.title}")
    if included is None and isinstance(value, Mapping) and any(rule.path.startswith(f"{key}.") for rule in map.options):
        return {f"{key}.{option}": item for option, item in value.items()}
    return spread_option(map, key, value, origin, error)


def _known_options(map: Map) -> set[str]:
    return {rule.path for rule in map.options} | set(map.optional_modules)


def _plain(value: Any, origin: str, error: type[Error]) -> Any:
    try:
        return plain_value(value)
    except ValueError as reason:
        raise error(f"{origin}: {reason}") from None
