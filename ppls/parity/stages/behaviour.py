"""What an output may depend on beside its image: the candidate is asked again, otherwise, and must answer the same.

Each question is asked of the candidate alone, on the smallest inputs, and answered by what it said before, or by what
the reference was recorded to say. Kernels may round otherwise for another layout or another batch, so that the same is
what the verdict on outputs calls the same. docs/verifying.md has the list, and what else varies.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn

from ppls.parity.candidate import CandidateError
from ppls.parity.compare import Compare, compare
from ppls.parity.global_state import global_state_kept
from ppls.parity.reference_run import Recording
from ppls.parity.stages.asked import Candidate, NotAskedError
from ppls.parity.stages.questions import QUESTIONS
from ppls.parity.stages.stage import Stage
from ppls.parity.tolerance import Tolerances


def compare_behaviour(
    recording: Recording,
    module: nn.Module,
    fresh: nn.Module | None,
    tolerances: Tolerances,
    *,
    names: Collection[str] | None = None,
    image: Tensor | None = None,
    by: Compare = compare,
) -> Stage:
    """Asks every question of a candidate whose outputs agree with the reference's.

    Args:
        recording: of the reference.
        module: the candidate, in eval mode; it is as before afterwards, if it is right.
        fresh: a copy of it that was never called.
        tolerances: of the outputs.
        names: of the questions that make sense; default: all.
        image: to ask about; default: the smallest input, or a part of it.
        by: compares an output, as `compare` does.
    """
    candidate = Candidate(recording, module, fresh, tolerances, image, by)
    questions = {name: ask for name, ask in QUESTIONS.items() if names is None or name in names}
    failures: list[str] = []
    not_asked: list[str] = []
    for name, ask in questions.items():
        try:
            with global_state_kept():
                failures += [f"the candidate {what}" for what in ask(candidate)]
        except NotAskedError as why:
            not_asked.append(f"{name} ({why})")
        except CandidateError as error:
            failures.append(f"the candidate {error} (asked for: {name})")
    return Stage(
        name="behaviour",
        unit="questions",
        compared=len(questions) - len(not_asked),
        expected=len(questions),
        why=", ".join(not_asked) or None,
        failures=tuple(failures),
    )


def not_compared(why: str) -> Stage:
    """The stage where no question was asked."""
    return Stage(name="behaviour", unit="questions", expected=len(QUESTIONS), why=why)
