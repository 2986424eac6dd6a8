"""The report as a page."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from click.testing import CliRunner

from ppls.cli.verify import verify
from ppls.inference.palettes import palette
from ppls.parity.judge import judge
from ppls.parity.report.page import render, write_page

from .faults import FAULTS, put_into

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def passed(embedded):
    return judge(embedded.recording, embedded.candidate(), embedded.conversion)


@pytest.fixture(scope="module")
def failed(embedded):
    fault = next(fault for fault in FAULTS if fault.name == "AvgPool counts its padding")
    return judge(embedded.recording, put_into(embedded.candidate(), fault), embedded.conversion)


def test_the_page_holds_the_verdict_every_layer_and_every_input(passed):
    page = render(passed)
    assert '<span class="verdict pass" id="verdict">pass</span>' in page
    for layer in passed.layers:
        assert layer.source in page
    assert page.count("<circle ") == len(passed.layers) == 105
    assert page.count("<figure>") == 5 * len(passed.inputs)


def test_the_page_names_the_first_divergence_and_its_cause(failed):
    page = render(failed)
    assert 'id="verdict">fail</span>' in page
    divergence = re.search(r'id="first-divergence">(.*?)</div>', page, re.S).group(1)
    assert "backbone.features.2.skip" in divergence
    assert "count_include_pad=True" in divergence


def test_the_page_needs_no_other_file(passed):
    assert not re.findall(r'(?:src|href)="(?!data:)', render(passed))


def test_names_that_look_like_markup_are_shown_and_not_obeyed(passed):
    import dataclasses

    page = render(dataclasses.replace(passed, checkpoint="<script>alert(1)</script>"))
    assert "<script>" not in page


def test_a_report_without_layers_or_pictures_is_a_page_too(embedded):
    model = embedded.candidate().train()
    page = render(judge(embedded.recording, model, embedded.conversion))
    assert 'id="verdict">fail</span>' in page
    assert "left in training mode" in page
    assert "<svg" not in page


def test_the_colours_of_classes_are_paddlesegs():
    visualize = pytest.importorskip("paddleseg.utils.visualize")
    assert palette().reshape(-1).tolist() == visualize.get_color_map_list(256)[: 256 * 3]


def test_the_command_writes_the_page_and_says_where(embedded_checkpoint, tmp_path):
    path = tmp_path / "report.html"
    result = CliRunner().invoke(verify, [str(embedded_checkpoint), "--size", "32x64", "--only", "--report", str(path)])
    assert result.exit_code == 0, result.output
    assert 'id="verdict">pass</span>' in path.read_text()
    assert str(path) in result.stderr


def test_a_page_that_cannot_be_written_is_said_before_anything_runs(tmp_path):
    result = CliRunner().invoke(verify, ["--report", str(tmp_path / "absent" / "report.html")])
    assert result.exit_code == 1
    assert "its folder does not exist" in result.stderr


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_renders_the_page_without_overflowing(failed, tmp_path, width):
    write_page(failed, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    probe = "<script>document.title = document.documentElement.scrollWidth + ' of ' + innerWidth</script></body>"
    (tmp_path / "probe.html").write_text(text.replace("</body>", probe))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"file://{tmp_path}/probe.html"]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert 'id="verdict">fail</span>' in dom
    used, _, shown = re.search(r"<title>(.*?)</title>", dom).group(1).partition(" of ")
    assert int(used) <= int(shown)


def test_the_differing_pixels_are_counted(failed):
    picture = failed.pictures[0]
    count = int(np.count_nonzero(picture.reference != picture.candidate))
    assert count > 0
    assert f"{count} of {picture.reference.size} pixels" in render(failed)


def test_the_page_shows_where_in_the_image_the_error_lies_and_how_it_is_distributed(failed):
    page = render(failed)
    heat = failed.pictures[0].heat
    output = failed.outputs[0].comparison
    assert f"at most {output.max_abs:.1e}, in row {heat.row}, column {heat.column}" in page
    assert heat.cells.max() == pytest.approx(output.max_abs)
    for error in output.distribution.quantiles.values():
        assert f'<td class="number">{error:.1e}</td>' in page
