"""Whether what a recording says agrees with itself and with its files: a schema alone does not tell.

`error` makes an error from a place in the recording and what is wrong there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ppls.parity.answers import Gradient, HeadOutput, Layers, StoredArray
from ppls.parity.array_file import ArrayError, ArrayHeader, load_array, read_header
from ppls.parity.exported import RecordedExport
from ppls.parity.reference_run import RecordedTraining, Recording
from ppls.schema import Fail
from ppls.shown import shown


def check_recording(recording: Recording, error: Fail) -> None:
    """Raises `error` where a run of the reference does not answer its job, or a file is not what it is said to be."""
    job, result = recording.job, recording.result
    sizes = _check_inputs(recording, error)
    if (job.layers is None) != (result.layers is None):
        raise error("result.layers", f"the job asks for the layers of {_quoted(job.layers)}")
    if job.layers is not None and job.layers not in sizes:
        raise error("job.layers", f"no input is called {_quoted(job.layers)}")
    runs_heads = result.layers is not None and not result.layers.draws
    with_heads = [given.name for given in job.inputs if runs_heads and (given.heads or given.name == job.layers)]
    _check_outputs("result.outputs", result.outputs, list(sizes), error)
    _check_outputs("result.heads", result.heads, with_heads, error)
    for index, output in enumerate(result.outputs):
        if output.shape[:1] != sizes[output.input][:1]:
            raise error(f"result.outputs[{index}].shape", f"the input's is {list(sizes[output.input])}")
    if result.layers is not None:
        _check_layers(result.layers, job.layers, error)
    if result.witness is not None and len(result.witness.faint) > result.witness.examined:
        raise error("result.witness.faint", f"are more than the {result.witness.examined} that were examined")
    _check_gradient(result.gradient, job.gradient, sizes, error)
    for index, places in enumerate(result.maxima):
        if places.dtype not in ("int32", "int64") or len(places.shape) != 4:
            raise error(f"result.maxima[{index}]", "expected whole numbers (N, C, h, w)")
    if job.dtype == "float64":
        for place, stored in recording.arrays():
            if stored.floor is not None:
                raise error(f"result.{place}.floor", "a run in float64 has none")
    _check_files(recording.folder, recording.arrays(), error)


def check_training(training: RecordedTraining, error: Fail) -> None:
    """Raises `error` where a training of the reference does not answer its job, or a file is not what it should be."""
    steps, result = training.job.steps, training.result
    _check_unique("job.steps", [file for batch in steps for file in (batch.images, batch.labels)], error)
    for index, batch in enumerate(steps):
        images = _header(training.folder, f"job.steps[{index}].images", batch.images, error)
        labels = _header(training.folder, f"job.steps[{index}].labels", batch.labels, error)
        if images.dtype != "float32" or len(images.shape) != 4:
            raise error(f"job.steps[{index}].images", f"expected float32 (N, C, H, W), found {images}")
        if labels != ArrayHeader("int64", (images.shape[0], *images.shape[2:])):
            raise error(f"job.steps[{index}].labels", f"expected one int64 for each pixel of {images}, found {labels}")
        if load_array(training.folder / batch.labels).min() < 0:
            raise error(f"job.steps[{index}].labels", "a label is negative")
    for name, found in (("steps", result.steps), ("float32", result.float32)):
        if len(found) != len(steps):
            raise error(f"result.{name}", f"expected the {len(steps)} steps of the job, found {len(found)}")
        for index, step in enumerate(found):
            if len(step.losses) != len(result.steps[0].losses):
                raise error(f"result.{name}[{index}].losses", "there are as many in each step")
    if not result.heads and not result.draws:
        raise error("result.heads", "is empty")
    for index, narrow in enumerate(result.float32):
        if len(narrow.loss_floors) != len(narrow.losses):
            raise error(f"result.float32[{index}].loss_floors", "there is one for each loss")
    _check_files(training.folder, training.arrays(), error)


def check_export(export: RecordedExport, recording: Recording, error: Fail) -> None:
    """Raises `error` where a run of an export does not answer its job, is of another run, or a file is not as said."""
    job, result = export.job, export.result
    if job is None or result is None:
        if export.why is None or job is not None or result is not None:
            raise error("job", "expected one with its result, or why there is none")
        return
    if job.dtype != recording.job.dtype:
        raise error("job.dtype", f"expected the network's, {recording.job.dtype}")
    if len(job.shape) != 4:
        raise error("job.shape", "expected that of images, (N, C, H, W)")
    inputs = [given.name for given in job.inputs]
    for index, given in enumerate(job.inputs):
        if given not in recording.job.inputs:
            raise error(f"job.inputs[{index}]", f"{_quoted(given.name)} is no input of the network")
    expected = [(name, index) for name in inputs for index in range(len(job.outputs))]
    if [(output.input, output.index) for output in result.outputs] != expected:
        raise error("result.outputs", f"expected {len(job.outputs)} of each of {len(inputs)} inputs, in order")
    for index, output in enumerate(result.outputs):
        if (output.itself is None) != (job.outputs[output.index].ending is None):
            raise error(f"result.outputs[{index}].itself", "is not what the job asks for")
    _check_files(export.folder, export.arrays(), error)


def input_shapes(recording: Recording) -> list[tuple[int, ...]]:
    """The shape of each input of a recording that was checked."""
    return [read_header(recording.folder / given.file).shape for given in recording.job.inputs]


def training_shapes(training: RecordedTraining) -> list[tuple[int, ...]]:
    """The shape of each batch of images of a training that was checked."""
    return [read_header(training.folder / batch.images).shape for batch in training.job.steps]


def _check_inputs(recording: Recording, error: Fail) -> Mapping[str, tuple[int, ...]]:
    """The shape of each input, by name."""
    inputs = recording.job.inputs
    _check_unique("job.inputs", [given.name for given in inputs], error)
    _check_unique("job.inputs", [given.file for given in inputs], error)
    shapes = {}
    for index, given in enumerate(inputs):
        found = _header(recording.folder, f"job.inputs[{index}].file", given.file, error)
        if found.dtype != "float32" or len(found.shape) != 4:
            raise error(f"job.inputs[{index}].file", f"expected float32 (N, C, H, W), found {found}")
        shapes[given.name] = found.shape
    return shapes


def _check_unique(place: str, values: Sequence[str], error: Fail) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise error(place, f"{_quoted(value)} stands there twice")
        seen.add(value)


def _check_outputs(place: str, outputs: Sequence[HeadOutput], names: Sequence[str], error: Fail) -> None:
    """Every input in turn, with all its outputs in turn."""
    left = iter(names)
    current, count = None, 0
    for index, output in enumerate(outputs):
        if output.input != current:
            current, count = next(left, None), 0
        if (output.input, output.index) != (current, count):
            raise error(f"{place}[{index}]", f"output {output.index} of {_quoted(output.input)} is not in its place")
        count += 1
    places = [f"{output.input} {output.place}" for output in outputs]
    _check_unique(place, places, error)
    missing = next(left, None)
    if missing is not None:
        raise error(place, f"{_quoted(missing)} has none")


def _check_layers(layers: Layers, name: str | None, error: Fail) -> None:
    if layers.input != name:
        raise error("result.layers.input", f"the job asks for {_quoted(name)}")
    counts: dict[str, int] = {}
    for index, call in enumerate(layers.calls):
        if call.call != counts.setdefault(call.module, 0):
            raise error(f"result.layers.calls[{index}].call", f"expected {counts[call.module]}, found {call.call}")
        counts[call.module] += 1
    for index, dropout in enumerate(layers.dropouts):
        if dropout.rate > 1:
            raise error(f"result.layers.dropouts[{index}].rate", f"expected 1 at most, found {dropout.rate:g}")


def _check_gradient(
    gradient: Gradient | None, name: str | None, shapes: Mapping[str, tuple[int, ...]], error: Fail
) -> None:
    if name is not None and name not in shapes:
        raise error("job.gradient", f"no input is called {_quoted(name)}")
    if (gradient is None) != (name is None):
        raise error("result.gradient", f"the job asks for the gradient of {_quoted(name)}")
    stored = None if gradient is None else gradient.array
    if name is not None and stored is not None and (stored.dtype, stored.shape) != ("float64", shapes[name]):
        raise error("result.gradient.array", f"expected float64 of the input's shape, {list(shapes[name])}")


def _check_files(folder: Path, arrays: Iterable[tuple[str, StoredArray]], error: Fail) -> None:
    known: dict[str, ArrayHeader] = {}  # equal arrays share a file
    for place, stored in arrays:
        if stored.file not in known:
            known[stored.file] = _header(folder, f"result.{place}.file", stored.file, error)
        if known[stored.file] != (stored.dtype, stored.shape):
            said = ArrayHeader(stored.dtype, stored.shape)
            raise error(f"result.{place}", f"{stored.file} is {known[stored.file]}, not {said}")


def _header(folder: Path, place: str, name: str, error: Fail) -> ArrayHeader:
    try:
        return read_header(folder / name)
    except ArrayError as why:
        raise error(place, str(why)) from None


def _quoted(name: str | None) -> str:
    return "nothing" if name is None else f"'{shown(name, 80)}'"
