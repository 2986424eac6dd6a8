"""The figures of a report in a model card: checked against types first, and inert as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from ppls.budget import Budget
from ppls.documents import load_json
from ppls.errors import UsageError
from ppls.models.base import SegmentationModel
from ppls.models.card import card_text, digest_line, sha256_text, taken
from ppls.models.digest import model_sha256
from ppls.parity.report.data import Report
from ppls.shown import json_value, markdown, shown

_AGAIN = "run ppls-verify on it and take that report"


@dataclass(frozen=True)
class _Output:
    input: str
    name: str
    scaled: float | None
    floor: float | None
    argmax_agreement: float | None


@dataclass(frozen=True)
class Figures:
    """What a card takes of a report: of `ppls-verify --json`, some of its fields."""

    verdict: Literal["pass", "fail", "inconclusive"]
    tolerance: float
    dtype: Literal["float32", "float64"]
    sha256: Annotated[str, sha256_text]
    candidate: str
    candidate_sha256: Annotated[str, sha256_text] | None
    outputs: list[_Output]


def figures_for(model: SegmentationModel, report: Report | Mapping[str, Any] | str | Path) -> Figures:
    """The figures of a report, which is found to be of this very model.

    Raises:
        UsageError: it cannot be read, is no report, or is of another checkpoint, of other weights or of another config.
    """
    found, origin = _read(report)
    if not isinstance(found, dict) or "verdict" not in found:
        raise UsageError(f"{origin}: is not what ppls-verify --json printed: it has no verdict")
    checkpoint, source = found.get("sha256"), model.metadata().get("source_sha256")
    if checkpoint != source and source is not None:
        raise UsageError(f"the report is of the checkpoint {shown(checkpoint)}, the model comes from {shown(source)}")
    if "candidate_sha256" not in found:
        raise UsageError(f"{origin}: does not say which weights were judged: of an earlier release; {_AGAIN}")
    figures = _figures(found, origin)
    if figures.candidate_sha256 is None:
        raise UsageError(f"the report judges {shown(figures.candidate)}, which is not ppls's model; {_AGAIN}")
    if figures.candidate_sha256 != model_sha256(model):
        raise UsageError(f"the report judges other weights, or another config, than this model's; {_AGAIN}")
    return figures


def card_of(model: SegmentationModel, name: str, figures: Figures | None) -> str:
    """The card of a folder called `name`, in Markdown; `figures` of a report on this very model, if there is one."""
    return card_text(model, name) if figures is None else card_text(model, name, _parity(figures))


def _read(report: Report | Mapping[str, Any] | str | Path) -> tuple[Any, str]:
    """A report as JSON has it, and what messages call it."""
    if not isinstance(report, (str, Path)):
        document = report.to_json() if isinstance(report, Report) else dict(report)
        try:
            return json.loads(json.dumps(json_value(document))), "the report"
        except (TypeError, ValueError) as error:
            raise UsageError(f"the report: is not what ppls-verify --json printed: {error}") from None
    try:
        text = Path(report).read_bytes()
        return load_json(text, Budget(len(text), lambda why: UsageError(f"{report}: {why}"))), str(report)
    except (OSError, ValueError) as error:
        raise UsageError(f"{report}: is not what ppls-verify --json printed: {error}") from None


def _figures(found: Mapping[str, Any], origin: str) -> Figures:
    if isinstance(outputs := found.get("outputs"), list):
        names = {field.name for field in fields(_Output)}
        fitting = [{key: o[key] for key in o if key in names} if isinstance(o, dict) else o for o in outputs]
        found = {**found, "outputs": fitting}
    figures: Figures = taken(found, Figures, origin)
    return figures


def _parity(figures: Figures) -> str:
    lines = [
        f"`ppls-verify`: **{figures.verdict}** at tolerance {figures.tolerance:g} in {figures.dtype}.",
        "Scaled: max|a - b| / max|a|; floor: PaddleSeg's own float32 against its float64.",
        "",
        "| input | output | scaled | floor | pixels of the same class |",
        "| --- | --- | --- | --- | --- |",
    ]
    for output in figures.outputs:
        values = [_number(output.scaled, ".1e"), _number(output.floor, ".1e"), _number(output.argmax_agreement, ".4%")]
        lines.append(f"| {markdown(output.input)} | {markdown(output.name)} | {' | '.join(values)} |")
    lines += ["", f"{digest_line(str(figures.candidate_sha256))} PaddleSeg ran the checkpoint `{figures.sha256}`."]
    return "\n".join(lines) + "\n"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
