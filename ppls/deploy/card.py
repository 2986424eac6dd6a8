"""The model card of a hub folder: what stands in it is checked against types first, and is inert as Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

from ppls.budget import Budget
from ppls.documents import load_json
from ppls.errors import UsageError
from ppls.mappings.map_file import architectures
from ppls.models.base import SegmentationModel
from ppls.parity.digest import model_options, model_sha256
from ppls.parity.report.data import Report
from ppls.schema import Node, build
from ppls.shown import fenced, json_value, markdown, markdown_code, shell_word, shown, shown_line

_FRONT = {"library_name": "ppls", "pipeline_tag": "image-segmentation", "tags": ["paddleseg", "semantic-segmentation"]}
_AGAIN = "run ppls-verify on it and take that report"


def _sha256(value: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", value):
        raise ValueError(f"expected a SHA-256, 64 hexadecimal digits, found {shown(repr(value), 80)}")
    return value


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
    sha256: Annotated[str, _sha256]
    candidate: str
    candidate_sha256: Annotated[str, _sha256] | None
    outputs: list[_Output]


def _version(value: str) -> str:
    if not re.fullmatch(r"[0-9]+(\.[0-9A-Za-z+]+){0,5}", value):
        raise ValueError(f"expected a version, found {shown(repr(value), 80)}")
    return value


def _architecture(value: str) -> str:
    if value not in architectures():
        raise ValueError(f"expected one of {', '.join(architectures())}, found {shown(repr(value), 80)}")
    return value


@dataclass(frozen=True)
class _Provenance:
    """What a card takes of a converted file's metadata."""

    architecture: Annotated[str, _architecture]
    source_sha256: Annotated[str, _sha256]
    ppls_version: Annotated[str, _version]
    era: str = ""


def figures_for(model: SegmentationModel, report: Report | Mapping[str, Any] | str | Path) -> Figures:
    """The figures of a report, which is found to be of this very model.

    Raises:
        UsageError: it cannot be read, is no report, or is of another checkpoint, of other weights or of another config.
    """
    found, origin = _read(report)
    if not isinstance(found, dict) or "verdict" not in found:
        raise UsageError(f"{origin}: is not what ppls-verify --json printed: it has no verdict")
    checkpoint, source = found.get("sha256"), model.provenance.get("source_sha256")
    if checkpoint != source:
        raise UsageError(f"the report is of the checkpoint {shown(checkpoint)}, the model comes from {shown(source)}")
    if "candidate_sha256" not in found:
        raise UsageError(f"{origin}: does not say which weights were judged: of an earlier release; {_AGAIN}")
    figures: Figures = _build(found, Figures, origin)
    if figures.candidate_sha256 is None:
        raise UsageError(f"the report judges {shown(figures.candidate)}, which is not ppls's model; {_AGAIN}")
    if figures.candidate_sha256 != model_sha256(model):
        raise UsageError(f"the report judges other weights, or another config, than this model's; {_AGAIN}")
    return figures


def card_of(model: SegmentationModel, name: str, figures: Figures | None) -> str:
    """The card, in Markdown.

    Args:
        name: of the folder.
        figures: of a report that is of this model; None where there is none.
    """
    use = f"""import torch
import ppls

model = ppls.load({shown_line(repr(name))})  # this folder
image = torch.randn(1, 3, 512, 1024)  # RGB, normalised as in training; PaddleSeg's default: (x / 255 - 0.5) / 0.5
with torch.inference_mode():
    (logits,) = model(image)  # (1, num_classes, 512, 1024)
labels = logits.argmax(1)"""
    config = yaml.safe_dump(model_options(model), sort_keys=False, default_flow_style=None)
    architecture, origin = _origin(model)
    return f"""---
{yaml.safe_dump(_FRONT, sort_keys=False)}---

# {architecture}

{origin}

## Use

{fenced("python", use)}
{fenced("sh", f"ppls-predict {shell_word(name)} photo.jpg -o out  # makes pictures")}
## Parity with PaddleSeg

{_parity(figures)}
## Config

{fenced("yaml", config)}"""


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


def _build(found: Mapping[str, Any], kind: Any, origin: str) -> Any:
    """Of a document that has more, the fields that `kind` has."""

    def error(place: str, why: str) -> UsageError:
        return UsageError(f"{origin}: {place + ': ' if place else ''}{why}")

    known = {field.name for field in fields(kind)}
    taken = {key: value for key, value in found.items() if key in known}
    if kind is Figures and isinstance(taken.get("outputs"), list):
        names = {field.name for field in fields(_Output)}
        taken["outputs"] = [
            {key: value for key, value in output.items() if key in names} if isinstance(output, dict) else output
            for output in taken["outputs"]
        ]
    return build(Node.of(taken, error), kind)


def _origin(model: SegmentationModel) -> tuple[str, str]:
    """The architecture, and where the weights come from."""
    if "source_sha256" not in model.provenance:
        return type(model).__name__, "Built in PyTorch; no PaddleSeg checkpoint is recorded."
    told: _Provenance = _build(model.provenance, _Provenance, "the metadata of the converted file")
    source = f"a PaddleSeg checkpoint ({markdown_code(told.era)})" if told.era else "a PaddleSeg checkpoint"
    return told.architecture, f"Converted by ppls {told.ppls_version} from {source}, SHA-256 `{told.source_sha256}`."


def _parity(figures: Figures | None) -> str:
    if figures is None:
        return "Not verified for this card; `ppls-verify` takes the figures.\n"
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
    return "\n".join(lines) + "\n"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
