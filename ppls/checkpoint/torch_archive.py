"""The two forms of what `torch.save` writes: where their pickle is, and where the bytes of each storage are.

Since PyTorch 1.6 a zip archive whose members are stored as they are, `data.pkl` and `data/0`, `data/1`, ...; before, a
row of pickles (a magic number, a version, the machine, the value, the keys of its storages), then each storage behind
the number of its elements.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping, Sequence

from ppls.checkpoint.source import Source
from ppls.checkpoint.tensors import Order

_LOCAL_HEADER = 30  # bytes, before the name and the extra field
_COUNT = 8


def members(source: Source) -> dict[str, Source]:
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


def byte_order(source: Source, mark: Source | None) -> Order:
    """What the member `byteorder` says; older files have none."""
    said = b"little" if mark is None else mark.read(0, min(mark.size, 8))
    if said not in (b"little", b"big"):
        raise source.error(f"damaged: a byte order of {said!a}")
    return "<" if said == b"little" else ">"


def storages_of_stream(
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
