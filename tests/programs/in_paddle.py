"""Networks that a test writes down for Paddle, exported and run there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

OF_IMAGES = """
import sys
import numpy as np

paddle.seed(1)
model = Network()
model.eval()
paddle.jit.save(model, sys.argv[1] + "/model", input_spec=[paddle.static.InputSpec([-1, 3, -1, -1], "float32")])
made = {}
for at, image in enumerate(images()):
    made |= {f"x{at}": image.numpy(), f"y{at}": model(image).numpy()}
np.savez(sys.argv[1] + ".npz", **made)
"""


def export_in_paddle(network: str, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """The export of a `Network`, and `y0`, `y1`, ... that Paddle computes of the `images()` `x0`, `x1`, ..."""
    return run_in_paddle(network + OF_IMAGES, tmp_path)


def run_in_paddle(source: str, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of the export that a script writes, and what it saved of its run in Paddle."""
    pytest.importorskip("paddle")
    folder = tmp_path / "export"
    (tmp_path / "source.py").write_text(source)  # Paddle reads the source of what it exports
    command = [sys.executable, str(tmp_path / "source.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(f"{folder}.npz") as run:
        return folder, dict(run)
