"""Whether tensors are those of a model: each that it has is there, in its shape, and there is none beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ppls.shown import shown_line

Shape = tuple[int, ...]


def differences(
    expected: Mapping[str, Shape], found: Mapping[str, Shape], filled_by: Callable[[str], str] = str
) -> list[str]:
    """What a model expects and does not get, gets in another shape, or gets and does not expect, a line for each.

    Args:
        expected: the shape of every tensor of the model, by name.
        found: the same of those that there are.
        filled_by: what a file calls what one of the model's is filled from, where it has another name there.
    """
    problems = []
    for name, shape in expected.items():
        source, target = shown_line(filled_by(name)), shown_line(name)
        if name not in found:
            named = target if source == target else f"{source}, for {target}"
            problems.append(f"missing: {named} {list(shape)}")
        elif tuple(found[name]) != tuple(shape):
            named = target if source == target else f"{source} gives {target}"
            problems.append(f"wrong shape: {named} {list(found[name])}, the model has {list(shape)}")
    for name in found:
        if name not in expected:
            problems.append(
                f"unexpected: {shown_line(filled_by(name))}; the model of this config has no {shown_line(name)}"
            )
    return problems
