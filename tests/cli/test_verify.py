"""`ppls-verify`: what is printed, and what becomes of it where something fails at the end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import ppls
from ppls.cli.verify import verify as command
from ppls.parity.compare import Comparison
from ppls.parity.figures import LayerFigures, OutputFigures
from ppls.parity.inputs import default_inputs
from ppls.parity.report.data import Report
from ppls.parity.stages.stage import Stage

FIGURES = Comparison(1e-6, 2e-6, 1e-6, "pass")
REPORT = Report(
    checkpoint="model.pdparams",
    sha256="0" * 64,
    architecture="PPLiteSeg",
    candidate="ppls's model, converted anew",
    tolerance=1e-4,
    dtype="float32",
    inputs=("noise 32x32",),
    stages=(
        Stage(
            name="outputs",
            unit="outputs",
            compared=1,
            expected=1,
            figures=(OutputFigures("noise 32x32", "logits", FIGURES, 1.0),),
        ),
    ),
    first_divergence=None,
    versions={},
)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_page_that_cannot_be_written_loses_no_figure(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise ppls.ConversionError(f"{tmp_path / 'page.html'}: cannot be written: no space left on device")

    monkeypatch.setattr("ppls.parity.verify.verify", lambda *_, **__: REPORT)
    monkeypatch.setattr("ppls.parity.report.page.write_page", full)
    result = CliRunner().invoke(command, ["--report", str(tmp_path / "page.html"), *options])
    assert result.exit_code == 1
    assert result.stderr.strip().endswith("no space left on device")
    if options:
        assert json.loads(result.stdout)["verdict"] == "pass"
    else:
        assert "2.0e-06" in result.stdout


def test_the_page_is_written_though_nobody_reads_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("ppls.parity.verify.verify", lambda *_, **__: REPORT)
    monkeypatch.setattr("ppls.parity.report.terminal.print_report", closed)
    CliRunner().invoke(command, ["--report", str(tmp_path / "page.html")])
    assert "noise 32x32" in (tmp_path / "page.html").read_text()


def test_at_80_columns_every_figure_stands_whole_beside_its_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ppls.parity.report.terminal import print_report

    names = [given.name for given in default_inputs()]
    undecided = Comparison(2.3e-1, 1.1e-2, 9e-3, "inconclusive")
    outputs = tuple(OutputFigures(name, "output 0", undecided, 0.99981234) for name in names)
    layer = LayerFigures(names[0], "backbone.a", "features.b", "conv", None, undecided)
    monkeypatch.setenv("COLUMNS", "80")
    print_report(replace(REPORT, stages=(replace(REPORT.stages[0], figures=(*outputs, layer)),)))
    printed = capsys.readouterr().out
    for name in names:
        assert f"{name:<18}  output 0   2.3e-01  1.1e-02  9.0e-03  99.9812%  inconclusive" in printed
    (line,) = (line for line in printed.splitlines() if line.startswith("backbone.a"))
    assert line.split() == ["backbone.a", "1.1e-02", "9.0e-03", "inconclusive"]
