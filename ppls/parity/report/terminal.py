"""A report as a reader at a terminal sees it."""

from __future__ import annotations

import json

from rich import box
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ppls.parity.compare import Comparison
from ppls.parity.figures import LayerFigures
from ppls.parity.report.data import Report
from ppls.terminal import console, lines, styled

COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}
LAYERS_SHOWN = 8  # of those that do not agree; --json has them all


def print_report(report: Report) -> None:
    """Prints inputs, outputs and layers with their figures, the first divergence, and the verdict last."""
    stdout = console()
    stdout.print(styled((report.checkpoint, "bold"), " against ", (report.candidate, "bold")))
    _print_weights(report, stdout)
    stdout.print(Padding(_outputs_table(report), (1, 0)))
    if report.layers:
        _print_layers(report, stdout)
    if report.training:
        _print_training(report, stdout)
    for warning in report.warnings:
        stdout.print(styled(("warning:", "yellow"), f" {warning}"))
    for failure in report.failures:
        stdout.print(styled(("failure:", "red"), f" {failure}"))
    _print_first_divergence(report, stdout)
    if report.verdict == "inconclusive":
        stdout.print("PaddleSeg's own float32 rounding is too large to decide; --float64 runs both in double precision")
    _print_unproven(report, stdout)
    verdict = report.verdict, f"bold {COLOURS[report.verdict]}"
    stdout.print(styled(verdict, f" at tolerance {report.tolerance:g}, {report.dtype}"))


def _print_weights(report: Report, stdout: Console) -> None:
    weights = report.stage("weights")
    if weights is None or not weights.ran:
        return
    count, different = weights.compared, report.different_tensors
    if different:
        some = ", ".join(different[:3]) + (", ..." if len(different) > 3 else "")
        stdout.print(styled("weights: ", (f"{len(different)} of {count} tensors differ", "red"), f": {some}"))
    else:
        stdout.print(f"weights: {count} of {weights.expected} tensors equal the checkpoint's, bit for bit")


def _outputs_table(report: Report) -> Table:
    table = _table("input", "output")
    _add_figures(table, "max|a-b|", "scaled", "floor", "agree")
    for output in report.outputs:
        agreement = output.argmax_agreement
        table.add_row(
            output.input,
            output.name,
            number(output.comparison.max_abs),
            number(output.comparison.scaled),
            number(output.comparison.floor),
            "" if agreement is None else percent(agreement),
            _verdict(output.comparison),
        )
    return table


def _table(*names: str) -> Table:
    """A table whose columns of names take what 80 columns leave beside the figures."""
    table = Table(box=box.SIMPLE, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for heading in names:
        table.add_column(heading, overflow="fold", min_width=8)
    return table


def _add_figures(table: Table, *headings: str) -> None:
    """Columns of figures, and the verdict's."""
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True, min_width=7)
    table.add_column("", no_wrap=True, min_width=len("inconclusive"))


def _print_layers(report: Report, stdout: Console) -> None:
    bad = [layer for layer in report.layers if layer.verdict != "pass"]
    worst = max(report.layers, key=lambda layer: layer.comparison.scaled or 0.0)
    inside = len(report.layers) - len(bad)
    figures = f"{number(worst.comparison.scaled)} at {worst.source}, floor {number(worst.comparison.floor)}"
    stdout.print(f"layers: {inside} of {len(report.layers)} agree on {report.layers[0].input}; worst {figures}")
    if bad:
        table = _table("PaddleSeg's layer, and the candidate's")
        _add_figures(table, "scaled", "floor")
        for layer in bad[:LAYERS_SHOWN]:
            table.add_row(*_layer_row(layer))
        stdout.print(Padding(table, (1, 0)))
        if len(bad) > LAYERS_SHOWN:
            stdout.print(f"... and {len(bad) - LAYERS_SHOWN} more, in order of execution")


def _print_training(report: Report, stdout: Console) -> None:
    steps = max(figures.step for figures in report.training)
    bad = [figures for figures in report.training if not figures.passed]
    count = len(report.training)
    stdout.print(f"training: {count - len(bad)} of {count} losses, gradients, ... agree in {steps} steps")
    kinds = dict.fromkeys((figures.dtype, figures.what) for figures in report.training)
    for kind in kinds:
        found = [f for f in report.training if (f.dtype, f.what) == kind and f.scaled is not None]
        if found:
            worst = max(found, key=lambda figures: figures.scaled or 0.0)
            place = f"{worst.name} in step {worst.step}"
            stdout.print(f"  {worst.dtype} {worst.what}: at most {number(worst.scaled)}, {place}")
    if bad:
        first = bad[0]
        place = f" {first.what} of {first.name} in step {first.step}, {first.dtype}"
        stdout.print(styled("  ", ("first to differ:", "red"), place))
        if report.training_cause:
            stdout.print(f"  suspected cause: {report.training_cause}")


def _layer_row(layer: LayerFigures) -> tuple[Group | str | Text, ...]:
    found = layer.comparison
    names = lines([layer.source, f"{layer.target} ({layer.kind})"])
    return names, number(found.scaled), number(found.floor), _verdict(found)


def _print_unproven(report: Report, stdout: Console) -> None:
    """What the verdict does not rest on."""
    if report.assumed:
        values = ", ".join(f"{name} = {json.dumps(value)}" for name, value in report.assumed.items())
        stdout.print(styled(("assumed", "yellow"), f" on both sides, so not proven: {values}"))
        stdout.print("--config RUN.yml or an export of the model would tell them")
    for stage in report.stages:
        if stage.gap is not None:
            stdout.print(styled(("not compared: ", "yellow"), stage.gap))
    if report.strict and report.unproven:
        stdout.print("under --strict what was assumed or not compared leaves the verdict open")


def _print_first_divergence(report: Report, stdout: Console) -> None:
    first = report.first_divergence
    if first is None:
        return
    names = first.source if first.source == first.target else f"{first.source} (candidate: {first.target})"
    place = f"at the {first.at} of {names}" if first.kind != "output" else f"in {names} of {first.input}"
    found = first.comparison
    figures = found.problem or f"scaled {number(found.scaled)}, floor {number(found.floor)}"
    stdout.print(styled("first divergence: ", (place, "bold"), f", {figures}"))
    if first.at == "input" and first.kind != "output":
        stdout.print("what stands between it and the layers before it differs: they agree")
    if first.cause:
        stdout.print(f"suspected cause: {first.cause}")


def _verdict(comparison: Comparison) -> Text:
    return styled((comparison.verdict, COLOURS[comparison.verdict]))


def number(value: float | None) -> str:
    """A figure with two digits, or a dash where there is none."""
    return "-" if value is None else f"{value:.1e}"


def percent(share: float) -> str:
    """A share in percent; 100 only where it is whole."""
    return "100%" if share == 1 else f"{min(share * 100, 99.9999):.4f}%"
