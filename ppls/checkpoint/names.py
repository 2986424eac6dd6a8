"""Which names a tensor may have, whatever the format."""

from __future__ import annotations

from ppls.checkpoint.source import Source

_MAX_LENGTH = 1024


def check_name(source: Source, name: str) -> str:
    """The name itself, if it can be printed, written to every format, and never taken for a path out of a folder."""
    if not name or name == "__metadata__":
        raise source.error(f"a tensor is named {name!r}, which safetensors cannot hold")
    if len(name) > _MAX_LENGTH:
        raise source.error(f"a tensor's name is {len(name):,} characters long: {name[:40]!a}...")
    if not name.isprintable() or name.startswith("/") or "\\" in name or ".." in name.split("/"):
        raise source.error(f"a tensor is named {name[:80]!a}, which is no name for a tensor")
    return name
