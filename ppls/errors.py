"""Every error that ppls raises on purpose: one readable message, and the exit status that a command ends with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ppls.shown import shown

_LONGEST_LINE = 4000


class Error(Exception):
    """The base of all errors of ppls. The message says what is wrong, in which file, and what to do.

    Args:
        message: one line, whatever is in it: a line break in a file's name is shown as `\\n`.
        lines: what stands below it, indented, each on a line of its own.
    """

    exit_status = 1

    def __init__(self, message: object = "", lines: Iterable[object] = ()) -> None:
        super().__init__("\n  ".join(shown(line, _LONGEST_LINE) for line in (message, *lines)))


class CheckpointError(Error):
    """A file is missing, is not what it was taken for, is damaged, or asks for what a weight file may not ask."""


class ConversionError(Error):
    """A checkpoint was read but cannot be converted; `problems` holds every offender, not just the first."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        self.problems = list(problems)
        super().__init__(message, [f"- {problem}" for problem in self.problems])


class UnrecognisedError(ConversionError):
    """A checkpoint of no architecture that ppls knows."""


class NamelessError(CheckpointError):
    """An export with Paddle's variable names alone, for which no architecture has structured ones."""


class ParityError(Error):
    """The two frameworks could not be compared: the reference died, a candidate raised, an image is not one."""


class InputError(Error):
    """An image, a label map, a folder or a list of them that cannot be used; the message says which."""


class UsageError(Error):
    """Wrong usage: an option's value that cannot be understood."""

    exit_status = 2


class MapError(UsageError):
    """A malformed map: names the file, the line and the rule at fault."""


class MissingDependencyError(Error):
    """A part that is needed is not installed; the message holds the one command that installs it."""

    exit_status = 2


_EXTRAS = {
    "torch": "torch",
    "paddle": "verify",
    "paddleseg": "verify",
    "onnx": "export",
    "openvino": "export",
    "cv2": "train",
    "accelerate": "train",
    "tensorboard": "train",
}


def not_installed(error: ModuleNotFoundError) -> MissingDependencyError:
    """A module that Python did not find, with the one command that installs it."""
    module = (error.name or "").partition(".")[0]
    wanted = f"'ppls[{_EXTRAS[module]}]'" if module in _EXTRAS else module
    missing = MissingDependencyError(
        f"this needs the Python module {module}, which is not installed: pip install {wanted}"
    )
    missing.__cause__ = error
    return missing


def first_line(error: BaseException) -> str:
    """What an error of somebody else's says, in one line for a message: its first, or what it is called."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


def all_lines(error: BaseException) -> list[str]:
    """What an error of somebody else's says, for the `lines` of one of ours: none but those with something on them."""
    lines = f"{type(error).__name__}: {error}".splitlines()
    return [line.strip() for line in lines if line.strip()]
