"""The models alone: plain modules of torch, which anybody can use without what converts, compares and runs them."""

import subprocess
import sys

FOUNDATIONS = {"budget", "destination", "documents", "errors", "files", "locks", "schema", "shown", "temporary"}

SHOW = """
import sys
import ppls.models
print(*(name for name in sys.modules if name.startswith("ppls.")))
"""


def test_importing_the_models_imports_no_room_but_their_own_and_the_foundations():
    run = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True)
    rooms = {name.split(".")[1] for name in run.stdout.split()}
    assert rooms - FOUNDATIONS == {"models", "version"}


def test_a_model_alone_runs_without_the_converter():
    run = """
import torch
import ppls.models
with torch.no_grad():
    (logits,) = ppls.models.PPLiteSeg(num_classes=3).eval()(torch.zeros(1, 3, 64, 64))
assert logits.shape == (1, 3, 64, 64)
"""
    found = subprocess.run([sys.executable, "-c", run + SHOW], capture_output=True, text=True, check=True)
    assert not {"checkpoint", "mappings", "converter"} & {name.split(".")[1] for name in found.stdout.split()}
