"""Trains a checkpoint for a few steps, in float32 and in float64, into files.

Of float64 everything: losses, gradients, parameters, every buffer that training changes, and the outputs after it. Of
float32, where the kinks of ReLU part single gradients, the losses and the norm of the whole gradient, each with how far
the run parts from itself: from its float64 run, and from runs whose weights were moved by noise of the size of
rounding. The loss is the plain cross entropy of every head, added up, and the optimiser SGD with momentum and weight
decay, both written out here as they are on the other side, so that nothing but the model can differ. What the dropouts
draw is the same on both sides too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from .draws import replayed
from .figures import labels_of
from .forward import to_float64
from .network import build, load_strictly, outputs_of, read_checkpoint, run_all_heads
from .pools import exact_gradients
from .progress import Progress
from .resize import Resizes
from .store import Record, Store

State = Mapping[str, Any]


def train(job: Mapping[str, Any], folder: Path) -> Record:
    """Runs the job's `steps`, a list of `{"images": file, "labels": file}`; labels are int64 (N, H, W).

    Of the job's `rates` the first is taken at which each moved run stays within `apart` of the unmoved one, or the
    last. Returns for each step, in both types, the loss of each head and the norm of the gradient, with floors in
    float32; for the first and the last step in float64 also the gradients before, the parameters and buffers after
    the update.
    """
    arrays = read_checkpoint(job)
    paddle.set_default_dtype("float32")
    model = build(job["model"])
    load_strictly(model, arrays, job["may_be_missing"], job["may_be_unexpected"])
    del arrays
    before = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    progress = Progress(folder, "training steps", len(job["steps"]) * (job["moves"] + 2))
    rate, float32, moved = _at_the_highest_rate(model, before, job, folder, progress)
    _restore(model, before)
    to_float64(model)
    store = Store(folder, "training")
    buffers = before.keys() - _trained(model)
    float64 = []
    for number, (record, gradients) in enumerate(_steps(model, job, rate, folder, "float64")):
        keep = number in (0, len(job["steps"]) - 1)
        state = {name: store.put(tensor.numpy()) for name, tensor in model.state_dict().items() if keep}
        record["gradients"] = {name: store.put(array) for name, array in gradients.items() if keep}
        record["parameters"] = {name: stored for name, stored in state.items() if name not in buffers}
        record["buffers"] = {name: stored for name, stored in state.items() if name in buffers}
        float64.append(record)
        progress.step()
    _add_floors(float32, [float64, *moved])
    for record in float32:
        del record["draws"]
    outputs = _outputs(model, np.load(folder / job["steps"][0]["images"]).astype("float64"), store)
    chaotic = any(record["norm_floor"] > job["chaotic"] for record in float32)
    apart = _apart_in_float64(model, before, job, rate, folder, float64) if chaotic else []
    return {"rate": rate, "steps": float64, "float32": float32, "apart": apart, **outputs}


def _apart_in_float64(
    model: Any, before: State, job: Mapping[str, Any], rate: float, folder: Path, float64: Sequence[Record]
) -> list[float]:
    """How far, up to each step, the run is from one whose weights were moved by roundings of float64."""
    exact = {name: array.astype("float64") if array.dtype == "float32" else array for name, array in before.items()}
    _restore(model, _moved(model, exact, job["exact_noise"], 0))
    found, worst = [], 0.0
    for record, (other, _) in zip(float64, _steps(model, job, rate, folder, "float64"), strict=True):
        figures = ([*each["losses"], each["gradient_norm"]] for each in (record, other))
        worst = float(np.max([worst, *_apart(*figures)]))  # NaN stays
        found.append(worst)
    return found


def _at_the_highest_rate(
    model: Any, before: State, job: Mapping[str, Any], folder: Path, progress: Progress
) -> tuple[float, list[Record], list[list[Record]]]:
    """The rate, the float32 run at it, and the moved ones."""
    beside = build(job["model"])
    for rate in job["rates"]:
        done = progress.done
        run, moved = _runs(model, beside, before, job, rate, folder, progress)
        if len(moved) == job["moves"]:
            break
        progress.total += progress.done - done
    return rate, run, moved


def _runs(
    model: Any, beside: Any, before: State, job: Mapping[str, Any], rate: float, folder: Path, progress: Progress
) -> tuple[list[Record], list[list[Record]]]:
    """The float32 run, and the moved ones up to the first that parts from it; at the last rate all of them."""
    _restore(model, before)
    unmoved = _steps(model, job, rate, folder, "float32")
    run: list[Record] = []
    moved: list[list[Record]] = []
    for seed in range(job["moves"]):
        _restore(beside, _moved(beside, before, job["noise"], seed))
        other: list[Record] = []
        for number, (record, _) in enumerate(_steps(beside, job, rate, folder, "float32")):
            if number == len(run):
                run.append(next(unmoved)[0])
                progress.step()
            other.append(record)
            progress.step()
            together = all(apart <= job["apart"] for apart in _apart(run[number]["losses"], record["losses"]))
            if not together and rate != job["rates"][-1]:
                return run, moved
        moved.append(other)
    return run, moved


def _moved(model: Any, before: State, noise: float, seed: int) -> State:
    """The state with each trained value moved by so many parts of itself, normally distributed."""
    rng = np.random.default_rng(seed)
    trained = _trained(model)
    return {
        name: (array * (1 + noise * rng.standard_normal(array.shape))).astype(array.dtype) if name in trained else array
        for name, array in before.items()
    }


def _trained(model: Any) -> set[str]:
    """The names of the parameters; in Paddle a BatchNorm's statistics are some too, that have no gradient."""
    return {name for name, parameter in model.named_parameters() if not parameter.stop_gradient}


def _restore(model: Any, state: State) -> None:
    for name, tensor in model.state_dict().items():
        tensor.set_value(state[name])


def _apart(a: Sequence[float], b: Sequence[float]) -> list[float]:
    """How far each of `b` is from that of `a`, scaled by `a`; what is not finite on either side is NaN."""
    with np.errstate(all="ignore"):
        return [float(abs(np.float64(x) - y) / abs(np.float64(x))) if x else abs(y) for x, y in zip(a, b, strict=True)]


def _add_floors(run: list[Record], others: Sequence[Sequence[Record]]) -> None:
    """Adds to each step how far the farthest of the other runs has been from this one up to that step."""
    losses, norm = np.zeros(len(run[0]["losses"])), 0.0
    for number, record in enumerate(run):
        for other in others:
            losses = np.maximum(losses, _apart(record["losses"], other[number]["losses"]))
            norm = np.maximum(norm, _apart([record["gradient_norm"]], [other[number]["gradient_norm"]])[0])
        record["loss_floors"], record["norm_floor"] = losses.tolist(), float(norm)


def _steps(
    model: Any, job: Mapping[str, Any], rate: float, folder: Path, dtype: str
) -> Iterator[tuple[Record, dict[str, Any]]]:
    """Each step's losses, norm and draws, and the gradients that its update used."""
    model.train()
    velocities: dict[str, Any] = {}
    resizes = Resizes(recompute=dtype == "float64")
    for number, batch in enumerate(job["steps"]):
        with resizes.watched(model, None), exact_gradients(), replayed(number) as shapes:
            losses = _backward(model, folder, batch, dtype)
        gradients = {
            name: parameter.grad.numpy() for name, parameter in model.named_parameters() if parameter.grad is not None
        }
        _update(model, velocities, job, rate)
        squares = (float(np.square(array, dtype="float64").sum()) for array in gradients.values())
        yield {"losses": losses, "gradient_norm": sum(squares) ** 0.5, "draws": shapes}, gradients


def _backward(model: Any, folder: Path, batch: Mapping[str, str], dtype: str) -> list[float]:
    """The loss of each head; the gradients of their sum are left in the parameters."""
    images = paddle.to_tensor(np.load(folder / batch["images"]).astype(dtype))
    labels = np.load(folder / batch["labels"])
    losses = []
    for logits in outputs_of(model(images)):
        if logits.stop_gradient:  # points that were drawn
            continue
        wanted = labels_of(labels, logits.shape)
        if logits.ndim < 4:
            logits = logits.reshape([*logits.shape[:2], 1, -1])
        if logits.shape[1] == 1:  # a boundary: there or not
            logits = paddle.concat([paddle.zeros_like(logits), logits], axis=1)
        chosen = paddle.to_tensor(np.eye(logits.shape[1], dtype=dtype)[wanted].transpose(0, 3, 1, 2))
        pixels = logits.size // logits.shape[1]
        # Paddle's log_softmax takes twice the time
        losses.append((paddle.logsumexp(logits, axis=1) - (logits * chosen).sum(axis=1)).sum() / pixels)
    sum(losses[1:], losses[0]).backward()
    return [float(loss) for loss in losses]


def _update(model: Any, velocities: dict[str, Any], job: Mapping[str, Any], rate: float) -> None:
    """v = momentum * v + gradient + weight_decay * p; p -= rate * v. A parameter without a gradient stays."""
    with paddle.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.grad is None or parameter.stop_gradient:
                continue
            gradient = parameter.grad + job["weight_decay"] * parameter
            velocity = gradient if name not in velocities else job["momentum"] * velocities[name] + gradient
            velocities[name] = velocity.detach()
            parameter.set_value(parameter - rate * velocity)
            parameter.clear_gradient(set_to_zero=False)


def _outputs(model: Any, images: Any, store: Store) -> Record:
    """What the trained model computes in eval mode, and in that of all heads if it draws nothing there."""
    found: Record = {"draws": False}
    for name, into in (("outputs", type(model).eval), ("heads", run_all_heads)):
        into(model)
        with paddle.no_grad(), Resizes(recompute=True).watched(model, None), replayed(0) as draws:
            results = outputs_of(model(paddle.to_tensor(images)))
        found["draws"] = bool(draws)
        found[name] = [] if draws else [store.put(tensor.numpy()) for tensor in results]
    return found
