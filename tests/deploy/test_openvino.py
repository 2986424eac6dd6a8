"""OpenVINO as ppls runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXPORT = """
import torch, ppls
class Pointwise(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 2, 1)
    def forward(self, image):
        return [self.conv(image)]
ppls.export(Pointwise(), "model.xml", size=(32, 32))
"""


def test_openvino_tells_nobody_of_an_export(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    for name in ("CI", "TF_BUILD", "JENKINS_URL"):  # in which it is silent
        environment.pop(name, None)
    subprocess.run([sys.executable, "-c", EXPORT], cwd=tmp_path, env=environment, check=True, timeout=300)
    assert (tmp_path / "model.xml").is_file()
    assert list(home.iterdir()) == []
