"""What a verification found, as data."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from ppls.parity.compare import Comparison
from ppls.parity.figures import (
    DifferentTensor,
    Divergence,
    ExportFigures,
    LayerFigures,
    OutputFigures,
    Picture,
    TrainingFigures,
)
from ppls.parity.stages.stage import Stage
from ppls.parity.tolerance import Verdict, worst

FiguresT = TypeVar("FiguresT")


@dataclass(frozen=True)
class Report:
    """The result of `ppls.verify`.

    Attributes:
        sha256: of the checkpoint.
        stages: what each stage found and how much it compared, in the order in which they are told.
        assumed: what neither a tensor nor a config nor an export showed: options and numerics with the values that were
            taken for them, on both sides alike, which no comparison of the two can prove.
        candidate_sha256: of the model that was judged (`ppls.parity.digest`); None where it is not ppls's own.
        candidate_file: of an exported file that was judged its format, runtime, SHA-256, what it takes and its types.
        reference: what it was judged against, in words.
        remarks: what limits the proof beside the stages' own warnings, one sentence each.
        strict: whether what was assumed or not compared leaves the verdict inconclusive.
    """

    checkpoint: str
    sha256: str
    architecture: str | None
    candidate: str
    tolerance: float
    dtype: str
    inputs: tuple[str, ...]
    stages: tuple[Stage, ...]
    first_divergence: Divergence | None
    versions: dict[str, str]
    assumed: dict[str, Any] = field(default_factory=dict)
    candidate_sha256: str | None = None
    candidate_file: dict[str, Any] | None = None
    training_cause: str | None = None
    remarks: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    peak_memory: dict[str, int] = field(default_factory=dict)
    strict: bool = False
    reference: str = "PaddleSeg's model"

    @property
    def verdict(self) -> Verdict:
        """`pass` only if nothing failed and everything could be decided; under `strict`, only if nothing is lacking."""
        if not self.outputs:
            return "fail"
        found = worst(stage.verdict for stage in self.stages)
        return "inconclusive" if found == "pass" and self.strict and self.unproven else found

    @property
    def passed(self) -> bool:
        """Whether parity holds."""
        return self.verdict == "pass"

    @property
    def unproven(self) -> tuple[str, ...]:
        """What the verdict does not rest on, one sentence each: what was assumed, and what was not compared."""
        assumed = [f"assumed on both sides: {name} = {json.dumps(value)}" for name, value in self.assumed.items()]
        return (*assumed, *(stage.gap for stage in self.stages if stage.gap is not None))

    def stage(self, name: str) -> Stage | None:
        """The stage of that name, if it is in the report."""
        return next((stage for stage in self.stages if stage.name == name), None)

    @property
    def different_tensors(self) -> tuple[str, ...]:
        """Names of the checkpoint's tensors that are not the candidate's, bit for bit."""
        return tuple(figures.name for figures in self._figures(DifferentTensor))

    @property
    def outputs(self) -> tuple[OutputFigures, ...]:
        """Every output that was compared, those of the heads of training included."""
        return self._figures(OutputFigures)

    @property
    def layers(self) -> tuple[LayerFigures, ...]:
        """Every call of a layer that was compared, in order of execution."""
        return self._figures(LayerFigures)

    @property
    def training(self) -> tuple[TrainingFigures, ...]:
        """Every figure of the training steps."""
        return self._figures(TrainingFigures)

    @property
    def export(self) -> tuple[ExportFigures, ...]:
        """Every figure of the export itself, where the checkpoint is one and Paddle ran it."""
        return self._figures(ExportFigures)

    @property
    def failures(self) -> tuple[str, ...]:
        """What is wrong beyond figures, one sentence each."""
        return tuple(line for stage in self.stages for line in stage.failures)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What limits the proof, one sentence each."""
        return (*self.remarks, *(line for stage in self.stages for line in stage.warnings))

    @property
    def compared(self) -> tuple[OutputFigures | LayerFigures, ...]:
        """Every array of an output or a layer that was compared."""
        return (*self.outputs, *self.layers)

    @property
    def other_tolerances(self) -> dict[str, float]:
        """The tolerances applied to outputs that had another than `tolerance`, the largest of each, by name."""
        found: dict[str, float] = {}
        for output in self.outputs:
            applied = output.comparison.tolerance
            if applied is not None and applied != self.tolerance:
                found[output.name] = max(applied, found.get(output.name, 0.0))
        return found

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
        remark = f"all layers agree on {self.layers[0].input}; they were compared again on {again.inputs[0]}"
        stages = tuple(again.stage("layers") or stage if stage.name == "layers" else stage for stage in self.stages)
        return replace(
            self,
            stages=stages,
            first_divergence=again.first_divergence or self.first_divergence,
            remarks=(*self.remarks, remark),
        )

    def _figures(self, kind: type[FiguresT]) -> tuple[FiguresT, ...]:
        return tuple(figures for stage in self.stages for figures in stage.figures if isinstance(figures, kind))

    def to_json(self) -> dict[str, Any]:
        """The object that `ppls-verify --json` prints. A figure that does not exist is null."""
        weights = self.stage("weights")
        return {
            "schema": 1,
            "verdict": self.verdict,
            "checkpoint": self.checkpoint,
            "sha256": self.sha256,
            "architecture": self.architecture,
            "reference": self.reference,
            "candidate": self.candidate,
            "candidate_sha256": self.candidate_sha256,
            "candidate_file": self.candidate_file,
            "tolerance": self.tolerance,
            "tolerances": self.other_tolerances,
            "dtype": self.dtype,
            "strict": self.strict,
            "inputs": list(self.inputs),
            "assumed": self.assumed,
            "coverage": [stage.coverage() for stage in self.stages],
            "unproven": list(self.unproven),
            "weights": {
                "compared": weights.compared if weights else 0,
                "expected": weights.expected if weights else 0,
                "different": len(self.different_tensors),
                "names": list(self.different_tensors),
            },
            "outputs": [
                {
                    "input": output.input,
                    "name": output.name,
                    **_figures(output.comparison, "max_abs", "scaled", "floor", "tolerance", "needed", "problem"),
                    **_distribution(output.comparison),
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
                    "call": layer.call,
                    **_figures(layer.comparison, "scaled", "floor", "tolerance", "needed", "problem"),
                    "passed": layer.verdict == "pass",
                    **layer.more(),
                }
                for layer in self.layers
            ],
            "export": self._export_json(),
            "first_divergence": self._first_divergence_json(),
            "training": self._training_json(),
            "versions": self.versions,
            "failures": list(self.failures),
            "warnings": list(self.warnings),
            "peak_memory": self.peak_memory,
        }

    def _export_json(self) -> list[dict[str, Any]] | None:
        """Null where the checkpoint is no export; empty where Paddle was not given it to run: `coverage` says why."""
        if self.stage("export") is None:
            return None
        return [
            {
                "input": found.input,
                "name": found.name,
                "against": found.against,
                **_figures(found.comparison, "max_abs", "scaled", "floor", "tolerance", "needed", "problem"),
                "argmax_agreement": found.argmax_agreement,
                "verdict": found.verdict,
            }
            for found in self.export
        ]

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
            "call": first.call,
            "at": first.at,
            **_figures(first.comparison, "scaled", "floor", "problem"),
            "cause": first.cause,
        }


def _distribution(comparison: Comparison) -> dict[str, Any]:
    found = comparison.distribution
    if found is None:
        return {"quantiles": None, "cosine": None, "psnr": None}
    return {
        "quantiles": {str(share): error for share, error in found.quantiles.items()},
        "cosine": found.cosine,
        "psnr": found.psnr,
    }


def _figures(comparison: Comparison, *names: str) -> dict[str, Any]:
    """Those figures by name, without the NaN that JSON does not have."""
    values = {name: getattr(comparison, name) for name in names}
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }
