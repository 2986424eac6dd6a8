"""Every architecture's embedded default, on each kind of backbone, is a strong witness whose rounding leaves room.

A floor is a fifth of the tolerance at most, a third on noise that is stronger than any image.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from ppls.converter.convert import convert
from ppls.converter.expected import expected_sides
from ppls.parity.consistency import check_recording
from ppls.parity.input_shape import InputShape, inputs_of_shape
from ppls.parity.process import ReferenceProcess, not_understood
from ppls.parity.reference_run import Recording
from ppls.parity.session import run_job
from ppls.parity.tolerance import TOLERANCE
from tests.architectures import CHECKOUT, smallest_recipes

from .conftest import Recorded, build_recipe
from .one_by_one import unseen

TIMEOUT = 1800.0  # seconds, of the largest on the largest input
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
SMALL, LARGEST = 64 * 128, 1 << 16  # pixels; docs/zoo.md has the floors of larger ones


@pytest.fixture(scope="module")
def references(
    needs_reference: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[tuple[ReferenceProcess, Path]]]:
    """One for all recipes, with its folder; and one of the checkout, where one is named."""
    with ExitStack() as stack:
        checkouts = {checkout: tmp_path_factory.mktemp("recipes") for checkout in (None, CHECKOUT)}
        yield [
            (stack.enter_context(ReferenceProcess(folder, paddleseg=checkout)), folder)
            for checkout, folder in checkouts.items()
        ]


def built(
    references: list[tuple[ReferenceProcess, Path]], architecture: str, recipe: str
) -> tuple[ReferenceProcess, Path, Path]:
    """What PaddleSeg builds, before it the process that did and its folder: the checkout what the release lacks."""
    for reference, folder in references[:-1]:
        with suppress(pytest.skip.Exception):
            return reference, folder, build_recipe(reference, folder, architecture, recipe, TIMEOUT)
    reference, folder = references[-1]
    return reference, folder, build_recipe(reference, folder, architecture, recipe, TIMEOUT)


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "recipe"), smallest_recipes())
def test_a_change_of_any_one_tensor_is_seen_and_the_floor_is_a_fifth_of_the_tolerance(
    references: list[tuple[ReferenceProcess, Path]], architecture: str, recipe: str, tmp_path: Path
) -> None:
    reference, folder, checkpoint = built(references, architecture, recipe)
    converted = tmp_path / "converted.safetensors"
    conversion = convert(checkpoint, converted)
    taken = InputShape().in_multiples(*expected_sides(conversion.map, conversion.config))
    # layers are compared on the first, and changed one by one: a photograph, as ever, that may be small
    inputs = [each for each in inputs_of_shape(taken, seed=0, channels=3) if each.array[0, 0].size <= LARGEST]
    inputs.sort(key=lambda given: (not given.name.startswith(PHOTOGRAPHS), abs(given.array[0, 0].size - SMALL)))
    job = run_job(conversion, inputs, folder)
    recording = Recording(folder, job, reference.run(job, TIMEOUT))
    check_recording(recording, not_understood)
    outputs = [*recording.outputs, *recording.head_outputs]
    floors = {(output.name, output.input): output.stored.floor for output in outputs}
    allowed = {name: TOLERANCE / (3 if recording.is_strong(name) else 5) for name in recording.inputs}
    high = {at: floor for at, floor in floors.items() if floor is None or not floor <= allowed[at[1]]}
    assert high == {}
    witness = recording.result.witness
    assert witness is not None
    dead = [each.pattern for each in conversion.map.dead]  # it may be run, and nothing taken from it
    # a tenth of it is to show
    faint = [each.name for each in witness.faint if each.moves < 10 * TOLERANCE]
    faint = [name for name in faint if not any(pattern.match_within(name) for pattern in dead)]
    assert (witness.why, faint) == (None, [])
    assert unseen(Recorded(checkpoint, converted, conversion, of_one_input(recording))) == []


def of_one_input(recording: Recording) -> Recording:
    """The recording of the first input alone, for what is judged once for each tensor."""
    first, result = recording.job.inputs[0], recording.result
    outputs = tuple(output for output in result.outputs if output.input == first.name)
    heads = tuple(output for output in result.heads if output.input == first.name)
    return replace(
        recording,
        job=replace(recording.job, inputs=(first,)),
        result=replace(result, outputs=outputs, heads=heads),
    )
