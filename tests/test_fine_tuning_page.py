"""Every block of docs/fine-tuning.md runs, in its order, and says what the page says that it says."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import ppls

PAGE = Path(__file__).resolve().parents[1] / "docs" / "fine-tuning.md"


def test_the_page_runs_from_the_first_block_to_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    text = PAGE.read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (said,) = re.findall(r"^```text\nUserWarning: (.*?)\n```$", text, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    torch.manual_seed(0)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)
    assert said in [str(warning.message) for warning in warned]
    printed = capsys.readouterr().out
    for line in ("[32, 64, 256, 512, 1024] [2, 4, 8, 16, 32]", "8 eight-classes was trained or edited in PyTorch"):
        assert line in printed
    for name, tensor in ppls.load("eight.pdparams").state_dict().items():
        assert torch.equal(tensor, names["model"].state_dict()[name])
    assert ppls.convert("cityscapes.pdparams").sha256[:8] in printed
