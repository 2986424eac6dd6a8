"""The models alone: plain modules of torch, which anybody can use without what converts, compares and runs them."""

import subprocess
import sys
from pathlib import Path

import ppls

SHOW = """
import sys
import ppls.models
print(*(name for name in sys.modules if name.startswith("ppls.")))
"""


def rooms(code: str) -> set[str]:
    """The folders of ppls of which something is imported, by a process of its own."""
    run = subprocess.run([sys.executable, "-c", code + SHOW], capture_output=True, text=True, check=True)
    names = {name.split(".")[1] for name in run.stdout.split()}
    return {name for name in names if (Path(ppls.__file__).parent / name).is_dir()}


def test_importing_the_models_imports_no_room_but_their_own() -> None:
    assert rooms("") == {"models"}


def test_a_model_alone_runs_without_another_room() -> None:
    run = """
import torch
import ppls.models
with torch.no_grad():
    (logits,) = ppls.models.PPLiteSeg(num_classes=3).eval()(torch.zeros(1, 3, 64, 64))
assert logits.shape == (1, 3, 64, 64)
"""
    assert rooms(run) == {"models"}
