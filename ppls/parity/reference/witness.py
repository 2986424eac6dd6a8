"""Whether a checkpoint is a witness: whether what each layer does to the layers after it can be seen at all.

Behind a gate at 0, a scale of 1e-6 or a ReLU that is never open, the network may compute whatever it likes: nothing
that is compared moves. One backward pass tells which layers are like that. It is cut at every layer, since every layer
is compared: so the gradient is that of what is compared next, and does not fade on the way to the outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from .figures import difference, root_mean_square
from .network import leaves, outputs_of, run_all_heads
from .state import state_kept

FAINT = 1e-2  # what moves less is told; the judge has his own tolerance
FEWEST_PIXELS = 32 * 64  # on fewer, attentions have one pixel to attend to
MOST_IMAGES = 3
MOST_SIDE = 512  # of what an image is cut to: a backward pass holds every layer


def examine(model: Any, job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """How many layers and gates there are, and those of which little shows on every input that was tried.

    Each with how far, scaled, something that is compared moves if what comes out of it is wrong by as much as it is
    large. Larger inputs are tried for as long as something is faint. `why` says why it cannot be measured.
    """
    images = [np.load(folder / given["file"], mmap_mode="r") for given in job["inputs"] if not given["strong"]]
    images = [image[:1, :, :MOST_SIDE, :MOST_SIDE] for image in images]
    images.sort(key=lambda image: (image[0, 0].size < FEWEST_PIXELS, image[0, 0].size))
    # two of a batch come last: an attention among the images of a batch shows nothing of one, nor of two much alike
    tried = [*images[:MOST_IMAGES], *(np.concatenate([image, -image[..., ::-1]]) for image in images[:1])]
    seen: dict[str, float] = {}
    for image in tried:
        x = paddle.to_tensor(np.array(image, dtype=job["dtype"]))
        try:
            with state_kept(model):
                run_all_heads(model)
                for name, moves in _look(model, x).items():
                    seen[name] = max(seen.get(name, 0.0), moves)
        except Exception as error:  # an operator without a gradient, or a part of an image that the model does not take
            return {"examined": 0, "faint": [], "why": f"{type(error).__name__}: {error}"}
        if min(seen.values(), default=1.0) >= FAINT:
            break
    faint = [{"name": name, "moves": moves} for name, moves in seen.items() if moves < FAINT]
    return {
        "examined": len(seen),
        "faint": faint,
        "why": None if images else "there is no input of the strength of an image",
    }


def _look(model: Any, x: Any) -> dict[str, float]:
    """How far something that is compared moves, by the name of each layer, and of each tensor that is in none."""
    rng = np.random.default_rng(0)
    run = _Run(model)
    outputs = run.on(x)
    own = {id(tensor) for _, layer in leaves(model) for tensor in layer.parameters()}
    gates = {name: tensor for name, tensor in model.named_parameters() if id(tensor) not in own}
    terms = [_weighed(tensor, rng) for tensor in [*run.given, *run.made, *outputs] if not tensor.stop_gradient]
    cut = [*run.inputs, *run.outputs, *gates.values()]
    scales = [*map(_size, run.inputs), *(_size(tensor) or 1.0 for tensor in [*run.outputs, *gates.values()])]
    gradients = paddle.grad(paddle.add_n(terms), cut, allow_unused=True) if terms else [None] * len(cut)
    effects = [
        0.0 if gradient is None else _norm(gradient) * scale for gradient, scale in zip(gradients, scales, strict=True)
    ]
    sides: dict[tuple[str, str], float] = {}
    places = [(name, side) for side in ("input", "output") for name in run.names]
    for place, effect in zip(places, effects, strict=False):
        sides[place] = max(sides.get(place, 0.0), effect)
    # what no gradient comes to at all is never used: it is no part of the function
    used = zip(gates, gradients[len(places) :], effects[len(places) :], strict=True)
    found = {name: effect for name, gradient, effect in used if gradient is not None}
    with paddle.no_grad():  # what is computed without gradients, or rounded to classes, is tried out
        for (name, side), moves in sides.items():
            if moves < FAINT:
                moves = max(moves, _try_out(model, x, name, side, [*run.given, *run.made, *outputs]))
            found[name] = min(found.get(name, moves), moves)
    return found


class _Run:
    """A run of a model that is cut before and after each layer.

    Attributes:
        names: of the layers, call by call.
        given, made: what the layers were given and what they made, as computed from what went before.
        inputs, outputs: the same, cut off: what everything after is computed from.
    """

    def __init__(self, model: Any, change: Callable[[str, str, Any], Any] = lambda name, side, tensor: tensor) -> None:
        self._model, self._change = model, change
        self.names: list[str] = []
        self.given: list[Any] = []
        self.made: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def on(self, x: Any) -> list[Any]:
        handles = []
        for name, layer in leaves(self._model):
            handles.append(layer.register_forward_pre_hook(lambda _, given, name=name: self._before(name, given)))
            handles.append(layer.register_forward_post_hook(lambda _, given, made, name=name: self._after(name, made)))
        try:
            return outputs_of(self._model(x))
        finally:
            for handle in handles:
                handle.remove()

    def _before(self, name: str, given: Any) -> Any:
        self.given.append(given[0])
        self.inputs.append(_cut(given[0]))
        return (self._change(name, "input", self.inputs[-1].clone()), *given[1:])

    def _after(self, name: str, made: Any) -> Any:
        if isinstance(made, tuple):  # of a pooling: the maxima, and where they stood, which have no gradient
            return (self._after(name, made[0]), *made[1:])
        self.names.append(name)
        self.made.append(made)
        self.outputs.append(_cut(made))
        return self._change(name, "output", self.outputs[-1].clone())


def _try_out(model: Any, x: Any, name: str, side: str, expected: list[Any]) -> float:
    """How far what is compared moves if a layer's input or output is wrong by as much as it is large."""
    rng = np.random.default_rng(0)

    def change(layer: str, at: str, tensor: Any) -> Any:
        if (layer, at) != (name, side):
            return tensor
        size = _size(tensor) or (0.0 if side == "input" else 1.0)
        return tensor + paddle.to_tensor(rng.normal(0.0, size, tensor.shape).astype(_array(tensor).dtype))

    run = _Run(model, change)
    outputs = run.on(x)
    pairs = zip(expected, [*run.given, *run.made, *outputs], strict=True)
    return max(difference(_array(a), _array(b)).scaled for a, b in pairs)


def _cut(tensor: Any) -> Any:
    cut = tensor.detach()
    cut.stop_gradient = False
    return cut


def _weighed(tensor: Any, rng: np.random.Generator) -> Any:
    """A random sum of a tensor, as a share of its size: its gradient is that of the tensor's relative change."""
    weights = rng.normal(size=tensor.shape).astype(_array(tensor).dtype)
    return paddle.sum(tensor * paddle.to_tensor(weights)) / (_norm(tensor) or 1.0)


def _size(tensor: Any) -> float:
    return root_mean_square(_array(tensor))


def _norm(tensor: Any) -> float:
    return float(np.linalg.norm(_array(tensor).astype("float64")))


def _array(tensor: Any) -> Any:
    return tensor.numpy()
