"""A report whose every name would be obeyed: in the terminal, on the page and as JSON none of it is."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from click.testing import CliRunner

from ppls.cli.output import print_json
from ppls.parity.compare import Comparison
from ppls.parity.figures import (
    DifferentTensor,
    Divergence,
    ExportFigures,
    LayerFigures,
    OutputFigures,
    Picture,
    TrainingFigures,
)
from ppls.parity.report.data import Report
from ppls.parity.report.page import render
from ppls.parity.report.terminal import print_report
from ppls.parity.stages.stage import Stage

from ..nasty import NASTY, WHOLE, assert_inert

TEXTS = [pytest.param(text, id=name) for name, text in [*NASTY.items(), ("all at once", WHOLE)]]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def report_that_says(text: str) -> Report:
    good = Comparison(1e-6, 1e-6, 1e-7, "pass")
    bad = Comparison(None, None, None, "fail", f"shape {text}")
    pixels, classes = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint16)
    return Report(
        checkpoint=text,
        sha256=text,
        architecture=text,
        candidate=text,
        tolerance=1e-4,
        dtype="float32",
        inputs=(text,),
        stages=(
            Stage(name="weights", unit="tensors", compared=9, expected=9, figures=(DifferentTensor(text),) * 4),
            Stage(
                name=text,
                unit=text,
                on=(text,),
                compared=6,
                expected=9,
                why=text,
                figures=(
                    OutputFigures(text, text, good, 1.0),
                    OutputFigures(text, text, bad, None),
                    *(LayerFigures(text, text, text, text, good, found) for found in (good, bad)),
                    TrainingFigures(1, text, text, 1e-3, False, text),
                    TrainingFigures(1, "loss", text, None, False),
                ),
                failures=(text,),
                warnings=(text,),
                scope=text,
            ),
            Stage(
                name="export",
                unit=text,
                figures=(
                    ExportFigures(text, text, "network", good, 1.0),
                    ExportFigures(text, text, "candidate", bad),
                    ExportFigures(text, text, "logits", good),
                ),
                why=text,
            ),
        ),
        assumed={text: text},
        first_divergence=Divergence(text, text, f"{text} ", text, "input", bad, text),
        versions={text: text, "ppls": text},
        candidate_sha256=None,
        candidate_file={"format": text, "runtime": text, "takes": text, "sha256": text},
        training_cause=text,
        remarks=(text,),
        pictures=(Picture(text, pixels, classes, classes),),
    )


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
@pytest.mark.parametrize("text", TEXTS)
def test_the_terminal(text, encoding, monkeypatch):
    import click

    monkeypatch.setenv("COLUMNS", "100")
    command = click.command("says")(lambda: print_report(report_that_says(text)))
    result = CliRunner(charset=encoding).invoke(command)
    assert result.exception is None
    shown = result.stdout_bytes.decode(encoding)
    assert_inert(shown)
    assert shown.splitlines()[-1] == "fail at tolerance 0.0001, float32"


@pytest.mark.parametrize("text", TEXTS)
def test_the_json(text, capsys):
    print_json(report_that_says(text).to_json())
    shown = capsys.readouterr().out
    assert shown.isascii()
    assert_inert(shown)
    json.dumps(json.loads(shown, parse_constant=pytest.fail), ensure_ascii=False).encode("utf-8")


class Page(HTMLParser):
    """The elements of a page with their attributes' names, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, tuple(name for name, _ in attributes)))

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("text", TEXTS)
def test_the_page(text):
    page = render(report_that_says(text))
    assert_inert(page)
    page.encode("utf-8")
    assert Page(page).elements == Page(render(report_that_says("plain"))).elements
    shown = re.sub(r"\s+", " ", Page(page).text)
    assert "49" not in shown.split()  # no template was filled in twice
    for name in ("rich markup", "script", "image"):
        assert text != NASTY[name] or NASTY[name] in shown


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_a_browser_runs_and_loads_nothing_of_it(tmp_path):
    probe = "<script>document.title = document.querySelectorAll('script, img:not([src^=\"data:\"]), a').length</script>"
    page = render(report_that_says(WHOLE)).replace("</body>", probe + "</body>")
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"file://{tmp_path}/page.html"]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert re.search(r"<title>(.*?)</title>", dom).group(1) == "1"  # the probe alone
