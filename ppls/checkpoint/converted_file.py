"""The converted file: safetensors with sorted names, written whole, read back, and only then given its name.

`safetensors.numpy.save_file` (0.8.0) writes the metadata in random order, and silently writes wrong data for an array
that is not C-contiguous, as a transposed Linear weight is. The header is a few lines: it is written here, and the
library checks it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ppls.budget import Budget
from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.dtypes import BY_SAFETENSORS, DTYPES, itemsize
from ppls.checkpoint.tensors import StoredTensor, new_scratch
from ppls.checkpoint.written import write_and_read_back
from ppls.documents import load_json
from ppls.errors import CheckpointError, ConversionError, first_line
from ppls.shown import json_value


def write_converted_file(
    path: Path,
    tensors: Mapping[str, StoredTensor],
    metadata: Mapping[str, str],
    *,
    force: bool = False,
    before_naming: Callable[[], None] | None = None,
) -> None:
    """Writes `tensors` to `path` as safetensors: the same bytes for the same input; as `write_and_read_back`.

    Args:
        metadata: texts; their lone surrogates, which no file holds, are escaped.
    """
    texts: dict[str, str] = json_value(dict(sorted(metadata.items())))

    def is_intact(back: Checkpoint) -> bool:
        try:
            with safe_open(back.path, "numpy") as file:
                return set(file.keys()) == set(tensors) and dict(file.metadata() or {}) == texts == back.metadata
        except SafetensorError as error:
            raise ConversionError(f"{path}: what was written is not a safetensors file ({error})") from None

    content = _content(tensors, texts)
    write_and_read_back(
        path, tensors, content, is_intact, types=BY_SAFETENSORS, force=force, before_naming=before_naming
    )


def _content(tensors: Mapping[str, StoredTensor], metadata: dict[str, str]) -> Iterator[bytes | memoryview]:
    # widest elements first, as the library does, so that every tensor is aligned; then by name
    order = sorted(tensors, key=lambda name: (-itemsize(tensors[name].dtype), name))
    entries: dict[str, object] = {"__metadata__": metadata}
    offset = 0
    for name in order:
        tensor = tensors[name]
        end = offset + tensor.nbytes
        dtype = DTYPES[tensor.dtype].safetensors
        entries[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield struct.pack("<Q", len(text)) + text
    scratch = new_scratch()
    for name in order:
        yield from (block.data for block in tensors[name].blocks(scratch))


def file_in(path: Path) -> Path:
    """The weights' file of a hub folder; any other path as it is."""
    file = path / "model.safetensors"
    return file if file.is_file() else path


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
