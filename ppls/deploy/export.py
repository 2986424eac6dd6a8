"""`ppls.export`: a model for other runtimes, run in them before the file gets its name."""

from __future__ import annotations

import copy
import hashlib
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ppls.converter.inputs import config_files, weight_files
from ppls.deploy.folding import fold_batch_norms, replace_adaptive_pooling
from ppls.deploy.formats import FORMATS, INPUT, OUTPUTS, Exported, Shape, can_be_oblivious, least_side_of, write_export
from ppls.deploy.metadata import metadata_of
from ppls.deploy.runtimes import Check, check_runtimes, runtimes_for
from ppls.destination import Inputs, check_destinations, file_that_becomes
from ppls.errors import Error, UsageError, first_line
from ppls.images.transforms import Size
from ppls.inference.devices import in_use
from ppls.models.images import channels_of
from ppls.models.sizes import padded_size
from ppls.parity.tolerance import TOLERANCE

SMALLEST = 64  # pixels of a side of a dynamic size that are checked: twice the stride of the encoders


@dataclass(frozen=True)
class Export:
    """What was exported, and what the runtimes made of it.

    Attributes:
        size: (height, width), None for any.
        batch: images at a time, None for any.
        output: `logits` or `softmax`, float32 (N, num_classes, H, W), or `argmax`, int32 (N, H, W).
        metadata: what the file says of itself; docs/deploying.md lists the keys.
        checks: one for each runtime and input.
        refused: runtimes that the format is not made for and that cannot read the file, with the reason.
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
    metadata: dict[str, Any]
    checks: tuple[Check, ...]
    refused: dict[str, str]

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

    ONNX is run in ONNX Runtime, OpenVINO's .xml (with a .bin beside it) in OpenVINO; PyTorch's two formats are loaded
    again in PyTorch; all in OpenVINO too where that is installed.

    Args:
        model: a converted file, anything that `ppls.load` takes, or a module that gives a list of logits.
        destination: the file. It appears only if every runtime agrees.
        format: one of `FORMATS`. Default: by the suffix of `destination`.
        size: (height, width) of the images; None for any batch, height and width (from 64 on, or the model's own
            `smallest_side`, which MscaleOCRNet has; in torch.export's format from where that can follow the model, 65
            for ISANet, 68 for LPSNet), and for the size of the program where the model is one of a single size.
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
    weights = () if isinstance(model, nn.Module) else weight_files(model)
    _check_name(path)
    inputs: Inputs = {"model": weights, "config": config_files(config), "map": [(conversion or {}).get("map")]}
    files = [path, path.with_suffix(".bin")] if kind == "openvino" else [path]
    check_destinations(files, force=force, inputs=inputs)
    runtimes = runtimes_for(kind)
    with in_use(model, torch.device("cpu"), config, conversion) as loaded:
        original = copy.deepcopy(loaded) if isinstance(model, nn.Module) else loaded
    size = size or getattr(original, "only_size", None)
    shape = None if size is None else (batch, *size)
    if not full_resolution:
        if not hasattr(original, "raw_logits"):
            raise UsageError(f"{type(original).__name__} has no logits at a resolution of its own")
        setattr(original, "raw_logits", True)  # noqa: B010  (mypy takes it for a submodule)
    prepared = copy.deepcopy(original)
    folded = fold_batch_norms(prepared) if fold else 0
    replace_adaptive_pooling(prepared)
    channels = channels_of(original)
    settings = {
        "input": f"{INPUT}: float32 (N, {channels}, H, W), {'RGB, ' if channels == 3 else ''}prepared",
        "output": output,
        "size": size,
        "batch": None if size is None else batch,
        "full_resolution": full_resolution,
    }
    metadata = metadata_of(original, settings)
    # runtimes tell formats by the suffix
    with ExitStack() as stack:
        part = Path(stack.enter_context(file_that_becomes(path, force=force, suffix=FORMATS[kind])).name)
        exported = Exported(prepared, output).eval()

        def attempt(*, oblivious: bool) -> tuple[list[Check], dict[str, str]]:
            write_export(kind, exported, part, shape, metadata, oblivious=oblivious)
            sizes = _check_sizes(shape, original, least_side_of(part) if kind == "torch-export" else 1)
            return check_runtimes(runtimes, part, original, output, sizes, tolerance)

        try:
            try:
                checks, refused = attempt(oblivious=False)
            except Exception:
                if not can_be_oblivious(kind, shape):
                    raise
                checks, refused = attempt(oblivious=True)
        except Error:
            raise
        except Exception as error:  # the exporters raise what they like
            what = "any size; fix one (--size), or take another format" if size is None else f"{size[0]}x{size[1]}"
            reason = first_line(error.__cause__ or error)  # torch.onnx's own errors begin with advice
            raise Error(f"{path}: cannot be exported as {kind} for {what}: {reason}") from error
        digest = hashlib.sha256(part.read_bytes()).hexdigest()
        if kind == "openvino":
            _move(part.with_suffix(".bin"), path.with_suffix(".bin"), force)
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
        metadata,
        tuple(checks),
        refused,
    )


def _move(part: Path, path: Path, force: bool) -> None:
    """Gives a file that was written beside another its name."""
    try:
        with part.open("rb") as written, file_that_becomes(path, force=force) as file:
            shutil.copyfileobj(written, file)
    finally:
        part.unlink(missing_ok=True)


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


def _check_sizes(shape: Shape | None, model: nn.Module, least: int) -> list[Shape]:
    """For any size a power of two, an odd one, one that no bin divides, and the smallest; all as the model takes it."""
    if shape is not None:
        return [shape]
    smallest = max(SMALLEST, getattr(model, "smallest_side", 0), least)
    sizes = [(1, 128, 256), (2, 97, 161), (1, 224, 352), (1, smallest, smallest)]
    return [(batch, *padded_size(model, [max(side, smallest) for side in size])) for batch, *size in sizes]
