"""The picture of a benchmark: a panel for each input, a bar for each mode."""

from __future__ import annotations

import importlib.util
import math
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppls.destination import Inputs, check_destination, file_that_becomes
from ppls.errors import MissingDependencyError, UsageError
from ppls.shown import shown

if TYPE_CHECKING:
    from ppls.deploy.benchmark import Benchmark, Timing

_SUFFIXES = (".png", ".svg", ".pdf")
_COLUMNS = 2
_COLOURS = {"PyTorch": "#4c72b0", "exported": "#55a868", "Paddle Inference": "#c44e52"}
_EXPORTS = ("exported", "onnxruntime", "openvino", "openvino-compiled")


def check_plot(path: Path, *, force: bool = False, inputs: Inputs | None = None) -> None:
    """Raises before anything is measured: `UsageError` for another suffix, `MissingDependencyError`, and so on."""
    if path.suffix not in _SUFFIXES:
        raise UsageError(f"--plot {path}: its suffix is one of {', '.join(_SUFFIXES)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingDependencyError("matplotlib is not installed; --plot needs it: pip install matplotlib")
    check_destination(path, force=force, inputs=inputs)


def plot_benchmark(benchmark: Benchmark, path: Path, *, force: bool = False) -> None:
    """Draws the median of each mode with the range of its runs into a .png, .svg or .pdf; `force` replaces one."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    panels = [list(timings) for _, timings in groupby(benchmark.timings, key=lambda timing: timing.point)]
    columns = min(_COLUMNS, len(panels)) or 1
    rows = math.ceil(len(panels) / columns) or 1
    height = max((len(panel) for panel in panels), default=1) * 0.34 + 1.1
    figure = Figure(figsize=(6.4 * columns, height * rows + 0.5), layout="constrained")
    figure.suptitle(f"{shown(Path(benchmark.source).name)} on {benchmark.machine}", fontsize=11, parse_math=False)
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    for axis, panel in zip(axes, panels, strict=False):
        _draw(axis, panel)
    kinds = {_kind(timing.mode) for timing in benchmark.timings}
    patches = [Patch(color=colour, label=kind) for kind, colour in _COLOURS.items() if kind in kinds]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(_COLOURS), frameon=False)
    with file_that_becomes(path, force=force) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=150)


def _draw(axis: Any, panel: list[Timing]) -> None:
    names = [timing.mode for timing in panel]
    medians = [timing.milliseconds for timing in panel]
    ranges = [
        [timing.milliseconds - timing.low for timing in panel],
        [timing.high - timing.milliseconds for timing in panel],
    ]
    colours = [_COLOURS[_kind(name)] for name in names]
    axis.barh(names, medians, xerr=ranges, color=colours, height=0.65, error_kw={"ecolor": "#555555", "capsize": 2})
    for y, timing in enumerate(panel):
        label = f" {timing.milliseconds:.0f} ms, {timing.images_per_second:.1f} images/s"
        axis.annotate(label, (timing.high, y), va="center", fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(0, max(timing.high for timing in panel) * 1.45)
    axis.set_title(str(panel[0].point), fontsize=10)
    axis.set_xlabel("milliseconds of one run: median, and range")
    axis.spines[["top", "right"]].set_visible(False)


def _kind(mode: str) -> str:
    if mode.startswith("Paddle"):
        return "Paddle Inference"
    return "exported" if mode in _EXPORTS else "PyTorch"
