"""The version of ppls, in one place, and those of what it runs on."""

from __future__ import annotations

__version__ = "0.1.0"


def versions(*packages: str) -> dict[str, str]:
    """Of ppls, Python, and those of the packages that are installed."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"ppls": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
