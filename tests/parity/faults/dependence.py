"""Models that are right until something beside the image is another: its size, its batch, what came before."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .behaviour import Around

SLIGHTLY = 1.03  # times the input, or what comes out: wrong, but not by much


@dataclass(frozen=True)
class Dependence:
    """One such fault.

    Attributes:
        name: what the model wrongly depends on, for a reader.
        put: puts it into a model and returns what is to be judged.
        by: the input whose outputs differ, or the question that finds it.
        said: part of the answer to the question.
    """

    name: str
    put: Callable[[nn.Module], nn.Module]
    by: str
    said: str = ""


class Wrong(Around):
    """A model around the right one, which keeps what it likes in `kept`; `forward` is the function that it is given."""

    def __init__(self, model: nn.Module, forward: Callable[[Wrong, Tensor], list[Tensor]]) -> None:
        super().__init__(model)
        self.kept: dict[Any, Any] = {}
        self.how = forward

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.how(self, x)


def _wrong(forward: Callable[[Wrong, Tensor], list[Tensor]]) -> Callable[[nn.Module], nn.Module]:
    return lambda model: Wrong(model, forward)


def _when(condition: Callable[[Tensor], Any]) -> Callable[[nn.Module], nn.Module]:
    return _wrong(lambda wrong, x: wrong.model(x * SLIGHTLY if condition(x) else x))


# sizes
def _grid_of_the_first_with_as_many(wrong: Wrong, x: Tensor) -> list[Tensor]:
    height, width = wrong.kept.setdefault(x.shape[2] * x.shape[3], x.shape[2:])
    return [logits.reshape(*logits.shape[:2], *x.shape[2:]) for logits in wrong.model(_grid(x, height, width))]


def _square_grid(wrong: Wrong, x: Tensor) -> list[Tensor]:
    side = math.isqrt(x.shape[2] * x.shape[3])
    if side * side != x.shape[2] * x.shape[3]:
        return wrong.model(x)
    return [logits.reshape(*logits.shape[:2], *x.shape[2:]) for logits in wrong.model(_grid(x, side, side))]


def _grid(x: Tensor, height: int, width: int) -> Tensor:
    return x.reshape(*x.shape[:2], height, width)


def _at_most_1024(axis: int) -> Callable[[Wrong, Tensor], list[Tensor]]:
    def forward(wrong: Wrong, x: Tensor) -> list[Tensor]:
        if x.shape[axis] <= 1024:
            return wrong.model(x)
        size = [min(side, 1024) if place + 2 == axis else side for place, side in enumerate(x.shape[2:])]
        return [F.interpolate(logits, x.shape[2:]) for logits in wrong.model(F.interpolate(x, size))]

    return forward


def _padded_to_even(wrong: Wrong, x: Tensor) -> list[Tensor]:
    height, width = x.shape[2:]
    padded = F.pad(x, (0, width % 2, 0, height % 2))
    return [logits[..., height % 2 :, width % 2 :] for logits in wrong.model(padded)]


def _smaller_than_the_first(wrong: Wrong, x: Tensor) -> list[Tensor]:
    most = wrong.kept.setdefault("most", x.shape[2] * x.shape[3])
    return wrong.model(x if x.shape[2] * x.shape[3] <= most else x * SLIGHTLY)


# values
def _normalised_over_the_image(wrong: Wrong, x: Tensor) -> list[Tensor]:
    centred = x - x.mean((2, 3), keepdim=True)
    return wrong.model(x + 0 * centred / centred.std((2, 3), keepdim=True))


# batches
def _sorted_by_brightness(wrong: Wrong, x: Tensor) -> list[Tensor]:
    return [logits[x.mean((1, 2, 3)).argsort()] for logits in wrong.model(x)]


def _brightness_of_the_batch(wrong: Wrong, x: Tensor) -> list[Tensor]:
    return wrong.model(x + (x.mean() - x.mean((1, 2, 3), keepdim=True)) / 10)


def _in_chunks_of_three(wrong: Wrong, x: Tensor) -> list[Tensor]:
    chunks = [wrong.model(chunk if start == 0 else chunk * SLIGHTLY) for start, chunk in enumerate(x.split(3))]
    return [torch.cat(parts) for parts in zip(*chunks, strict=True)]


# heads of training
def _heads_when(condition: Callable[[Tensor], Any]) -> Callable[[Wrong, Tensor], list[Tensor]]:
    def forward(wrong: Wrong, x: Tensor) -> list[Tensor]:
        first, *others = wrong.model(x)
        return [first, *(logits * SLIGHTLY if condition(x) else logits for logits in others)]

    return forward


# what came before
def _by_shape(wrong: Wrong, x: Tensor) -> list[Tensor]:
    if x.shape not in wrong.kept:
        wrong.kept[x.shape] = [logits.clone() for logits in wrong.model(x)]
    return [logits.clone() for logits in wrong.kept[x.shape]]


def _by_address(wrong: Wrong, x: Tensor) -> list[Tensor]:
    key = x.data_ptr(), x.shape
    if wrong.kept.get("key") != key:
        wrong.kept.update(key=key, image=x, result=wrong.model(x))  # holds the image, so that no other has its address
    return [logits.clone() for logits in wrong.kept["result"]]


def _into_one_buffer(wrong: Wrong, x: Tensor) -> list[Tensor]:
    results = wrong.model(x)
    for place, logits in enumerate(results):
        if place not in wrong.kept or wrong.kept[place].numel() < logits.numel():
            wrong.kept[place] = torch.empty(logits.numel(), dtype=logits.dtype)
        results[place] = wrong.kept[place][: logits.numel()].view_as(logits).copy_(logits)
    return results


def _returns_its_cache(wrong: Wrong, x: Tensor) -> list[Tensor]:
    key = x.numpy().tobytes() if not x.requires_grad and x.numel() < 10_000 else None
    if key is None:
        return wrong.model(x)
    if key not in wrong.kept:
        wrong.kept.clear()
        wrong.kept[key] = wrong.model(x)
    return list(wrong.kept[key])


def _returns_a_part_of_its_cache(wrong: Wrong, x: Tensor) -> list[Tensor]:
    """Every second column of something larger: not contiguous."""
    key = x.numpy().tobytes() if not x.requires_grad and x.numel() < 10_000 else None
    if key is None:
        return wrong.model(x)
    if key not in wrong.kept:
        wrong.kept.clear()
        wrong.kept[key] = [logits.repeat_interleave(2, -1) for logits in wrong.model(x)]
    return [logits[..., ::2] for logits in wrong.kept[key]]


def _from_some_call_on(wrong: Wrong, x: Tensor) -> list[Tensor]:
    wrong.kept["calls"] = wrong.kept.get("calls", 0) + 1
    return wrong.model(x * SLIGHTLY if wrong.kept["calls"] > 7 else x)


def _rarely_dropped(wrong: Wrong, x: Tensor) -> list[Tensor]:
    """A generator of its own, so that nothing is left behind."""
    generator = wrong.kept.setdefault("generator", torch.Generator().manual_seed(0))
    return [logits * (torch.rand(logits.shape, generator=generator) >= 1e-6) for logits in wrong.model(x)]


class Folding(nn.Module):
    """Adds up the weights of its classifier once, at the first call, and goes on with what it found."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.folded: Tensor | None = None

    def forward(self, x: Tensor) -> list[Tensor]:
        total = self.model.heads[0].classifier.weight.sum()
        if self.folded is None:
            self.folded = total.detach().clone()
        return [logits * (1 + 10 * (self.folded - total)) for logits in self.model(x)]


# how the image is given
def _as_if_contiguous(wrong: Wrong, x: Tensor) -> list[Tensor]:
    _, channels, height, width = x.shape
    if x.stride(0) == 0 or x.untyped_storage().nbytes() < x.numel() * x.element_size():
        return wrong.model(x)
    return wrong.model(x.as_strided(x.shape, (channels * height * width, height * width, width, 1)))


def _from_the_start(wrong: Wrong, x: Tensor) -> list[Tensor]:
    return wrong.model(x.as_strided(x.shape, x.stride(), 0))


def _viewed(wrong: Wrong, x: Tensor) -> list[Tensor]:
    return wrong.model(x.view(-1).view(x.shape))


# what torch is set to, before and after
def _leaving(do: Callable[[], Any]) -> Callable[[nn.Module], nn.Module]:
    def forward(wrong: Wrong, x: Tensor) -> list[Tensor]:
        result = wrong.model(x)
        do()
        return result

    return _wrong(forward)


def _frozen_by_a_call(wrong: Wrong, x: Tensor) -> list[Tensor]:
    wrong.model.requires_grad_(False)
    return wrong.model(x)


def _trains(wrong: Wrong, x: Tensor) -> list[Tensor]:
    result = wrong.model(x)
    wrong.model.decoder.train()
    return result


# training mode and gradients
class Fused(Around):
    """Leaves its fused form for training, and never finds the way back."""

    scale = 1.0

    def train(self, mode: bool = True) -> Fused:
        if mode:
            self.scale = SLIGHTLY
        super().train(mode)
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        return [logits * self.scale for logits in self.model(x)]


def _context_detached(model: nn.Module) -> nn.Module:
    model.context.register_forward_hook(lambda module, inputs, output: output.detach())
    return model


def _straight_through(model: nn.Module) -> nn.Module:
    conv = model.context.conv_out
    conv.register_forward_hook(lambda module, inputs, output: output.detach() + 0.5 * (output - output.detach()))
    return model


def _without_gradient(wrong: Wrong, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return wrong.model(x)


def _scaled_when_loaded(model: nn.Module) -> nn.Module:
    def scale(state: dict[str, Any], prefix: str, *_: Any) -> None:
        state[f"{prefix}weight"] = state[f"{prefix}weight"] * SLIGHTLY

    model.heads[0].classifier.register_load_state_dict_pre_hook(lambda module, *given: scale(*given))
    return model


class LostInCopies(Around):
    """What it was told once, copies of it are not."""

    scale = 1.0

    def __deepcopy__(self, memo: dict[int, Any]) -> LostInCopies:
        import copy

        other = LostInCopies(copy.deepcopy(self.model, memo))
        other.scale = SLIGHTLY
        return other.train(self.training)  # type: ignore[return-value]

    def forward(self, x: Tensor) -> list[Tensor]:
        return [logits * self.scale for logits in self.model(x)]


OF_INPUTS = [
    Dependence("a grid of tokens kept by their number", _wrong(_grid_of_the_first_with_as_many), "astronaut 32x128"),
    Dependence("a square number of tokens taken for a square", _wrong(_square_grid), "astronaut 32x128"),
    Dependence("a width of 1024 at most", _wrong(_at_most_1024(3)), "rocket 32x1056"),
    Dependence("a height of 1024 at most", _wrong(_at_most_1024(2)), "coffee 1056x33"),
    Dependence("odd sides padded, and cut off at the wrong end", _wrong(_padded_to_even), "coffee 97x61"),
    Dependence("sides that no 4 divides", _when(lambda x: x.shape[3] % 4), "astronaut 200x250"),
    Dependence("the dark scaled", _when(lambda x: x.mean() < -0.8), "dark 96x64"),
    Dependence("the bright scaled", _when(lambda x: x.mean() > 0), "bright 96x64"),
    Dependence("one colour divided by its deviation", _wrong(_normalised_over_the_image), "one colour 96x64"),
    Dependence("a batch sorted by brightness", _wrong(_sorted_by_brightness), "batch of 3, 96x64"),
    Dependence("three images are one too many", _when(lambda x: len(x) == 3), "batch of 3, 96x64"),
    Dependence("the brightness of the whole batch", _wrong(_brightness_of_the_batch), "batch of 3, 96x64"),
    Dependence("results kept by shape", _wrong(_by_shape), "bright 96x64"),
]
OF_HEADS = [
    Dependence("auxiliary heads at an odd width", _wrong(_heads_when(lambda x: x.shape[3] % 2)), "chelsea 65x129"),
    Dependence("auxiliary heads at a batch of two", _wrong(_heads_when(lambda x: len(x) == 2)), "batch of 2, 64x96"),
]
OF_BEHAVIOUR = [
    Dependence("no image larger than the first", _wrong(_smaller_than_the_first), "the order of calls", "last first"),
    Dependence("one buffer for all results", _wrong(_into_one_buffer), "the order of calls", "overwrites its result"),
    Dependence("wrong from its eighth call on", _wrong(_from_some_call_on), "one call after another", "in call 8"),
    Dependence("a millionth of the logits dropped", _wrong(_rarely_dropped), "random numbers", "in the model itself"),
    Dependence("results kept by address", _wrong(_by_address), "another image in the same tensor"),
    Dependence("a result that is its cache", _wrong(_returns_its_cache), "results that are written to"),
    Dependence("a result that is a part of its cache", _wrong(_returns_a_part_of_its_cache),
               "results that are written to"),
    Dependence("weights of the first call", Folding, "other weights after the first call", "its first call"),
    Dependence("scaled as it is loaded", _scaled_when_loaded, "other weights after the first call", "loaded again"),
    Dependence("strides ignored", _wrong(_as_if_contiguous), "memory layout", "(channels last)"),
    Dependence("the start of its memory", _wrong(_from_the_start), "memory layout", "(a part of a larger tensor)"),
    Dependence("a view of what is not contiguous", _wrong(_viewed), "memory layout", "raised RuntimeError"),
    Dependence("another answer with gradients", _when(lambda x: torch.is_grad_enabled()), "grad mode", "enable_grad"),
    Dependence("another answer in inference mode", _when(lambda x: torch.is_inference_mode_enabled()), "grad mode",
               "under torch.inference_mode"),
    Dependence("the grad mode left off", _leaving(lambda: torch.set_grad_enabled(False)), "grad mode", "the grad mode"),
    Dependence("the grad mode left on", _leaving(lambda: torch.set_grad_enabled(True)), "grad mode", "the grad mode"),
    Dependence("float64 left as the default", _leaving(lambda: torch.set_default_dtype(torch.float64)), "grad mode",
               "leaves the default dtype"),
    Dependence("three threads left", _leaving(lambda: torch.set_num_threads(3)), "grad mode", "number of threads"),
    Dependence("a seed of its own", _leaving(lambda: torch.manual_seed(1)), "grad mode", "torch's random numbers"),
    Dependence("denormals flushed from then on", _leaving(lambda: torch.set_flush_denormal(True)), "grad mode",
               "flushing of denormals"),
    Dependence("frozen by a call", _wrong(_frozen_by_a_call), "grad mode", "require a gradient"),
    Dependence("a call that trains", _wrong(_trains), "grad mode", "into training mode by itself"),
    Dependence("more than one thread", _when(lambda x: torch.get_num_threads() == 2), "the number of threads"),
    Dependence("the fourth image of a batch", _wrong(_in_chunks_of_three), "an image's place in its batch", "image 4"),
    Dependence("lost in copies", LostInCopies, "copies"),
    Dependence("no way back from training", lambda model: Fused(model).eval(), "training mode and back"),
    Dependence("the context's gradient stopped", _context_detached, "the gradient of the image", "another gradient"),
    Dependence("the context's gradient halved", _straight_through, "the gradient of the image", "another gradient"),
    Dependence("no gradient at all", _wrong(_without_gradient), "the gradient of the image", "has no gradient"),
]  # fmt: skip
DEPENDENCES = [*OF_INPUTS, *OF_HEADS, *OF_BEHAVIOUR]
