"""Files of up to 1 MB that are made to cost as much as they can: for every parser, plain, compressed and in archives.

The content of a compressed file is as long as the budget lets through, or a little longer, for what is refused at once
costs nothing; behind it the file is filled up to 1 MB, which a budget in proportion to the file counts.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator

from tests.checkpoint.streams import field, variable

_MB = 1 << 20
LARGEST = _MB  # bytes on the disk
_WIDE = 850_000  # nodes, just below what a file of 1 MB may have
_NAMES = 15_000


Files = dict[str, bytes]  # of a folder, by name; the first is the one to read


def jsons() -> Iterator[tuple[str, Files]]:
    for name, ops in _jsons():
        plain = ops if len(ops) < LARGEST - 300 else ops[: LARGEST - 300].rpartition(b",")[0] + b","
        yield name, {"m.pdiparams": _tensor(), "m.json": _pir(plain)}
        yield f"{name}, tar.gz", {"m.tar.gz": _tar_gz({"m.pdiparams": _tensor(), "m.json": _pir(ops)})}


def programs() -> Iterator[tuple[str, Files]]:
    for name, fields in _programs():
        plain, longer = _pdmodel(fields[: LARGEST - 100]), _pdmodel(fields)
        yield name, {"m.pdiparams": _tensor(), "m.pdmodel": plain}
        yield f"{name}, tar.gz", {"m.tar.gz": _tar_gz({"m.pdiparams": _tensor(), "m.pdmodel": longer})}


def streams() -> Iterator[tuple[str, Files]]:
    for name, stream in _streams():
        yield name, {"m.pdiparams": stream[:LARGEST]}
        yield f"{name}, gz", {"m.pdiparams.gz": _gz(stream)}


def headers() -> Iterator[tuple[str, Files]]:
    for name, header in _headers():
        content = struct.pack("<Q", len(header)) + header
        if len(content) <= LARGEST:
            yield name, {"m.safetensors": content}
        yield f"{name}, gz", {"m.safetensors.gz": _gz(content)}


def tars() -> Iterator[tuple[str, Files]]:
    for name, tar in _tars():
        yield name, {"m.tar": tar[:LARGEST]}
        yield f"{name}, gz", {"m.tar.gz": _gz(tar)}


def gzips() -> Iterator[tuple[str, Files]]:
    for name, content in _gzips():
        yield name, {"m.gz": content}


def torch_files() -> Iterator[tuple[str, Files]]:
    for name, pickled in _torch_pickles():
        yield name, {"m.pt": _zip({"archive/data.pkl": pickled[: LARGEST - 1000] + b".", "archive/data/0": bytes(4)})}
    beginning = b"".join(pickle.dumps(value, 2) for value in (_TORCH_MAGIC, 1001, {"little_endian": True}))
    yield "old, a storage of absurd size", {"m.pt": beginning + _torch_tensor(1 << 45) + pickle.dumps(["0"], 2)}
    yield "old, marks", {"m.pt": beginning + b"\x80\x02" + b"(" * (LARGEST - 200)}
    yield "empty members", {"m.pt": _zip({f"archive/{i:x}": b"" for i in range(9000)})}


def _jsons() -> Iterator[tuple[str, bytes]]:
    third = LARGEST // 3
    yield "empty lists", b"[]," * third
    yield "empty objects", b"{}," * (_WIDE // 2)
    yield "objects of one", b'{"a":0},' * (_WIDE // 2)
    yield "objects in objects", b'{"a":{"a":{"a":{"a":{"a":0}}}}},' * (_WIDE // 6)
    yield "deep", b"[" * (LARGEST // 2 - 200) + b"]" * (LARGEST // 2 - 200) + b","
    yield "deep behind brackets in texts", b'"]]]]]]]]",' * 10_000 + b"[" * 80_000 + b"]" * 80_000 + b","
    yield "numbers of a million digits", b"1" * (LARGEST // 2) + b",-0." + b"1" * (LARGEST // 3) + b","
    yield "numbers of 40 digits", (b"1" * 40 + b",") * (23 * _MB // 41)
    yield "fractions", (b"1.2345678901234567e-300,") * _WIDE
    yield "texts", b",".join(b'"%x"' % i for i in range(_WIDE // 3)) + b","
    yield "escapes", b'"' + b"\\n" * (11 * _MB) + b'",'
    yield "escaped quotes, no end", b'"' + b'\\"' * 3_000_000
    yield "quotes", b'"' * 3_000_000
    yield "characters beyond 16 bits", b'"' + "\U0001f600".encode() * (_MB // 4 * 4) + b'",'
    yield "escaped characters beyond 16 bits", b'"' + b"\\ud83d\\ude00" * (22 * _MB // 12) + b'",'
    yield "one wide object", b"{" + b",".join(b'"%x":0' % i for i in range(_WIDE // 3)) + b"},"
    parameter = b'{"#":"p","A":[0,0,0,"%x"],"O":{"TT":{"#":"0.t_dtensor","D":[{"#":"0.t_f32"},[1]]}}},'
    yield "parameters", b"".join(parameter % i for i in range(_NAMES))
    yield "one name", b'{"#":"p","A":[0,0,0,"%s"],"O":1},' % (b"n" * (LARGEST * 9 // 10))


def _pir(ops: bytes) -> bytes:
    head = b'{"base_code":{"magic":"pir"},"program":{"regions":[{"#":"r","blocks":[{"#":"b","args":[],"ops":['
    return head + ops + b"0]}]}]}}"


def _programs() -> Iterator[tuple[str, bytes]]:
    yield "empty fields", b"\x1a\x00" * _WIDE
    yield "empty fields, many more", b"\x1a\x00" * (18 * _MB)
    yield "numbers", b"\x08\x00" * _WIDE
    yield "numbers of ten bytes", (b"\x08" + b"\xff" * 9 + b"\x01") * _WIDE
    yield "fields in fields", field(3, field(2, field(3, b"")) + field(3, 1)) * (_WIDE // 4)
    yield "a shape of many sides", variable("x", field(1, 5) + field(2, b"\x01" * _WIDE))
    yield "shapes of many sides", variable("x", field(1, 5) + field(2, b"\x01" * 32)) * (_WIDE // 42)
    yield "variables", b"".join(variable(f"{i:x}", field(1, 5)) for i in range(_NAMES))
    yield "one variable", variable("x", field(1, 5)) * _NAMES
    yield "a long name", variable("n" * (LARGEST - 200), field(1, 5))
    yield "text of one field", field(4, b"n" * (20 * _MB))


def _pdmodel(fields: bytes) -> bytes:
    return field(1, field(1, 0) + fields)


def _streams() -> Iterator[tuple[str, bytes]]:
    empty = _tensor(field(1, 0) + field(2, 0), b"")
    yield "tiny tensors", _tensor() * (2 * _NAMES)
    yield "empty tensors", empty * (2 * _NAMES)
    yield "levels of detail", _tensor(levels=4) * _NAMES
    yield "many sides", _tensor(field(1, 0) + field(2, b"\x01" * 32)) * _NAMES
    yield "sides of 0, too many", _tensor(field(1, 0) + field(2, b"\x00" * 1000), b"") * _NAMES
    yield "descriptions of many fields", _tensor(field(1, 0) * 512) * _NAMES
    yield "an absurd shape", _tensor(field(1, 24) + field(2, 0) + field(2, 1 << 60), b"")
    yield "zeros", b"\0\0\0\0\1" + bytes(50 * _MB)


def _tensor(description: bytes = field(1, 0), data: bytes = b"\0", levels: int = 0) -> bytes:
    lod = struct.pack("<IQ", 0, levels) + b"\0" * 8 * levels
    return lod + struct.pack("<Ii", 0, len(description)) + description + data


def _headers() -> Iterator[tuple[str, bytes]]:
    entry = '"%x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    yield "empty tensors", ("{" + ",".join(entry % i for i in range(LARGEST // 60)) + "}").encode()
    yield "empty tensors, many more", ("{" + ",".join(entry % i for i in range(_NAMES)) + "}").encode()
    yield "one name", ("{" + ",".join([entry % 0] * _NAMES) + "}").encode()
    sides = json.dumps({"x": {"dtype": "U8", "shape": [1] * _WIDE, "data_offsets": [0, 0]}})
    yield "many sides", sides.replace(" ", "").encode()
    nothing = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    metadata = {"__metadata__": {f"{i:x}": "" for i in range(_WIDE // 4)}, "x": nothing}
    yield "metadata", json.dumps(metadata, separators=(",", ":")).encode()
    document = {"__metadata__": {"config": "[" * (LARGEST // 2), "map_sha256": "0"}, "x": nothing}
    yield "metadata that are deep", json.dumps(document).encode()
    absurd = {"dtype": "C64", "shape": [0, 1 << 60], "data_offsets": [0, 0]}
    yield "an absurd shape", json.dumps({"x": absurd}).encode()
    yield "spaces", b'{"x":' + b" " * (23 * _MB) + b"0}"
    yield "deep", b'{"x":' + b"[" * (LARGEST // 2) + b"]" * (LARGEST // 2)


def _tars() -> Iterator[tuple[str, bytes]]:
    yield "empty members", _members((b"%x" % i, b"0", b"") for i in range(_NAMES)) + bytes(1024)
    yield "empty members, many more", _members([(b"x", b"0", b"")] * (2 * _NAMES))
    yield "empty members that are weights", _members((b"%x.pdparams" % i, b"0", b"") for i in range(_NAMES))
    yield "members in folders", _members((b"%x/x.pdparams" % i, b"0", b"") for i in range(_NAMES)) + bytes(1024)
    yield "long names", _members([(b"x", b"L", b"n" * 65_536), (b"x", b"0", b"")] * 800)
    yield "long names of many folders", _members([(b"x", b"L", b"a/" * 32_768), (b"x", b"0", b"")] * 800)
    lines = (b"x", b"x", b"\n" * 65_536)
    yield "extended headers of many lines", _members([lines, (b"x", b"0", b"")] * 800)
    yield "extended headers", _members([(b"x", b"x", b"12 path=abc\n"), (b"x", b"0", b"")] * _NAMES)
    nested = _tensor()
    for _ in range(700):
        nested = _members([(b"m.pdparams", b"0", nested)]) + bytes(1024)
    yield "700 deep", nested
    zeros = bytes(50 * _MB)
    yield "zeros", _members([(b"m.pdparams", b"0", b"\x80\x02" + zeros)]) + bytes(1024)
    streams = ((b"v%x" % i, b"0", _tensor()) for i in range(_NAMES // 2))
    yield "one tensor to a member", _members(streams) + bytes(1024)


def _members(members: Iterator[tuple[bytes, bytes, bytes]] | list[tuple[bytes, bytes, bytes]]) -> bytes:
    """Name, kind and content of each."""
    return b"".join(_header(*member) + member[2] + bytes(-len(member[2]) % 512) for member in members)


def _header(name: bytes, kind: bytes, content: bytes) -> bytes:
    header = bytearray(name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2)
    header += b"%011o\0" % len(content) + b"00000000000\0" + b" " * 8 + kind + b"\0" * 100 + b"ustar\x0000"
    header += bytes(512 - len(header))
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def _gzips() -> Iterator[tuple[str, bytes]]:
    yield "members by the thousand", gzip.compress(b"") * (LARGEST // 20)
    yield "members of a little", gzip.compress(bytes(9000)) * (LARGEST // 45)
    yield "zeros", _gz(bytes(300 * _MB))
    yield "zeros without end", _gz(bytes(400 * _MB))
    inner = _gz(bytes(200 * _MB)).rstrip(b"\1")
    yield "in tar in gzip", _tar_gz({"m.pdparams": inner})
    for _ in range(8):
        inner = _tar_gz({"m.pdparams": inner}).rstrip(b"\1")
    yield "in tar, eight times", inner.ljust(LARGEST, b"\1")


def _torch_pickles() -> Iterator[tuple[str, bytes]]:
    yield "empty dictionaries", b"\x80\x02(" + b"}" * LARGEST
    yield "empty lists", b"\x80\x02(" + b"]" * LARGEST
    yield "marks", b"\x80\x02" + b"(" * LARGEST
    yield "tuples in tuples", b"\x80\x02)" + b"\x85" * LARGEST
    yield "a tuple in tuples as a key", b"\x80\x02})" + b"\x85" * (LARGEST // 2) + b"Ns"
    stored = b"\x80\x02](" + b"N" * 400_000 + b"tq\0ccollections\nOrderedDict\nq\1"
    yield "one long list, handed over again and again", stored + b"h\1h\0R" * 100_000
    yield "ordered dictionaries", b"\x80\x02(ccollections\nOrderedDict\nq\0)q\1" + b"h\0h\1R" * (LARGEST // 5)
    yield "tensors", b"\x80\x02(" + _torch_tensor(1)[2:-1] + b"h\0h\1R" * (LARGEST // 5)
    yield "one tensor of many names", b"\x80\x02}q\0N(" + b"".join(b"X\3\0\0\0%03xh\0" % i for i in range(4096)) + b"u"
    yield "a text that is longer than the file", b"\x80\x02X\xff\xff\xff\x7f"
    yield "long numbers", b"\x80\x02(" + (b"\x8a\xff" + b"\xff" * 255) * (LARGEST // 257)


_TORCH_MAGIC = 0x1950A86A20F9469CFC6C


def _torch_tensor(numel: int) -> bytes:
    """A tensor of one element in a storage that is said to have `numel`: its function and arguments stored."""
    storage = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpu" + pickle.dumps(numel, 2)[2:-1] + b"tQ"
    arguments = b"(" + storage + b"K\0K\1\x85K\1\x85\x89Nt"
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\0" + arguments + b"q\1R."


def _zip(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def _gz(content: bytes) -> bytes:
    """As small as deflate makes it, in little time, and filled up to the size of the largest."""
    for level in (1, 9):
        deflate = zlib.compressobj(level, wbits=31)
        compressed = b"".join([deflate.compress(content), deflate.flush()])
        if len(compressed) <= LARGEST:
            break
    return compressed.ljust(LARGEST, b"\1")


def _tar_gz(members: dict[str, bytes]) -> bytes:
    return _gz(_members([(name.encode(), b"0", content) for name, content in members.items()]) + bytes(1024))
