"""A report as a reader at a terminal sees it: where the two sides part, then the figures, and the verdict last."""

from __future__ import annotations

import json
from collections.abc import Iterable

from rich import box
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ppls.parity.compare import Comparison
from ppls.parity.figures import LayerFigures, OutputFigures
from ppls.parity.report.data import Report
from ppls.shown import shown_line
from ppls.terminal import console, lines, styled

COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}
LAYERS_SHOWN = 8  # of those that do not agree; -v and --json have all
OUTPUTS_SHOWN = 16  # of those that agree, the worst first to be shown
BESIDE_OUTPUTS, BESIDE_LAYERS = 54, 33  # columns that the figures of a table take


def print_report(report: Report, *, everything: bool = False) -> None:
    """Prints the first divergence and what failed, then the figures, what limits the proof, and the verdict.

    Args:
        everything: every output and layer, those that agree too.
    """
    stdout = console()
    verdict = report.verdict, f"bold {COLOURS[report.verdict]}"
    stdout.print(styled(verdict, ": ", (report.checkpoint, "bold")))
    stdout.print(styled("  against ", (report.candidate, "bold")))
    if report.stage("operators"):
        stdout.print(styled("  beside ", (report.reference, "bold")))
    if report.candidate_file is not None:
        stdout.print(styled(f"  {report.candidate_file['format']}, run in {report.candidate_file['runtime']}"))
    _print_first_divergence(report, stdout)
    for failure in report.failures:
        stdout.print(styled(("failure:", "red"), f" {failure}"))
    _print_weights(report, stdout)
    _print_outputs(report, stdout, everything)
    if report.export:
        _print_export(report, stdout)
    if report.layers:
        _print_layers(report, stdout, everything)
    behaviour = report.stage("behaviour")
    if behaviour is not None and behaviour.ran:
        agree = behaviour.compared - len(behaviour.failures)
        stdout.print(f"behaviour: {max(agree, 0)} of {behaviour.expected} questions answered as the outputs were")
    if report.training:
        _print_training(report, stdout)
    for warning in report.warnings:
        stdout.print(styled(("warning:", "yellow"), f" {warning}"))
    if report.verdict == "inconclusive" and report.dtype == "float32" and any(map(_is_undecided, report.compared)):
        side = "Paddle" if report.stage("operators") else "PaddleSeg"
        stdout.print(f"{side}'s own float32 rounding is too large to decide; --float64 runs both in double precision")
    _print_unproven(report, stdout)
    stdout.print(styled(verdict, f" at tolerance {tolerances(report)}, {report.dtype}"))


def tolerances(report: Report) -> str:
    """The tolerance that was applied, and those of outputs that had another."""
    others = report.other_tolerances
    beside = ", ".join(f"{name}: {tolerance:g}" for name, tolerance in others.items())
    return f"{report.tolerance:g}{f' ({beside})' if beside else ''}"


def _print_first_divergence(report: Report, stdout: Console) -> None:
    first = report.first_divergence
    if first is None:
        return
    found = first.comparison
    figures = found.problem or f"scaled {number(found.scaled)}, floor {number(found.floor)}"
    what = "first undecided" if found.verdict == "inconclusive" else "first divergence"
    place = "at" if first.kind == "output" else f"at the {first.at} of"
    stdout.print(styled((f"{what}:", COLOURS[found.verdict]), f" {figures}, {place}"))
    stdout.print(styled("  ", (first.source, "bold"), f" on {first.input}" if first.kind == "output" else ""))
    if first.kind != "output":
        if first.source != first.target:
            stdout.print(styled(f"  candidate: {first.target}"))
        stdout.print(styled(f"  on {first.input}", f", call {first.call + 1}" if first.call else ""))
        if first.at == "input":
            stdout.print("  the layers before it agree: what stands between them and it differs")
    if first.cause:
        stdout.print(styled(("suspected cause:", "bold"), f" {first.cause}"))


def _print_weights(report: Report, stdout: Console) -> None:
    weights = report.stage("weights")
    if weights is None or not weights.ran:
        return
    count, different = weights.compared, report.different_tensors
    if different:
        stdout.print(styled("weights: ", (f"{len(different)} of {count} tensors differ", "red")))
        for name in different[:3]:
            stdout.print(styled(f"  {name}"))
        if len(different) > 3:
            stdout.print(f"  ... and {len(different) - 3} more")
    else:
        stdout.print(f"weights: {count} of {weights.expected} tensors equal the checkpoint's, bit for bit")


def _print_outputs(report: Report, stdout: Console, everything: bool) -> None:
    agree = [output for output in report.outputs if output.verdict == "pass"]
    shown = sorted(agree, key=_scaled, reverse=True)[: None if everything else OUTPUTS_SHOWN]
    rows = [output for output in report.outputs if output.verdict != "pass" or output in shown]
    width = max(8, min(12, max((len(shown_line(row.name)) for row in rows), default=0)))
    table = _table("input", "output")
    _add_figures(table, "max|a-b|", "scaled", "floor", "agree")
    for output in rows:
        agreement = output.argmax_agreement
        table.add_row(
            elided(output.input, stdout.width - BESIDE_OUTPUTS - width),
            elided(output.name, width),
            number(output.comparison.max_abs),
            number(output.comparison.scaled),
            number(output.comparison.floor),
            "" if agreement is None else percent(agreement),
            _verdict(output.comparison),
        )
    stdout.print(Padding(table, (1, 0)))
    if len(agree) > len(shown):
        stdout.print(f"... and {len(agree) - len(shown)} outputs more that agree better")
    _print_distribution(report.outputs, stdout)


EXPORT_IN_WORDS = {
    "network": "PaddleSeg's network with its options",
    "candidate": "the candidate",
    "logits": "its own logits",
}


def _print_export(report: Report, stdout: Console) -> None:
    """How far the export itself, run by Paddle, is from each side."""
    stage = report.stage("export")
    stdout.print(f"export, run by Paddle: {stage.compared if stage else 0} outputs, beside")
    for against, words in EXPORT_IN_WORDS.items():
        found = [figures for figures in report.export if figures.against == against]
        if found:
            worst = max(found, key=lambda figures: figures.comparison.scaled or 0.0)
            inside = sum(figures.verdict == "pass" for figures in found)
            figures = f"worst {number(worst.comparison.scaled)}, floor {number(worst.comparison.floor)}"
            stdout.print(styled(f"  {words}: ", f"{inside} of {len(found)} agree; {figures}"))


def _print_distribution(outputs: Iterable[OutputFigures], stdout: Console) -> None:
    """How the error of the worst output is distributed, and what would let all pass."""
    known = [output for output in outputs if output.comparison.distribution and output.comparison.needed is not None]
    if not known:
        return
    worst = max(known, key=lambda output: (output.comparison.needed or 0.0) / (output.comparison.tolerance or 1.0))
    found = worst.comparison.distribution
    assert found is not None
    stdout.print(styled(f"worst: {worst.name} on {worst.input}"))
    quantiles = ", ".join(f"{share * 100:g} % <= {number(error)}" for share, error in found.quantiles.items())
    stdout.print(f"  errors: {quantiles}")
    figures = [f"passes at a tolerance of {number_up(worst.comparison.needed)}"]
    figures += [] if found.cosine is None else [f"1 - cosine {number(max(1 - found.cosine, 0.0))}"]
    figures += [] if found.psnr is None else [f"PSNR {found.psnr:.1f} dB"]
    stdout.print(f"  {', '.join(figures)}")


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


def _print_layers(report: Report, stdout: Console, everything: bool) -> None:
    bad = [layer for layer in report.layers if layer.verdict != "pass"]
    worst = max(report.layers, key=_scaled)
    inside = len(report.layers) - len(bad)
    figures = f"{number(worst.comparison.scaled)}, floor {number(worst.comparison.floor)}"
    what = "operators" if report.stage("operators") else "layers"
    stdout.print(
        styled(f"{what}: {inside} of {len(report.layers)} agree on {report.layers[0].input}; worst {figures}, at")
    )
    stdout.print(styled(f"  {worst.source}"))
    rows = list(report.layers) if everything else bad[:LAYERS_SHOWN]
    if rows:
        names = {"operators": "value, and where it stands", "layers": "PaddleSeg's layer, and the candidate's"}
        table = _table(names[what])
        _add_figures(table, "scaled", "floor")
        for layer in rows:
            table.add_row(*_layer_row(layer, stdout.width - BESIDE_LAYERS))
        stdout.print(Padding(table, (1, 0)))
        if len(bad) > len(rows):
            stdout.print(f"... and {len(bad) - len(rows)} more, in order of execution")


def _layer_row(layer: LayerFigures, width: int) -> tuple[Group | str | Text, ...]:
    found = layer.comparison
    kind = f" ({elided(layer.kind, 12)})"
    names = lines([elided(layer.source, width), elided(layer.target, width - len(kind)) + kind])
    return names, number(found.scaled), number(found.floor), _verdict(found)


def _print_training(report: Report, stdout: Console) -> None:
    steps = max(figures.step for figures in report.training)
    bad = [figures for figures in report.training if not figures.passed]
    count = len(report.training)
    stdout.print(f"training: {count - len(bad)} of {count} losses, gradients, ... agree in {steps} steps")
    if bad:
        first = bad[0]
        place = f" {first.what} in step {first.step}, {first.dtype}, of"
        stdout.print(styled("  ", ("first to differ:", "red"), place))
        stdout.print(styled(f"    {first.name}"))
        if report.training_cause:
            stdout.print(styled("  ", ("suspected cause:", "bold"), f" {report.training_cause}"))
    kinds = dict.fromkeys((figures.dtype, figures.what) for figures in report.training)
    for kind in kinds:
        found = [f for f in report.training if (f.dtype, f.what) == kind and f.scaled is not None]
        if found:
            worst = max(found, key=lambda figures: figures.scaled or 0.0)
            head = f"  {worst.dtype} {worst.what}: at most {number(worst.scaled)} in step {worst.step}, "
            stdout.print(styled(head, elided(worst.name, max(stdout.width - len(head), 24))))


def _print_unproven(report: Report, stdout: Console) -> None:
    """What the verdict does not rest on."""
    if report.assumed:
        stdout.print(styled(("assumed", "yellow"), " on both sides, so not proven:"))
        for name, value in report.assumed.items():
            stdout.print(styled(f"  {name} = {json.dumps(value)}"))
        stdout.print("  --config RUN.yml or an export of the model would tell them")
    scopes: dict[str, list[str]] = {}
    for stage in report.stages:
        if stage.scope is not None:
            scopes.setdefault(stage.scope, []).append(stage.name)
    for scope, names in scopes.items():
        stdout.print(styled(f"{', '.join(names)}: {scope}"))
    for stage in report.stages:
        if stage.gap is not None:
            stdout.print(styled(("not compared: ", "yellow"), stage.gap))
    if report.strict and report.unproven:
        stdout.print("under --strict what was assumed or not compared leaves the verdict open")


def _scaled(found: OutputFigures | LayerFigures) -> float:
    return found.comparison.scaled or 0.0


def _is_undecided(found: OutputFigures | LayerFigures) -> bool:
    return found.verdict == "inconclusive"


def _verdict(comparison: Comparison) -> Text:
    return styled((comparison.verdict, COLOURS[comparison.verdict]))


def elided(name: str, width: int) -> str:
    """A name in so many columns, the middle left out where it is longer: its tail tells most."""
    name = shown_line(name)
    if len(name) <= width:
        return name
    head = max((width - 3) // 3, 0)
    return f"{name[:head]}...{name[len(name) - max(width - 3 - head, 1) :]}"


def number(value: float | None) -> str:
    """A figure with two digits, or a dash where there is none."""
    return "-" if value is None else f"{value:.1e}"


def number_up(value: float | None) -> str:
    """As `number`, but never less than the value: a tolerance that is given as it is printed must pass."""
    if value is None or float(f"{value:.1e}") >= value:
        return number(value)
    return f"{value * 1.05:.1e}"


def percent(share: float) -> str:
    """A share in percent; 100 only where it is whole."""
    return "100%" if share == 1 else f"{min(share * 100, 99.9999):.4f}%"
