"""How a model is used with images: preprocessing, class names and palette, which travel with its weights."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from ppls.budget import Budget
from ppls.documents import load_json
from ppls.errors import CheckpointError, first_line
from ppls.images.label_sets import LONGEST_NAME, MOST_CLASSES
from ppls.images.transforms import Transforms
from ppls.schema import Node, at_most, build, made_of, not_empty

_DEFAULT = Transforms()  # PaddleSeg's own
ASSUMED = f"preprocessing assumed: {_DEFAULT}, PaddleSeg's default; nobody said how the model's images were prepared"


def _colour(text: str) -> str:
    if not re.fullmatch("#[0-9a-f]{6}", text):
        raise ValueError("expected a colour, #rrggbb in lower case")
    return text


Name = Annotated[str, not_empty, at_most(LONGEST_NAME)]


@dataclass(frozen=True)
class Usage:
    """What somebody said about it; None for what nobody said.

    Attributes:
        preprocessing: what happens to an image first.
        classes: the name of each class.
        palette: the colour of each class, `#rrggbb`.
    """

    preprocessing: Transforms | None = None
    classes: tuple[str, ...] | None = None
    palette: tuple[str, ...] | None = None

    @classmethod
    def recorded(cls, metadata: Mapping[str, str]) -> Usage:
        """What a converted file's metadata says. Raises `CheckpointError` where that is damaged."""
        found = {key: _parsed(metadata[key], key) for key in _READ if key in metadata}
        return cls(**{key: build(Node.of(value, _error, f"`{key}`"), _READ[key]) for key, value in found.items()})

    @property
    def metadata(self) -> dict[str, str]:
        """The same as texts, for a converted file: the same bytes for the same usage."""
        return {key: json.dumps(value, sort_keys=True) for key, value in self.to_json().items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        """The same as JSON has it: null for what nobody said."""
        steps = None if self.preprocessing is None else self.preprocessing.words
        return {"preprocessing": steps, "classes": self.classes, "palette": self.palette}

    @property
    def steps(self) -> Transforms:
        """What happens to an image first: PaddleSeg's default where nobody said."""
        return _DEFAULT if self.preprocessing is None else self.preprocessing

    def for_classes(self, count: int) -> Usage:
        """Without names and colours that are not of `count` classes: the head was changed since."""
        fitting = {
            key: value
            for key in ("classes", "palette")
            if (value := getattr(self, key)) is not None and len(value) == count
        }
        return dataclasses.replace(self, **{"classes": None, "palette": None, **fitting})

    @property
    def labels(self) -> dict[str, Any]:
        """`id2label` and `label2id`, as configs of the Hugging Face hub have them; empty without class names."""
        if self.classes is None:
            return {}
        return {
            "id2label": {str(number): name for number, name in enumerate(self.classes)},
            "label2id": {name: number for number, name in reversed([*enumerate(self.classes)])},  # of two the first
        }


_READ: dict[str, Any] = {
    "preprocessing": Annotated[Transforms, made_of(Node, Transforms.of)],
    "classes": Annotated[tuple[Name, ...], not_empty, at_most(MOST_CLASSES)],
    "palette": Annotated[tuple[Annotated[str, _colour], ...], not_empty, at_most(MOST_CLASSES)],
}


def _parsed(text: str, key: str) -> Any:
    content = text.encode("utf-8", "surrogatepass")
    try:
        return load_json(content, Budget(len(content), lambda why: _error(f"`{key}`", why)))
    except ValueError as error:
        raise _error(f"`{key}`", f"is damaged: {first_line(error)}") from None


def _error(place: str, why: str) -> CheckpointError:
    return CheckpointError(f"the metadata of the converted file: {place}: {why}")
