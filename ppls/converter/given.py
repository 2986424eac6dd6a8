"""The options that a user gives: `--set KEY=VALUE`, and PaddleSeg's own config of the run with `--config RUN.yml`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppls.converter import yaml_text
from ppls.converter.config_rules import Given
from ppls.converter.maps import Map
from ppls.errors import ConversionError, UsageError

# Options of PaddleSeg's configs that say nothing about the function that the model computes.
_WITHOUT_EFFECT = ("type", "pretrained", "relative_lr", "data_format")


def parse_setting(text: str) -> tuple[str, Any]:
    """`KEY=VALUE`, the value in YAML. Raises `UsageError`."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {text}: expected KEY=VALUE, as in --set 'cm_bin_sizes=[1,3,6,8]'")
    try:
        return key.strip(), yaml_text.load(value)
    except yaml_text.YamlError as error:
        raise UsageError(f"--set {text}: the value is not YAML: {error}") from None


def given_by_overrides(map: Map, overrides: Mapping[str, Any]) -> dict[str, Given]:
    """What `overrides` say about the options of `map`, by dotted path. Raises `UsageError` for an unknown option."""
    given = {}
    for key, value in overrides.items():
        origin = f"--set {key}"
        known = _known_options(map)
        for path, item in _spread(map, key, value, origin).items():
            if path not in known:
                raise UsageError(f"{origin}: {map.name} has no option {path!r}; it has {', '.join(sorted(known))}")
            given[path] = Given(item, origin)
    return given


def given_by_preset(map: Map, name: str | None) -> dict[str, Given]:
    """The options of a backbone that `--arch` calls by the name of a preset, `ResNet50_vd`; none for another name."""
    for preset, values in map.presets.items():
        if name is not None and preset.lower() == name.lower():
            return {option: Given(value, f"--arch {name}") for option, value in values.items()}
    return {}


def given_by_run(map: Map, path: Path) -> dict[str, Given]:
    """What PaddleSeg's config of a run says about the options of `map`, by dotted path.

    Raises:
        ConversionError: the file is no such config, of another architecture, or has an option that ppls's model lacks.
    """
    run = load_run(path)
    model = run.get("model")
    if not isinstance(model, dict):
        raise ConversionError(f"{path}: no `model:` section; is it PaddleSeg's config of the run?")
    if map.architecture is not None and model.get("type", map.architecture) != map.architecture:
        raise ConversionError(f"{path}: describes a {model['type']}, the checkpoint is a {map.architecture}")
    origin = str(path)
    options = {key: value for key, value in model.items() if key not in _WITHOUT_EFFECT}
    for section in ("train_dataset", "val_dataset"):  # where PaddleSeg looks if the model does not say
        dataset = run.get(section)
        if isinstance(dataset, dict) and "num_classes" in dataset:
            options.setdefault("num_classes", dataset["num_classes"])
    known = _known_options(map)
    given, strange = {}, []
    for key, value in options.items():
        for option, item in _spread(map, key, value, origin).items():
            if option in known:
                given[option] = Given(item, origin)
            else:
                strange.append(f"model.{option}: {item!r}")
    if strange:
        raise ConversionError(f"{path}: options that ppls's {map.architecture} does not have:", strange)
    return given


def presets(map: Map) -> dict[str, dict[str, Any]]:
    """The configs that have a name, of the backbones that `map` includes: `{"STDC1": {"layers": [2, 2, 2], ...}}`."""
    return {name: dict(values) for included in map.includes for name, values in included.map.presets.items()}


def _known_options(map: Map) -> set[str]:
    return {rule.path for rule in map.options} | set(map.optional_modules)


def _spread(map: Map, key: str, value: Any, origin: str) -> dict[str, Any]:
    """An option as dotted paths: a backbone's name or config becomes the options that it stands for."""
    included = next((included for included in map.includes if included.option == key), None)
    if included is None:
        return {key: value}
    config = {"type": value} if isinstance(value, str) else dict(value) if isinstance(value, dict) else None
    if config is None:
        raise UsageError(f"{origin}: expected a backbone's name or config, got {value!r}")
    name = str(config.pop("type", ""))
    known = {preset.lower(): values for preset, values in included.map.presets.items()}
    own_class = included.map.source.rsplit(".", 1)[-1]
    if name.lower() not in known and name not in ("", own_class):
        supported = ", ".join([*included.map.presets, own_class])
        raise ConversionError(f"{origin}: {map.architecture} on {name} is not supported; ppls knows {supported}")
    options = {
        "type": own_class,
        **known.get(name.lower(), {}),
        **{k: v for k, v in config.items() if k not in _WITHOUT_EFFECT},
    }
    return {f"{key}.{option}": item for option, item in options.items()}


def load_run(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A PaddleSeg config with the files that it is based on (`_base_`) merged in, as PaddleSeg merges them."""
    try:
        content = yaml_text.load(path.read_bytes())
    except OSError as error:
        raise ConversionError(f"{path}: cannot be read: {error.strerror}") from None
    except yaml_text.YamlError as error:
        raise ConversionError(f"{path}{f':{error.line}' if error.line else ''}: not YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConversionError(f"{path}: not a config: no `key: value` pairs in it")
    base = content.pop("_base_", None)
    if base is None:
        return content
    base_path = path.parent / str(base)
    if base_path.resolve() in seen:
        raise ConversionError(f"{path}: is based on itself, through {base}")
    return _merged(load_run(base_path, (*seen, path.resolve())), content)


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    if own.pop("_inherited_", True) is False:
        return own
    merged = dict(base)
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merged(base[key], value) if both else value
    return merged
