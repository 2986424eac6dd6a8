"""The runtimes that an export is run in, and what they make of it beside PyTorch."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ppls.deploy.folding import fold_batch_norms, replace_adaptive_pooling
from ppls.deploy.formats import Exported, write_export
from ppls.errors import Error, MissingDependencyError, first_line
from ppls.models.images import channels_of
from ppls.parity.files.onnxruntime import places_in_onnxruntime, start_session
from ppls.parity.files.openvino import compile_model, import_openvino, places_in_openvino
from ppls.parity.files.pytorch import load_torchscript, places_in_torch
from ppls.parity.maxima import Settled
from ppls.parity.reference.figures import difference
from ppls.temporary import temporary_folder
from ppls.version import versions

Array = np.ndarray[Any, Any]
Run = Callable[[Array], Array]
TensorRun = Callable[[torch.Tensor], torch.Tensor]  # from images to logits


@dataclass(frozen=True)
class Check:
    """One run of an export beside the model in PyTorch.

    Attributes:
        shape: of the input (N, C, H, W).
        max_abs: the largest difference; of `argmax`, how many pixels differ.
        scaled: that by the largest value of PyTorch's; of `argmax`, by the number of pixels.
        ties: how many maxima of poolings whose places are used stood elsewhere, of two that tie, until PyTorch's were
            put where the runtime's stand.
    """

    runtime: str
    version: str
    shape: tuple[int, ...]
    max_abs: float
    scaled: float
    ties: int = 0


@dataclass(frozen=True)
class Runtime:
    """A way to run a file."""

    name: str
    package: str
    open: Callable[[Path], Run]
    places: Callable[[Path, Array], list[Array]]  # of the maxima, of every pooling of the file that says them

    @property
    def version(self) -> str:
        return versions(self.package)[self.package]


def open_onnxruntime(path: Path, threads: int = 0, device: str = "cpu") -> Run:
    """An ONNX file in ONNX Runtime, on `cpu` or `cuda`; `threads` 0 leaves their number to it."""
    session = start_session(path, threads, device)
    name = session.get_inputs()[0].name
    return lambda image: np.asarray(session.run(None, {name: image})[0])


def open_openvino(path: Path, threads: int = 0, precision: str = "f32") -> Run:
    """A file of any format in OpenVINO, on the CPU, computing in `precision`, its name of a type."""
    compiled = compile_model(_read_in_openvino(path), threads, precision)
    return lambda image: np.asarray(compiled(image)[0])


def _read_in_openvino(path: Path) -> Any:
    openvino = import_openvino()
    if path.suffix in (".onnx", ".xml"):
        return openvino.Core().read_model(str(path))
    if path.suffix == ".pt2":
        return openvino.convert_model(torch.export.load(path))
    loaded = load_torchscript(path)
    return openvino.convert_model(loaded, example_input=torch.zeros(1, channels_of(loaded), 96, 160))


def open_torch(path: Path) -> Run:
    """A torch.export or TorchScript file in PyTorch."""
    loaded = _load_in_torch(path)

    def run(image: Array) -> Array:
        with torch.no_grad():
            return np.asarray(loaded(torch.from_numpy(image)))

    return run


def _load_in_torch(path: Path) -> Any:
    return torch.export.load(path).module() if path.suffix == ".pt2" else load_torchscript(path)


_TORCH = Runtime("PyTorch", "torch", open_torch, lambda path, image: places_in_torch(_load_in_torch(path), image))
_OPENVINO = Runtime(  # reads all of them
    "OpenVINO",
    "openvino",
    open_openvino,
    lambda path, image: places_in_openvino(_read_in_openvino(path), image),
)
_OWN = {  # of each format, the runtime that it is made for
    "onnx": Runtime("ONNX Runtime", "onnxruntime", open_onnxruntime, places_in_onnxruntime),
    "openvino": _OPENVINO,
    "torch-export": _TORCH,
    "torchscript": _TORCH,
}
_EXPORTERS = {"onnx": ("onnx", "onnxscript")}


@contextmanager
def onnx_file_for(model: nn.Module, image: torch.Tensor) -> Iterator[Path]:
    """An ONNX file of a model, which gives a list of logits, for images of the shape of `image`; in float32."""
    prepared = copy.deepcopy(model).cpu().float()
    fold_batch_norms(prepared)
    replace_adaptive_pooling(prepared)
    batch, _, height, width = image.shape
    with temporary_folder() as folder:
        path = folder / "model.onnx"
        write_export("onnx", Exported(prepared, "logits").eval(), path, (batch, height, width), {})
        yield path


@contextmanager
def onnx_file_on_demand(model: nn.Module, image: torch.Tensor) -> Iterator[Callable[[], Path]]:
    """What writes the file of `onnx_file_for` when it is asked for one the first time."""
    with ExitStack() as stack:
        yield cache(lambda: stack.enter_context(onnx_file_for(model, image)))


def run_in_onnxruntime(path: Path, image: torch.Tensor, threads: int) -> TensorRun:
    """An ONNX file in ONNX Runtime, for images like `image`, where it is."""
    require_packages("onnxruntime")
    if image.dtype != torch.float32:
        raise Error("the export is in float32")
    run = open_onnxruntime(path, threads, image.device.type)
    return lambda image: torch.from_numpy(run(image.detach().cpu().numpy()))


def run_in_openvino(path: Path, image: torch.Tensor, threads: int) -> TensorRun:
    """An ONNX file in OpenVINO on the CPU, for images like `image`, computing in their precision."""
    require_packages("openvino")
    run = open_openvino(path, threads, openvino_precision(image))
    return lambda image: torch.from_numpy(run(image.detach().float().numpy())).to(image.dtype)


def openvino_precision(image: torch.Tensor) -> str:
    """OpenVINO's name of the image's precision. Left to itself it would take bfloat16 for float32."""
    if image.device.type != "cpu":
        raise Error("ppls runs OpenVINO on the CPU only")
    capability, name = {
        torch.float32: ("FP32", "f32"),
        torch.bfloat16: ("BF16", "bf16"),
        torch.float16: ("FP16", "f16"),
    }[image.dtype]
    if capability not in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise Error(f"OpenVINO does not compute in {name} on this processor")
    return name


def runtimes_for(format: str) -> tuple[Runtime, ...]:
    """The runtimes that a format is tried in: its own, and OpenVINO where that is installed.

    Raises `MissingDependencyError` if its own, or the exporter, is not installed.
    """
    own = _OWN[format]
    require_packages(*_EXPORTERS.get(format, ()), own.package)
    also = () if own is _OPENVINO or not importlib.util.find_spec(_OPENVINO.package) else (_OPENVINO,)
    return (own, *also)


def require_packages(*packages: str) -> None:
    """Raises `MissingDependencyError` unless all that an export needs are installed."""
    missing = sorted(package for package in packages if importlib.util.find_spec(package) is None)
    if missing:
        said = (
            f"{missing[0]} is not installed; the export needs it"
            if len(missing) == 1
            else (f"{', '.join(missing)} are not installed; the export needs them")
        )
        raise MissingDependencyError(f"{said}: pip install {' '.join(missing)}")


def check_runtimes(
    runtimes: Sequence[Runtime],
    path: Path,
    model: nn.Module,
    output: str,
    shapes: Sequence[tuple[int, int, int]],
    tolerance: float,
) -> tuple[list[Check], dict[str, str]]:
    """Runs the file at `path` in each runtime, on noise, and compares it with `model`, which gives a list of logits.

    Where they differ, and the model puts maps back where maxima stood, its maxima are put where the runtime's stand, of
    two that tie: then they are to agree.

    Returns:
        the runs; and the runtimes that cannot read the file, with the reason.

    Args:
        shapes: batch, height and width of each input.
        tolerance: see `ppls.export`.

    Raises:
        Error: the first runtime, which the format is made for, refuses the file, or one differs by more than the
            tolerance.
    """
    inputs = [_noise(shape, channels_of(model)) for shape in shapes]
    with torch.no_grad():
        logits = [model(torch.from_numpy(image))[0] for image in inputs]
    checks: list[Check] = []
    refused: dict[str, str] = {}
    for runtime in runtimes:
        try:
            run = runtime.open(path)
            results = [run(image) for image in inputs]
        except Exception as error:
            if runtime is runtimes[0]:
                way = " for any size; fix one (--size), or take another format" if len(shapes) > 1 else ""
                raise Error(f"{runtime.name} {runtime.version} refuses the export{way}: {first_line(error)}") from error
            refused[f"{runtime.name} {runtime.version}"] = first_line(error)
            continue
        for image, expected, result in zip(inputs, logits, results, strict=True):
            check, agrees = _check(runtime, image, expected, result, output, tolerance)
            if not agrees:
                with torch.no_grad(), Settled(runtime.places(path, image)) as settled:
                    expected = model(torch.from_numpy(image))[0]
                if settled.moved:
                    check, agrees = _check(runtime, image, expected, result, output, tolerance, settled.moved)
            checks.append(check)
            if not agrees:
                size = "x".join(map(str, image.shape))
                raise Error(
                    f"{runtime.name} {runtime.version} differs from PyTorch at {size}: "
                    f"{output} by {check.scaled:.1e} of the scale"
                )
    return checks, refused


def _check(
    runtime: Runtime,
    image: Array,
    logits: torch.Tensor,
    result: Array,
    output: str,
    tolerance: float,
    ties: int = 0,
) -> tuple[Check, bool]:
    max_abs, scaled, agrees = _compared(logits, result, output, tolerance)
    return Check(runtime.name, runtime.version, image.shape, max_abs, scaled, ties), agrees


def _compared(logits: torch.Tensor, result: Array, output: str, tolerance: float) -> tuple[float, float, bool]:
    if output == "argmax":
        expected = logits.argmax(1).numpy()
        if result.shape != expected.shape:
            return float("inf"), float("inf"), False
        best = logits.topk(min(2, logits.shape[1]), dim=1).values
        close = ((best[:, 0] - best[:, -1]) <= tolerance * logits.abs().max()).numpy()
        different = result != expected
        return float(different.sum()), float(different.mean()), not (different & ~close).any()
    expected = (logits.softmax(1) if output == "softmax" else logits).numpy()
    if result.shape != expected.shape or not np.isfinite(result).all():
        return float("inf"), float("inf"), False
    found = difference(expected, result)
    return found.max_abs, found.scaled, found.scaled <= tolerance


def _noise(shape: tuple[int, int, int], channels: int) -> Array:
    batch, height, width = shape
    noise = np.random.default_rng(shape).normal(0.0, 0.5, (batch, channels, height, width))
    return noise.astype(np.float32)
