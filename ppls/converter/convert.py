"""From a checkpoint to a converted file: recognise, infer, translate, check, write."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.dtypes import FLOATS, as_dtype, not_finite
from ppls.checkpoint.reader import read
from ppls.checkpoint.tensors import StoredTensor, new_scratch
from ppls.converter.conversion import Conversion, under_todays_names
from ppls.converter.expected import expected_shapes
from ppls.converter.given import Recorded, given_by_overrides, given_by_preset, given_by_run
from ppls.converter.infer import infer_model_config
from ppls.converter.inputs import check_suffix, config_files, weight_files
from ppls.converter.recognise import choose_map, is_model, named_map, on_its_backbone
from ppls.converter.translate import Dropped, check_complete, translate
from ppls.destination import Inputs, check_destination
from ppls.errors import ConversionError, Error, UsageError
from ppls.mappings.config_rules import Given
from ppls.mappings.map_file import architectures, open_map
from ppls.mappings.maps import Map
from ppls.schema import Node
from ppls.shown import listed

if TYPE_CHECKING:
    from numpy.typing import NDArray

UPSAMPLE_MODES = ("bilinear", "nearest")
_MOST_PARTS = 100  # state dicts in one file, each of which is looked at


def convert(
    source: str | Path,
    destination: str | Path | None = None,
    *,
    architecture: str | None = None,
    map: str | Path | Map | None = None,
    allow_import: Sequence[str] = (),
    config: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    upsample: str | None = None,
    dtype: str | None = None,
    classes: str | Path | None = None,
    force: bool = False,
    recorded: Recorded | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Conversion:
    """Converts a PaddleSeg checkpoint to a safetensors file for ppls's PyTorch model, without Paddle.

    Args:
        source: anything that `ppls.read` reads; or the name of a file that PaddleSeg publishes (`ppls.list_published`),
            which is downloaded once. Its config and its classes are known then. What is on the disk wins.
        destination: the `.safetensors` to write; None to keep the result in memory.
        architecture: PaddleSeg's class name; recognised where not given.
        map: a map of the user's own, a file, in place of ppls's.
        allow_import: modules that such a map may name classes of too; they are imported.
        config: PaddleSeg's own config of the run, for options that no tensor shows; its preprocessing and the classes
            of its data set are recorded too. Of an export, what `deploy.yaml` beside it says about preprocessing is.
        overrides: values for options that no tensor shows, by dotted path, as `--set` gives them.
        upsample: `nearest` or `bilinear` for every resize within the model; the final logits stay bilinear.
        dtype: `float32`, `float16` or `bfloat16` for the floating-point tensors; as in the checkpoint where not given.
        classes: whose names (and colours) are recorded: a published set, `cityscapes`, `camvid`, `voc` or `ade20k`, or
            a file with a name on each line.
        force: replace an existing destination.
        recorded: what an earlier conversion of this checkpoint recorded, which holds where nothing else is given.
        progress: called with the bytes of a download so far, and of all.

    Returns:
        What was done; `Conversion.tensors` are the model's.

    Raises:
        CheckpointError: the source cannot be read.
        ConversionError: it is of an unknown architecture, or does not fit its map or its model; all offenders
            are listed.
        UsageError: an option, an architecture or a map cannot be understood.
    """
    map = open_map(map, allow_import)
    if destination is not None:
        destination = Path(destination)
        inputs: Inputs = {
            "source": weight_files(source),
            "map": [map.path if map else None],
            "config": config_files(config),
            "list of classes": [classes],
        }
        check_destination(destination, force=force, inputs=inputs)
        check_suffix(destination, ".safetensors")
    if dtype is not None and dtype not in FLOATS:
        raise UsageError(f"--dtype {dtype}: known are float32, float16 and bfloat16")
    if upsample is not None and upsample not in UPSAMPLE_MODES:
        raise UsageError(f"--upsample {upsample}: known are {' and '.join(UPSAMPLE_MODES)}")
    run = _loaded(config)
    if not os.path.lexists(source):
        from ppls.converter.published import fetch, find_published  # the name of a published file, or none at all

        if row := find_published(source):
            source = fetch(row, progress)
            if config is None and map is None:
                config, run = f"PaddleSeg's config of {row.name}", row.config
            classes = classes or row.classes
    options: dict[str, Any] = {
        "preset": architecture,
        "config": config,
        "run": run,
        "overrides": overrides,
        "upsample": upsample,
        "recorded": recorded,
    }
    named = named_map(architecture, map)
    checkpoint = open_model(source, named, **options)
    # hashing leaves Python's lock, so it costs no time of its own
    hashing = threading.Thread(target=_hash, args=(checkpoint,), daemon=True)
    hashing.start()
    result = plan_conversion(checkpoint, choose_map(checkpoint, named), **options)
    before = result.tensors
    result.tensors, result.dtype = _in_dtype(before, dtype), dtype
    if run is not None or classes is not None or checkpoint.graph() is not None:
        from ppls.converter.usage import usage_of  # not every conversion needs it

        result.usage, notes = usage_of(checkpoint, run, classes, result.config.get("num_classes"))
        result.warnings += notes
    result.warnings += [*_mixed_types(result), *_not_finite(result, before, dtype)]
    hashing.join()
    if destination is not None:
        result.write(destination, force=force)
    return result


def _loaded(config: str | Path | None) -> Node | None:
    if config is None:
        return None
    from ppls.converter.run_config import load_run

    return load_run(Path(config))


def _hash(checkpoint: Checkpoint) -> None:
    with suppress(Error):  # of a file that is gone: whoever asks for the digest is told
        checkpoint.sha256  # noqa: B018 - it keeps what it found


def open_model(source: str | Path, named: Map | None = None, **options: Any) -> Checkpoint:
    """The checkpoint in a file, or that of its parts that is a model, with structured names.

    Args:
        named: the map that the user named; with none, those of ppls are looked through.
        options: those of `plan_conversion`, by which the names of an export without structured ones are found.

    Raises:
        ConversionError: the file holds no model. CheckpointError: it cannot be read, or its names cannot be found.
    """
    checkpoint = _one_part(read(source), named)
    if "optimizer state" in checkpoint.format:
        raise ConversionError(
            f"{checkpoint.path}: an optimizer's state, not a model's; give the .pdparams file beside it"
        )
    if checkpoint.metadata.get("map_sha256"):
        raise ConversionError(f"{checkpoint.path}: is converted already; load it with ppls.load")
    if not checkpoint:
        raise ConversionError(f"{checkpoint.path}: holds no tensors")
    if checkpoint.naming == "variables" and not (named is not None and is_model(checkpoint, named)):
        from ppls.converter.alignment import with_structured_names  # few files need it

        known = None if named is None or named.architecture is None else [named.architecture]
        return with_structured_names(checkpoint, partial(_fits, options), known)
    return checkpoint


def _fits(options: Mapping[str, Any], architecture: str, candidate: Checkpoint) -> bool:
    """Whether a checkpoint under these names is a whole model of the architecture.

    What the user gave may be needed for that, and may contradict it: then the names are right, and the user is told.
    """
    map = on_its_backbone(architectures()[architecture], candidate.shapes)
    try:
        if infer_model_config(map, candidate.shapes, {}).guessed:  # wrong names, found out without building a model
            return False
    except Error:
        return False
    for given in ({}, options):
        with suppress(Error):
            plan_conversion(candidate, map, program=False, **given)
            return True
    return False


def plan_conversion(
    checkpoint: Checkpoint,
    map: Map,
    *,
    preset: str | None = None,
    config: str | Path | None = None,
    run: Node | None = None,
    overrides: Mapping[str, Any] | None = None,
    upsample: str | None = None,
    recorded: Recorded | None = None,
    program: bool = True,
) -> Conversion:
    """What a conversion would do: everything checked, nothing read but the tensors that are dropped.

    Args:
        preset: the name by which the user asked for the map; that of a backbone's preset says its options too.
        config, overrides, upsample, recorded: as for `convert`.
        run: what the config says, if it is loaded already.
        program: read an export's program too.

    Raises:
        ConversionError: the checkpoint does not fit its map or its model; all offenders are listed.
    """
    map.check_work(len(checkpoint))
    if map.open:
        raise ConversionError(
            f"{map.path}: some rows are open; write what is right into `modules:` or `tensors:`, and take them out of "
            "`open:`:",
            [f"line {each.line}: {each.name}: {listed(each.candidates, 5) or 'no candidate'}" for each in map.open],
        )
    given = given_by_preset(map, preset)
    given |= given_by_run(map, Path(config), run) if config is not None else {}
    given |= given_by_overrides(map, dict(overrides or {}))
    if upsample is not None:
        if not map.upsample:
            whose = map.title if map.target else f"the map {map.name}"
            raise UsageError(f"--upsample {upsample}: {whose} has no resize within it that could be set")
        given |= {option: Given(upsample, f"--upsample {upsample}", changes=True) for option in map.upsample}
    known = {} if recorded is None else recorded.given(map, run=config is not None)
    still_assumed = recorded.assumed - given.keys() if recorded is not None else set()
    given = {**known, **given}
    warnings = []
    if upsample is not None and map.target is None:
        warnings.append(f"--upsample {upsample}: ppls does not build the model of the map {map.name}, which must do so")
    renamed = map.todays_names(checkpoint)
    tensors = under_todays_names(checkpoint.tensors, renamed)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    graph = checkpoint.graph() if program else None
    export = None
    if graph is not None:
        from ppls.converter.from_program import program_of, told_numerics  # few files need it

        export = program_of(graph, checkpoint, renamed)
    try:
        inferred = infer_model_config(map, shapes, given, published=config is None, program=export)
    except ConversionError as error:
        raise ConversionError(f"{checkpoint.path}: {error}") from None
    translation = translate(tensors, map, inferred.config)
    problems = [*inferred.problems, *translation.problems]
    try:
        expected = expected_shapes(map, inferred.config)
    except ConversionError as error:
        if not problems:  # else they say why there is no such model
            raise ConversionError(f"{checkpoint.path}: {error}") from None
        expected = None
    if expected is not None:
        problems += check_complete(translation, expected, map, shapes=not inferred.guessed)
    told, differences = told_numerics(map, shapes, export) if export is not None else (set(), [])
    problems += differences
    if problems:
        raise ConversionError(f"{checkpoint.path}: does not fit {map.title}:", problems)
    in_file = {today: name for name, today in renamed.items()}
    numerics = {
        f"{kind}.{name}": value
        for kind, values in map.all_numerics().items()
        for name, value in values.items()
        if f"{kind}.{name}" not in told
    }
    return Conversion(
        checkpoint,
        map,
        inferred.config,
        {
            **inferred.assumed,
            **{path: given[path].value for path in sorted((still_assumed & known.keys()) - inferred.told)},
            **numerics,
        },
        map.era_of(checkpoint, inferred.config),
        translation.tensors,
        {name: tuple(in_file.get(o, o) for o in origins) for name, origins in translation.origins.items()},
        [Dropped(in_file.get(dropped.name, dropped.name), dropped.why) for dropped in translation.dropped],
        translation.constants,
        [*checkpoint.warnings, *warnings],
        inferred.recipe,
        renamed,
        by_default=inferred.by_default,
        upsample=upsample,
    )


def _one_part(checkpoint: Checkpoint, named: Map | None) -> Checkpoint:
    """Of a file that holds several state dicts, the one that is a model: of the named map, if there is one."""
    if not checkpoint.parts:
        return checkpoint
    if len(checkpoint.parts) > _MOST_PARTS:
        raise ConversionError(
            f"{checkpoint.path}: holds {len(checkpoint.parts):,} state dicts; save the one to convert alone"
        )
    fitting = [part for part in map(checkpoint.part, checkpoint.parts) if is_model(part, named)]
    if len(fitting) == 1:
        return fitting[0]
    parts = [f"{name}: {what}" for name, what in checkpoint.parts.items()]
    verdict = "of which several are" if fitting else "none of which is"
    model = f"a {named.title}" if named else "a model that ppls knows"
    raise ConversionError(
        f"{checkpoint.path}: holds several state dicts, {verdict} {model}; save the one to convert:",
        parts,
    )


def _in_dtype(tensors: dict[str, StoredTensor], dtype: str | None) -> dict[str, StoredTensor]:
    if dtype is None:
        return tensors
    return {
        name: tensor
        if tensor.dtype not in FLOATS or tensor.dtype == dtype
        else StoredTensor(dtype, tensor.shape, partial(_load_as, tensor, dtype))
        for name, tensor in tensors.items()
    }


def _load_as(tensor: StoredTensor, dtype: str) -> NDArray[Any]:
    return as_dtype(tensor.load(), tensor.dtype, dtype)


def _mixed_types(result: Conversion) -> list[str]:
    """A warning if the weights are of several types, as training in mixed precision may save them."""
    counts = Counter(tensor.dtype for tensor in result.tensors.values() if tensor.dtype in FLOATS)
    if len(counts) < 2:
        return []
    types = " and ".join(f"{count} {dtype}" for dtype, count in counts.most_common())
    return [f"{result.source}: {types} tensors; torch runs no such mixture, --dtype float32 makes them one type"]


def _not_finite(result: Conversion, before: Mapping[str, StoredTensor], dtype: str | None) -> list[str]:
    """Warnings that name the tensors that hold NaN or infinity, in the checkpoint or by the conversion's type."""
    warnings = []
    scratch = new_scratch()
    for name, tensor in result.tensors.items():
        what = not_finite(tensor.dtype, tensor.blocks(scratch))
        if what:
            source = before[name]
            there_already = dtype is None or not_finite(source.dtype, source.blocks())
            why = "" if there_already else f" in {dtype}, which cannot hold its values"
            warnings.append(f"{', '.join(result.origins[name])} holds {what}{why}; converted as it is")
    return warnings
