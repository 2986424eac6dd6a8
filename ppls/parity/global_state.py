"""What a model must leave as it found it, beside its own tensors: the state of the process that torch keeps for all."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

# each part of the state: how it is read, and how it is set again
_PARTS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "grad mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "default device": (torch.get_default_device, torch.set_default_device),
    "number of threads": (torch.get_num_threads, torch.set_num_threads),
    "deterministic algorithms": (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda both: torch.use_deterministic_algorithms(both[0], warn_only=both[1]),
    ),
    "autocast": (
        lambda: torch.is_autocast_enabled("cpu"),
        lambda enabled: torch.set_autocast_enabled("cpu", enabled),
    ),
    "dtype of autocast": (
        lambda: torch.get_autocast_dtype("cpu"),
        lambda dtype: torch.set_autocast_dtype("cpu", dtype),
    ),
    "precision of float32 products": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "anomaly detection": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    "flushing of denormals": (
        lambda: float(torch.tensor(1e-40, dtype=torch.float32) * 1) == 0.0,
        torch.set_flush_denormal,
    ),
    "torch's random numbers": (torch.get_rng_state, torch.set_rng_state),
    "numpy's random numbers": (np.random.get_state, np.random.set_state),
    "Python's random numbers": (random.getstate, random.setstate),
}


@contextmanager
def global_state_kept() -> Iterator[dict[str, tuple[Any, Any]]]:
    """Whatever the block does to the state of the process, it is then as before, also if it raises.

    Gives a dictionary that afterwards holds what was changed: each part with its value before and after.
    """
    before = {name: read() for name, (read, _) in _PARTS.items()}
    changed: dict[str, tuple[Any, Any]] = {}
    try:
        yield changed
    finally:
        for name, (read, set_again) in _PARTS.items():
            after = read()
            if not _same(before[name], after):
                changed[name] = (before[name], after)
                set_again(before[name])


def described(name: str, before: Any, after: Any) -> str:
    """`the default dtype (torch.float32 before, torch.float64 after)`; of random numbers only that some were drawn."""
    if name.endswith("random numbers"):
        return f"the state of {name}"
    return f"the {name} ({before} before, {after} after)"


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)
