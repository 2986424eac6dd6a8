"""The converted file: safetensors with sorted names, written beside its name, read back, and only then given it.

`safetensors.numpy.save_file` (0.8.0) writes the metadata in random order, and silently writes wrong data for an array
that is not C-contiguous, as a transposed Linear weight is. The header is a few lines: it is written here, and the
library checks it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from ppls.budget import Budget
from ppls.checkpoint.checkpoint import StoredTensor
from ppls.checkpoint.dtypes import DTYPES, itemsize
from ppls.destination import file_that_becomes, written_meanwhile
from ppls.documents import load_json
from ppls.errors import CheckpointError, ConversionError, first_line


def write_converted_file(
    path: Path,
    tensors: Mapping[str, StoredTensor],
    metadata: Mapping[str, str],
    *,
    force: bool = False,
    before_naming: Callable[[], None] | None = None,
) -> None:
    """Writes `tensors` to `path` as safetensors: the same bytes for the same input, whole or not at all.

    Every tensor is loaded twice, to write it and to compare it with what the disk holds; no two are in memory at once.

    Args:
        before_naming: called when the file is complete; what it raises keeps the file from getting its name.

    Raises:
        ConversionError: the file exists (without `force`), cannot be written, or reads back differently.
    """
    header, order = _header(tensors, metadata)
    with file_that_becomes(path, force=force) as file:
        file.write(header)
        for name in order:
            for block in tensors[name].blocks():
                file.write(block.data)
        with written_meanwhile(file):
            _read_back(Path(file.name), tensors, dict(metadata), path)
        if before_naming is not None:
            before_naming()


def recorded(metadata: Mapping[str, str], name: str, path: Path | None = None) -> dict[str, Any]:
    """One of the JSON objects in a converted file's metadata. Raises `CheckpointError` where it is none."""

    def error(why: str) -> CheckpointError:
        where = "" if path is None else f"{path}: "
        return CheckpointError(
            f"{where}`{name}` in the metadata of the converted file {why}; convert the checkpoint anew"
        )

    try:
        text = metadata[name].encode()
        document = load_json(text, Budget(len(text), error))
    except KeyError:
        raise error("is missing") from None
    except ValueError as why:
        raise error(f"is damaged: {first_line(why)}") from None
    if not isinstance(document, dict):
        raise error("is no table")
    return document


def _header(tensors: Mapping[str, StoredTensor], metadata: Mapping[str, str]) -> tuple[bytes, list[str]]:
    for tensor in tensors.values():
        if not DTYPES[tensor.dtype].safetensors:
            raise ConversionError(f"tensors of type {tensor.dtype} cannot be stored in a safetensors file")
    # widest elements first, as the library does, so that every tensor is aligned; then by name
    order = sorted(tensors, key=lambda name: (-itemsize(tensors[name].dtype), name))
    entries: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    offset = 0
    for name in order:
        tensor = tensors[name]
        end = offset + itemsize(tensor.dtype) * int(np.prod(tensor.shape, dtype=np.int64))
        entries[name] = {
            "dtype": DTYPES[tensor.dtype].safetensors,
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, order


def _read_back(part: Path, tensors: Mapping[str, StoredTensor], metadata: dict[str, str], path: Path) -> None:
    try:
        with safe_open(part, "numpy") as file:
            intact = set(file.keys()) == set(tensors) and dict(file.metadata() or {}) == metadata
    except SafetensorError as error:
        raise ConversionError(f"{path}: what was written is not a safetensors file ({error})") from None
    with open(part, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        entries = json.loads(file.read(length))
        for name, tensor in tensors.items():
            file.seek(8 + length + entries[name]["data_offsets"][0])
            for block in tensor.blocks():
                intact = intact and np.array_equal(np.frombuffer(file.read(block.nbytes), np.uint8), block)
    if not intact:
        raise ConversionError(f"{path}: the file reads back differently from what was written; is the disk at fault?")
