"""Writes a file of tensors: whole or not at all, and read back, bit for bit, before it gets its name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.reader import read
from ppls.checkpoint.tensors import StoredTensor, new_scratch
from ppls.destination import file_that_becomes, written_meanwhile
from ppls.errors import CheckpointError, ConversionError
from ppls.shown import json_value, listed, shown


def write_and_read_back(
    path: Path,
    tensors: Mapping[str, StoredTensor],
    content: Iterable[bytes | memoryview],
    is_intact: Callable[[Checkpoint], bool],
    *,
    types: Mapping[str, str],
    force: bool,
    before_naming: Callable[[], None] | None,
) -> None:
    """Writes `content`, which holds `tensors`, to `path`.

    Every tensor is loaded twice, to write it and to compare it with what the disk holds; no two are in memory at once.

    Args:
        is_intact: whether what stands in the file beside tensors is as it was written.
        types: the element types that the format has, by what it calls them.
        before_naming: called when the file is complete; what it raises keeps the file from getting its name.

    Raises:
        ConversionError: the file exists (without `force`), cannot be written, or reads back differently; the format
            lacks an element type, or cannot hold a name.
    """
    if unknown := sorted({tensor.dtype for tensor in tensors.values()} - set(types.values())):
        raise ConversionError(f"{path}: such a file has no tensors of type {listed(unknown)}")
    with file_that_becomes(path, force=force) as file:
        try:
            for piece in content:
                file.write(piece)
        except UnicodeEncodeError as error:
            name = next((name for name in tensors if json_value(name) != name), error.object)
            raise ConversionError(f"{path}: no file can hold the name {shown(name)}") from None
        with written_meanwhile(file):
            try:
                back = read(file.name)
            except CheckpointError as error:
                raise ConversionError(f"{path}: what was written cannot be read back: {error}") from None
            room = new_scratch(), new_scratch()
            intact = is_intact(back) and back.keys() == tensors.keys()
            intact = intact and all(_equal(back.stored(name), tensor, *room) for name, tensor in tensors.items())
        if not intact:
            raise ConversionError(
                f"{path}: the file reads back differently from what was written; is the disk at fault?"
            )
        if before_naming is not None:
            before_naming()


def _equal(back: StoredTensor, tensor: StoredTensor, scratch: bytearray, other: bytearray) -> bool:
    """Whether a tensor that was read back is the one that was written, bit for bit."""
    if (back.dtype, back.shape) != (tensor.dtype, tensor.shape) or len(back.extents) != (tensor.nbytes > 0):
        return False
    at = 0
    for block in tensor.blocks(scratch):
        found = back.extents[0]
        if at + len(block) > found.nbytes:
            return False
        read_back = np.frombuffer(other, np.uint8, len(block))
        found.source.read_into(found.offset + at, read_back.data)
        if not (read_back == block).all():
            return False
        at += len(block)
    return at == back.nbytes
