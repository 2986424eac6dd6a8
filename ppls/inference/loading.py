"""`ppls.load`: from a converted file, a hub folder or any Paddle file to a model that is ready to run."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from ppls.checkpoint.converted_file import file_in, recorded
from ppls.checkpoint.reader import read
from ppls.converter.conversion import Conversion
from ppls.converter.convert import convert
from ppls.converter.published import find_published
from ppls.converter.usage import usage_of
from ppls.errors import ConversionError, Error, NamelessError, UnrecognisedError, UsageError
from ppls.images.usage import Usage
from ppls.mappings.config_rules import put
from ppls.mappings.map_file import architectures
from ppls.mappings.map_index import map_called, recorded_map, titles
from ppls.mappings.targets import import_target
from ppls.models.base import loaded_model
from ppls.models.refitting import HEADS_OF_TRAINING, wanted_of
from ppls.programs.folder import is_written, read_folder
from ppls.programs.module import ProgramModule, module_of, notes_on
from ppls.programs.program import read_program


def load(
    path: str | Path,
    *,
    device: str | torch.device = "cpu",
    program: bool | None = None,
    until: str | None = None,
    **overrides: Any,
) -> nn.Module:
    """The PyTorch model of a checkpoint, in eval mode: a `SegmentationModel`, or a backbone that was converted alone.

    An export that no map knows becomes a `ppls.programs.module.ProgramModule`, made from its program operator by
    operator: it returns what the export returns, as a list.

    Args:
        path: a `.safetensors` that ppls wrote, a hub folder (`config.json` and `model.safetensors`), or anything that
            `ppls.convert` takes.
        device: where to put the model.
        program: of an export, whether the model is made from its program: by default where no map knows it.
        until: the part of a program up to an operation or a layer, see `ppls.programs.program.Program.until`.
        overrides: constructor options that differ from the file's: `raw_logits=True`, `resize_mode="nearest"`. With
            `num_classes`, `in_channels` and heads of training (`auxiliary_heads`, `enable_auxiliary_loss`) other than
            the file's, what does not fit is drawn anew, as PaddleSeg would, and a warning names it.

    Raises:
        CheckpointError: the file cannot be read, or its weights do not fit the model.
        ConversionError: a Paddle file that cannot be converted.
        UsageError: the model has no such option, or not with this value.
    """
    path = Path(path)
    if program or until is not None:
        return load_from_program(path, until, overrides).to(device)
    wanted = wanted_of(overrides)
    checkpoint = None if find_published(path) else read(file_in(path))
    if checkpoint is not None and is_written(checkpoint.metadata):
        if overrides or wanted:
            raise UsageError(f"{path}: is made from a program, and has no options")
        _, model = read_folder(checkpoint)
        model.usage = Usage.recorded(checkpoint.metadata)
        return model.to(device)
    if checkpoint is not None and checkpoint.metadata.get("map_sha256"):
        metadata, tensors = checkpoint.metadata, checkpoint.tensors
        config = recorded(metadata, "config", checkpoint.path)
    else:
        maps = architectures().values() if overrides else ()
        known = {option for map in maps for option in (*(rule.path for rule in map.options), *map.optional_modules)}
        given = {key: overrides.pop(key) for key in known & set(overrides)}
        try:
            conversion = _converted(path, given, wanted)
        except (UnrecognisedError, NamelessError):
            if program is False or checkpoint is None or not checkpoint.is_export or given or overrides or wanted:
                raise
            return load_from_program(path).to(device)
        metadata, config, tensors = conversion.metadata, conversion.config, conversion.tensors
    made_with = recorded_map(metadata)
    if made_with is not None and made_with.target is None:
        raise ConversionError(
            f"{path}: was converted with the map {metadata['map']}, for a model that ppls does not have"
        )
    build = model_class(metadata.get("architecture", ""))
    _override(build, config, overrides)
    return loaded_model(build, config, wanted, tensors, metadata, str(path)).to(device).eval()


def load_from_program(
    path: Path, until: str | None = None, overrides: Mapping[str, Any] = MappingProxyType({})
) -> ProgramModule:
    """The model that an export's program makes, with what the `deploy.yaml` beside it says about images.

    Raises:
        CheckpointError: no export, or a damaged one. ConversionError: operators that cannot be run in torch.
        UsageError: there are options, or no operation `until`.
    """
    if overrides:
        raise UsageError(f"{next(iter(overrides))!r}: a model that is made from a program has no options")
    checkpoint = read(path)
    whole = read_program(checkpoint)
    model = module_of(whole if until is None else whole.until(until), checkpoint)
    for note in notes_on(model.program, checkpoint, part=until is not None):
        warnings.warn(f"{path}: {note}", stacklevel=3)
    model.usage, notes = usage_of(checkpoint, None, None, None)
    for note in notes:
        warnings.warn(note, stacklevel=3)
    return model


def _converted(path: Path, given: dict[str, Any], wanted: Mapping[str, Any]) -> Conversion:
    """What `convert` makes of a Paddle file, without its heads of training where it has such as no model can have.

    PaddleSeg writes ISANet's on a backbone that it cannot run with.
    """
    try:
        return convert(path, overrides=given)
    except ConversionError:
        if without := {option: False for option in HEADS_OF_TRAINING if wanted.get(option) is False}:
            with suppress(Error):  # the first one says what is wrong
                return convert(path, overrides=given | without)
        raise


def model_class(architecture: str) -> Callable[..., nn.Module]:
    """The class of an architecture or a backbone by PaddleSeg's name. Raises `ConversionError` if ppls has none."""
    map = map_called(architecture)
    if map is None or map.title != architecture or map.target is None:
        raise ConversionError(f"ppls has no model {architecture}; it has {', '.join(titles())}")
    return import_target(map)


def _override(build: Callable[..., nn.Module], config: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    known = inspect.signature(build.__init__ if isinstance(build, type) else build).parameters  # type: ignore[misc]
    for option, value in overrides.items():
        try:
            if option.partition(".")[0] not in known:
                raise TypeError
            put(config, option, value)
        except (AttributeError, TypeError):  # of a part that is no dictionary in this config
            raise UsageError(f"{option!r} is no option of {getattr(build, '__name__', 'this model')}") from None
