"""`ppls.optimize`: the same function, without the work that inference does not need."""

from __future__ import annotations

import copy
import statistics
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ppls.errors import Error, UsageError
from ppls.usage.folding import fold_batch_norms

WARM_UP, ROUNDS = 3, 5  # runs of a candidate: TorchScript settles in its first two


class Optimized(nn.Module):
    """A model as `optimize` returns it: takes `(N, 3, H, W)` images, returns a list with the logits.

    Attributes:
        variant: what was found the fastest.
        milliseconds: of each variant on the example, the median.
        scaled_error: how far it is from the model it was made of on the example, max|a - b| / max|a|.
    """

    def __init__(self, model: nn.Module, variant: str, memory_format: torch.memory_format) -> None:
        super().__init__()
        self.model = model
        self.variant = variant
        self.memory_format = memory_format
        self.milliseconds: dict[str, float] = {}
        self.scaled_error = 0.0

    def forward(self, image: Tensor) -> list[Tensor]:
        return [self.model(image.contiguous(memory_format=self.memory_format))]


def optimize(model: nn.Module, example: Tensor, *, tolerance: float = 1e-5) -> Optimized:
    """The model made fast for inference on the machine at hand; `model` itself is left as it is.

    BatchNorms are folded into the convolutions before them and the graph is traced and frozen. Each memory layout that
    PyTorch has (channels first, channels last), on the CPU also with operations fused by oneDNN Graph, is timed on the
    example, and the fastest is taken. It is fast at the example's size, and right at any.

    Args:
        model: in eval mode; takes `(N, 3, H, W)` images, returns a list whose first entry is the logits.
        example: an image of the size, batch, type and device to be fast on; other sizes work too.
        tolerance: the largest scaled difference from `model`. Folding moves roundings, by 1e-6 to 3e-6 in float32;
            half precision needs about 1e-2.

    Raises:
        UsageError: the model is in training mode, or the example no batch of images.
        Error: no variant agrees with the model within the tolerance.
    """
    if model.training:
        raise UsageError("optimize is for inference: call model.eval() first")
    if example.dim() != 4:
        raise UsageError(f"the example is a batch of images (N, 3, H, W), got {list(example.shape)}")
    with torch.no_grad():
        expected = _logits(model(example))
    errors: dict[str, float] = {}
    best: Optimized | None = None
    milliseconds: dict[str, float] = {}
    for candidate in _variants(model, example):
        with torch.inference_mode():
            for _ in range(WARM_UP):
                (result,) = candidate(example)
        errors[candidate.variant] = candidate.scaled_error = _scaled(expected, result)
        if not candidate.scaled_error <= tolerance:
            continue
        milliseconds[candidate.variant] = _time(candidate, example)
        if best is None or milliseconds[candidate.variant] < milliseconds[best.variant]:
            best = candidate
    if best is None:
        differences = ", ".join(f"{name} by {error:.1e}" for name, error in errors.items())
        raise Error(f"no variant agrees with the model to {tolerance:g}: {differences}; raise the tolerance if it may")
    best.milliseconds = milliseconds
    return best


def _variants(model: nn.Module, example: Tensor) -> Iterator[Optimized]:
    folded = copy.deepcopy(model).requires_grad_(False)
    fold_batch_norms(folded)
    layouts = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
    for name, layout in layouts.items():
        copied = _First(copy.deepcopy(folded)).eval()
        copied.to(memory_format=layout)  # type: ignore[call-overload]
        image = example.contiguous(memory_format=layout)
        yield Optimized(_frozen(copied, image), name, layout)
        if example.device.type == "cpu" and example.dtype == torch.float32:
            fused = Optimized(_frozen(copied, image), f"{name}, oneDNN Graph", layout)
            with _onednn_graph(), torch.inference_mode():  # the first runs decide what is fused, for this size
                for _ in range(WARM_UP):
                    fused(example)
            yield fused


def _frozen(model: nn.Module, image: Tensor) -> nn.Module:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that tracing is deprecated, and may not generalise: the tests say it does
        traced = torch.jit.trace(model, image, check_trace=False)  # type: ignore[no-untyped-call]
        frozen: nn.Module = torch.jit.freeze(traced)
        return frozen


@contextmanager
def _onednn_graph() -> Iterator[None]:
    """Whole groups of operations as one of oneDNN's; a switch of the process, so it is set back."""
    before = torch.jit.onednn_fusion_enabled()  # type: ignore[no-untyped-call]
    torch.jit.enable_onednn_fusion(True)
    try:
        yield
    finally:
        torch.jit.enable_onednn_fusion(before)


class _First(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return _logits(self.model(image))


def _logits(output: list[Tensor] | Tensor) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


def _scaled(expected: Tensor, result: Tensor) -> float:
    scale = float(expected.abs().max()) or 1.0
    return float((expected - result).abs().max()) / scale


def _time(candidate: nn.Module, example: Tensor) -> float:
    """Milliseconds of one run, the median of several."""
    times = []
    with torch.inference_mode():
        for _ in range(ROUNDS):
            _wait(example.device)
            begin = time.perf_counter()
            candidate(example)
            _wait(example.device)
            times.append((time.perf_counter() - begin) * 1000)
    return statistics.median(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
