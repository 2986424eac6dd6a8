"""A report as a reader at a terminal sees it."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ppls.parity.compare import Comparison
from ppls.parity.report import LayerFigures, Report

COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}
LAYERS_SHOWN = 8  # of those that do not agree; --json has them all


def print_report(report: Report, console: Console) -> None:
    """Prints inputs, outputs and layers with their figures, the first divergence, and the verdict last."""
    console.print(f"[bold]{escape(report.checkpoint)}[/bold] against [bold]{escape(report.candidate)}[/bold]")
    if report.weights is not None:
        _print_weights(report, console)
    console.print(_outputs_table(report))
    if report.layers:
        _print_layers(report, console)
    if report.training:
        _print_training(report, console)
    for warning in report.warnings:
        console.print(f"[yellow]warning:[/yellow] {escape(warning)}")
    for failure in report.failures:
        console.print(f"[red]failure:[/red] {escape(failure)}")
    _print_first_divergence(report, console)
    if report.verdict == "inconclusive":
        console.print(
            "PaddleSeg's own float32 rounding is too large to decide; --float64 runs both in double precision"
        )
    colour = COLOURS[report.verdict]
    console.print(f"[bold {colour}]{report.verdict}[/bold {colour}] at tolerance {report.tolerance:g}, {report.dtype}")


def _print_weights(report: Report, console: Console) -> None:
    assert report.weights is not None
    count, different = report.weights.compared, report.weights.different
    if different:
        shown = ", ".join(different[:3]) + (", ..." if len(different) > 3 else "")
        console.print(f"weights: [red]{len(different)} of {count} tensors differ[/red]: {escape(shown)}")
    else:
        console.print(f"weights: {count} of {count} tensors equal the checkpoint's, bit for bit")


def _outputs_table(report: Report) -> Table:
    table = Table(box=box.SIMPLE)
    table.add_column("input", overflow="fold")
    table.add_column("output", no_wrap=True, min_width=8)
    for heading in ("max |a-b|", "scaled", "floor", "same class", ""):
        table.add_column(heading, justify="right", no_wrap=True, min_width=7)
    for output in report.outputs:
        agreement = output.argmax_agreement
        table.add_row(
            escape(output.input),
            output.name,
            number(output.comparison.max_abs),
            number(output.comparison.scaled),
            number(output.comparison.floor),
            "" if agreement is None else percent(agreement),
            _verdict(output.comparison),
        )
    return table


def _print_layers(report: Report, console: Console) -> None:
    bad = [layer for layer in report.layers if layer.verdict != "pass"]
    worst = max(report.layers, key=lambda layer: layer.comparison.scaled or 0.0)
    inside = len(report.layers) - len(bad)
    figures = f"{number(worst.comparison.scaled)} at {worst.source}, floor {number(worst.comparison.floor)}"
    console.print(
        f"layers: {inside} of {len(report.layers)} agree on {escape(report.layers[0].input)}; worst {figures}"
    )
    if bad:
        table = Table(box=box.SIMPLE)
        for heading in ("PaddleSeg", "candidate", "kind"):
            table.add_column(heading, overflow="fold")
        for heading in ("scaled", "floor", ""):
            table.add_column(heading, justify="right", no_wrap=True, min_width=7)
        for layer in bad[:LAYERS_SHOWN]:
            table.add_row(*_layer_row(layer))
        console.print(table)
        if len(bad) > LAYERS_SHOWN:
            console.print(f"... and {len(bad) - LAYERS_SHOWN} more, in order of execution")


def _print_training(report: Report, console: Console) -> None:
    steps = max(figures.step for figures in report.training)
    bad = [figures for figures in report.training if not figures.passed]
    count = len(report.training)
    console.print(f"training: {count - len(bad)} of {count} losses, gradients, ... agree in {steps} steps")
    kinds = dict.fromkeys((figures.dtype, figures.what) for figures in report.training)
    for kind in kinds:
        found = [f for f in report.training if (f.dtype, f.what) == kind and f.scaled is not None]
        if found:
            worst = max(found, key=lambda figures: figures.scaled or 0.0)
            place = f"{escape(worst.name)} in step {worst.step}"
            console.print(f"  {worst.dtype} {worst.what}: at most {number(worst.scaled)}, {place}")
    if bad:
        first = bad[0]
        console.print(
            f"  [red]first to differ:[/red] {first.what} of {escape(first.name)} in step {first.step}, {first.dtype}"
        )
        if report.training_cause:
            console.print(f"  suspected cause: {escape(report.training_cause)}")


def _layer_row(layer: LayerFigures) -> tuple[str, ...]:
    found = layer.comparison
    return layer.source, layer.target, layer.kind, number(found.scaled), number(found.floor), _verdict(found)


def _print_first_divergence(report: Report, console: Console) -> None:
    first = report.first_divergence
    if first is None:
        return
    names = first.source if first.source == first.target else f"{first.source} (candidate: {first.target})"
    place = f"at the {first.at} of {names}" if first.kind != "output" else f"in {names} of {first.input}"
    found = first.comparison
    figures = found.problem or f"scaled {number(found.scaled)}, floor {number(found.floor)}"
    console.print(f"first divergence: [bold]{escape(place)}[/bold], {escape(figures)}")
    if first.at == "input" and first.kind != "output":
        console.print("what stands between it and the layers before it differs: they agree")
    if first.cause:
        console.print(f"suspected cause: {escape(first.cause)}")


def _verdict(comparison: Comparison) -> str:
    colour = COLOURS[comparison.verdict]
    return f"[{colour}]{comparison.verdict}[/{colour}]"


def number(value: float | None) -> str:
    """A figure with two digits, or a dash where there is none."""
    return "-" if value is None else f"{value:.1e}"


def percent(share: float) -> str:
    """A share in percent; 100 only where it is whole."""
    return "100%" if share == 1 else f"{min(share * 100, 99.9999):.4f}%"
