"""A report as one self-contained page: figures, the drift by layer as a plot, and what each side made of the inputs."""

from __future__ import annotations

import base64
import io
import json
import math
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ppls.destination import Inputs, check_destination, file_that_becomes
from ppls.errors import MissingDependencyError
from ppls.inference.palettes import palette
from ppls.parity.compare import Comparison
from ppls.parity.figures import Picture
from ppls.parity.report.data import Report
from ppls.parity.report.terminal import number, number_up, percent, tolerances
from ppls.shown import shown_line

TEMPLATE = Path(__file__).with_name("report.html.j2")
INSTALL = "install it with: pip install jinja2"
HEAT = np.array([(18, 24, 64), (88, 28, 135), (190, 24, 93), (249, 115, 22), (253, 224, 71)])
WIDTH, HEIGHT, LEFT, BOTTOM = 960, 300, 56, 24  # of the plot, in units of its view box


def write_page(report: Report, path: Path, *, force: bool = False) -> None:
    """Writes the page, whole or not at all; `force` replaces a file that exists.

    Raises `MissingDependencyError` without jinja2 or Pillow, `ConversionError` where the file cannot be written.
    """
    page = render(report)
    with file_that_becomes(path, force=force) as file:
        file.write(page.encode("utf-8", "backslashreplace"))


def render(report: Report) -> str:
    """The page, as HTML."""
    _check_installed()
    import jinja2
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return shown_line(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = jinja2.Environment(
        autoescape=True, finalize=shown, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    training = report.to_json()["training"]
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        report=report,
        plot=Markup(_plot(report)),
        pictures=[{"name": picture.input, "panels": _panels(picture)} for picture in report.pictures],
        training=training["worst"] if training else [],
        json=json.dumps,
        number=number,
        number_up=number_up,
        tolerances=tolerances(report),
        percent=percent,
        floors=_floors,
    )


def check_page(path: Path, *, force: bool = False, inputs: Inputs | None = None) -> None:
    """Raises what `write_page` would, or where it would replace one of the `inputs`, before anything is run for it."""
    _check_installed()
    check_destination(path, force=force, inputs=inputs)


def _check_installed() -> None:
    try:
        import jinja2  # noqa: F401
        import PIL  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(f"--report needs jinja2 ({error}); {INSTALL}") from None


def _floors(comparison: Comparison) -> str:
    return "" if comparison.floors is None else f"{comparison.floors:.2g}"


def _plot(report: Report) -> str:
    """Scaled error and floor of each layer, on a logarithmic scale, with the tolerance drawn in, as SVG."""
    if not report.layers:
        return ""
    figures = [layer.comparison for layer in report.layers]
    known = [value for found in figures for value in (found.scaled, found.floor) if value and math.isfinite(value)]
    values = [report.tolerance, *known]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 0.1)

    def x(index: int) -> float:
        return LEFT + (index + 0.5) * (WIDTH - LEFT) / len(figures)

    def y(value: float | None) -> float:
        level = high if value is None else math.log10(max(value, 10.0**low))
        return 8 + (high - level) / (high - low) * (HEIGHT - BOTTOM - 8)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="scaled error by layer">']
    for exponent in range(low, high + 1):
        level = y(10.0**exponent)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{level:.1f}" y2="{level:.1f}" stroke="var(--line)"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{level + 4:.1f}" text-anchor="end">1e{exponent}</text>')
    limit = y(report.tolerance)
    parts.append(
        f'<line x1="{LEFT}" x2="{WIDTH}" y1="{limit:.1f}" y2="{limit:.1f}" '
        'stroke="var(--fail)" stroke-dasharray="6 4"/>'
        f'<text x="{WIDTH - 4}" y="{limit - 5:.1f}" text-anchor="end">tolerance</text>'
    )
    floor = " ".join(f"{x(i):.1f},{y(found.floor):.1f}" for i, found in enumerate(figures) if found.floor is not None)
    parts.append(f'<polyline points="{floor}" fill="none" stroke="var(--soft)" stroke-width="1.5"/>')
    for index, layer in enumerate(report.layers):
        found = figures[index]
        colour = "accent" if layer.verdict == "pass" else layer.verdict
        title = f"{layer.source}: {found.problem or number(found.scaled)}, floor {number(found.floor)}"
        place = f'cx="{x(index):.1f}" cy="{y(found.scaled):.1f}"'
        parts.append(
            f'<circle {place} r="3" fill="var(--{colour})"><title>{escape(shown_line(title))}</title></circle>'
        )
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 6}">first layer</text>')
    parts.append(f'<text x="{WIDTH - 4}" y="{HEIGHT - 6}" text-anchor="end">last layer</text></svg>')
    return "".join(parts)


def _panels(picture: Picture) -> list[tuple[str, str]]:
    colours = palette()
    differ = picture.reference != picture.candidate
    count = int(np.count_nonzero(differ))
    shown = np.where(differ[..., np.newaxis], np.array([220, 38, 38]), picture.image // 3 + 150)
    panels = [
        ("input", _encoded(picture.image, "jpeg")),
        ("PaddleSeg", _encoded(colours[picture.reference % len(colours)])),
        ("candidate", _encoded(colours[picture.candidate % len(colours)])),
        (f"where they differ: {count} of {differ.size} pixels", _encoded(shown)),
    ]
    if picture.heat is not None:
        heat = picture.heat
        most = float(np.nan_to_num(heat.cells).max())
        caption = f"where the error lies: at most {number(most)}, in row {heat.row}, column {heat.column}"
        panels.append((caption, _encoded(_heat_colours(heat.cells, most))))
    return panels


def _heat_colours(cells: np.ndarray[Any, Any], most: float) -> np.ndarray[Any, Any]:
    """From dark blue, nothing, to yellow, the largest error; in proportion."""
    share = np.nan_to_num(cells) / most if most > 0 else np.zeros(cells.shape)
    return np.stack([np.interp(share, np.linspace(0, 1, len(HEAT)), channel) for channel in HEAT.T], -1)


def _encoded(pixels: np.ndarray[Any, Any], format: str = "png") -> str:
    """A picture as a data URI."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, format.upper(), optimize=True)
    return f"data:image/{format};base64,{base64.b64encode(buffer.getvalue()).decode()}"
