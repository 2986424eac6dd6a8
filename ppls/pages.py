"""Where the pages of the documentation lie that messages name: in the wheel, or in the repository."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def page(name: str) -> Path:
    """The file of a page, such as `mapping-language`."""
    installed = _PACKAGE / "docs" / f"{name}.md"
    return installed if installed.exists() else _PACKAGE.parent / "docs" / f"{name}.md"
