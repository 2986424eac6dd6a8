"""The lists of data sets: text that anything may stand in, a line at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ppls.errors import InputError
from ppls.files import open_regular
from ppls.shown import shown

# Of a list; the largest of public data sets have some hundred thousand lines, of names that are longer than this.
_MOST_BYTES, _FREE_LINES, _BYTES_PER_LINE = 256 << 20, 50_000, 16
_LONGEST_LINE = 10_000  # characters: two names of the longest that Linux has


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Each line that is not blank, without the blanks around it, after where it stands.

    A line ends with LF, CRLF or CR, as in PaddleSeg's own reading; a mark of UTF-8 at the beginning is none of it. The
    bytes of names that are not UTF-8 are kept (as `os.fsdecode` does), so that their files are found.

    Raises:
        InputError: missing, no regular file, empty, too large, or no text.
    """
    blank = True
    try:
        with open(open_regular(path), encoding="utf-8-sig", errors="surrogateescape") as file:
            size = os.fstat(file.fileno()).st_size
            most = _FREE_LINES + size // _BYTES_PER_LINE
            if size > _MOST_BYTES:
                raise InputError(f"{path}: is too large for a list: more than {_MOST_BYTES >> 20} MiB")
            number = 0
            while line := file.readline(_LONGEST_LINE + 1):
                number += 1
                place = f"{path}, line {number}"
                if number > most:
                    raise InputError(f"{path}: is too long for a list of its size: more than {most:,} lines")
                if len(line) > _LONGEST_LINE:
                    raise InputError(f"{place}: is longer than {_LONGEST_LINE:,} characters: '{shown(line)}'")
                if "\0" in line:
                    raise InputError(f"{place}: holds a NUL, '{shown(line)}'; a list is text in UTF-8")
                if line := line.strip():
                    blank = False
                    yield place, line
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such list") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a list: {getattr(error, 'strerror', None) or error}") from None
    if blank:
        raise InputError(f"{path}: is empty; a list has an image and its label on each line")
