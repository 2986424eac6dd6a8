"""What the commands that use a model show a person: tables on stdout."""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby

from rich import box
from rich.table import Table

from ppls.deploy.benchmark import Benchmark
from ppls.deploy.chain import STAGES, ChainBenchmark
from ppls.deploy.export import Export
from ppls.inference.metrics import Metrics
from ppls.shown import shown
from ppls.terminal import console


def print_metrics(metrics: Metrics) -> None:
    """The figures with four digits, as val.py prints them."""
    stdout = console()
    stdout.print(
        f"{metrics.images} images: mIoU {metrics.miou:.4f}, accuracy {metrics.acc:.4f}, "
        f"kappa {metrics.kappa:.4f}, dice {metrics.dice:.4f}"
    )
    table = Table(box=box.SIMPLE)
    for heading in ("class", "IoU", "precision", "recall"):
        table.add_column(heading, justify="right")
    columns = zip(metrics.class_iou, metrics.class_precision, metrics.class_recall, strict=True)
    names = metrics.classes or map(str, range(len(metrics.class_iou)))
    for name, values in zip(names, columns, strict=True):
        table.add_row(shown(name, 40), *(f"{value:.4f}" for value in values))
    stdout.print(table)


def print_export(export: Export) -> None:
    """What was written, and how far each runtime is from PyTorch."""
    stdout = console()
    size = "any size" if export.size is None else f"{export.size[0]}x{export.size[1]}"
    stdout.print(f"{export.destination}: {export.format}, {size}, {export.output}")
    table = Table(box=box.SIMPLE)
    for heading in ("runtime", "input", "pixels that differ" if export.output == "argmax" else "max |a-b|", "scaled"):
        table.add_column(heading)
    for check in export.checks:
        shape = "x".join(map(str, check.shape))
        table.add_row(f"{check.runtime} {check.version}", shape, f"{check.max_abs:.2g}", f"{check.scaled:.1e}")
    stdout.print(table)
    if ties := sum(check.ties for check in export.checks):
        stdout.print(f"{ties} maxima that tie stand elsewhere in a runtime, and were put there in PyTorch too")
    for runtime, why in export.refused.items():
        stdout.print(f"not compared in {runtime}, which cannot read it: {shown(why, 200)}")


def print_benchmark(benchmark: Benchmark) -> None:
    """What ran how fast, the fastest of each input first, and what did not run."""
    stdout = console()
    versions = ", ".join(f"{name} {version}" for name, version in benchmark.versions.items())
    stdout.print(f"{benchmark.source} on {benchmark.machine}; {versions}")
    for point, timings in groupby(benchmark.timings, key=lambda timing: timing.point):
        table = Table(box=box.SIMPLE, title=str(point), title_justify="left", title_style="bold")
        table.add_column("mode")
        for heading in ("median", "range", "images/s", f"/ {benchmark.baseline}", "error"):
            table.add_column(heading, justify="right", no_wrap=True)
        for timing in timings:
            table.add_row(
                timing.mode,
                f"{timing.milliseconds:.1f} ms",
                f"{timing.low:.1f}-{timing.high:.1f}",
                f"{timing.images_per_second:.1f}",
                "" if timing.ratio is None else f"{timing.ratio:.2f}",
                f"{timing.scaled_error:.1e}",
            )
        stdout.print(table)
    failures = defaultdict(list)
    for failure in benchmark.failures:
        failures[failure.mode, failure.reason].append(str(failure.point))
    for (mode, reason), points in failures.items():
        stdout.print(f"{mode} did not run at {'; '.join(points)}: {reason}")


def print_chain(chain: ChainBenchmark) -> None:
    """How long an image takes in each mode, the fastest first: each stage, and the whole."""
    stdout = console()
    versions = ", ".join(f"{name} {version}" for name, version in chain.versions.items())
    threads = f"{chain.threads} thread{'' if chain.threads == 1 else 's'}"
    stdout.print(f"{chain.source} on {chain.device}, {threads}; {versions}")
    count = f"{chain.images} image{'' if chain.images == 1 else 's'}"
    stdout.print(f"milliseconds of an image, from its file to its label map; medians of {count}")
    table = Table(box=box.SIMPLE)
    table.add_column("")
    for timing in chain.timings:
        table.add_column(timing.mode, justify="right")
    rows = {name: [_figure((timing.stages or {}).get(name), ".1f") for timing in chain.timings] for name in STAGES}
    rows["all"] = [f"{timing.milliseconds:.1f}" for timing in chain.timings]
    rows["range"] = [f"{timing.low:.0f}-{timing.high:.0f}" for timing in chain.timings]
    rows["images/s"] = [f"{timing.images_per_second:.1f}" for timing in chain.timings]
    rows[f"/ {chain.baseline}"] = [_figure(timing.ratio, ".2f") for timing in chain.timings]
    rows["same pixels"] = [_figure(timing.agreement, ".4%") for timing in chain.timings]
    for name, cells in rows.items():
        table.add_row(name, *cells, end_section=name == STAGES[-1])
    stdout.print(table)
    for failure in chain.failures:
        stdout.print(f"{failure.mode} did not run: {failure.reason}")


def _figure(value: float | None, format: str) -> str:
    return "" if value is None else f"{value:{format}}"
