"""The device that a user names, and the model on it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from ppls.converter.given import recorded_in
from ppls.errors import UsageError, first_line
from ppls.inference.loading import load, load_from_program
from ppls.models.base import SegmentationModel
from ppls.models.modes import modes_kept
from ppls.programs.module import ProgramModule
from ppls.temporary import temporary_folder


def find_device(name: str | torch.device) -> torch.device:
    """The device called `name`, after something was put on it.

    Raises:
        UsageError: there is no such device here; the message lists those there are.
    """
    try:
        device = torch.empty(1, device=torch.device(name)).device  # of `cuda` the very one
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"--device {name}: cannot be used; there are {', '.join(_devices())} ({first_line(error)})"
        ) from None
    if device.type == "meta":
        raise UsageError("--device meta: computes nothing; there are " + ", ".join(_devices()))
    return device


@contextmanager
def in_use(
    model: str | Path | torch.nn.Module,
    device: torch.device,
    config: str | Path | None = None,
    conversion: Mapping[str, Any] | None = None,
) -> Iterator[torch.nn.Module]:
    """A module in eval mode on `device`; a Paddle file is converted first, with what `config`, the run's, says.

    A module of the caller's is then in the mode again that it was in; it stays on its device, elsewhere a copy is used.

    Args:
        conversion: further options of `ppls.convert` for a Paddle file: architecture, map, allow_import, overrides; or
            `program`: the model is made from the program of an export, whether a map knows it or not.
    """
    if not isinstance(model, torch.nn.Module):
        yield _loaded(Path(model), device, config, conversion or {})
    elif any(tensor.device != device for tensor in chain(model.parameters(), model.buffers())):
        yield copy.deepcopy(model).to(device).eval()
    else:
        with modes_kept(model):
            yield model.eval()


def _loaded(
    path: Path, device: torch.device, config: str | Path | None, conversion: Mapping[str, Any]
) -> torch.nn.Module:
    options = {name: value for name, value in conversion.items() if value}
    if options.pop("program", False):
        if options:
            raise UsageError(f"{path}: a model made from a program takes no {' or '.join(sorted(options))}")
        return load_from_program(path).to(device).logits()
    if recorded_in(path) is not None:
        overrides = options.pop("overrides", {})
        if options:
            raise UsageError(f"{path}: is converted already; no {' or '.join(sorted(options))} can be given for it")
        return _whole(path, load(path, device=device, **overrides))
    if config is None and not options:
        return _whole(path, load(path, device=device))
    from ppls.converter.convert import convert

    with temporary_folder() as folder:
        converted = folder / "converted.safetensors"
        convert(path, converted, config=config, **options)
        return _whole(path, load(converted, device=device))


def _whole(path: Path, model: torch.nn.Module) -> torch.nn.Module:
    if isinstance(model, ProgramModule):
        return model.logits()
    if not isinstance(model, SegmentationModel):
        raise UsageError(f"{path}: is a backbone alone, without a head that tells classes apart")
    return model


def _devices() -> list[str]:
    found = ["cpu"]
    if torch.cuda.is_available():
        found += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return found
