"""Runs a checkpoint: every input in float32 and in float64, and every layer of one of them, into files.

The difference between the two precisions is the rounding floor. It is taken as the arrays appear, against the file of
the float32 run, so that no more than one layer is in memory at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from .batches import mixes
from .draws import replayed
from .figures import difference, projection, without_farthest
from .job_error import JobError
from .kinds import dropout_rate, has_statistics
from .maxima import MAXIMA
from .network import (
    build,
    dropouts,
    leaves,
    load_strictly,
    outputs_by_place,
    outputs_of,
    read_checkpoint,
    run_all_heads,
)
from .operators import ties
from .pools import exact_gradients
from .progress import Progress
from .resize import Resizes
from .state import state_kept
from .store import Record, Store
from .witness import examine

MOST_OF_ROUNDING = 1e-2  # scaled; what differs by more between the precisions does so for another reason

MOST_UNDECIDED = 100  # one pixel of so many; where more are, a comparison is to fail
See = Callable[[str, int, str, Any, Any], None]


def run(job: Mapping[str, Any], folder: Path) -> Record:
    """Runs the job's checkpoint on the job's inputs, in eval mode; returns the record of it.

    With layers, all heads run too, on the input of the layers and on those that ask for them. Each output and layer is
    written in the job's `dtype`; with float32, its floor stands beside it.
    """
    with MAXIMA.settled_in_run():
        return _run(job, folder)


def _run(job: Mapping[str, Any], folder: Path) -> Record:
    arrays = read_checkpoint(job)
    paddle.set_default_dtype(job["dtype"])  # an earlier job may have left the other
    model = build(job["model"])
    narrow = [name for name, tensor in model.state_dict().items() if tensor.dtype == paddle.float32]
    if job["dtype"] == "float64":
        to_float64(model)
    kept = load_strictly(model, arrays, job["may_be_missing"], job["may_be_unexpected"])
    del arrays
    record: Record = {"kept": kept, "outputs": [], "heads": [], "layers": None, "widened": []}
    record["resizes"] = {"replaced": 0, "recomputed": 0, "rounding": 0.0}
    progress = Progress(folder, "inputs", len(job["inputs"]) * (1 if job["dtype"] == "float64" else 2))
    with MAXIMA.noted():
        _run_once(model, job, folder, record, progress)
    record["mixes"] = mixes(model, job, folder)
    record["witness"] = None if job["layers"] is None else examine(model, job, folder)
    if job["dtype"] == "float64":
        record["widened"] = narrow
    else:
        to_float64(model)
        _measure_floor(model, job, folder, record, progress)
    record["gradient"] = _gradient(model, job, folder)
    return record


def to_float64(model: Any) -> None:
    """Puts a model, and what it creates from now on, into double precision."""
    # Not by building under this default dtype alone: upstream creates some tensors as float32 whatever the default
    # says, and some architectures cannot be built twice in one process. Widening a float32 weight is exact.
    layers = model.sublayers(include_self=True)
    whole = [  # numbers, which index; Paddle would widen them too
        (layer, name, buffer.clone())
        for layer in layers
        for name, buffer in layer._buffers.items()
        if buffer is not None and not buffer.is_floating_point()
    ]
    model.to(dtype="float64")
    for layer, name, buffer in whole:
        layer._buffers[name] = buffer
    paddle.set_default_dtype("float64")


def _run_once(model: Any, job: Mapping[str, Any], folder: Path, record: Record, progress: Progress) -> None:
    store = Store(folder, "arrays")
    for given in job["inputs"]:
        progress.step()
        model.eval()
        resizes = Resizes(recompute=job["dtype"] == "float64")
        in_eval = _Calls([*leaves(model), *dropouts(model)]) if job["layers"] == given["name"] else None
        ties()
        with resizes.watched(model, job["upsample"]):
            results = _forward(model, folder / given["file"], job["dtype"])
        tied = ties()
        if in_eval:
            in_eval.remove()
        record["outputs"] += [
            {"exact": resizes.exact, "undecided": _undecided(output["shape"], tied), **output}
            for output in _stored(store, given, results)
        ]
        record["resizes"]["replaced"] += resizes.replaced
        record["resizes"]["recomputed"] += resizes.recomputed
        record["resizes"]["rounding"] = max(record["resizes"]["rounding"], resizes.rounding)
        if in_eval:
            record["layers"], results = _run_layers(model, job, given, folder, store, set(in_eval.names))
        elif _runs_all_heads(job, given):
            results = _run_all_heads(model, job, given, folder, job["dtype"])
        else:
            continue
        record["heads"] += _stored(store, given, results)
    record["maxima"] = [store.put(places) for places in MAXIMA.known]
    if record["layers"] is not None and record["layers"]["draws"]:
        record["heads"] = []


def _run_layers(
    model: Any, job: Mapping[str, Any], given: Mapping[str, Any], folder: Path, store: Store, in_eval: set[str]
) -> tuple[Record, dict[str, Any]]:
    """The calls of layers and dropouts, in order of execution, and the outputs of all heads."""
    calls: list[Record] = []
    with_rates = dict(dropouts(model))
    dropped = _Calls(with_rates.items())
    see = _keep(dict(leaves(model)), in_eval, store, calls)
    with replayed(0) as draws:
        results = _run_all_heads(model, job, given, folder, job["dtype"], see)
    dropped.remove()
    if draws:
        calls.clear()
        _run_all_heads(model, job, given, folder, job["dtype"], see, draws=True)
    rates = [
        {"module": name, "rate": dropout_rate(with_rates[name]), "train_only": name not in in_eval}
        for name in dropped.names
    ]
    return {"input": given["name"], "calls": calls, "dropouts": rates, "draws": bool(draws)}, results


def _runs_all_heads(job: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    return job["layers"] is not None and (given["heads"] or job["layers"] == given["name"])


def _run_all_heads(
    model: Any,
    job: Mapping[str, Any],
    given: Mapping[str, Any],
    folder: Path,
    dtype: str,
    see: See | None = None,
    *,
    draws: bool = False,
) -> dict[str, Any]:
    """The outputs of all heads, by place; of eval mode where the model itself `draws` in train mode."""
    if draws:
        model.eval()
    else:
        run_all_heads(model)
    resizes = Resizes(recompute=job["dtype"] == "float64")
    watched = _observed(model, see, Progress(folder, "layers", len(list(leaves(model))))) if see else nullcontext()
    with watched, resizes.watched(model, job["upsample"]):
        return _forward(model, folder / given["file"], dtype)


def _undecided(shape: Sequence[int], tied: Sequence[tuple[int, int]]) -> int:
    """How many pixels of an output (N, C, H, W) may be others since choices of points hang on ties.

    A point stands for its pixel of a map, and the resize of that to the output spreads it to its neighbours'; where
    another is chosen, the next choice may be another too.
    """
    if len(shape) != 4:
        return 0
    pixels = shape[0] * shape[2] * shape[3]
    spread = sum(count * math.ceil(2 * math.sqrt(shape[2] * shape[3] / size)) ** 2 for count, size in tied)
    return min(4 * spread, pixels // MOST_UNDECIDED)


def _stored(store: Store, given: Mapping[str, Any], results: Mapping[str, Any]) -> list[Record]:
    return [
        {"input": given["name"], "index": index, "place": place, **store.put(array)}
        for index, (place, array) in enumerate(results.items())
    ]


def _keep(found: Mapping[str, Any], in_eval: set[str], store: Store, calls: list[Record]) -> See:
    """Notes each call of the layers `found`, arrays and all, in `calls`."""

    def keep(layer: str, call: int, kind: str, value: Any, result: Any) -> None:
        calls.append(
            {
                "module": layer,
                "call": call,
                "type": kind,
                "train_only": layer not in in_eval,
                "numerics": _numerics(found[layer]),
                "input": store.put(value),
                "output": store.put(result),
            }
        )

    return keep


def _numerics(layer: Any) -> dict[str, float]:
    """Epsilon and momentum of a normalisation; one that keeps its statistics in training has a momentum of 1."""
    numbers = {
        name: float(getattr(layer, f"_{name}")) for name in ("epsilon", "momentum") if hasattr(layer, f"_{name}")
    }
    return numbers | ({"momentum": 1.0} if getattr(layer, "_use_global_stats", None) else {})


def _measure_floor(model: Any, job: Mapping[str, Any], folder: Path, record: Record, progress: Progress) -> None:
    """The same runs in float64, compared with what the float32 runs left in the folder."""
    for given in job["inputs"]:
        progress.step()
        expected = [output for output in record["outputs"] if output["input"] == given["name"]]
        draws = record["layers"] is not None and record["layers"]["draws"]
        if _runs_all_heads(job, given) and (job["layers"] == given["name"] or not draws):
            see = _set_floors(record["layers"]["calls"], folder) if job["layers"] == given["name"] else None
            results = _run_all_heads(model, job, given, folder, "float64", see, draws=draws)
            of_heads = [output for output in record["heads"] if output["input"] == given["name"]]
            for output, array in _paired(of_heads, {} if draws else results):
                _set_floor(output, array, folder)
            heads = {output["file"]: output["floor"] for output in of_heads}
            if all(output["file"] in heads for output in expected):  # bit for bit what eval mode gave: a run less
                for output in expected:
                    output["floor"] = heads[output["file"]]
                continue
        model.eval()
        with Resizes().watched(model, job["upsample"]):
            results = _forward(model, folder / given["file"], "float64")
        for output, array in _paired(expected, results):
            _set_floor(output, array, folder)


def _gradient(model: Any, job: Mapping[str, Any], folder: Path) -> Record | None:
    """The gradient of an image in eval mode; the model is in float64."""
    given = next((given for given in job["inputs"] if given["name"] == job["gradient"]), None)
    if given is None:
        return None
    model.eval()
    resizes = Resizes(recompute=True)
    try:
        with state_kept(model), resizes.watched(model, job["upsample"]), exact_gradients():
            image = paddle.to_tensor(np.load(folder / given["file"]).astype("float64"), stop_gradient=False)
            floating = [tensor for tensor in outputs_of(model(image)) if tensor.dtype == paddle.float64]
            parts = [(tensor * paddle.to_tensor(projection(tensor.shape))).sum() for tensor in floating]
            sum(parts[1:], parts[0]).backward()  # paddle.grad gives SegFormer's wrong by 0.7 of the largest
    except Exception as error:  # an argmax has none, and raises whatever it likes
        return {"array": None, "exact": True, "why_not": f"{type(error).__name__}: {error}"[:500]}
    for parameter in model.parameters():
        parameter.clear_gradient(set_to_zero=False)
    np.save(folder / "arrays" / "gradient.npy", image.grad.numpy())
    stored = {"file": "arrays/gradient.npy", "shape": list(image.shape), "dtype": "float64", "floor": None}
    return {"array": stored, "exact": resizes.exact, "why_not": None}


def _set_floors(recorded: list[Record], folder: Path) -> See:
    """Compares the same calls, in the same order, with the recorded ones."""
    calls = iter(recorded)

    def compare(layer: str, call: int, kind: str, value: Any, result: Any) -> None:
        known = next(calls, None)
        if known is None or (known["module"], known["call"]) != (layer, call):
            raise JobError(f"PaddleSeg runs {layer} at another time in float64 than in float32")
        for stored, array in ((known["input"], value), (known["output"], result)):
            _set_floor(stored, array, folder)
            if stored["floor"] > MOST_OF_ROUNDING:
                _set_unordered(stored, array, folder)

    return compare


def _set_floor(stored: Record | None, array: Any, folder: Path) -> None:
    if stored is not None:
        found = np.load(folder / stored["file"], mmap_mode="r")
        if stored.get("undecided"):
            found = without_farthest(array, found, stored["undecided"])
        stored["floor"] = difference(array, found).scaled


def _set_unordered(stored: Record, array: Any, folder: Path) -> None:
    """Says so of an array where rounding changed the order along the last axis and nothing else; sets its floor."""
    floor = difference(np.sort(array, axis=-1), np.sort(np.load(folder / stored["file"]), axis=-1)).scaled
    if floor < MOST_OF_ROUNDING:
        stored.update(unordered=True, floor=floor)


def _paired(records: list[Record], arrays: Mapping[str, Any]) -> list[tuple[Record, Any]]:
    if [record["place"] for record in records] != list(arrays):
        raise JobError(f"PaddleSeg's model returned {len(records)} outputs in float32 and others in float64")
    return list(zip(records, arrays.values(), strict=True))


def _forward(model: Any, path: Path, dtype: str) -> dict[str, Any]:
    with paddle.no_grad(), state_kept(model):
        x = paddle.to_tensor(np.load(path).astype(dtype))
        return {place: tensor.numpy() for place, tensor in outputs_by_place(model(x)).items()}


class _Calls:
    """Notes which of some layers are called, in order. What eval mode never calls belongs to heads of training."""

    def __init__(self, layers: Iterable[tuple[str, Any]]) -> None:
        self.names: list[str] = []
        self._handles = [
            layer.register_forward_post_hook(lambda *_, name=name: self.names.append(name)) for name, layer in layers
        ]

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()


def _before_activation(layer: Any, inputs: Any, result: Any) -> Any:
    """What a layer gives, of a normalisation with an activation of its own before that: elsewhere they are two layers.

    It is in eval mode, so that to run it again changes nothing.
    """
    activation = getattr(layer, "_act", None)
    if activation is None or not has_statistics(layer):
        return outputs_of(result)[0]
    layer._act = None
    try:
        return layer.forward(*inputs)
    finally:
        layer._act = activation


@contextmanager
def _observed(model: Any, see: See, progress: Progress) -> Any:
    """Calls `see(name, call number, class name, input array, output array)` after each layer, in order of execution.

    The input is copied before the layer runs, since a layer may change it in place.
    """
    handles = []
    counts: dict[str, int] = {}
    waiting: dict[str, Any] = {}

    def before(layer: Any, inputs: Any, name: str) -> None:
        waiting[name] = outputs_of(inputs)[0].numpy()

    def after(layer: Any, inputs: Any, result: Any, name: str) -> None:
        call = counts.get(name, 0)
        counts[name] = call + 1
        progress.step()
        see(name, call, type(layer).__name__, waiting.pop(name), _before_activation(layer, inputs, result).numpy())

    for name, layer in leaves(model):
        handles.append(layer.register_forward_pre_hook(lambda layer, inputs, name=name: before(layer, inputs, name)))
        handles.append(
            layer.register_forward_post_hook(
                lambda layer, inputs, result, name=name: after(layer, inputs, result, name)
            )
        )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
