"""Tensors that lie in a file: what they may be called and how large they may be; read as read-only arrays when asked.

Mapped where the bytes stand as they should, else decoded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ppls.checkpoint.dtypes import itemsize, little_endian_bytes, numpy_dtype
from ppls.checkpoint.source import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 1 << 20  # bytes; a multiple of every element's size
_LONGEST_NAME = 1024
_MOST_ELEMENTS = 1 << 48
MOST_DIMENSIONS = 32  # numpy 1; Paddle itself stops at 9
# A tensor may stand under several names (tied weights), but a file does not grow without end by that.
_MAX_GROWTH = 4

Order = Literal["<", ">", "|"]


class Extent(NamedTuple):
    """A range of bytes of a file: `source.read(offset, nbytes)`."""

    source: Source
    offset: int
    nbytes: int


class StoredTensor(NamedTuple):
    """One tensor of a file, not yet read.

    `dtype` is the name of the element type: a numpy name, or one that numpy lacks (`bfloat16`, `float8_e4m3fn`,
    `float8_e5m2`), for which `load` returns the raw bits as unsigned integers of the same width, as Paddle does.
    `extents` tells where the tensor lies if its bytes stand in the file as they would be written again, little-endian
    and in C order (in several pieces where a big tensor was split); it is empty where only `load` can produce them.
    """

    dtype: str
    shape: tuple[int, ...]
    load: Callable[[], NDArray[Any]]
    extents: tuple[Extent, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of all its elements."""
        return math.prod(self.shape) * itemsize(self.dtype)

    def blocks(self, scratch: bytearray | None = None) -> Iterator[NDArray[np.uint8]]:
        """The bytes of the tensor, little-endian and in C order, piece by piece.

        They are read from the file rather than mapped: a file that is cut short meanwhile is an error then, where a
        touch of a mapped page would end the process.

        Args:
            scratch: `new_scratch()`, for who reads many tensors: a piece lies there until the next is asked for.
        """
        if not self.extents:
            whole = little_endian_bytes(self.load())
            yield from (whole[begin : begin + _BLOCK] for begin in range(0, len(whole), _BLOCK))
        room = None if scratch is None else np.frombuffer(scratch, np.uint8)
        for extent in self.extents:
            for begin in range(0, extent.nbytes, _BLOCK):
                nbytes = min(_BLOCK, extent.nbytes - begin)
                piece = np.empty(nbytes, np.uint8) if room is None else room[:nbytes]
                extent.source.read_into(extent.offset + begin, piece.data)
                yield piece


def new_scratch() -> bytearray:
    """Room for a block of any tensor: new room for each is given by the system page by page, which takes its time."""
    return bytearray(_BLOCK)


def check_name(source: Source, name: str) -> str:
    """The name itself, if it can be printed, written to every format, and never taken for a path out of a folder."""
    if not name or name == "__metadata__":
        raise source.error(f"a tensor is named {name!r}, which safetensors cannot hold")
    if len(name) > _LONGEST_NAME:
        raise source.error(f"a tensor's name is {len(name):,} characters long: {name[:40]!a}...")
    if not name.isprintable() or name.startswith("/") or "\\" in name or ".." in name.split("/"):
        raise source.error(f"a tensor is named {name[:80]!a}, which is no name for a tensor")
    return name


def is_shape(sides: Sequence[object]) -> bool:
    """Whether an array of this shape can exist, whatever its elements are: a side of 0 does not excuse the others."""
    product = 1
    for side in sides:
        if type(side) is not int or side < 0:
            return False
        product *= side or 1
        if product > _MOST_ELEMENTS:
            return False
    return len(sides) <= MOST_DIMENSIONS


def limit_growth(source: Source, tensors: Mapping[str, StoredTensor]) -> None:
    """Raises `CheckpointError` if the tensors are far larger than the file that holds them."""
    total = sum(tensor.nbytes for tensor in tensors.values())
    if total > _MAX_GROWTH * source.size + (1 << 20):
        raise source.error(
            f"its {source.size:,} bytes claim to be {total:,} bytes of tensors, by giving the same data many names; "
            "not a weight file"
        )


def from_bytes(
    source: Source, offset: int, dtype: str, shape: tuple[int, ...], *, order: Order = "<", fortran_order: bool = False
) -> StoredTensor:
    """A tensor whose bytes lie in the file.

    Args:
        order: `<` little-endian, `>` big-endian, `|` for types of one byte.
        fortran_order: the first dimension changes fastest.
    """
    nbytes = math.prod(shape) * itemsize(dtype)
    array_dtype = numpy_dtype(dtype).newbyteorder(order)
    as_written = order != ">" and (not fortran_order or sum(side > 1 for side in shape) <= 1)
    extents = (Extent(source, offset, nbytes),) if as_written and nbytes and not source.transient else ()
    return StoredTensor(
        dtype, shape, partial(_load, source, offset, nbytes, array_dtype, shape, fortran_order), extents
    )


def from_latin1_text(
    source: Source,
    offset: int,
    nbytes: int,
    dtype: str,
    shape: tuple[int, ...],
    *,
    order: Order = "<",
    fortran_order: bool = False,
) -> StoredTensor:
    """A tensor whose bytes a Python 3 wrote as protocol 2 text: each a latin-1 character, encoded as UTF-8."""
    array_dtype = numpy_dtype(dtype).newbyteorder(order)
    return StoredTensor(dtype, shape, partial(_load_text, source, offset, nbytes, array_dtype, shape, fortran_order))


def from_memory(
    data: bytes, dtype: str, shape: tuple[int, ...], *, order: Order = "<", fortran_order: bool = False
) -> StoredTensor:
    """A tensor that is in memory already: a few bytes that the file holds in a form of their own."""
    array_dtype = numpy_dtype(dtype).newbyteorder(order)
    return StoredTensor(dtype, shape, partial(_shape, data, array_dtype, shape, fortran_order))


def joined(parts: Sequence[StoredTensor], shape: tuple[int, ...]) -> StoredTensor:
    """A tensor that was split into flat pieces of one dtype."""
    whole = all(part.extents or not math.prod(part.shape) for part in parts)
    extents = tuple(extent for part in parts for extent in part.extents) if whole else ()
    return StoredTensor(parts[0].dtype, shape, partial(_load_joined, parts, shape), extents)


def _load(
    source: Source, offset: int, nbytes: int, dtype: np.dtype[Any], shape: tuple[int, ...], fortran_order: bool
) -> NDArray[Any]:
    return _shape(source.view(offset, nbytes), dtype, shape, fortran_order)


def _load_text(
    source: Source, offset: int, nbytes: int, dtype: np.dtype[Any], shape: tuple[int, ...], fortran_order: bool
) -> NDArray[Any]:
    data = np.empty(math.prod(shape) * dtype.itemsize, np.uint8)
    filled = 0
    try:
        for text in source.texts(offset, nbytes):
            decoded = text.encode("latin-1")
            data[filled : filled + len(decoded)] = np.frombuffer(decoded, np.uint8)
            filled += len(decoded)
    except ValueError:  # no UTF-8, beyond latin-1, or more characters than the shape has bytes
        filled = -1
    if filled != len(data):
        raise source.error(f"damaged: the data at byte {offset:,} does not decode to the {len(data):,} bytes it should")
    return _shape(data, dtype, shape, fortran_order)


def _load_joined(parts: Sequence[StoredTensor], shape: tuple[int, ...]) -> NDArray[Any]:
    array: NDArray[Any] = np.concatenate([part.load() for part in parts]).reshape(shape)
    array.flags.writeable = False
    return array


def _shape(
    data: bytes | memoryview | NDArray[Any], dtype: np.dtype[Any], shape: tuple[int, ...], fortran_order: bool
) -> NDArray[Any]:
    # math.prod: numpy cannot infer a side of an empty array
    array = np.frombuffer(data, dtype) if math.prod(shape) else np.empty(0, dtype)
    array = array.reshape(shape, order="F" if fortran_order else "C")
    if not dtype.isnative:
        array = array.astype(dtype.newbyteorder("="), order="K")
    array.flags.writeable = False
    return array
