"""Every command and every block of docs/deploying.md runs, in its order, beside PaddleSeg."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import ppls
from ppls.cli.bench import bench
from ppls.cli.convert import convert
from ppls.cli.export import export
from ppls.cli.verify import verify
from tests.material import SMALL_RUN

PAGE = Path(__file__).resolve().parents[1] / "docs" / "deploying.md"
COMMANDS = {"bench": bench, "convert": convert, "export": export, "verify": verify}


@pytest.mark.slow
def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for module in ("onnxruntime", "openvino", "paddle", "paddleseg"):
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    shutil.copy(SMALL_RUN / "model.pdparams", "model.pdparams")
    shutil.copy(SMALL_RUN / "config.yml", "run.yml")
    Path("photos").mkdir()
    shutil.copy(Path(ppls.__file__).parent / "parity" / "photographs" / "rocket.jpg", "photos")
    text = PAGE.read_text()
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    for place, (kind, block) in enumerate(blocks):
        if kind == "python":
            if "model.xml" in block:  # of which the page shows how they are read alone
                ppls.export("model.safetensors", "model.xml", size=(64, 96))
                ppls.export("model.safetensors", "model.pt2", size=(64, 96))
            exec(compile(block, f"{PAGE}, block {place}", "exec"), {})
            continue
        for line in block.splitlines():
            program, name, *arguments = shlex.split(line, comments=True)
            if program == "ppls":
                done = CliRunner().invoke(COMMANDS[name], arguments)
                assert done.exit_code == 0, (line, done.output)
    assert "PPLiteSeg logits" in capsys.readouterr().out
