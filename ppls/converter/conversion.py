"""The outcome of a conversion: what became of a checkpoint, and the file to write."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppls.checkpoint.checkpoint import Checkpoint, StoredTensor
from ppls.checkpoint.converted_file import write_converted_file
from ppls.converter.reference import upstream_model
from ppls.converter.translate import Dropped
from ppls.destination import check_destination
from ppls.errors import ConversionError
from ppls.mappings.map_index import known_as
from ppls.mappings.maps import Map
from ppls.mappings.patterns import lookup
from ppls.records import dataclass
from ppls.shown import shown
from ppls.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ppls.images.usage import Usage


@dataclass
class Conversion:
    """What became of a checkpoint: the outcome of `ppls.convert`.

    Attributes:
        checkpoint: the source, open.
        map: the map that was applied.
        config: every constructor option of the PyTorch model.
        assumed: the options and numerics that no tensor shows, with the values taken for them.
        by_default: the options that the config of the run does not say, which are PaddleSeg's default then.
        era: the release of PaddleSeg that wrote the checkpoint, where that can be told.
        tensors: the PyTorch model's, lazily, by name.
        origins: the checkpoint's tensors that each of them is made of.
        dropped: tensors of the checkpoint that the model does not need, each with the reason.
        constants: the values of those among them that are constants.
        warnings: what a user should know.
        recipe: PaddleSeg's published config that some of the assumed values are from.
        renamed: tensors that an earlier release called otherwise, by their names in the file, with today's.
        dtype: the type that the weights were rounded to, if the user asked for one.
        upsample: how the model resizes within, if the user asked for another way than PaddleSeg's.
        usage: preprocessing, class names and palette, where somebody said something of them.
        destination: the converted file, once it is written.
    """

    checkpoint: Checkpoint
    map: Map
    config: dict[str, Any]
    assumed: dict[str, Any]
    era: str | None
    tensors: dict[str, StoredTensor]
    origins: dict[str, tuple[str, ...]]
    dropped: list[Dropped]
    constants: dict[str, float | str]
    warnings: list[str] = field(default_factory=list)
    recipe: str | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    dtype: str | None = None
    by_default: dict[str, Any] = field(default_factory=dict)
    upsample: str | None = None
    usage: Usage | None = None
    destination: Path | None = None

    @property
    def source(self) -> Path:
        return self.checkpoint.path

    @property
    def architecture(self) -> str:
        """PaddleSeg's class name: of the model, or of a backbone that was converted alone."""
        return self.map.title

    @property
    def source_tensors(self) -> dict[str, StoredTensor]:
        """The checkpoint's tensors under the names that PaddleSeg gives them today."""
        return under_todays_names(self.checkpoint.tensors, self.renamed)

    @property
    def assumed_options(self) -> dict[str, Any]:
        """Of what was assumed, what PaddleSeg has an option for: all else (numerics) is fixed in its code."""
        options = {rule.path for rule in self.map.options if not rule.target_only}
        return {name: value for name, value in self.assumed.items() if name in options}

    @property
    def sha256(self) -> str:
        """SHA-256 of the checkpoint."""
        return self.checkpoint.sha256

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """The PyTorch model's tensors as arrays, read when asked for; bfloat16 as its bits in uint16."""
        return _Arrays(self.tensors)

    @property
    def metadata(self) -> dict[str, str]:
        """What the converted file records."""
        documents = {
            "config": self.config,
            "numerics": self.map.all_numerics(),
            "assumed": self.assumed,
            "constants": self.constants,
        }
        return {
            "format": "pt",
            "architecture": self.architecture,
            "era": self.era or "",
            "source_format": self.checkpoint.format,
            "source_sha256": self.sha256,
            "map": shown(known_as(self.map)),  # of a file, whose name may be any bytes
            "map_sha256": self.map.digest,
            "ppls_version": __version__,
            **{name: json.dumps(document, sort_keys=True) for name, document in documents.items()},
            # in the file's order, under today's names: for the way back
            "name_table": json.dumps({self.renamed.get(n, n): v for n, v in self.checkpoint.name_table.items()}),
            **{name: text for name, text in (("dtype", self.dtype), ("upsample", self.upsample)) if text},
            **({} if self.usage is None else self.usage.metadata),
        }

    @property
    def reference(self) -> dict[str, Any]:
        """How upstream builds the same model, and what strict loading must tolerate.

        `class` and `kwargs` (a backbone is such a dictionary again); `may_be_missing`, regular expressions of whole
        names; `may_be_unexpected`, names; `renamed`, names of the file with today's.
        """
        absent = [optional.pattern for optional in self.map.optional if not lookup(self.config, optional.option)]
        names = self.source_tensors
        copies = [copy for copy in self.map.duplicates if copy.written and not any(map(copy.original_of, names))]
        gone = [dropped.name for dropped in self.dropped if dropped.name not in self.constants]
        return {
            **upstream_model(self.map, self.config),
            "may_be_missing": [
                *(constant.pattern.expression for constant in self.map.constants),
                *(rf"{pattern.expression}\..+" for pattern in absent),
                *(rf"{copy.pattern.expression}\..+" for copy in copies),  # one module of two names is filled by either
                *(rf"{dead.pattern.expression}\..+" for dead in self.map.dead),  # what never runs is in no export
            ],
            "may_be_unexpected": [self.renamed.get(name, name) for name in gone],
            "renamed": dict(self.renamed),
        }

    def write(self, destination: str | Path, *, force: bool = False) -> None:
        """Writes the converted file: whole, read back and only then under its name.

        Raises:
            ConversionError: it exists (without `force`), cannot be written, or the checkpoint changed meanwhile.
        """
        destination = Path(destination)
        check_destination(destination, force=force, inputs={"source": self.checkpoint.files})
        write_converted_file(
            destination, self.tensors, self.metadata, force=force, before_naming=self.checkpoint.check_unchanged
        )
        self.destination = destination

    def to_json(self) -> dict[str, Any]:
        """The object that `ppls-convert --json` prints."""
        return {
            "source": str(self.source),
            "destination": None if self.destination is None else str(self.destination),
            "architecture": self.architecture,
            "era": self.era,
            "config": self.config,
            "assumed": self.assumed,
            "by_default": self.by_default,
            "recipe": self.recipe,
            "usage": None if self.usage is None else self.usage.to_json(),
            "tensors": {
                "read": len(self.checkpoint),
                "written": len(self.tensors),
                "dropped": [{"name": dropped.name, "why": dropped.why} for dropped in self.dropped],
            },
            "sha256": self.sha256,
            "warnings": self.warnings,
        }


def under_todays_names(tensors: Mapping[str, StoredTensor], renamed: Mapping[str, str]) -> dict[str, StoredTensor]:
    """Raises `ConversionError` where a tensor of today's name stands beside the one that is renamed to it."""
    today: dict[str, StoredTensor] = {}
    clashes = []
    for name, tensor in tensors.items():
        todays_name = renamed.get(name, name)
        if todays_name in today:
            clashes.append(f"{name}: is {todays_name} today, and that stands beside it")
        today[todays_name] = tensor
    if clashes:
        raise ConversionError("tensors of two releases stand in one checkpoint:", clashes)
    return today


class _Arrays(Mapping[str, "NDArray[Any]"]):
    def __init__(self, tensors: Mapping[str, StoredTensor]) -> None:
        self._tensors = tensors

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._tensors[name].load()

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
