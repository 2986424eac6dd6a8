"""Says what `make` needs from the system and does not find, with the one command that brings it."""

from __future__ import annotations

import ctypes
import importlib.util
import sys

# PaddleSeg pins an OpenCV built against numpy 1, which has no wheels for Python 3.13, and which loads these
OLDEST, NEWEST = (3, 10), (3, 12)
LIBRARIES = {"libGL.so.1": "libgl1", "libgthread-2.0.so.0": "libglib2.0-0"}


def missing() -> list[str]:
    """The Debian packages that are missing; on other systems OpenCV's wheels bring what they need."""
    packages = [] if importlib.util.find_spec("ensurepip") else ["python3-venv"]
    if sys.platform != "linux":
        return packages
    for library, package in LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            packages.append(package)
    return packages


def main() -> int:
    version = sys.version_info[:2]
    if not OLDEST <= version <= NEWEST:
        print(
            f"error: Python {version[0]}.{version[1]}: PaddleSeg needs one of {OLDEST[0]}.{OLDEST[1]} to "
            f"{NEWEST[0]}.{NEWEST[1]}; name it with `make PYTHON=python3.11 ...`",
            file=sys.stderr,
        )
        return 1
    packages = missing()
    if packages:
        print(
            "error: the system lacks what PaddleSeg needs; this brings it: "
            f"sudo apt-get install -y {' '.join(packages)}",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
