"""tar and gzip: PaddleSeg publishes its backbones as `.tar.gz`. The member inside is read, and nothing unpacked."""

from __future__ import annotations

import os
import posixpath
import re
import zlib
from collections.abc import Iterator, Sequence

from ppls.checkpoint.folder import WEIGHTS_SUFFIXES
from ppls.checkpoint.source import Source

_BLOCK = 512
_MAX_LONG_NAME = 64 << 10
_CHUNK = 1 << 20
_RECORD = re.compile(rb"([0-9]{1,6}) ([^=\n]*)=")
_READ = 64 << 10  # little: what is left of it is copied at the end of every member


class ArchiveFolder:
    """The folder of a tar archive that holds weights. Members are windows of the archive: nothing is copied."""

    def __init__(self, archive: Source) -> None:
        self.path = archive.path
        self._archive = archive
        archive.budget.enter_archive()
        members = {name: place for name, place in _members(archive) if not posixpath.basename(name).startswith(".")}
        folders = sorted({posixpath.dirname(name) for name in members if name.endswith(WEIGHTS_SUFFIXES)})
        if not folders:
            held = ", ".join(ascii(name[:80]) for name in list(members)[:5]) or "nothing"
            raise archive.error(f"an archive without weights: it holds {held}; give one that holds a .pdparams")
        if len(folders) > 1:
            listed = ", ".join(ascii(name[:80]) for name in folders[:5])
            raise archive.error(
                f"an archive with weights in {len(folders)} folders ({listed}); unpack it, and give one of them"
            )
        self._members = {
            posixpath.basename(name): place for name, place in members.items() if posixpath.dirname(name) == folders[0]
        }

    def names(self) -> Sequence[str]:
        return sorted(self._members)

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def open(self, name: str, *, transient: bool = False) -> Source:
        start, size = self._members[name]
        return self._archive.window(start, size, label=f"{self._archive.label}, member {name!a}")


def is_gzip(head: bytes) -> bool:
    return head[:3] == b"\x1f\x8b\x08"


def is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def decompress(source: Source) -> Source:
    """The content of a gzip file, in an unnamed temporary file.

    Raises:
        CheckpointError: the file is damaged or truncated, expands beyond measure, or the disk is full.
    """
    import tempfile  # takes a while, and few files need it

    source.budget.enter_archive()
    try:
        with tempfile.TemporaryFile(prefix="ppls-") as file:
            for block in _inflated(source):
                source.budget.take_inflated(len(block))
                file.write(block)
            file.flush()
            return Source.of_descriptor(os.dup(file.fileno()), source)
    except zlib.error:
        raise source.error("a damaged gzip file; download it again") from None
    except OSError as error:
        raise source.error(f"cannot be decompressed into the temporary folder: {error.strerror}") from None


def _inflated(source: Source) -> Iterator[bytes]:
    """The content, a part at a time; a file may have several members, one after another, and padding at its end."""
    at, block = 0, b""
    inflater = zlib.decompressobj(wbits=31)
    while True:
        if not block:
            block = source.read(at, min(_READ, source.size - at))
            at += len(block)
            if not block:
                raise source.error("a truncated gzip file; download it again")
        yield inflater.decompress(block, _CHUNK)
        block = inflater.unconsumed_tail
        if inflater.eof:
            at -= len(inflater.unused_data)
            if source.read(at, min(2, source.size - at)) != b"\x1f\x8b":
                return
            source.budget.take_names()
            inflater = zlib.decompressobj(wbits=31)


def _members(archive: Source) -> Iterator[tuple[str, tuple[int, int]]]:
    """Name, start and size of every regular file."""
    at = 0
    long_name = ""
    while True:
        archive.budget.take_names()
        if at + _BLOCK > archive.size:
            raise archive.error("a truncated tar archive; download it again")
        header = archive.read(at, _BLOCK)
        if not any(header):  # the end
            return
        size = _number(archive, header[124:136])
        if _number(archive, header[148:156]) != sum(header) - sum(header[148:156]) + 8 * ord(" "):
            raise archive.error(f"a damaged tar archive, at byte {at:,}; download it again")
        at += _BLOCK
        kind = header[156:157]
        if size > archive.size - at:
            raise archive.error("a truncated tar archive; download it again")
        if kind in (b"L", b"x"):
            if size > _MAX_LONG_NAME:
                raise archive.error(f"a damaged tar archive: a name of {size:,} bytes")
            archive.budget.take_bytes(size)
            content = archive.read(at, size)
            long_name = _pax_path(archive, content) or long_name if kind == b"x" else _text(content)
        else:
            if kind in (b"0", b"\0", b"7"):
                prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
                name = long_name or posixpath.join(prefix, _text(header[:100]))
                yield posixpath.normpath(name), (at, size)
            if kind not in (b"g", b"K"):
                long_name = ""
        at += -(-size // _BLOCK) * _BLOCK


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "replace")


def _number(archive: Source, field: bytes) -> int:
    if field[0] == 0x80:  # GNU: sizes beyond 8 GiB
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        raise archive.error("a damaged tar archive; download it again") from None


def _pax_path(archive: Source, content: bytes) -> str:
    """The `path` of an extended header: records of `length key=value`, the length being that of the whole line."""
    at = 0
    while at < len(content):
        archive.budget.take_nodes()
        record = _RECORD.match(content, at)
        end = at + int(record[1]) if record else 0
        if record is None or not record.end() < end <= len(content):
            raise archive.error(f"a damaged tar archive: an extended header at byte {at:,} of it; download it again")
        if record[2] == b"path":
            return _text(content[record.end() : end - 1])
        at = end
    return ""
