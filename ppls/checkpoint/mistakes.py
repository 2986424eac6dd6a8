"""What people pass by mistake: each named for what it is, with what to do."""

from __future__ import annotations

import re

from ppls.checkpoint.source import Source
from ppls.errors import CheckpointError

_TORCH_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa85019")  # torch.save before 1.6: a pickled number comes first
_FROM_TORCH = "a PyTorch file; ppls reads Paddle's weights, and PyTorch's on the way back, --to paddle"
_ARCHIVES = (
    (b"PK", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ\0", "compressed with xz"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
)
_KNOWN = (
    (b"\x89HDF\r\n", "an HDF5 file (Keras?); ppls reads Paddle's weights"),
    (b"\x93NUMPY", "a numpy .npy file; ppls reads Paddle's weights"),
    (b"GGUF", "a GGUF file; ppls reads Paddle's weights"),
    (b"\x89PNG", "an image; give the weights"),
    (b"\xff\xd8\xff", "an image; give the weights"),
    (b"%PDF", "a PDF document; give the weights"),
    (b"\x7fELF", "a program of the operating system; give the weights"),
)


def explain(source: Source, head: bytes) -> CheckpointError:
    """The error that says what a file is that no reader knows; `head` is its beginning."""
    return source.error(_name(source, head))


def _name(source: Source, head: bytes) -> str:
    if not head:
        return "empty (0 bytes); the download or the save did not finish: get it again"
    if not any(head):
        return "nothing but zeros at its beginning; the download did not finish: get it again"
    if head.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer, not the weights themselves; run `git lfs pull` in the repository that it came from"
    for magic, what in _ARCHIVES:
        if head.startswith(magic):
            return _archive(head, what)
    for magic, what in _KNOWN:
        if head.startswith(magic):
            return what
    if head[:1] == b"\x80" and len(head) > 1:
        return f"a pickle of protocol {head[1]}, which Paddle never writes; save it again with paddle.save"
    if _is_onnx(head):
        return "an ONNX model; give the Paddle weights that it was made from"
    text = _as_text(head)
    if text is not None:
        return _text(text)
    return (
        f"not a weight file that ppls knows (it begins with {head[:8].hex(' ')}); "
        "give a .pdparams, a .pdiparams, a .safetensors, or a folder that holds one"
    )


def is_torch_pickle(head: bytes) -> bool:
    """True for what `torch.save` wrote before version 1.6."""
    return head[2:].startswith(_TORCH_MAGIC)


def torch_pickle(source: Source) -> CheckpointError:
    return source.error(f"{_FROM_TORCH} (an old torch.save stream)")


def _archive(head: bytes, what: str) -> str:
    if head.startswith(b"PK\x03\x04"):
        name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
        if name.endswith((b"/data.pkl", b"/version", b"/.format_version", b"/byteorder")):
            return f"{_FROM_TORCH} (torch.save)"
        if name.endswith(b".npy"):
            return "a numpy .npz archive; ppls reads Paddle's weights"
        return "a zip archive (a PyTorch .pth?); unpack it, and give the weights inside"
    return f"{what}; unpack it, and give the weights inside"


def _is_onnx(head: bytes) -> bool:
    """ModelProto: ir_version (a small number), then the producer's name, or whatever comes next."""
    return head[:1] == b"\x08" and len(head) > 2 and head[1] < 32 and head[2] in (0x12, 0x1A, 0x22, 0x3A, 0x42)


def _as_text(head: bytes) -> str | None:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < max(len(head) - 3, 4):  # otherwise the head ends within a character
            return None
        text = head[: error.start].decode("utf-8")
    return None if re.search(r"[\x00-\x08\x0e-\x1f]", text) else text


def _text(text: str) -> str:
    start = text.lstrip("\ufeff \t\r\n")
    if re.match(r"<(!doctype|html|head|body|\?xml|[a-z]+[ >])", start, re.IGNORECASE):
        return "a web page or an error message (HTML or XML), not weights; download it again, perhaps logged in"
    if start.startswith(("{", "[")):
        return "JSON text, neither weights nor a Paddle program; a failed download?"
    if re.match(r"\(?[dlc(]\w*p?\d*\n", start):
        return "a pickle of protocol 0, which Paddle never writes; save it again with paddle.save"
    if re.match(r"[\w-]+:(\s|$)|#|_base_", start):
        return "a YAML or text file, not weights; give a config with --config, and the weights as the source"
    return "a text file, not weights"
