"""Which files a command reads, so that what it writes takes the place of none of them, and what it may call that.

Iterators: nothing is opened unless somebody asks, and what cannot be read ends them; whoever uses it will say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ppls.checkpoint.reader import read
from ppls.errors import Error, UsageError

# What the name of a file says that it is, and who writes that; safetensors and Paddle's weights are the converter's.
_OTHERS = {
    **dict.fromkeys((".pt", ".pth", ".bin", ".ckpt", ".pkl", ".npz", ".npy", ".h5", ".json", ".yml", ".yaml"), ""),
    **dict.fromkeys((".pdopt", ".pdmodel", ".pdiparams"), ""),
    **dict.fromkeys((".onnx", ".pt2", ".xml", ".engine", ".trt", ".pb", ".tflite"), "; ppls-export writes others"),
    ".safetensors": "",
    ".pdparams": " (or give --to paddle for the way back)",
}


def check_suffix(destination: Path, own: str) -> None:
    """That a file is not called what its format is not: `own` is the suffix of what will be written.

    Raises:
        UsageError: it is.
    """
    suffix = destination.suffix.lower()
    if suffix != own and suffix in _OTHERS:
        writes = "ppls writes safetensors" if own == ".safetensors" else "the way back writes Paddle's format"
        raise UsageError(f"{destination}: {writes}; name it {destination.with_suffix(own)}{_OTHERS[suffix]}")


def weight_files(given: str | Path | None) -> Iterator[Path]:
    """A checkpoint or model: the file and what belongs to it, as a program to exported weights; of a folder all."""
    if given is None:
        return
    path = Path(given)
    yield path
    with suppress(Error, OSError, ValueError):
        yield from path.iterdir() if path.is_dir() else read(path).files


def config_files(given: str | Path | None) -> Iterator[Path]:
    """A config of PaddleSeg and those that it is based on (`_base_`)."""
    if given is not None:
        from ppls.converter.run_config import run_files

        yield from run_files(Path(given))
