"""A checkpoint that has been opened: names, shapes and dtypes at once, the numbers only when asked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ppls.checkpoint.source import Source, Stamp, stamp_of
from ppls.checkpoint.tensors import StoredTensor, new_scratch
from ppls.errors import CheckpointError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ppls.checkpoint.graph import Graph
    from ppls.checkpoint.pure_program import Place, PureProgram

T = TypeVar("T")


class Checkpoint(Mapping[str, "NDArray[Any]"]):
    """What a weight file holds: a read-only, lazy mapping of tensor name to array, in the file's order.

    `checkpoint[name]` is a read-only, native-endian array, mapped from the file where the format allows it.
    bfloat16 tensors come as their bits (`uint16`), as `paddle.load(..., return_numpy=True)` gives them;
    `stored(name).dtype` says which they are.

    Attributes:
        path: the file (or folder) that was read.
        format: what it is, in words, e.g. `Paddle state dict (pickle protocol 4)`.
        files: every file that was read, those that hold the tensors first: `sha256` speaks of them.
        name_table: structured name to Paddle's variable name, as the file tells it; empty where it does not.
        warnings: what a user should know: trailing data, an integer type that may have been a float8.
        metadata: what the file holds beside tensors, as text: `epoch`, `LR_Scheduler.last_lr`, a safetensors'
            `__metadata__`.
        naming: what the names are: `structured` (`backbone.conv.weight`), Paddle's `variables` (`conv2d_0.w_0`), where
            the file has no others, or `numbers`, where it has none at all.
        parts: where several nested dictionaries hold tensors, the name of each: what the file is made of, in words;
            `part` gives one of them. Empty where the tensors lie on one level.
        deploy: of an export in an archive, the `deploy.yaml` that lies beside it there; else None.
    """

    def __init__(
        self,
        path: Path,
        format: str,
        tensors: Mapping[str, StoredTensor],
        *,
        files: tuple[Path, ...] = (),
        name_table: Mapping[str, str] | None = None,
        warnings: tuple[str, ...] = (),
        metadata: Mapping[str, str] | None = None,
        naming: Literal["structured", "variables", "numbers"] = "structured",
        parts: Mapping[str, str] | None = None,
        stamps: Sequence[Stamp] = (),
        weight_files: int = 1,
        graph: Callable[[], Graph] | None = None,
        program: Callable[..., PureProgram] | None = None,
        deploy: Source | None = None,
    ) -> None:
        self.path = path
        self.format = format
        self.files = files or (path,)
        self.name_table = dict(name_table or {})
        self.warnings = warnings
        self.metadata = dict(metadata or {})
        self.naming = naming
        self.parts = dict(parts or {})
        self.deploy = deploy
        self._tensors = dict(tensors)
        self._graph = graph
        self._program = program
        self._sha256: str | None = None
        self._weight_files = self.files[:weight_files]
        self._stamps = list(stamps) or [stamp_of(os.stat(file)) for file in self.files]

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._tensors[name].load()

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def stored(self, name: str) -> StoredTensor:
        """Shape and dtype of one tensor, without reading it."""
        return self._tensors[name]

    def part(self, name: str) -> Checkpoint:
        """One nested dictionary of several, by its name in `parts`, with the names that its tensors have in there."""
        prefix = f"{name}."

        def own(names: Mapping[str, T]) -> dict[str, T]:
            return {key[len(prefix) :]: value for key, value in names.items() if key.startswith(prefix)}

        return Checkpoint(
            self.path,
            f"{self.parts[name]}, {name!r} of a {self.format}",
            own(self._tensors),
            files=self.files,
            name_table=own(self.name_table),
            warnings=self.warnings,
            metadata=own(self.metadata),
            naming=self.naming,
            stamps=self._stamps,
            weight_files=len(self._weight_files),
        )

    def renamed(self, names: Mapping[str, str]) -> Checkpoint:
        """The same tensors under structured names, which the file itself does not have.

        Args:
            names: the structured name of every tensor, by the one that it has now: Paddle's variable name.
        """
        return Checkpoint(
            self.path,
            f"{self.format}, structured names recovered",
            {names[name]: tensor for name, tensor in self._tensors.items()},
            files=self.files,
            name_table={structured: variable for variable, structured in names.items()},
            warnings=self.warnings,
            metadata=self.metadata,
            stamps=self._stamps,
            weight_files=len(self._weight_files),
            graph=self._graph,
            program=self._program,
            deploy=self.deploy,
        )

    def graph(self) -> Graph | None:
        """The operations of the program that an export was saved with, read when first asked for; else None.

        Raises:
            CheckpointError: the program is damaged.
        """
        return None if self._graph is None else self._graph()

    @property
    def is_export(self) -> bool:
        """Whether a program was saved with it."""
        return self._program is not None

    def program(self, *, double: bool = False, returning: Iterable[Place] | None = None) -> PureProgram:
        """The program that an export was saved with, written anew for Paddle to run; see `pure_program.rewrite`.

        Raises:
            CheckpointError: it is damaged, or not all of it is on ppls's list of what may run.
        """
        assert self._program is not None, "not an export"
        return self._program(double=double, returning=returning)

    def variables(self) -> dict[str, StoredTensor]:
        """Every tensor, not yet read, by the name of its variable, where the file has one, in the program."""
        return {self.name_table.get(name, name): tensor for name, tensor in self._tensors.items()}

    @property
    def tensors(self) -> Mapping[str, StoredTensor]:
        """Every tensor, not yet read, in the file's order."""
        return MappingProxyType(self._tensors)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor, in the file's order."""
        return {name: tensor.shape for name, tensor in self._tensors.items()}

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights file, in hex; of one after the other where each tensor has a file of its own."""
        if self._sha256 is None:
            self._sha256 = _digest(self._weight_files)
        return self._sha256

    def check_unchanged(self) -> None:
        """Raises `CheckpointError` if a file was written to, replaced or removed since it was opened."""
        for file, stamp in zip(self.files, self._stamps, strict=True):
            try:
                now = stamp_of(os.stat(file))
            except OSError as error:
                raise CheckpointError(f"{file}: gone while it was being read: {error.strerror}") from None
            if now != stamp:
                raise CheckpointError(f"{file}: changed while it was being read; try again when it is complete")


def _digest(paths: Sequence[Path]) -> str:
    digest, room = hashlib.sha256(), memoryview(new_scratch())
    for path in paths:
        try:
            with open(path, "rb", buffering=0) as file:
                while count := file.readinto(room):
                    digest.update(room[:count])
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    return digest.hexdigest()
