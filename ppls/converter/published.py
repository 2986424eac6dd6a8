"""The weight files that PaddleSeg publishes, by name: `ppls.list_published`, and from a name to the file."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from ppls.converter.given import given_by_run
from ppls.errors import CheckpointError, ConversionError, UsageError
from ppls.mappings.map_file import architectures
from ppls.mappings.map_index import on_named
from ppls.records import dataclass
from ppls.schema import Node
from ppls.shown import listed


@dataclass(frozen=True)
class Published:
    """A row of the tables on PaddleSeg's pages.

    Attributes:
        name: what `ppls.convert` and `ppls.load` take in place of a file.
        architecture: PaddleSeg's class name; empty where its pages do not tell.
        backbone: PaddleSeg's name of it; empty where the architecture has none of its own.
        dataset: as the page has it.
        row: the cells of the row: model, backbone, size, iterations, mIoU, as PaddleSeg measured them.
        address: where the file is.
        run: what PaddleSeg's config says about the model and the data set of its evaluation.
    """

    name: str
    architecture: str
    backbone: str
    dataset: str
    row: tuple[str, ...]
    address: str
    run: dict[str, Any] | None

    @property
    def unavailable(self) -> str | None:
        """Why ppls cannot convert it yet; None where it can."""
        map = architectures().get(self.architecture)
        if self.run is None:
            return "PaddleSeg has no config of it"
        if map is None:
            return f"ppls does not have the architecture {self.architecture} yet"
        try:
            given_by_run(on_named(map, self.backbone), Path(self.name), self.config)
        except ConversionError:
            return f"ppls does not have {self.architecture} with these options (backbone {self.backbone}) yet"
        return None

    @property
    def config(self) -> Node | None:
        """The run's config as a document."""
        place = f"PaddleSeg's config of {self.name}"
        return None if self.run is None else Node.of(self.run, lambda at, why: ConversionError(f"{at}: {why}"), place)

    @property
    def classes(self) -> str | None:
        """The set of classes that the page says and the config does not."""
        return "camvid" if self.dataset == "CamVid" else None

    def to_json(self) -> dict[str, Any]:
        """What `ppls list published --json` prints of it."""
        fields = ("name", "architecture", "backbone", "dataset", "address", "unavailable")
        return {**{field: getattr(self, field) for field in fields}, "row": list(self.row)}


def list_published(pattern: str = "*", *, available: bool = False) -> list[Published]:
    """The weight files that PaddleSeg publishes.

    Args:
        pattern: of their names: `pp_liteseg*cityscapes*`.
        available: only those that ppls can convert.
    """
    found = [row for name, row in _table().items() if fnmatchcase(name, pattern)]
    return [row for row in found if row.unavailable is None] if available else found


def find_published(source: str | Path) -> Published | None:
    """The published file of that name; None for what is a path: what exists, or what no published file is called.

    Raises:
        CheckpointError: there is no such file, but the name is close to one that is published.
    """
    name = str(source)
    if os.path.lexists(source) or Path(name).name != name:
        return None
    if name in _table():
        return _table()[name]
    close = difflib.get_close_matches(name[:200].removesuffix(".pdparams"), _table(), n=3, cutoff=0.8)
    if close:
        raise CheckpointError(f"{name}: no such file; published by PaddleSeg under a similar name: {listed(close)}")
    return None


def fetch(row: Published, progress: Callable[[int, int], None] | None = None) -> Path:
    """The file of a row, downloaded into the cache unless it is there.

    Raises:
        ConversionError: ppls could not convert it; nothing is downloaded then.
        CheckpointError: it cannot be downloaded.
    """
    from ppls.checkpoint.download import download  # few need it

    if row.unavailable is not None:
        raise ConversionError(f"{row.name}: {row.unavailable}; nothing was downloaded. It is at {row.address}")
    path = cache_folder() / "published" / row.name / row.address.rpartition("/")[2]
    download(row.address, path, progress)
    return path


def located(source: str | Path) -> str | Path:
    """The file of what may be a published one's name. Raises what `find_published` and `fetch` do."""
    row = find_published(source)
    return source if row is None else fetch(row)


def cache_folder() -> Path:
    """Where downloads are kept: $PPLS_CACHE, else `ppls` in $XDG_CACHE_HOME, else ~/.cache/ppls."""
    own, xdg = os.environ.get("PPLS_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own)
    if xdg and os.path.isabs(xdg):
        return Path(xdg, "ppls")
    try:
        return Path.home() / ".cache" / "ppls"
    except RuntimeError:
        raise UsageError("there is no home folder to keep downloads in; PPLS_CACHE names a folder for them") from None


@cache
def _table() -> dict[str, Published]:
    rows = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return {row["name"]: _row(row) for row in rows}


def _row(row: dict[str, Any]) -> Published:
    model = (row["run"] or {}).get("model", {})
    backbone = model.get("backbone", "")
    return Published(
        row["name"],
        model.get("type", ""),
        backbone if isinstance(backbone, str) else backbone["type"],
        row["dataset"],
        tuple(row["row"]),
        row["address"],
        row["run"],
    )
