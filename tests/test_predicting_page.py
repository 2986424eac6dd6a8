"""Every block of docs/predicting.md runs, in its order, and says what the page says that it says."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import ppls
from ppls.cli.convert import convert
from ppls.cli.predict import predict
from tests.inference.toy import toy_checkpoint

PAGE = Path(__file__).resolve().parents[1] / "docs" / "predicting.md"
COMMANDS = {"convert": convert, "predict": predict}
RUN = """
val_dataset:
  type: Cityscapes
  transforms: [{type: Normalize, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}]
model: {type: PPLiteSeg, arm_out_chs: [4, 4, 8], seg_head_inter_chs: [4, 4, 4], cm_out_ch: 8}
"""


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    toy_checkpoint(Path("model.pdparams"), 19)
    Path("run.yml").write_text(RUN)
    shutil.copy(Path(ppls.__file__).parent / "parity" / "photographs" / "rocket.jpg", "photo.jpg")
    text = PAGE.read_text()
    commands, published = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    stderr = ""
    for line in commands.splitlines():
        name, *arguments = shlex.split(line)[1:]
        done = CliRunner().invoke(COMMANDS[name], arguments)
        assert done.exit_code == 0, done.stderr
        stderr += done.stderr
    (said,) = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert stderr == said
    names: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    assert "pp_liteseg_stdc1_camvid_960x720_10k CamVid" in capsys.readouterr().out
    assert json.loads(Path("folder/config.json").read_text())["id2label"]["0"] == "road"
    assert ppls.list_published(shlex.split(published)[2])
