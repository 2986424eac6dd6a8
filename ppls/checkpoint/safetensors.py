"""safetensors: what Paddle 3 writes with `safetensors=True`, what ppls itself writes, and what PyTorch users hold."""

from __future__ import annotations

import math
from typing import Any

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.dtypes import BY_SAFETENSORS, itemsize
from ppls.checkpoint.source import Source
from ppls.checkpoint.tensors import check_name, from_bytes, is_shape
from ppls.documents import load_json
from ppls.errors import first_line

_MAX_HEADER = 100_000_000  # as the reference implementation has it
_MAX_METADATA = 1000


def looks_like(head: bytes) -> bool:
    """True for the beginning of a safetensors file: a 64-bit length, then a JSON object."""
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= 2**48 and head[9:10] in b'"} \n\t\r'


def read(source: Source) -> Checkpoint:
    """Reads the header; the tensors stay in the file.

    Raises:
        CheckpointError: a header that is damaged, or that does not cover the file exactly.
    """
    length = int.from_bytes(source.read(0, 8), "little")
    if length > min(_MAX_HEADER, source.size - 8):
        raise source.error(
            f"damaged safetensors: a header of {length:,} bytes in a file of {source.size:,} (truncated?)"
        )
    entries = _parse_header(source, length)
    metadata = entries.pop("__metadata__", {})
    source.budget.take_names(len(entries))
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise source.error("damaged safetensors: its __metadata__ is not a table of texts")
    if len(metadata) > _MAX_METADATA:
        raise source.error(f"damaged safetensors: {len(metadata):,} texts in its __metadata__")

    spans = {name: _read_entry(source, name, entry) for name, entry in entries.items()}
    end = 0
    for name, (_, _, start, stop) in sorted(spans.items(), key=lambda item: item[1][2:]):
        if start != end:
            raise source.error(f"damaged safetensors: {check_name(source, name)!r} begins at {start:,}, not at {end:,}")
        end = stop
    if 8 + length + end != source.size:
        raise source.error(
            f"damaged safetensors: {8 + length + end:,} bytes according to its header, {source.size:,} in fact "
            "(truncated?)"
        )
    if not spans:
        raise source.error("a safetensors file without tensors")
    tensors = {
        check_name(source, name): from_bytes(source, 8 + length + start, dtype, shape)
        for name, (dtype, shape, start, _) in sorted(spans.items(), key=lambda item: item[1][2:])
    }
    return Checkpoint(source.path, "safetensors", tensors, metadata=metadata, stamps=[source.stamp])


def _parse_header(source: Source, length: int) -> dict[str, Any]:
    source.budget.take_bytes(length)  # before it is read; `load_json` counts what is made of it
    try:
        entries = load_json(source.read(8, length), source.budget)
    except ValueError as error:
        raise source.error(f"damaged safetensors: its header is not JSON: {first_line(error)}") from None
    if not isinstance(entries, dict):
        raise source.error("damaged safetensors: its header is not a table")
    return entries


def _read_entry(source: Source, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    match entry:
        case {"dtype": str(code), "shape": list(shape), "data_offsets": [int(start), int(stop)], **rest} if not rest:
            if not is_shape(shape):
                raise source.error(f"damaged safetensors: shape of {check_name(source, name)!r}")
            dtype = BY_SAFETENSORS.get(code)
            if dtype is None:
                raise source.error(
                    f"{check_name(source, name)!r} has element type {code[:20]!a}, which ppls cannot read"
                )
            if not 0 <= start <= stop or stop - start != math.prod(shape) * itemsize(dtype):
                raise source.error(f"damaged safetensors: {check_name(source, name)!r} has the wrong number of bytes")
            return dtype, tuple(shape), start, stop
    raise source.error(f"damaged safetensors: entry of {check_name(source, name)!r}")
