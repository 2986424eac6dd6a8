"""The weights that Paddle is given: as ppls read them; the user's own file only where that can mean nothing else."""

from __future__ import annotations

from pathlib import Path

from ppls.checkpoint.archive import is_gzip, is_tar
from ppls.checkpoint.paddle_file import write_paddle_file
from ppls.checkpoint.plain_form import NotPlainError, check_plain_form
from ppls.converter.conversion import Conversion
from ppls.errors import CheckpointError, ParityError


def weights_for_paddle(conversion: Conversion, folder: Path) -> tuple[Path, Path | None, str | None]:
    """The weights as ppls read them, in a file of the one form that it writes; the user's own, if Paddle may load it.

    The last is what the user's is, if Paddle may not: all but state dicts of the plain form, which mean one thing to
    every reader.

    Raises:
        CheckpointError: the user's file has changed. ParityError: there is no such file of its weights.
    """
    written = folder / "as_read.pdparams"
    write_paddle_file(written, conversion.source_tensors, {}, force=True)
    try:
        check_plain_form(written)
    except NotPlainError as error:  # by a name that means more to Paddle than to ppls
        raise ParityError(f"{conversion.source}: Paddle cannot be given its weights: {error}") from None
    checkpoint = conversion.checkpoint
    original = checkpoint.files[0]
    with open(original, "rb") as file:
        head = file.read(512)
    if is_gzip(head) or is_tar(head):
        return written, None, f"{checkpoint.format} in an archive"
    if not checkpoint.format.startswith("Paddle state dict ("):
        return written, None, checkpoint.format
    try:
        checked = check_plain_form(original)
    except NotPlainError as error:
        return written, None, f"{checkpoint.format}, not of the plain form that paddle.save writes: {error}"
    if checked != conversion.sha256:
        raise CheckpointError(f"{original}: changed while it was being verified; try again when it is complete")
    return written, original, None
