"""PaddleSeg's model: built from its description, loaded strictly, put into the mode that a run needs."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import paddleseg.cvlibs

from .job_error import JobError
from .kinds import dropout_rate, has_statistics, is_random
from .structure import places

MODELS = "paddleseg.models"
_WORD = re.compile(r"[A-Za-z0-9_-]*")


def build(description: Mapping[str, Any], allowed: Sequence[str] = ()) -> Any:
    """Builds `{"class": dotted or registered name, "kwargs": {...}}`.

    `parts` names those of the `kwargs` that are such descriptions themselves, `allowed` the modules that the user lets
    be imported beside upstream's. All other `kwargs` are plain, whatever they look like. The names of parameters begin
    anew: some backbones give theirs fixed ones, which Paddle lets stand once.
    """
    with paddle.utils.unique_name.guard():
        return _build(description, allowed)


def _build(description: Mapping[str, Any], allowed: Sequence[str]) -> Any:
    allowed = description.get("allowed", allowed)
    parts = description.get("parts", ())
    kwargs = {
        key: _build(value, allowed) if key in parts else _plain(key, value)
        for key, value in description.get("kwargs", {}).items()
    }
    made = find_class(description["class"], allowed)
    _check_options(made, description["class"], kwargs)
    return made(**kwargs)


def _check_options(made: Any, name: str, kwargs: Mapping[str, Any]) -> None:
    """That a class of upstream's takes these options: of another release it may not."""
    try:
        signature = inspect.signature(made)
    except ValueError:  # it has none that can be seen
        return
    try:
        signature.bind(**kwargs)
    except TypeError as error:
        raise JobError(
            f"paddleseg {paddleseg.__version__} builds no {name} of these options: {error}; --paddleseg PATH names a "
            "checkout that does"
        ) from None


def find_class(name: str, allowed: Sequence[str] = ()) -> Any:
    """The class of that name: of a model or backbone in PaddleSeg's registries, or dotted, of `paddleseg.models`.

    Of the modules that are `allowed` it may be a function too.
    """
    if "." not in name:
        for registry in _registries():
            if name in registry:
                return registry[name]
        raise JobError(f"paddleseg {paddleseg.__version__} has no model named {name!r}")
    packages = (MODELS, *allowed)
    if not _is_within(name, packages):
        raise JobError(f"{name} is not in {MODELS}: nothing else is imported, unless you say --allow-import")
    module, _, attribute = name.rpartition(".")
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise JobError(
            f"paddleseg {paddleseg.__version__} has no {name}: {error}; --paddleseg PATH names a checkout that has it"
        ) from error
    # a module also has what it imports itself
    if not (_is_within(f"{getattr(found, '__module__', '')}.", packages) and _is_builder(found, name, allowed)):
        raise JobError(f"{name} is no class of a model")
    return found


def _is_builder(found: Any, name: str, allowed: Sequence[str]) -> bool:
    """Whether this makes models: a class of them, a function of upstream's registries, or one that the user allows."""
    if isinstance(found, type):
        return issubclass(found, paddle.nn.Layer)
    registered = any(found is component for registry in _registries() for component in registry.values())
    return registered or (callable(found) and _is_within(name, allowed))


def _is_within(name: str, packages: Sequence[str]) -> bool:
    return any(name.startswith(f"{package}.") for package in packages)


def _registries() -> list[dict[str, Any]]:
    manager = paddleseg.cvlibs.manager
    return [manager.MODELS.components_dict, manager.BACKBONES.components_dict]


def _plain(key: str, value: Any) -> Any:
    """An option as upstream may have it: some texts it gives to `eval`, and from `pretrained` it loads a pickle."""
    if key == "pretrained" and value is not None:
        raise JobError(f"{key}: {value!r} is a file that upstream would load; the weights are the checkpoint's")
    if isinstance(value, str) and not _WORD.fullmatch(value):
        raise JobError(f"{key}: {value!r} is no word of letters, digits, _ and -")
    if isinstance(value, Mapping):
        return {inner: _plain(inner, item) for inner, item in value.items()}
    return [_plain(key, item) for item in value] if isinstance(value, list) else value


def read_checkpoint(job: Mapping[str, Any]) -> dict[str, Any]:
    """What `paddle.load` makes of the job's checkpoint, as numpy arrays, under today's names.

    ppls wrote it. Where the job names the user's own file too, `paddle.load` must make the same of that, bit for bit.
    """
    arrays = _load(Path(job["checkpoint"]))
    if job["original"]:
        _require_equal(job, arrays)
    return {name: _float32(array) if array.dtype == np.uint16 else array for name, array in arrays.items()}


def _load(path: Path, sha256: str | None = None) -> dict[str, Any]:
    """The arrays of a state dict; the bytes that are loaded are those that have this SHA-256, in hex."""
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if sha256 not in (None, found):
        raise JobError(f"{path}: changed while it was being verified (SHA-256 {found[:12]}, was {sha256[:12]})")
    loaded = paddle.load(io.BytesIO(data), return_numpy=True)
    if not isinstance(loaded, Mapping):
        raise JobError(f"{path}: paddle.load gives {type(loaded).__name__}, not a state dict")
    return {name: value for name, value in loaded.items() if isinstance(value, np.ndarray)}


def _require_equal(job: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    path = Path(job["original"])
    theirs = {job["renamed"].get(name, name): array for name, array in _load(path, job["sha256"]).items()}
    different = [
        name
        for name in {**theirs, **ours}
        if name not in ours or name not in theirs or _bits(theirs[name]) != _bits(ours[name])
    ]
    if different:
        raise JobError(
            f"{path}: ppls reads other weights in it than paddle.load, which must not happen; please report it. "
            "These differ:",
            different,
        )


def _bits(array: Any) -> tuple[Any, ...]:
    return array.dtype, array.shape, array.tobytes()


def _float32(bfloat16: Any) -> Any:
    """Paddle saves bfloat16 as its bits."""
    return (bfloat16.astype(np.uint32) << 16).view(np.float32)


def load_strictly(
    model: Any, arrays: Mapping[str, Any], may_be_missing: list[str], may_be_unexpected: list[str]
) -> list[str]:
    """Fills every tensor of `model` from `arrays` and reads each back.

    Returns the names that kept the value they were built with; `may_be_missing` holds regular expressions of them.
    Raises `JobError` with every name that is missing, unexpected or of another shape: PaddleSeg's own loader only
    warns about these, and parity with a half-random model would prove nothing.
    """
    tensors = model.state_dict()
    missing = [name for name in tensors if name not in arrays]
    excused = [name for name in missing if any(re.fullmatch(pattern, name) for pattern in may_be_missing)]
    problems = [f"missing: {name}" for name in missing if name not in excused]
    problems += [f"unexpected: {name}" for name in arrays if name not in tensors and name not in set(may_be_unexpected)]
    for name, tensor in tensors.items():
        if name in arrays and list(tensor.shape) != list(arrays[name].shape):
            problems.append(f"shape: {name} is {list(arrays[name].shape)}, the model wants {list(tensor.shape)}")
    if problems:
        raise JobError("the checkpoint does not fit PaddleSeg's model:", problems)
    for name, tensor in tensors.items():
        if name in arrays:
            value = arrays[name].astype(str(tensor.numpy().dtype))
            tensor.set_value(value)
            if not np.array_equal(tensor.numpy(), value, equal_nan=value.dtype.kind == "f"):
                raise JobError(f"{name}: PaddleSeg's model does not hold what was loaded into it")
    return missing


def run_all_heads(model: Any) -> None:
    """Train mode, so that every auxiliary head runs, with the normalisations and what is random in eval mode."""
    model.train()
    for layer in model.sublayers():
        if has_statistics(layer) or is_random(layer):
            layer.eval()


def leaves(model: Any) -> Iterator[tuple[str, Any]]:
    """Name and layer of every convolution, normalisation, linear and pooling layer."""
    for name, layer in model.named_sublayers():
        kind = type(layer).__name__
        if not list(layer.children()) and any(part in kind for part in ("Conv", "Norm", "Linear", "Pool")):
            yield name, layer


def dropouts(model: Any) -> Iterator[tuple[str, Any]]:
    """Name and layer of every dropout, DropPath included, that drops anything in training."""
    for name, layer in model.named_sublayers():
        if is_random(layer) and dropout_rate(layer):
            yield name, layer


def outputs_of(result: Any) -> list[Any]:
    """The tensors that a model returned, in order."""
    return list(outputs_by_place(result).values())


def outputs_by_place(result: Any) -> dict[str, Any]:
    """The tensors that a model returned, in order, each by its place; see `places`."""
    try:
        return dict(places(result, lambda part: isinstance(part, paddle.Tensor)))
    except TypeError as error:
        raise JobError(f"PaddleSeg's model returned a {error}") from None
