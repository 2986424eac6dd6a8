"""A state dict that `torch.save` wrote, read without torch: lazily, and without anything that the file could call.

Since PyTorch 1.6 a zip archive whose members are stored as they are, `data.pkl` and `data/0`, `data/1`, ...; before, a
row of pickles (a magic number, a version, the machine, the value, the keys of its storages), then each storage behind
the number of its elements.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.dtypes import itemsize
from ppls.checkpoint.mistakes import is_torch_pickle
from ppls.checkpoint.source import Source
from ppls.checkpoint.tensors import Order, StoredTensor, check_name, from_bytes, limit_growth
from ppls.checkpoint.torch_pickle import damaged, read_pickle
from ppls.checkpoint.torch_values import Tensor
from ppls.errors import ConversionError
from ppls.shown import shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The dictionaries in which training scripts keep the model's state dict.
_NESTED = ("state_dict", "model", "model_state_dict")
_LOCAL_HEADER = 30  # bytes, before the name and the extra field
_COUNT = 8
_LONGEST_PICKLES = 32 << 20  # bytes: of the pickles before a stream's storages


def is_torch_file(path: Path) -> bool:
    """True for what `torch.save` writes: a zip archive, or the stream of before version 1.6."""
    source = Source.open(path)
    head = source.read(0, min(source.size, 64))
    return head.startswith(b"PK\x03\x04") or is_torch_pickle(head)


def read_torch_file(path: Path) -> Checkpoint:
    """The tensors of the state dict in a file.

    Raises:
        CheckpointError: the file is damaged, or could only be read by running what it says.
        ConversionError: it holds something else, or tensors without plain values.
    """
    source = Source.open(path)
    zipped = source.read(0, min(2, source.size)) == b"PK"
    value, storages, order = _read_zip(source) if zipped else _read_stream(source)
    for key in _NESTED:
        if isinstance(value, dict) and isinstance(value.get(key), dict):
            value = value[key]
    if not isinstance(value, dict) or not all(isinstance(tensor, Tensor) for tensor in value.values()):
        raise ConversionError(f"{path}: holds no state dict; save it with torch.save(model.state_dict(), ...)")
    if strange := [f"{shown(name)}: {tensor.strange}" for name, tensor in value.items() if tensor.strange]:
        raise ConversionError(f"{path}: tensors without plain values:", strange)
    source.budget.take_names(len(value))
    tensors = {
        check_name(source, str(name)): _stored(source, tensor, storages, order) for name, tensor in value.items()
    }
    if len(tensors) < len(value):
        raise damaged(source, "two tensors of one name")
    limit_growth(source, tensors)
    return Checkpoint(path, "PyTorch state dict", tensors, stamps=[source.stamp])


def _read_zip(source: Source) -> tuple[Any, Mapping[str, Source], Order]:
    members = _members(source)
    if "data.pkl" not in members or "constants.pkl" in members:
        raise source.error("no state dict but another zip archive; save it with torch.save(model.state_dict(), ...)")
    pickled = members["data.pkl"]
    source.budget.take_bytes(pickled.size)
    value, _ = read_pickle(source, io.BytesIO(pickled.read(0, pickled.size)))
    storages = {name.removeprefix("data/"): member for name, member in members.items() if name.startswith("data/")}
    return value, storages, _byte_order(source, members.get("byteorder"))


def _read_stream(source: Source) -> tuple[Any, Mapping[str, Source], Order]:
    size = min(source.size, _LONGEST_PICKLES)
    source.budget.take_bytes(size)
    file = io.BytesIO(source.read(0, size))
    _, _, (machine, _), (value, itemsizes), (keys, _) = (read_pickle(source, file) for _ in range(5))
    if not isinstance(machine, dict) or not isinstance(keys, list):
        raise damaged(source, "its pickles are not those of PyTorch")
    storages = _storages_of_stream(source, file.tell(), keys, itemsizes)
    return value, storages, "<" if machine.get("little_endian", True) else ">"


def _members(source: Source) -> dict[str, Source]:
    """The members of a zip archive, each a part of the file; without the folder that all of them are in.

    Raises:
        CheckpointError: the archive is damaged, or not of the form that PyTorch writes.
    """
    try:
        with zipfile.ZipFile(source.path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError, OverflowError, struct.error):
        raise source.error("a damaged zip archive; get it again, or save it again") from None
    source.budget.take_names(len(entries))
    found = {}
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.compress_size != entry.file_size:
            raise source.error("a zip archive with compressed members, which PyTorch never writes")
        label = f"{source.label}, member {entry.filename!a}"
        header = source.window(entry.header_offset, _LOCAL_HEADER, label=label).read(0, _LOCAL_HEADER)
        start = entry.header_offset + _LOCAL_HEADER + sum(struct.unpack("<2H", header[26:]))
        name = entry.filename.partition("/")[2]
        if name in found:
            raise source.error(f"a damaged zip archive: it holds {entry.filename!a} twice")
        found[name] = source.window(start, entry.file_size, label=label)
    return found


def _byte_order(source: Source, mark: Source | None) -> Order:
    """What the member `byteorder` says; older files have none."""
    said = b"little" if mark is None else mark.read(0, min(mark.size, 8))
    if said not in (b"little", b"big"):
        raise source.error(f"damaged: a byte order of {said!a}")
    return "<" if said == b"little" else ">"


def _storages_of_stream(
    source: Source, start: int, keys: Sequence[object], itemsizes: Mapping[str, int]
) -> dict[str, Source]:
    """The storages of a stream, which begin at `start`, in the order of `keys`."""
    found = {}
    for key in keys:
        if not isinstance(key, str) or key not in itemsizes:
            raise source.error("damaged: a storage that no tensor has")
        nbytes = int.from_bytes(source.read(start, _COUNT), "little") * itemsizes[key]
        found[key] = source.window(start + _COUNT, nbytes, label=f"{source.label}, storage {key!a}")
        start += _COUNT + nbytes
    return found


def _stored(source: Source, tensor: Tensor, storages: Mapping[str, Source], order: Order) -> StoredTensor:
    storage = storages.get(tensor.storage.key)
    if storage is None:
        raise damaged(source, "a tensor without its storage")
    dtype, shape = tensor.storage.dtype, tensor.shape
    nbytes = itemsize(dtype)
    if (tensor.offset + tensor.span) * nbytes > storage.size:
        raise damaged(source, "a tensor goes beyond its storage")
    order = order if nbytes > 1 else "|"
    start = tensor.offset * nbytes
    if tensor.contiguous:
        return from_bytes(storage, start, dtype, shape, order=order)
    flat = from_bytes(storage, start, dtype, (tensor.span,), order=order)
    return StoredTensor(dtype, shape, lambda: _view(flat, tensor))


def _view(flat: StoredTensor, tensor: Tensor) -> NDArray[Any]:
    array = flat.load()
    steps = [stride * array.itemsize for stride in tensor.strides]
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(array, tensor.shape, steps, writeable=False))
