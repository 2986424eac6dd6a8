"""A state dict that `torch.save` wrote, read by torch's own safe unpickler; torch is imported only for that."""

from __future__ import annotations

import hashlib
import re
import warnings
from pathlib import Path

from ppls.converter.checkpoint import StoredTensor
from ppls.converter.formats.mistakes import is_torch_pickle
from ppls.errors import CheckpointError, ConversionError

# The dictionaries in which training scripts keep the model's state dict.
_NESTED = ("state_dict", "model", "model_state_dict")


def is_torch_file(path: Path) -> bool:
    """True for what `torch.save` writes: a zip archive, or the stream of before version 1.6."""
    with open(path, "rb") as file:
        head = file.read(64)
    return head.startswith(b"PK\x03\x04") or is_torch_pickle(head)


def read_torch_file(path: Path) -> tuple[dict[str, StoredTensor], str]:
    """The tensors of the state dict in a file, and the file's SHA-256.

    Raises:
        CheckpointError: torch cannot read it, or only by running what the file says.
        ConversionError: it holds something else, or tensors without plain values.
    """
    import torch

    from ppls.converter.torch_tensors import stored_from_torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of another pickle protocol, which is no concern of the user's
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file raises what it likes; torch's own advice is to load it unsafely
        asked = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        why = f"it asks for {asked[1]!a}" if asked else f"it is damaged ({type(error).__name__})"
        raise CheckpointError(
            f"{path}: torch does not read it with weights_only=True, and nothing else is safe: {why}. "
            "Save the state dict alone: torch.save(model.state_dict(), ...)"
        ) from None
    for key in _NESTED:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise ConversionError(f"{path}: holds no state dict; save it with torch.save(model.state_dict(), ...)")
    strange = [
        f"{name}: {'on the meta device' if tensor.is_meta else 'quantised' if tensor.is_quantized else 'sparse'}"
        for name, tensor in loaded.items()
        if tensor.is_meta or tensor.is_quantized or tensor.layout != torch.strided
    ]
    if strange:
        raise ConversionError(f"{path}: tensors without plain values:", strange)
    tensors = {str(name): stored_from_torch(tensor) for name, tensor in loaded.items()}
    return tensors, hashlib.sha256(path.read_bytes()).hexdigest()
