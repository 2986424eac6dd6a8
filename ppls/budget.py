"""What reading a file may cost, whatever the file says: one object that every parser of the file draws from."""

from __future__ import annotations

from collections.abc import Callable

from ppls.errors import Error

# Each is a base, which any file may cost, and a part in proportion to the bytes that the user's file has on the disk.
# So a file of 1 MB costs at most a few seconds and a few hundred MB, and what Paddle writes stays far below: the JSON
# of a program takes 0.14 nodes for each of its bytes, the densest checkpoint seen (1.5 MB) 0.004, and 206 names.
_FREE_BYTES, _BYTES_PER_BYTE = 16 << 20, 32
_FREE_NODES, _NODES_PER_BYTE, _MOST_NODES = 400_000, 0.5, 40_000_000
_FREE_NAMES, _NAMES_PER_BYTE, _MOST_NAMES = 8_000, 0.008, 200_000
# Weights hardly compress (1.1x); freshly initialised ones may be zero for the most part. Deflate itself reaches 1000x.
_FREE_INFLATED, _INFLATED_PER_BYTE = 256 << 20, 100
_MOST_LEVELS = 64
_MOST_ARCHIVES = 16  # one within another; a .tar.gz is two


class Budget:
    """Counts down what a file may cost.

    Args:
        size: bytes of the file on the disk, before anything in it is inflated.
        error: makes the error to raise from what is wrong: `Source.error`, say.
    """

    def __init__(self, size: int, error: Callable[[str], Error]) -> None:
        self._error = error
        self.bytes_left = _FREE_BYTES + _BYTES_PER_BYTE * size
        self.nodes_left = min(_MOST_NODES, _FREE_NODES + int(_NODES_PER_BYTE * size))
        self.names_left = min(_MOST_NAMES, _FREE_NAMES + int(_NAMES_PER_BYTE * size))
        self.inflated_left = _FREE_INFLATED + _INFLATED_PER_BYTE * size
        self.archives_left = _MOST_ARCHIVES

    def take_bytes(self, count: int) -> None:
        """Bytes that are held in memory as a whole; those of tensors are not."""
        self.bytes_left -= count
        if self.bytes_left < 0:
            raise self._error("would take far more memory than a weight file of its size")

    def take_inflated(self, count: int) -> None:
        """Bytes that are inflated, into a file on the disk."""
        self.inflated_left -= count
        if self.inflated_left < 0:
            raise self._error(
                f"expands to more than {_INFLATED_PER_BYTE} times its size: weights do not compress like that"
            )

    def take_nodes(self, count: int = 1) -> None:
        """Values that are made in memory: objects of a pickle, fields of a message, nodes of JSON and YAML."""
        self.nodes_left -= count
        if self.nodes_left < 0:
            raise self._error("holds more values than any file of its size: damaged, or made to take memory")

    def take_names(self, count: int = 1) -> None:
        """Tensors, members of an archive, variables of a program."""
        self.names_left -= count
        if self.names_left < 0:
            raise self._error("holds more tensors or files than any weight file of its size")

    def enter_archive(self) -> None:
        """An archive or a compressed file is opened, within another or not."""
        self.archives_left -= 1
        if self.archives_left < 0:
            raise self._error("archives within archives; unpack it, and give the weights inside")

    def check_depth(self, levels: int) -> None:
        """How deep values or messages lie within one another."""
        if levels > _MOST_LEVELS:
            raise self._error(f"is nested more than {_MOST_LEVELS} deep")
