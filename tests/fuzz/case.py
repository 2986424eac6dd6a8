"""One input of the fuzzer: files in a folder of their own, which of them is given, and what is given with it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Case:
    """Files by name, the one that is given (the folder itself where that is empty), and options, which are JSON.

    `links` are symbolic links, by name, with what they point at; `fixed` the files that are there to be used with the
    others, and are not changed.
    """

    files: Mapping[str, bytes]
    given: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    fixed: frozenset[str] = frozenset()

    def lay_out(self, folder: Path) -> Path:
        """Writes the files into an empty folder; returns the path that is given."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        for name, target in self.links.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(target)
        return folder / self.given if self.given else folder

    def save(self, path: Path, target: str, why: str) -> None:
        """Keeps the input with all that is needed to repeat it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        names = list(self.files)
        document = {
            "target": target,
            "why": why,
            "names": names,
            "given": self.given,
            "options": self.options,
            "links": self.links,
        }
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("case.json", json.dumps(document, indent=1))
            for number, name in enumerate(names):
                archive.writestr(str(number), self.files[name])

    @classmethod
    def load(cls, path: Path) -> tuple[str, Case]:
        """The target and the input of a file that `save` wrote."""
        with zipfile.ZipFile(path) as archive:
            document = json.loads(archive.read("case.json"))
            files = {name: archive.read(str(number)) for number, name in enumerate(document["names"])}
        return document["target"], cls(files, document["given"], document["options"], document["links"])
