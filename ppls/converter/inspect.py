"""What a file is: its format and tensors, and what a conversion would make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.converted_file import file_in, recorded
from ppls.checkpoint.reader import read
from ppls.converter.conversion import Conversion
from ppls.converter.convert import open_model, plan_conversion
from ppls.converter.published import located
from ppls.converter.recognise import Recognition, named_map, on_its_backbone, recognise
from ppls.errors import CheckpointError, ConversionError, UsageError
from ppls.images.usage import Usage
from ppls.mappings.map_file import open_map
from ppls.mappings.maps import Map
from ppls.records import dataclass

# Of a converted file's metadata: what stands elsewhere in an inspection, and tables that only the way back needs.
_TOLD_ELSEWHERE = {"format", "architecture", "era", "config", "assumed", "preprocessing", "classes", "palette"}
_FOR_THE_WAY_BACK = {"name_table", "constants", "numerics"}


@dataclass
class Inspection:
    """The outcome of `inspect`.

    Attributes:
        checkpoint: the file, open.
        architecture: PaddleSeg's class name; None if it is none that ppls knows.
        era: the release of PaddleSeg that wrote the checkpoint, where that can be told.
        config: every constructor option of the PyTorch model; None if it cannot be converted.
        assumed: the options and numerics that nothing shows; None if it cannot be converted.
        provenance: of a converted file, what it says about where it comes from; None of another.
        usage: preprocessing, class names and palette, where somebody said something of them.
        recognised: what the file was taken for, and how surely; None if it was told, or is nothing that ppls knows.
        conversion: what converting would do; None if it cannot be done, or is done.
        problems: why it cannot.
    """

    checkpoint: Checkpoint
    architecture: str | None = None
    era: str | None = None
    config: dict[str, Any] | None = None
    assumed: dict[str, Any] | None = None
    provenance: dict[str, str] | None = None
    usage: Usage | None = None
    recognised: Recognition | None = None
    conversion: Conversion | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def metadata(self) -> dict[str, str]:
        """What the file says about itself and the inspection does not, by name."""
        return {} if self.provenance is not None else dict(sorted(self.checkpoint.metadata.items()))

    def to_json(self) -> dict[str, Any]:
        """The object that `ppls inspect --json` prints."""
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
            "assumed": self.assumed,
            "conversion": None if self.conversion is None else self.conversion.to_json()["tensors"],
            "usage": None if self.usage is None else self.usage.to_json(),
            "provenance": self.provenance,
            "metadata": self.metadata,
            "problems": self.problems,
        }


def inspect(
    path: str | Path,
    *,
    architecture: str | None = None,
    map: str | Path | Map | None = None,
    allow_import: Sequence[str] = (),
    config: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Inspection:
    """Says what a file is and what would become of it. The options are those of `ppls.convert`.

    Raises:
        CheckpointError: it is no weight file. MapError: the map is malformed. UsageError: another option is.
    """
    named = named_map(architecture, open_map(map, allow_import))
    path = located(path)
    result = Inspection(read(file_in(Path(path))))
    metadata = result.checkpoint.metadata
    if metadata.get("map_sha256"):
        result.architecture = metadata.get("architecture")
        result.era = metadata.get("era") or None
        result.config, result.assumed = (
            recorded(metadata, name, result.checkpoint.path) for name in ("config", "assumed")
        )
        result.usage = Usage.recorded(metadata)
        result.provenance = {
            key: value for key, value in metadata.items() if key not in _TOLD_ELSEWHERE | _FOR_THE_WAY_BACK
        }
        return result
    options: dict[str, Any] = {"preset": architecture, "config": config, "overrides": overrides}
    try:
        result.checkpoint = open_model(path, named, **options)
        if named is None:
            result.recognised = recognise(result.checkpoint)
            chosen = result.recognised.map
        else:
            chosen = on_its_backbone(named, result.checkpoint)
        result.architecture = chosen.architecture
        result.conversion = plan_conversion(result.checkpoint, chosen, **options)
        result.era, result.config = result.conversion.era, result.conversion.config
        result.assumed, result.usage = result.conversion.assumed, result.conversion.usage
    except UsageError:
        raise
    except (ConversionError, CheckpointError) as error:  # it reads, but is no model, or none with names
        result.problems = getattr(error, "problems", None) or [str(error)]
    return result
