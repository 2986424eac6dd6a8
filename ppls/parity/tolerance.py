"""How far apart two arrays may be: every constant of a verdict with its measurement, and the one rule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ppls.errors import UsageError
from ppls.shown import shown

Verdict = Literal["pass", "fail", "inconclusive"]

# All are scaled, max|a - b| / max|a|, unless they say otherwise.
TOLERANCE = 1e-4  # a correct port stays under a fifth of it in float32: 0.8e-6 to 11e-6 on the embedded default
FLOAT64_TOLERANCE = 1e-9  # 1e-13 was seen of correct ports; epsilon rounded to float32 or not makes 9e-8
FLOAT64_RESIZE_TOLERANCE = 2e-6  # where a resize by a ratio that float32 does not hold is left to Paddle: 9e-7 measured

OPERATION_TOLERANCE = 1e-5  # of a program's operation that is given what Paddle computed before it

TRAINING_TOLERANCE = 1e-6  # in float64: 1.3e-8 is the most of right models, 6e-8 on crops too small for BatchNorm
TRAINING_FLOAT32_LOSS = 1e-6  # step 1: 4.0e-7 is the most of right models; one convolution in float16: 3e-6
TRAINING_FLOAT32_NORM = 1e-2  # of the whole gradient: the kinks of ReLU part single gradients by a hundredth
FIRST_STEPS = 2  # one of each size of batch: later, what parts in float32 is left to float64
TRAINING_APART = 1e-4  # of losses in later steps; a rate is taken at which moved runs part by no more
TRAINING_CHAOTIC = 0.1  # of the gradient's norm: a step at which the reference parts from itself by more is no judge
TRAINING_NOISE = 2.0**-22  # of a weight: four roundings
TRAINING_EXACT_NOISE = 2.0**-51  # the same in float64
TRAINING_PARTED = TRAINING_TOLERANCE / 10  # in float64: a step at which so moved runs are farther apart is no judge
TRAINING_MOVES = 3  # moved runs: at one rate and step, two of them were apart by 2e-7 and 5e-6
RESOLUTION = 1e-8  # of a tensor's largest value: float64 rounds it by 1e-16 in each step, small steps move it little
GRADIENT_TOLERANCE = TRAINING_TOLERANCE  # of the image's, in float64
INEXACT_GRADIENT_TOLERANCE = 1e-2  # where a resize is left to Paddle: what it rounds moves kinks of ReLU
VANISHING = 1e-9  # of the largest: what is smaller is zero in exact arithmetic, and both sides hold noise

ENDING_TOLERANCE = 1e-5  # of an export's probabilities and classes, from its own logits: 1e-7 measured

NUMERICS_TOLERANCE = 1e-3  # relative: Paddle keeps epsilon and momentum in float32, and defaults lie far apart

FLOORS_ALLOWED = 4  # a candidate may err as much as the reference, and its rounding falls elsewhere
TOLERANCES_ALLOWED = 10  # ... but never by more than this many tolerances
FLOORS_OF_A_FAULT = 10  # the most ever seen of a correct port, in single layers: what is beyond is no rounding

MENDS = 10  # times smaller an experiment must make the layer's own error before it is called the cause


def verdict_on(error: float, tolerance: float, floor: float | None = None) -> Verdict:
    """Whether an error is within the tolerance, or within what the reference's own rounding explains.

    It passes up to the tolerance, or up to four floors where those are more, but never beyond ten tolerances. It fails
    where it is beyond ten floors too. Between the two, float32 cannot decide: inconclusive. Both bounds are continuous
    and grow with tolerance and floor, so a smaller error, a larger tolerance or a larger floor never makes it worse.

    Args:
        error: scaled; NaN fails.
        tolerance: the largest scaled error allowed.
        floor: the reference's own scaled rounding; None where there is none, in float64; NaN where nothing bounds it,
            so that it excuses nothing and refutes nothing.
    """
    if error <= _passing(tolerance, floor):
        return "pass"
    if floor is None or math.isnan(error):
        return "fail"
    return "inconclusive" if math.isnan(floor) or error <= FLOORS_OF_A_FAULT * floor else "fail"


def smallest_tolerance(error: float, floor: float | None = None) -> float:
    """The smallest tolerance at which an error passes: a tenth of it where four floors cover it, else the error."""
    if floor is None or not error <= FLOORS_ALLOWED * floor:
        return error
    tenth = error / TOLERANCES_ALLOWED
    return tenth if tenth * TOLERANCES_ALLOWED >= error else math.nextafter(tenth, math.inf)


def _passing(tolerance: float, floor: float | None) -> float:
    if floor is None or math.isnan(floor):
        return tolerance
    return max(tolerance, min(FLOORS_ALLOWED * floor, TOLERANCES_ALLOWED * tolerance))


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """One failure fails the whole; one undecided comparison leaves it undecided."""
    found = set(verdicts)
    if "fail" in found:
        return "fail"
    return "inconclusive" if "inconclusive" in found else "pass"


@dataclass(frozen=True)
class Tolerances:
    """What is allowed in one run.

    Attributes:
        default: of every layer, and of every output that has none of its own.
        outputs: of single outputs, by name: `output 0`, `head 1`.
        dtype: what both sides compute in; float64 is held to its own tolerances where those are smaller.
        inexact: inputs in whose run a resize is left to Paddle's float32 ratios.
    """

    default: float = TOLERANCE
    outputs: Mapping[str, float] = field(default_factory=dict)
    dtype: str = "float32"
    inexact: frozenset[str] = frozenset()

    @classmethod
    def given(cls, tolerance: float | Mapping[str, float]) -> Tolerances:
        """Of a number, or of numbers by the names of outputs, `default` among them.

        Raises `UsageError` where one is not between 0 and 1.
        """
        by_name = dict(tolerance) if isinstance(tolerance, Mapping) else {"default": tolerance}
        for name, value in by_name.items():
            if not 0 < value < 1:
                place = "" if name == "default" else f"{shown(name, 80)}="
                raise UsageError(f"--tolerance {place}{value:g}: a scaled error between 0 and 1 is expected")
        return cls(by_name.pop("default", TOLERANCE), by_name)

    def during(self, dtype: str, inexact: Iterable[str]) -> Tolerances:
        """The same in a run in this type."""
        return replace(self, dtype=dtype, inexact=frozenset(inexact))

    def on(self, input: str, output: str | None = None) -> float:
        """What is applied to an output of an input, or to its layers."""
        own = self.default if output is None else self.outputs.get(output, self.default)
        if self.dtype == "float32":
            return own
        return min(own, FLOAT64_RESIZE_TOLERANCE if input in self.inexact else FLOAT64_TOLERANCE)

    def check(self, names: Iterable[str]) -> None:
        """Raises `UsageError` where a tolerance is given for an output that is none of these."""
        known = list(dict.fromkeys(names))
        for name in self.outputs:
            if name not in known:
                raise UsageError(
                    f"--tolerance {shown(name, 80)}=...: the model has no such output; it has "
                    f"{', '.join(shown(each, 80) for each in known)}"
                )
