"""`ppls.optimize`: the same function, without the work that inference does not need."""

from __future__ import annotations

import copy
import importlib.util
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ppls.deploy.folding import fold_batch_norms
from ppls.deploy.runtimes import TensorRun as Run
from ppls.deploy.runtimes import onnx_file_on_demand, run_in_onnxruntime, run_in_openvino
from ppls.deploy.timing import take_turns, time_turn
from ppls.deploy.tracing import traced
from ppls.errors import Error, UsageError, first_line
from ppls.models.modes import modules_in_training
from ppls.parity.reference.figures import difference
from ppls.parity.tolerance import FLOORS_ALLOWED
from ppls.temporary import temporary_folder

WARM_UP, ROUNDS = 3, 3  # TorchScript settles in its first two runs
MOST_ROUNDS, ENOUGH = 20, 0.3  # of variants that are quick: so many, until these seconds are spent on the fastest
# how a file is run in each, and the types of images
RUNTIMES: dict[str, tuple[Callable[[Path, Tensor, int], Run], tuple[torch.dtype, ...]]] = {
    "onnxruntime": (run_in_onnxruntime, (torch.float32,)),
    "openvino": (run_in_openvino, (torch.float32, torch.bfloat16)),
}


class Optimized(nn.Module):
    """A model as `optimize` returns it: takes `(N, 3, H, W)` images, returns a list with the logits.

    Attributes:
        variant: what was found the fastest.
        milliseconds: of each variant on the example, the shortest run: what else a machine does only adds to it.
        failed: why a variant is not among them.
        scaled_error: how far it is from the model it was made of on the example, max|a - b| / max|a|.
    """

    def __init__(self, model: nn.Module, variant: str, memory_format: torch.memory_format) -> None:
        super().__init__()
        self.model = model
        self.variant = variant
        self.memory_format = memory_format
        self.milliseconds: dict[str, float] = {}
        self.failed: dict[str, str] = {}
        self.scaled_error = 0.0

    def forward(self, image: Tensor) -> list[Tensor]:
        return [self.model(image.contiguous(memory_format=self.memory_format))]


def optimize(
    model: nn.Module,
    example: Tensor,
    *,
    tolerance: float | None = None,
    compile: bool = True,
    runtimes: Sequence[str] = ("onnxruntime", "openvino"),
) -> Optimized:
    """The model made fast for inference on the machine at hand; `model` itself is left as it is.

    BatchNorms are folded into the convolutions before them. What is left is traced and frozen in each memory layout
    that PyTorch has (channels first, channels last), on the CPU also with operations fused by oneDNN Graph, and
    compiled ahead of time by AOTInductor; and run by the runtimes that are installed. All are timed on the example,
    and the fastest is taken. It is fast at the example's size, and right at any.

    Args:
        model: in eval mode; takes `(N, 3, H, W)` images, returns a list whose first entry is the logits.
        example: an image of the size, batch, type and device to be fast on; other sizes work too.
        tolerance: the largest scaled difference from `model`. Default: a few times the model's own rounding floor on
            the example, itself in either memory layout against itself in the next higher precision: folding moves
            roundings.
        compile: try AOTInductor too, which mostly is the fastest, needs a C++ compiler and takes half a minute.
        runtimes: try these too, where they are installed (`pip install 'ppls[export]'`) and the example is on the CPU.

    Raises:
        UsageError: the model is in training mode, the example no batch of images, or a runtime unknown.
        Error: no variant agrees with the model within the tolerance.
    """
    with onnx_file_on_demand(model, example) as onnx:
        return optimize_with(onnx, model, example, tolerance=tolerance, compile=compile, runtimes=runtimes)


def optimize_with(
    onnx: Callable[[], Path],
    model: nn.Module,
    example: Tensor,
    *,
    tolerance: float | None = None,
    compile: bool = True,
    runtimes: Sequence[str] = ("onnxruntime", "openvino"),
) -> Optimized:
    """`optimize`, where others run the same ONNX file of the model for images like the example."""
    if modules_in_training(model):
        raise UsageError("optimize is for inference: call model.eval() first")
    if example.dim() != 4:
        raise UsageError(f"the example is a batch of images (N, 3, H, W), got {list(example.shape)}")
    for name in runtimes:
        if name not in RUNTIMES:
            raise UsageError(f"{name!r} is no runtime: known are {', '.join(RUNTIMES)}")
    with torch.no_grad():
        expected = logits_of(model(example))
    if tolerance is None:
        tolerance = max(FLOORS_ALLOWED * _rounding_floor(model, example, expected), torch.finfo(torch.float32).eps)
    agreeing: list[Optimized] = []
    failed: dict[str, str] = {}
    for name, make in _variants(model, example, compile, runtimes, onnx):
        try:
            candidate = make()
            with torch.inference_mode():
                for _ in range(WARM_UP):
                    (result,) = candidate(example)
        except Exception as error:  # no compiler, an operation that it lacks: the others remain
            failed[name] = f"cannot be {'compiled' if 'compiled' in name else 'run'}: {first_line(error)}"
            continue
        candidate.scaled_error = scaled_error(expected, result)
        if candidate.scaled_error <= tolerance:
            agreeing.append(candidate)
        else:
            failed[name] = f"differs by {candidate.scaled_error:.1e}"
    if not agreeing:
        reasons = ", ".join(f"{variant} {reason}" for variant, reason in failed.items())
        raise Error(f"no variant agrees with the model to {tolerance:g}: {reasons}; raise the tolerance if it may")
    turns = [partial(time_turn, partial(candidate, example), example.device) for candidate in agreeing]
    seconds = take_turns(turns, ROUNDS)
    more = min(MOST_ROUNDS, int(ENOUGH / min(map(sum, seconds)) * ROUNDS)) - ROUNDS
    seconds = [a + b for a, b in zip(seconds, take_turns(turns, max(more, 0)), strict=True)]
    milliseconds = [min(times) * 1000 for times in seconds]
    best = agreeing[milliseconds.index(min(milliseconds))]
    best.failed = failed
    best.milliseconds = {agreed.variant: time for agreed, time in zip(agreeing, milliseconds, strict=True)}
    return best.eval()


def _variants(
    model: nn.Module, example: Tensor, compile: bool, runtimes: Sequence[str], onnx: Callable[[], Path]
) -> Iterator[tuple[str, Callable[[], Optimized]]]:
    """Each by its name, and how it is made."""
    folded = copy.deepcopy(model).requires_grad_(False)
    fold_batch_norms(folded)
    layouts = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
    for name, layout in layouts.items():
        copied = _First(copy.deepcopy(folded)).eval()
        copied.to(memory_format=layout)  # type: ignore[call-overload]
        image = example.contiguous(memory_format=layout)
        yield name, partial(_traced, copied, image, name, layout)
        if example.device.type == "cpu" and example.dtype == torch.float32:
            yield f"{name}, oneDNN Graph", partial(_fused, copied, image, f"{name}, oneDNN Graph", layout)
    ways: dict[str, Callable[[], Run]] = {}
    if compile:
        ways["channels last, compiled"] = partial(_compiled, copied, image)
    ways |= {name: partial(_in_runtime, name, onnx, example) for name in runtimes if _can_run(name, example)}
    for name, way in ways.items():
        own_layout = torch.contiguous_format if name in RUNTIMES else layout
        yield name, partial(_for_one_shape, way, copied, image, name, own_layout)


def _traced(model: nn.Module, image: Tensor, name: str, layout: torch.memory_format) -> Optimized:
    return Optimized(_frozen(model, image), name, layout)


def _fused(model: nn.Module, image: Tensor, name: str, layout: torch.memory_format) -> Optimized:
    fused = _traced(model, image, name, layout)
    with _onednn_graph(), torch.inference_mode():  # the first runs decide what is fused, for this size
        for _ in range(WARM_UP):
            fused(image)
    return fused


def _for_one_shape(
    way: Callable[[], Run], model: nn.Module, image: Tensor, name: str, layout: torch.memory_format
) -> Optimized:
    return Optimized(_ForOneShape(way(), model, image), name, layout)


def _can_run(runtime: str, example: Tensor) -> bool:
    """Whether all that it takes is installed, and it computes where and as the example asks for."""
    packages = ("onnx", "onnxscript", runtime)
    installed = all(importlib.util.find_spec(package) is not None for package in packages)
    return installed and example.device.type == "cpu" and example.dtype in RUNTIMES[runtime][1]


def _in_runtime(runtime: str, onnx: Callable[[], Path], example: Tensor) -> Run:
    return RUNTIMES[runtime][0](onnx(), example, torch.get_num_threads())


class _ForOneShape(nn.Module):
    """What runs images like `example` alone, and the module that serves all others."""

    def __init__(self, run: Run, module: nn.Module, example: Tensor) -> None:
        super().__init__()
        self.module = module
        self._run = run
        self._like = (example.shape, example.dtype, example.device)

    def forward(self, image: Tensor) -> Tensor:
        run = self._run if (image.shape, image.dtype, image.device) == self._like else self.module
        return run(image)


def _compiled(module: nn.Module, example: Tensor) -> Run:
    """AOTInductor's code for images like `example`.

    It is compiled ahead of time since `torch.compile` would compile again, in the midst of its use, for every new size
    and whenever inference mode is entered or left.
    """
    with torch.no_grad(), temporary_folder() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = torch._inductor.aoti_compile_and_package(
            torch.export.export(module, (example,)),
            package_path=str(folder / "model.pt2"),
            inductor_configs={
                "freezing": True,  # weights as constants, in the layout that oneDNN likes best
                # what calls the kernels is one function, of which a compiler's optimizing grows faster than it: minutes
                # of MscaleOCRNet, and the model is none the faster
                "aot_inductor.compile_wrapper_opt_level": "O0",
            },
        )
        return torch._inductor.aoti_load_package(package)  # type: ignore[no-any-return]


def _frozen(model: nn.Module, image: Tensor) -> nn.Module:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        frozen: nn.Module = torch.jit.freeze(traced(model, image))
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
        return logits_of(self.model(image))


def logits_of(output: list[Tensor] | Tensor) -> Tensor:
    """The logits in what a model returns, or what an optimized one does."""
    return output if isinstance(output, Tensor) else output[0]


def _rounding_floor(model: nn.Module, example: Tensor, logits: Tensor) -> float:
    """How far the model is from what it computes in the next higher precision, in the worse of both memory layouts.

    Kernels add up in another order in each: `logits`, its own of the example, may by chance be near.
    """
    higher = torch.float64 if example.dtype == torch.float32 else torch.float32
    copied = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.no_grad():
        other = logits_of(copied(example.contiguous(memory_format=torch.channels_last)))
        exact = logits_of(copied.to(higher)(example.to(higher)))
    return max(scaled_error(exact, each.to(higher)) for each in (logits, other))


def scaled_error(expected: Tensor, result: Tensor) -> float:
    """How far a tensor of any type on any device is from what is expected, as parity measures it."""
    a, b = (tensor.detach().cpu().to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in (expected, result))
    return difference(a.numpy(), b.numpy()).scaled
