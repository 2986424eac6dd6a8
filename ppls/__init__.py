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
    not_installed,
)
from ppls.version import __version__

if TYPE_CHECKING:
    from ppls import models
    from ppls.checkpoint.reader import read
    from ppls.converter.back import BackConversion, convert_back
    from ppls.converter.conversion import Conversion
    from ppls.converter.convert import convert
    from ppls.converter.program_conversion import convert_program
    from ppls.converter.published import Published, list_published
    from ppls.deploy.benchmark import Benchmark, benchmark
    from ppls.deploy.chain import ChainBenchmark, benchmark_chain
    from ppls.deploy.export import Export, export
    from ppls.deploy.hub import to_hub_folder
    from ppls.deploy.optimize import Optimized, optimize
    from ppls.inference.catalogue import create_model, list_models
    from ppls.inference.datasets import Sample, read_samples
    from ppls.inference.evaluation import evaluate
    from ppls.inference.loading import load
    from ppls.inference.metrics import Metrics
    from ppls.inference.prediction import Prediction, predict
    from ppls.parity.report.data import Report
    from ppls.parity.verify import verify
    from ppls.programs.folder import ProgramConversion
    from ppls.training.options import TrainingOptions
    from ppls.training.train import Trained, train
    from ppls.training.training import Training

__all__ = [
    "BackConversion",
    "Benchmark",
    "ChainBenchmark",
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
    "ProgramConversion",
    "Published",
    "Report",
    "Sample",
    "Trained",
    "Training",
    "TrainingOptions",
    "UsageError",
    "__version__",
    "benchmark",
    "benchmark_chain",
    "convert",
    "convert_back",
    "convert_program",
    "create_model",
    "evaluate",
    "export",
    "list_models",
    "list_published",
    "load",
    "models",
    "optimize",
    "predict",
    "read",
    "read_samples",
    "to_hub_folder",
    "train",
    "verify",
]

# Imported when asked for, so that converting costs no import of torch.
_WHERE = {
    "BackConversion": "ppls.converter.back",
    "Benchmark": "ppls.deploy.benchmark",
    "ChainBenchmark": "ppls.deploy.chain",
    "Conversion": "ppls.converter.conversion",
    "Export": "ppls.deploy.export",
    "Metrics": "ppls.inference.metrics",
    "Optimized": "ppls.deploy.optimize",
    "Prediction": "ppls.inference.prediction",
    "ProgramConversion": "ppls.programs.folder",
    "Published": "ppls.converter.published",
    "Report": "ppls.parity.report.data",
    "Sample": "ppls.inference.datasets",
    "Trained": "ppls.training.train",
    "Training": "ppls.training.training",
    "TrainingOptions": "ppls.training.options",
    "benchmark": "ppls.deploy.benchmark",
    "benchmark_chain": "ppls.deploy.chain",
    "convert": "ppls.converter.convert",
    "convert_back": "ppls.converter.back",
    "convert_program": "ppls.converter.program_conversion",
    "create_model": "ppls.inference.catalogue",
    "evaluate": "ppls.inference.evaluation",
    "export": "ppls.deploy.export",
    "list_models": "ppls.inference.catalogue",
    "list_published": "ppls.converter.published",
    "load": "ppls.inference.loading",
    "optimize": "ppls.deploy.optimize",
    "predict": "ppls.inference.prediction",
    "read": "ppls.checkpoint.reader",
    "read_samples": "ppls.inference.datasets",
    "to_hub_folder": "ppls.deploy.hub",
    "train": "ppls.training.train",
    "verify": "ppls.parity.verify",
}


if not TYPE_CHECKING:  # a type checker would take any name for one of ppls's

    def __getattr__(name: str) -> Any:
        try:
            if name == "models":
                return importlib.import_module("ppls.models")
            if name in _WHERE:
                return getattr(importlib.import_module(_WHERE[name]), name)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("ppls"):
                raise
            raise not_installed(error) from error
        raise AttributeError(f"module 'ppls' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
