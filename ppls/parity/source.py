"""What is to be verified, and on what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppls.converter.conversion import Conversion
from ppls.converter.convert import convert
from ppls.converter.given import Recorded
from ppls.converter.inputs import config_files, weight_files
from ppls.mappings.maps import Map
from ppls.parity.embedded import embedded_name
from ppls.parity.input_shape import InputShape
from ppls.parity.jobs import Upsample

TIMEOUT = 600.0  # seconds

Say = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """What is to be verified: a checkpoint (None: the embedded default), and how to convert it.

    Attributes:
        recorded: what the converted file that is verified says of its conversion.
    """

    checkpoint: str | Path | None = None
    architecture: str | None = None
    map: Map | None = None
    config: str | Path | None = None
    overrides: Mapping[str, Any] | None = None
    upsample: Upsample | None = None
    recorded: Recorded | None = None

    @property
    def name(self) -> str:
        """What reports call it."""
        return embedded_name(self.architecture, self.overrides) if self.checkpoint is None else str(self.checkpoint)

    def files(self) -> dict[str, Iterable[str | Path | None]]:
        """What is read, as `ppls.destination` takes it."""
        return {
            "checkpoint": weight_files(self.checkpoint),
            "map": [self.map.path if self.map else None],
            "config": config_files(self.config),
        }

    def convert(self, checkpoint: Path, destination: Path | None) -> Conversion:
        """Converts `checkpoint`, which is this source's once it exists."""
        return convert(
            checkpoint,
            destination,
            architecture=self.architecture,
            map=self.map,
            config=self.config,
            overrides=self.overrides,
            upsample=self.upsample,
            recorded=self.recorded,
        )


@dataclass(frozen=True)
class Request:
    """What PaddleSeg is to run the checkpoint on, and how.

    Attributes:
        shape: of the images that the candidate takes, where it does not take all.
    """

    sizes: Sequence[tuple[int, int]] = ()
    images: Sequence[str | Path] = ()
    seed: int = 0
    layers: bool = True
    float64: bool = False
    train_steps: int = 0
    timeout: float = TIMEOUT
    python: str | Path | None = None
    paddleseg: str | Path | None = None
    max_pixels: int | None = None  # of an image
    only: bool = False  # without the default inputs
    shape: InputShape | None = None
