"""What a model card says of the model itself, its weights' origin and its options; and what is kept true in a card."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any

import yaml

from ppls.errors import UsageError
from ppls.models.digest import model_options, model_sha256
from ppls.models.provenance import TRAINED_FROM, Described
from ppls.schema import Node, build
from ppls.shown import fenced, markdown_code, shell_word, shown, shown_line

_FRONT = {"library_name": "ppls", "pipeline_tag": "image-segmentation", "tags": ["paddleseg", "semantic-segmentation"]}
NOT_VERIFIED = "Not verified for this card; `ppls-verify` takes the figures.\n"
_CHANGED = "Not verified: the weights were changed since there were figures; `ppls-verify` takes them anew.\n"
_VERDICT = "`ppls-verify`: **"  # with which figures begin
_DIGEST = "These figures are of the weights with digest"


def sha256_text(value: str) -> str:
    """The value, a SHA-256 in hexadecimal. Raises `ValueError` if it is none."""
    if not re.fullmatch("[0-9a-f]{64}", value):
        raise ValueError(f"expected a SHA-256, 64 hexadecimal digits, found {shown(repr(value), 80)}")
    return value


def _version(value: str) -> str:
    if not re.fullmatch(r"[0-9]+(\.[0-9A-Za-z+]+){0,5}", value):
        raise ValueError(f"expected a version, found {shown(repr(value), 80)}")
    return value


def _architecture(value: str) -> str:
    from ppls.mappings.map_file import architectures  # here, so that importing the models needs nothing of maps

    if value not in architectures():
        raise ValueError(f"expected one of {', '.join(architectures())}, found {shown(repr(value), 80)}")
    return value


@dataclass(frozen=True)
class _Provenance:
    """What a card takes of a converted file's metadata."""

    architecture: Annotated[str, _architecture]
    ppls_version: Annotated[str, _version]
    source_sha256: Annotated[str, sha256_text] | None = None
    trained_from: Annotated[str, sha256_text] | None = None
    era: str = ""


def card_text(model: Described, folder: str, parity: str = NOT_VERIFIED) -> str:
    """The card of a folder, in Markdown.

    Args:
        parity: what it says of the comparison with PaddleSeg.
    """
    use = f"""import torch
import ppls

model = ppls.load({shown_line(repr(folder))})  # this folder
image = torch.randn(1, 3, 512, 1024)  # RGB, normalised as in training; PaddleSeg's default: (x / 255 - 0.5) / 0.5
with torch.inference_mode():
    (logits,) = model(image)  # (1, num_classes, 512, 1024)
labels = logits.argmax(1)"""
    architecture, origin = origin_of(model)
    return f"""---
{yaml.safe_dump(_FRONT, sort_keys=False)}---

# {architecture}

{origin}

## Use

{fenced("python", use)}
{fenced("sh", f"ppls-predict {shell_word(folder)} photo.jpg -o out  # makes pictures")}
## Parity with PaddleSeg

{parity}
## Config

{config_block(model)}"""


def origin_of(model: Described) -> tuple[str, str]:
    """The architecture, and where the weights come from."""
    metadata = model.metadata()
    if not {"source_sha256", TRAINED_FROM} & metadata.keys():
        return type(model).__name__, "Built in PyTorch; no PaddleSeg checkpoint is recorded."
    told: _Provenance = taken(metadata, _Provenance, "the metadata of the converted file")
    source = f"a PaddleSeg checkpoint ({markdown_code(told.era)})" if told.era else "a PaddleSeg checkpoint"
    if told.trained_from is not None:
        return told.architecture, (
            f"Trained or edited in PyTorch, from {source}, SHA-256 `{told.trained_from}`, "
            f"that ppls {told.ppls_version} converted."
        )
    return told.architecture, f"Converted by ppls {told.ppls_version} from {source}, SHA-256 `{told.source_sha256}`."


def config_block(model: Described) -> str:
    """The options, as YAML in a block of code."""
    return fenced("yaml", yaml.safe_dump(model_options(model), sort_keys=False, default_flow_style=None))


def digest_line(sha256: str) -> str:
    """Of which weights the figures of a card are."""
    return f"{_DIGEST} `{sha256}`, and of no others."


def brought_up_to_date(card: str, model: Described) -> str:
    """A card that `to_hub_folder` wrote, perhaps of other weights, with what is no longer true of `model` replaced.

    What somebody else wrote stays as it is.
    """
    parts = re.split(r"^(## .*\n)", card, flags=re.MULTILINE)  # what stands above, then headings and texts in turn
    if "## Parity with PaddleSeg\n" not in parts:
        return card
    place = parts.index("## Parity with PaddleSeg\n") + 1
    if _VERDICT in parts[place] and digest_line(model_sha256(model)) not in parts[place]:
        parts[place] = f"\n{_CHANGED}\n"
    if "## Config\n" in parts:
        parts[parts.index("## Config\n") + 1] = f"\n{config_block(model)}"
    origin = r"^(Converted by ppls|Trained or edited in PyTorch|Built in PyTorch).*$"
    parts[0] = re.sub(origin, lambda _: origin_of(model)[1], parts[0], count=1, flags=re.MULTILINE)
    return "".join(parts)


def taken(found: Mapping[str, Any], kind: Any, origin: str) -> Any:
    """Of a document that has more, the fields that `kind` has. Raises `UsageError` where they are none."""

    def error(place: str, why: str) -> UsageError:
        return UsageError(f"{origin}: {place + ': ' if place else ''}{why}")

    known = {field.name for field in fields(kind)}
    return build(Node.of({key: value for key, value in found.items() if key in known}, error), kind)
