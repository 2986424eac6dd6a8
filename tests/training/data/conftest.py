"""Without OpenCV there are no transforms to test."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("cv2")


@pytest.fixture(scope="session")
def sets(paddles_folder: Path) -> Path:
    """A data set for each class of PaddleSeg's."""
    return paddles_folder / "sets"
