"""`ppls.export`: ONNX, torch.export or TorchScript, run in the runtimes that read it before it gets its name."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ppls.converter.inputs import config_files, weight_files
from ppls.deploy.folding import fold_batch_norms, replace_adaptive_pooling
from ppls.deploy.runtimes import Check, check_runtimes, runtimes_for
from ppls.destination import Inputs, check_destination, file_that_becomes
from ppls.errors import Error, UsageError, first_line
from ppls.inference.devices import in_use
from ppls.inference.preprocessing import Size
from ppls.parity.tolerance import TOLERANCE

FORMATS = {"onnx": ".onnx", "torch-export": ".pt2", "torchscript": ".pt"}
OUTPUTS = {"logits": "logits", "softmax": "probabilities", "argmax": "labels"}  # and their names in ONNX
OPSET = 18  # TensorRT 8.6 and later, OpenVINO 2023 and later and ONNX Runtime 1.14 and later read it
SMALLEST = 64  # pixels of a side of a dynamic size that are checked: twice the stride of the encoders


@dataclass(frozen=True)
class Export:
    """What was exported, and what the runtimes made of it.

    Attributes:
        size: (height, width), None for any.
        batch: images at a time, None for any.
        output: `logits` or `softmax`, float32 (N, num_classes, H, W), or `argmax`, int32 (N, H, W).
        checks: one for each runtime and input.
    """

    source: str
    destination: Path
    format: str
    size: Size | None
    batch: int | None
    output: str
    full_resolution: bool
    folded: int
    sha256: str
    checks: tuple[Check, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "destination": str(self.destination),
            "size": None if self.size is None else list(self.size),
            "checks": [asdict(check) for check in self.checks],
        }


def export(
    model: str | Path | nn.Module,
    destination: str | Path,
    *,
    format: str | None = None,
    size: Size | None = None,
    batch: int = 1,
    output: str = "logits",
    full_resolution: bool = True,
    fold: bool = True,
    config: str | Path | None = None,
    conversion: Mapping[str, Any] | None = None,
    tolerance: float = TOLERANCE,
    force: bool = False,
) -> Export:
    """Writes a model for other runtimes, runs the file in them, and compares it with the model in PyTorch.

    ONNX is run in ONNX Runtime; the others are loaded again in PyTorch; all in OpenVINO too where that is installed.

    Args:
        model: a converted file, anything that `ppls.load` takes, or a module that gives a list of logits.
        destination: the file. It appears only if every runtime agrees.
        format: one of `FORMATS`. Default: by the suffix of `destination`.
        size: (height, width) of the images; None for any batch, height and width (from 64 on).
        batch: how many images at a time, where the size is fixed.
        output: `logits`, `softmax` (both float32) or `argmax` (int32, as PaddleSeg exports it).
        full_resolution: False gives the logits as the head computes them, at 1/8 in PP-LiteSeg: the last resize is left
            to the receiver.
        fold: fold BatchNorms into convolutions.
        config: PaddleSeg's config of the run, where `model` is a Paddle file.
        conversion: further options of `ppls.convert` for such a file: architecture, map, overrides.
        tolerance: the largest scaled error, max|a - b| / max|a|; where the output is `argmax`, only pixels whose two
            best logits are that close may differ.
        force: replace `destination`.

    Raises:
        UsageError: an unknown format or output; a model without logits of its own resolution.
        MissingDependencyError: the format's own runtime is not installed.
        Error: it cannot be exported, or a runtime refuses it or disagrees.
    """
    path = Path(destination)
    kind = _format_of(path, format)
    if output not in OUTPUTS:
        raise UsageError(f"--values {output}: it is one of {', '.join(OUTPUTS)}")
    if size is not None and min(size) < 1:
        raise UsageError(f"--size {size[0]}x{size[1]}: a size is HEIGHTxWIDTH in pixels")
    if batch < 1:
        raise UsageError(f"--batch {batch}: one image at least")
    if size is None and batch != 1:
        raise UsageError("--batch is for a fixed --size; without one the export takes any batch")
    shape = None if size is None else (batch, *size)
    weights = () if isinstance(model, nn.Module) else weight_files(model)
    _check_name(path)
    inputs: Inputs = {"model": weights, "config": config_files(config), "map": [(conversion or {}).get("map")]}
    check_destination(path, force=force, inputs=inputs)
    runtimes = runtimes_for(kind)
    with in_use(model, torch.device("cpu"), config, conversion) as loaded:
        original = copy.deepcopy(loaded) if isinstance(model, nn.Module) else loaded
    if not full_resolution:
        if not hasattr(original, "raw_logits"):
            raise UsageError(f"{type(original).__name__} has no logits at a resolution of its own")
        setattr(original, "raw_logits", True)  # noqa: B010  (mypy takes it for a submodule)
    prepared = copy.deepcopy(original)
    folded = fold_batch_norms(prepared) if fold else 0
    replace_adaptive_pooling(prepared)
    wrapped = _Exported(prepared, output).eval()
    settings = {
        "output": output,
        "size": size,
        "batch": None if size is None else batch,
        "full_resolution": full_resolution,
        "input": "image: float32 (N, 3, H, W), RGB, normalised",
        **{key: value for key, value in getattr(original, "provenance", {}).items() if key in _PROVENANCE},
    }
    # runtimes tell formats by the suffix
    with file_that_becomes(path, force=force, suffix=FORMATS[kind]) as file, _quiet():
        part = Path(file.name)
        try:
            with torch.inference_mode(kind == "torchscript"):
                _WRITERS[kind](wrapped, part, shape, {key: json.dumps(value) for key, value in settings.items()})
            checks = check_runtimes(runtimes, part, original, output, _check_sizes(shape), tolerance)
        except Error:
            raise
        except Exception as error:  # the exporters raise what they like
            what = "any size; with a fixed one (--size) it may be" if size is None else f"{size[0]}x{size[1]}"
            raise Error(f"{path}: cannot be exported as {kind} for {what}: {first_line(error)}") from error
        digest = hashlib.sha256(part.read_bytes()).hexdigest()
    source = type(model).__name__ if isinstance(model, nn.Module) else str(model)
    return Export(
        source,
        path,
        kind,
        size,
        None if size is None else batch,
        output,
        full_resolution,
        folded,
        digest,
        tuple(checks),
    )


_PROVENANCE = ("architecture", "config", "source_sha256", "ppls_version")


class _Exported(nn.Module):
    """One tensor in, one out."""

    def __init__(self, model: nn.Module, output: str) -> None:
        super().__init__()
        self.model = model
        self.output = output

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.model(image)[0]
        if self.output == "argmax":
            return logits.argmax(1).to(torch.int32)
        return logits.softmax(1) if self.output == "softmax" else logits


def _check_name(path: Path) -> None:
    """Raises `UsageError` for a path that is not UTF-8: PyTorch's writers and the runtimes are given text."""
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise UsageError(f"{path}: is not UTF-8, as PyTorch and the runtimes need it; export to another path") from None


def _format_of(path: Path, format: str | None) -> str:
    if format is None:
        found = [name for name, suffix in FORMATS.items() if suffix == path.suffix]
        if not found:
            suffixes = ", ".join(f"{suffix} ({name})" for name, suffix in FORMATS.items())
            raise UsageError(f"{path}: its suffix tells no format; known are {suffixes}, or give --format")
        return found[0]
    if format not in FORMATS:
        raise UsageError(f"--format {format}: it is one of {', '.join(FORMATS)}")
    return format


Shape = tuple[int, int, int]  # batch, height, width


def _example(shape: Shape | None) -> Tensor:
    batch, height, width = shape or (2, 96, 160)
    return torch.zeros(batch, 3, height, width)


def _check_sizes(shape: Shape | None) -> list[Shape]:
    """For any size a power of two, an odd one, one that no bin divides, and the smallest."""
    if shape is not None:
        return [shape]
    return [(1, 128, 256), (2, 97, 161), (1, 224, 352), (1, SMALLEST, SMALLEST)]


def _write_onnx(model: nn.Module, path: Path, shape: Shape | None, settings: dict[str, str]) -> None:
    dimension = torch.export.Dim
    sides = {2: dimension("height", min=32, max=16384), 3: dimension("width", min=32, max=16384)}
    program = torch.onnx.export(
        model,
        (_example(shape),),
        dynamo=True,
        dynamic_shapes=None if shape else {"image": {0: dimension("batch", min=1, max=1024), **sides}},
        input_names=["image"],
        output_names=[OUTPUTS[str(model.output)]],
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(settings)
    program.save(str(path))
    beside = path.with_name(f"{path.name}.data")  # where torch puts the weights of a model of more than 1.5 GB
    if beside.exists():
        beside.unlink()
        raise Error("the model's weights are too large for one ONNX file; export it with --format torch-export")


def _write_torch_export(model: nn.Module, path: Path, shape: Shape | None, settings: dict[str, str]) -> None:
    with torch.no_grad():
        # names with bounds would have to be exactly those that the network's strides lead to
        free = None if shape is not None else {"image": dict.fromkeys((0, 2, 3), torch.export.Dim.AUTO)}
        program = torch.export.export(model, (_example(shape),), dynamic_shapes=free)
    torch.export.save(program, path, extra_files={"ppls.json": json.dumps(settings)})


def _write_torchscript(model: nn.Module, path: Path, shape: Shape | None, settings: dict[str, str]) -> None:
    traced = torch.jit.trace(model, _example(shape), check_trace=False)  # type: ignore[no-untyped-call]
    torch.jit.save(traced, str(path), _extra_files={"ppls.json": json.dumps(settings)})


_WRITERS: dict[str, Callable[[nn.Module, Path, Shape | None, dict[str, str]], None]] = {
    "onnx": _write_onnx,
    "torch-export": _write_torch_export,
    "torchscript": _write_torchscript,
}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say about themselves."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
