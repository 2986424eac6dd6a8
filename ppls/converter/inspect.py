"""What a file is: its format and tensors, and what a conversion would make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.converted_file import recorded
from ppls.checkpoint.reader import read
from ppls.converter.conversion import Conversion
from ppls.converter.convert import open_model, plan_conversion
from ppls.converter.recognise import Recognition, on_its_backbone, recognise
from ppls.errors import CheckpointError, ConversionError
from ppls.mappings.map_file import open_map
from ppls.mappings.maps import Map
from ppls.records import dataclass


@dataclass
class Inspection:
    """The outcome of `inspect`.

    Attributes:
        checkpoint: the file, open.
        architecture: PaddleSeg's class name; None if it is none that ppls knows.
        era: the release of PaddleSeg that wrote the checkpoint, where that can be told.
        config: every constructor option of the PyTorch model; None if it cannot be converted.
        recognised: what the file was taken for, and how surely; None if it was told, or is nothing that ppls knows.
        conversion: what converting would do; None if it cannot be done.
        problems: why it cannot.
    """

    checkpoint: Checkpoint
    architecture: str | None = None
    era: str | None = None
    config: dict[str, Any] | None = None
    recognised: Recognition | None = None
    conversion: Conversion | None = None
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The object that `ppls-inspect --json` prints."""
        stored = self.checkpoint.tensors
        return {
            "format": self.checkpoint.format,
            "tensors": [
                {"name": name, "dtype": tensor.dtype, "shape": list(tensor.shape)} for name, tensor in stored.items()
            ],
            "architecture": self.architecture,
            "recognised": None if self.recognised is None else self.recognised.to_json(),
            "era": self.era,
            "config": self.config,
            "problems": self.problems,
        }


def inspect(path: str | Path, *, map: str | Path | Map | None = None, allow_import: Sequence[str] = ()) -> Inspection:
    """Says what a file is and what would become of it. `map` and `allow_import` are those of `ppls.convert`.

    Raises:
        CheckpointError: it is no weight file. MapError: the map is malformed.
    """
    map = open_map(map, allow_import)
    result = Inspection(read(path))
    metadata = result.checkpoint.metadata
    if metadata.get("map_sha256"):
        result.architecture = metadata.get("architecture")
        result.era = metadata.get("era") or None
        result.config = recorded(metadata, "config", result.checkpoint.path)
        return result
    try:
        result.checkpoint = open_model(path, map)
        if map is None:
            result.recognised = recognise(result.checkpoint)
            chosen = result.recognised.map
        else:
            chosen = on_its_backbone(map, result.checkpoint)
        result.architecture = chosen.architecture
        result.conversion = plan_conversion(result.checkpoint, chosen)
        result.era, result.config = result.conversion.era, result.conversion.config
    except (ConversionError, CheckpointError) as error:  # it reads, but is no model, or none with names
        result.problems = getattr(error, "problems", None) or [str(error)]
    return result
