"""zip, tar and gzip: members are renamed, dropped, doubled, changed within, and described wrongly."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from random import Random

from tests.fuzz.mutations import hostile, raw

Mutate = Callable[[Random, bytes], bytes]
_LARGEST = 8 << 20  # of what is unpacked here
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def mutate_zip(random: Random, content: bytes, inside: Mutate) -> bytes:
    """A zip archive with a member changed, or its directory. Raises `ValueError` where it is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist() if info.file_size < _LARGEST]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise ValueError(str(error)) from None
    if not members:
        raise ValueError("an empty archive")
    members = _changed(random, members, inside)
    odd = random.random() < 0.25  # else written plainly, so that what is within is reached
    method = random.choice(_METHODS) if odd else zipfile.ZIP_STORED
    packed = io.BytesIO()
    with warnings.catch_warnings():  # of names that stand twice
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(packed, "w", method) as archive:
            for name, data in members:
                info = zipfile.ZipInfo(name.encode("utf-8", "replace").decode().replace("\0", "?")[:60_000] or "x")
                info.compress_type = method
                if odd and random.random() < 0.2:
                    info.compress_type = random.choice(_METHODS)
                    info.external_attr = random.choice((0o120777, 0o40755)) << 16
                archive.writestr(info, data)
    return _patched(random, bytearray(packed.getvalue())) if odd and random.random() < 0.5 else packed.getvalue()


def _patched(random: Random, data: bytearray) -> bytes:
    """Fields of the directory and of the members' heads: flags, methods, sizes, offsets."""
    places = [at for sign in (b"PK\3\4", b"PK\1\2", b"PK\5\6") for at in _all(bytes(data), sign)]
    at = random.choice(places)
    offset, form = random.choice(
        (
            (6, "<H"),
            (8, "<H"),
            (10, "<H"),
            (14, "<I"),
            (18, "<I"),
            (20, "<I"),
            (22, "<I"),
            (24, "<I"),
            (26, "<H"),
            (28, "<H"),
            (42, "<I"),
        )
    )
    number = random.choice((0, 1, 9, 12, 14, 93, 97, 99, 0x800, 0xFFFF, 1 << 31, 0xFFFFFFFF, 1 << 20))
    if at + offset + struct.calcsize(form) <= len(data):
        struct.pack_into(form, data, at + offset, number % (1 << 8 * struct.calcsize(form)))
    return bytes(data)


def _all(data: bytes, sign: bytes) -> list[int]:
    found, at = [], data.find(sign)
    while at >= 0:
        found.append(at)
        at = data.find(sign, at + 1)
    return found


def mutate_tar(random: Random, content: bytes, inside: Mutate) -> bytes:
    """A tar archive with a member changed or added. Raises `ValueError` where it is none."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            files = [
                (info.name, archive.extractfile(info))
                for info in archive.getmembers()
                if info.isfile() and info.size < _LARGEST
            ]
            members = [(name, file.read()) for name, file in files if file is not None]
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        raise ValueError(str(error)) from None
    if not members:
        raise ValueError("an empty archive")
    members = _changed(random, members, inside)
    packed = io.BytesIO()
    with tarfile.open(
        fileobj=packed, mode="w", format=random.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT))
    ) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name.encode("utf-8", "replace").decode().replace("\0", "?")[:250] or "x")
            info.size = len(data)
            if random.random() < 0.08:
                info.type = random.choice(
                    (
                        tarfile.SYMTYPE,
                        tarfile.LNKTYPE,
                        tarfile.DIRTYPE,
                        tarfile.FIFOTYPE,
                        tarfile.CHRTYPE,
                        b"S",
                        b"x",
                        b"g",
                        b"L",
                        b"K",
                        b"V",
                    )
                )
                info.linkname = random.choice(hostile.PATHS).replace("\0", "")[:90]
            if random.random() < 0.08:
                info.pax_headers = {
                    random.choice(("path", "size", "GNU.sparse.map", "linkpath", "hdrcharset")): str(
                        random.choice(hostile.TEXTS)
                    )
                    .encode("utf-8", "replace")
                    .decode()
                }
            try:
                archive.addfile(info, io.BytesIO(data))
            except (ValueError, UnicodeError, OverflowError):
                continue
    return packed.getvalue()


def _changed(random: Random, members: list[tuple[str, bytes]], inside: Mutate) -> list[tuple[str, bytes]]:
    told = [at for at, (name, _) in enumerate(members) if name.endswith((".json", ".pkl"))]  # what the others are
    at = random.choice(told) if told and random.random() < 0.5 else random.randrange(len(members))
    name, data = members[at]
    change = random.randrange(10) if at not in told else 9
    if change == 0 and len(members) > 1:
        del members[at]
    elif change == 1:
        members.insert(random.randrange(len(members) + 1), (name, data))
    elif change == 2:
        members[at] = (hostile.text(random, name), data)
    elif change == 3:
        members.append((str(random.choice(hostile.TEXTS)), random.choice(members)[1]))
    elif change == 4:
        members += [(f"{number}/{name}", b"") for number in range(random.choice((5, 1000)))]
    elif change == 5:
        members[at] = (name, data + b"\0" * random.choice((1, 1 << 16, 8 << 20)))
    else:
        members[at] = (name, inside(random, data))
    return members


def mutate_gzip(random: Random, content: bytes, inside: Mutate) -> bytes:
    """What is in a gzip file, changed; or the file itself."""
    try:
        unpacked = zlib.decompressobj(wbits=31).decompress(content, _LARGEST)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    change = random.randrange(8)
    if change == 0:
        return content + random.choice((content, b"\0" * 100, b"\x1f\x8b"))
    if change == 1:
        return gzip.compress(content, 1)
    if change == 2:
        return gzip.compress(unpacked + b"\0" * (64 << 20), 1)
    if change == 3:
        return raw.mutate_bytes(random, content)
    return gzip.compress(inside(random, unpacked), 1)
