"""ppls moves PaddleSeg models to PyTorch, and proves that nothing changed on the way."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ppls.errors import (
    CheckpointError,
    ConversionError,
    Error,
    InputError,
    MapError,
    MissingDependencyError,
    ParityError,
    UsageError,
)
from ppls.version import __version__

if TYPE_CHECKING:
    from ppls import models
    from ppls.converter.back import BackConversion, convert_back
    from ppls.converter.conversion import Conversion
    from ppls.converter.convert import convert
    from ppls.converter.reader import read
    from ppls.models.loading import load
    from ppls.parity.report import Report
    from ppls.parity.verify import verify
    from ppls.usage.benchmark import Benchmark, benchmark
    from ppls.usage.datasets import Sample, read_samples
    from ppls.usage.evaluation import evaluate
    from ppls.usage.export import Export, export
    from ppls.usage.hub import to_hub_folder
    from ppls.usage.metrics import Metrics
    from ppls.usage.optimize import Optimized, optimize
    from ppls.usage.prediction import Prediction, predict

__all__ = [
    "BackConversion",
    "Benchmark",
    "CheckpointError",
    "Conversion",
    "ConversionError",
    "Error",
    "Export",
    "InputError",
    "MapError",
    "Metrics",
    "MissingDependencyError",
    "Optimized",
    "ParityError",
    "Prediction",
    "Report",
    "Sample",
    "UsageError",
    "__version__",
    "benchmark",
    "convert",
    "convert_back",
    "evaluate",
    "export",
    "load",
    "models",
    "optimize",
    "predict",
    "read",
    "read_samples",
    "to_hub_folder",
    "verify",
]

# Imported when asked for, so that converting costs no import of torch.
_WHERE = {
    "BackConversion": "ppls.converter.back",
    "Benchmark": "ppls.usage.benchmark",
    "Conversion": "ppls.converter.conversion",
    "Export": "ppls.usage.export",
    "Metrics": "ppls.usage.metrics",
    "Optimized": "ppls.usage.optimize",
    "Prediction": "ppls.usage.prediction",
    "Report": "ppls.parity.report",
    "Sample": "ppls.usage.datasets",
    "benchmark": "ppls.usage.benchmark",
    "convert": "ppls.converter.convert",
    "convert_back": "ppls.converter.back",
    "evaluate": "ppls.usage.evaluation",
    "export": "ppls.usage.export",
    "load": "ppls.models.loading",
    "optimize": "ppls.usage.optimize",
    "predict": "ppls.usage.prediction",
    "read": "ppls.converter.reader",
    "read_samples": "ppls.usage.datasets",
    "to_hub_folder": "ppls.usage.hub",
    "verify": "ppls.parity.verify",
}


if not TYPE_CHECKING:  # a type checker would take any name for one of ppls's

    def __getattr__(name: str) -> Any:
        if name == "models":
            return importlib.import_module("ppls.models")
        if name in _WHERE:
            return getattr(importlib.import_module(_WHERE[name]), name)
        raise AttributeError(f"module 'ppls' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
