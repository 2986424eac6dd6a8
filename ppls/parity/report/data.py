"""What a verification found, as data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from ppls.parity.compare import Comparison
from ppls.parity.tolerance import Verdict, worst


@dataclass(frozen=True)
class WeightFigures:
    """How many tensors of the checkpoint were compared bit for bit, and the names of those that differ."""

    compared: int
    different: tuple[str, ...]


@dataclass(frozen=True)
class OutputFigures:
    """One output of one input."""

    input: str
    name: str
    comparison: Comparison
    argmax_agreement: float | None


@dataclass(frozen=True)
class Picture:
    """What both sides make of one input: the image (H, W, 3) in uint8, and each side's classes (H, W)."""

    input: str
    image: np.ndarray[Any, Any]
    reference: np.ndarray[Any, Any]
    candidate: np.ndarray[Any, Any]


@dataclass(frozen=True)
class LayerFigures:
    """One call of one layer, on both sides; `output` is None where a folded bias makes it incomparable."""

    input: str
    source: str
    target: str
    kind: str
    at_input: Comparison | None
    at_output: Comparison | None

    @property
    def comparison(self) -> Comparison:
        """The figures to show: those of the output; those of the input where that alone diverges or can be compared."""
        if self.at_output is None or (self.at_output.verdict == "pass" and self.verdict != "pass"):
            assert self.at_input is not None
            return self.at_input
        return self.at_output

    @property
    def verdict(self) -> Verdict:
        """Whether both what goes in and what comes out agree."""
        return worst([part.verdict for part in (self.at_input, self.at_output) if part is not None])


@dataclass(frozen=True)
class TrainingFigures:
    """One loss, gradient, parameter or statistic after a training step; in float32, a loss or the gradient's norm.

    `scaled` is None where there is nothing to compare: a gradient that is missing, a value that is not finite.
    """

    step: int
    what: str
    name: str
    scaled: float | None
    passed: bool
    dtype: str = "float64"


@dataclass(frozen=True)
class Divergence:
    """Where the two sides part first, in order of execution.

    Attributes:
        source: the reference's name of the layer (or output).
        target: the candidate's.
        at: `output` of the layer; or its `input`, where what stands between it and the layers before is at fault.
        cause: what is suspected, in words; None where nothing known fits.
    """

    input: str
    source: str
    target: str
    kind: str
    at: str
    comparison: Comparison
    cause: str | None = None


@dataclass(frozen=True)
class Report:
    """The result of `ppls.verify`.

    Attributes:
        sha256: of the checkpoint.
        candidate_sha256: of the model that was judged (`ppls.parity.digest`); None where it is not ppls's own.
        failures: what is wrong beyond figures, one sentence each.
        warnings: what limits the proof, one sentence each.
    """

    checkpoint: str
    sha256: str
    architecture: str | None
    candidate: str
    tolerance: float
    dtype: str
    inputs: tuple[str, ...]
    weights: WeightFigures | None
    outputs: tuple[OutputFigures, ...]
    layers: tuple[LayerFigures, ...]
    first_divergence: Divergence | None
    versions: dict[str, str]
    candidate_sha256: str | None = None
    training: tuple[TrainingFigures, ...] = ()
    training_cause: str | None = None
    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    peak_memory: dict[str, int] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """`pass` only if nothing failed and everything could be decided."""
        if (
            any(not figures.passed for figures in self.training)
            or self.failures
            or (self.weights and self.weights.different)
            or not self.outputs
        ):
            return "fail"
        return worst([part.comparison.verdict for part in self.outputs] + [layer.verdict for layer in self.layers])

    @property
    def passed(self) -> bool:
        """Whether parity holds."""
        return self.verdict == "pass"

    @property
    def unexplained_input(self) -> str | None:
        """An input whose output diverges although every layer agrees, having been compared on another input."""
        first = self.first_divergence
        compared_on = {layer.input for layer in self.layers}
        if first is None or first.kind != "output" or not compared_on or first.input in compared_on:
            return None
        return first.input

    def explained_by(self, again: Report) -> Report:
        """This report with the layers of another, which compared them on the input that diverges."""
        warning = f"all layers agree on {self.layers[0].input}; they were compared again on {again.inputs[0]}"
        return replace(
            self,
            layers=again.layers,
            first_divergence=again.first_divergence or self.first_divergence,
            warnings=(*self.warnings, warning),
        )

    def to_json(self) -> dict[str, Any]:
        """The object that `ppls-verify --json` prints. A figure that does not exist is null."""
        weights = self.weights or WeightFigures(0, ())
        return {
            "verdict": self.verdict,
            "checkpoint": self.checkpoint,
            "sha256": self.sha256,
            "architecture": self.architecture,
            "candidate": self.candidate,
            "candidate_sha256": self.candidate_sha256,
            "tolerance": self.tolerance,
            "dtype": self.dtype,
            "inputs": list(self.inputs),
            "weights": {
                "compared": weights.compared,
                "different": len(weights.different),
                "names": list(weights.different),
            },
            "outputs": [
                {
                    "input": output.input,
                    "name": output.name,
                    **_figures(output.comparison, "max_abs", "scaled", "floor"),
                    "argmax_agreement": output.argmax_agreement,
                    "verdict": output.comparison.verdict,
                }
                for output in self.outputs
            ],
            "layers": [
                {
                    "input": layer.input,
                    "source": layer.source,
                    "target": layer.target,
                    "kind": layer.kind,
                    **_figures(layer.comparison, "scaled", "floor"),
                    "passed": layer.verdict == "pass",
                }
                for layer in self.layers
            ],
            "first_divergence": self._first_divergence_json(),
            "training": self._training_json(),
            "versions": self.versions,
            "failures": list(self.failures),
            "warnings": list(self.warnings),
            "peak_memory": self.peak_memory,
        }

    def _training_json(self) -> dict[str, Any] | None:
        """For each step the worst figure of each kind; every figure that is out of bounds."""
        if not self.training:
            return None
        worst_of: dict[tuple[str, int, str], TrainingFigures] = {}
        for figures in self.training:
            key = figures.dtype, figures.step, figures.what
            known = worst_of.get(key)
            if known is None or (figures.passed, -(figures.scaled or 0.0)) < (known.passed, -(known.scaled or 0.0)):
                worst_of[key] = figures
        return {
            "steps": max(figures.step for figures in self.training),
            "passed": all(figures.passed for figures in self.training),
            "cause": self.training_cause,
            "worst": [asdict(figures) for figures in worst_of.values()],
            "failed": [asdict(figures) for figures in self.training if not figures.passed],
        }

    def _first_divergence_json(self) -> dict[str, Any] | None:
        first = self.first_divergence
        if first is None:
            return None
        return {
            "input": first.input,
            "source": first.source,
            "target": first.target,
            "kind": first.kind,
            "at": first.at,
            **_figures(first.comparison, "scaled", "floor", "problem"),
            "cause": first.cause,
        }


def _figures(comparison: Comparison, *names: str) -> dict[str, Any]:
    """Those figures by name, without the NaN that JSON does not have."""
    values = {name: getattr(comparison, name) for name in names}
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }
