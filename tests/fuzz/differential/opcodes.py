"""What streams are put together from: opcodes with their arguments, and the words that are used in them."""

from __future__ import annotations

import pickletools
import struct
from random import Random

Opcodes = list[bytes]

NAMES = (
    "w", "b", "conv.weight", "data", "latin1", "f4", "<", "|", "café", "caf\xc3\xa9", "é" * 140, "€", "epoch",
    "x" * 256,
)  # fmt: skip
TABLES = ("StructuredToParameterName@@", "UnpackBigParamInfor@@")
CODES = ("f4", "f2", "f8", "i8", "i1", "u1", "u2", "b1", "c8", "U2", "S3")
GLOBALS = (
    ("builtins", "eval"), ("__builtin__", "eval"), ("builtins", "tuple"), ("__builtin__", "tuple"),
    ("builtins", "bytes"), ("__builtin__", "bytes"), ("builtins", "getattr"), ("posix", "system"),
    ("copy_reg", "_reconstructor"), ("numpy", "ndarray\r"), (" numpy", "ndarray"),
    ("numpy.core.multiarray", "scalar"), ("collections", "OrderedDict"), ("_codecs", "encode"), ("", ""),
)  # fmt: skip
INTEGERS = (0, 1, 2, 3, 4, 255, 256, 65535, 65536, -1, 2**31 - 1, -(2**31), 2**31, 2**40, 2**60)


def put(random: Random, slot: int) -> bytes:
    if slot < 256 and random.random() < 0.95:
        return b"q" + bytes([slot])
    return b"r" + struct.pack("<I", slot % 2**32)


def get(random: Random, slot: int) -> bytes:
    if slot < 256 and random.random() < 0.95:
        return b"h" + bytes([slot])
    return b"j" + struct.pack("<I", slot % 2**32)


def string(random: Random, value: bytes) -> bytes:
    if len(value) < 256 and random.random() < 0.8:
        return b"U" + bytes([len(value)]) + value
    return b"T" + struct.pack("<i", len(value)) + value


def binary(random: Random, value: bytes) -> bytes:
    if len(value) < 256 and random.random() < 0.9:
        return b"C" + bytes([len(value)]) + value
    if random.random() < 0.05:
        return b"\x8e" + struct.pack("<Q", len(value)) + value
    return b"B" + struct.pack("<I", len(value)) + value


def integer(random: Random, value: int, odd: bool = False) -> bytes:
    """One of the ways to write an integer; the shortest unless `odd`."""
    ways = []
    if 0 <= value < 256:
        ways.append(b"K" + bytes([value]))
    if 0 <= value < 65536:
        ways.append(b"M" + struct.pack("<H", value))
    if -(2**31) <= value < 2**31:
        ways.append(b"J" + struct.pack("<i", value))
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    ways.append(b"\x8a" + bytes([len(raw)]) + raw)
    if odd:
        ways.append(b"\x8a" + bytes([len(raw) + 1]) + raw + (b"\xff" if value < 0 else b"\x00"))
        ways.append(b"I%d\n" % value)
    return random.choice(ways) if odd else ways[0]


def any_opcode(random: Random) -> bytes:
    """Any opcode of any protocol, its argument at random."""
    opcode = random.choice(pickletools.opcodes)
    code = opcode.code.encode("latin-1")
    if opcode.arg is None:
        return code
    if opcode.arg.n == pickletools.UP_TO_NEWLINE:
        return code + random.choice((b"0\n", b"1\n", b"x\n", b"'x'\n", b"00\n", b"builtins\neval\n"))
    if opcode.arg.n == pickletools.TAKEN_FROM_ARGUMENT1:
        return code + random.choice((b"\x00", b"\x01x"))
    if opcode.arg.n < 0:
        width = {pickletools.TAKEN_FROM_ARGUMENT4: 4, pickletools.TAKEN_FROM_ARGUMENT4U: 4}.get(opcode.arg.n, 8)
        return code + (2).to_bytes(width, "little") + b"xy"
    return code + random.choice((0, 1, 2, 3, 5, 9)).to_bytes(opcode.arg.n, "little")


def split(content: bytes) -> Opcodes:
    """The opcodes of a pickle, its header and its frames left out."""
    places = [(opcode.name, place) for opcode, _, place in pickletools.genops(content)]
    ends = [place for _, place in places[1:]] + [len(content)]
    kept = [(place, end) for (name, place), end in zip(places, ends, strict=True) if name not in ("PROTO", "FRAME")]
    return [content[place:end] for place, end in kept]
