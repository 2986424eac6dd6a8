"""What the commands that use a model show a person: tables on stdout."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from ppls.usage.export import Export
from ppls.usage.metrics import Metrics


def print_metrics(metrics: Metrics) -> None:
    """The figures with four digits, as val.py prints them."""
    console = Console()
    console.print(
        f"{metrics.images} images: mIoU {metrics.miou:.4f}, accuracy {metrics.acc:.4f}, "
        f"kappa {metrics.kappa:.4f}, dice {metrics.dice:.4f}",
        highlight=False,
    )
    table = Table(box=box.SIMPLE)
    for heading in ("class", "IoU", "precision", "recall"):
        table.add_column(heading, justify="right")
    columns = zip(metrics.class_iou, metrics.class_precision, metrics.class_recall, strict=True)
    for i, values in enumerate(columns):
        table.add_row(str(i), *(f"{value:.4f}" for value in values))
    console.print(table)


def print_export(export: Export) -> None:
    """What was written, and how far each runtime is from PyTorch."""
    console = Console()
    size = "any size" if export.size is None else f"{export.size[0]}x{export.size[1]}"
    console.print(f"{export.destination}: {export.format}, {size}, {export.output}", highlight=False)
    table = Table(box=box.SIMPLE)
    for heading in ("runtime", "input", "pixels that differ" if export.output == "argmax" else "max |a-b|", "scaled"):
        table.add_column(heading)
    for check in export.checks:
        shape = "x".join(map(str, check.shape))
        table.add_row(f"{check.runtime} {check.version}", shape, f"{check.max_abs:.2g}", f"{check.scaled:.1e}")
    console.print(table)
