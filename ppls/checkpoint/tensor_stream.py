"""Paddle's C++ tensor stream: `use_binary_format=True`, `save_vars`, and `.pdiparams`, which is a row of them.

    u32 0 | u64 levels, levels x (u64 nbytes, data) | u32 0 | i32 nbytes | TensorDesc | the elements

TensorDesc is a protobuf message: field 1 the element type, field 2 the shape. The elements are little-endian and in C
order. The stream holds no names.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ppls.budget import Budget
from ppls.checkpoint import protobuf
from ppls.checkpoint.dtypes import BY_STREAM, DTYPES, itemsize
from ppls.checkpoint.source import Source
from ppls.checkpoint.tensors import StoredTensor, is_shape, new_scratch

_MAX_LEVELS = 4  # of text, which has words in sentences in paragraphs; weights have none
_MAX_DESCRIPTION = 1024  # bytes


class StreamTensor(NamedTuple):
    """A tensor of the stream: element type, shape, and where its elements begin."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


def looks_like(head: bytes) -> bool:
    """True for the beginning of a tensor stream: version 0, then few levels of detail."""
    return len(head) >= 16 and head[:4] == b"\0\0\0\0" and any(head[4:])


def read_tensors(source: Source) -> list[StreamTensor]:
    """All tensors of a stream, which must end with the file.

    Raises:
        CheckpointError: the stream is damaged, truncated, or holds sparse tensors.
    """
    tensors: list[StreamTensor] = []
    at = 0
    while at < source.size:
        source.budget.take_names()
        try:
            tensor, at = _read_tensor(source, at)
        except ValueError as error:
            if not tensors and _is_sparse(source):
                raise source.error("a SelectedRows (sparse) tensor, which ppls cannot convert") from None
            raise source.error(f"damaged tensor stream: tensor {len(tensors)} at byte {at:,}: {error}") from None
        tensors.append(tensor)
    return tensors


def _read_tensor(source: Source, at: int) -> tuple[StreamTensor, int]:
    at = _expect_version(source, at)
    levels, at = _integer(source, at, 8)
    if levels > _MAX_LEVELS:
        raise ValueError(f"{levels:,} levels of detail")
    source.budget.take_nodes(levels)
    for _ in range(levels):
        nbytes, at = _integer(source, at, 8)
        at = _skip(source, at, nbytes)
    at = _expect_version(source, at)
    nbytes, at = _integer(source, at, 4)
    if nbytes > _MAX_DESCRIPTION:
        raise ValueError(f"a description of {nbytes:,} bytes")
    end = _skip(source, at, nbytes)
    dtype, shape = describe(source.read(at, nbytes), source.budget)
    return StreamTensor(dtype, shape, end), _skip(source, end, math.prod(shape) * itemsize(dtype))


def describe(message: memoryview | bytes, budget: Budget) -> tuple[str, tuple[int, ...]]:
    """Element type and shape of a TensorDesc message.

    Raises:
        ValueError: the message is damaged, or no tensor is like that.
    """
    dtype, sides = type_and_sides(message, budget)
    if not is_shape(sides):
        raise ValueError(f"shape {list(sides[:8])}, which no tensor has, or more than any memory holds")
    return dtype, sides


def type_and_sides(message: memoryview | bytes, budget: Budget) -> tuple[str, tuple[int, ...]]:
    """Element type and sides, -1 where one may be any, of a TensorDesc message.

    Raises:
        ValueError: the message is damaged.
    """
    code: int = -1
    sides: list[int] = []
    for number, value in protobuf.fields(message, budget):
        if number == 1 and isinstance(value, int):
            code = value
        elif number == 2:
            packed = [value] if isinstance(value, int) else protobuf.varints(value, budget)
            sides += [protobuf.signed(side) for side in packed]
    if code not in BY_STREAM:
        raise ValueError(f"element type {code}, which ppls does not know")
    return BY_STREAM[code], tuple(sides)


def written(tensors: Iterable[StoredTensor]) -> Iterator[bytes | memoryview]:
    """A stream of these tensors, piece by piece."""
    scratch = new_scratch()
    for tensor in tensors:
        described = protobuf.field(1, DTYPES[tensor.dtype].stream)
        described += b"".join(protobuf.field(2, side) for side in tensor.shape)
        yield struct.pack("<IQIi", 0, 0, 0, len(described)) + described
        yield from (block.data for block in tensor.blocks(scratch))


def _expect_version(source: Source, at: int) -> int:
    version, at = _integer(source, at, 4)
    if version:
        raise ValueError(f"version {version} of the format, of which only 0 exists")
    return at


def _integer(source: Source, at: int, nbytes: int) -> tuple[int, int]:
    end = _skip(source, at, nbytes)
    return int.from_bytes(source.read(at, nbytes), "little"), end


def _skip(source: Source, at: int, nbytes: int) -> int:
    if nbytes > source.size - at:
        raise ValueError(f"truncated: {nbytes:,} bytes expected at byte {at:,}, {source.size - at:,} left")
    return at + nbytes


def _is_sparse(source: Source) -> bool:
    """SelectedRows: `u32 0 | u64 rows, rows x i64 | i64 height | tensor stream without levels`."""
    try:
        at = _expect_version(source, 0)
        rows, at = _integer(source, at, 8)
        at = _skip(source, at, 8 * rows + 8)
        _expect_version(source, at)
    except ValueError:
        return False
    return True
