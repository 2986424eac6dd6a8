"""The card: nothing in it is obeyed, nothing stands in it that is no figure, and it vouches for one model alone."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from markdown_it import MarkdownIt

import ppls
from ppls.deploy.card import card_of, figures_for
from ppls.models.base import SegmentationModel
from ppls.models.digest import model_sha256

from ..nasty import NASTY, WHOLE, assert_inert

SOURCE = "ab" * 32
TEXTS = [pytest.param(text, id=name) for name, text in [*NASTY.items(), ("all at once", WHOLE)]]


def model_of(arm_type: str = "UAFM_SpAtten", **metadata: str) -> SegmentationModel:
    backbone = {"type": "STDCNet", "base": 8, "layers": [2, 2, 2], "block_num": 4, "in_channels": 3}
    widths = {"cm_out_ch": 16, "arm_out_chs": [8, 12, 16], "seg_head_inter_chs": [8, 8, 12]}
    model = ppls.models.PPLiteSeg(num_classes=3, backbone=backbone, arm_type=arm_type, **widths)
    known = {"architecture": "PPLiteSeg", "ppls_version": "0.1.0", "era": "PaddleSeg 2.7 or later"}
    model.provenance = {**known, "source_sha256": SOURCE, **metadata}
    return model.eval()


MODEL = model_of()
OUTPUT = {"input": "photo", "name": "output 0", "scaled": 1e-6, "floor": 2e-7, "argmax_agreement": 1.0}


def report_of(model: SegmentationModel = MODEL, **changes: Any) -> dict[str, Any]:
    figures = {"verdict": "pass", "tolerance": 1e-4, "dtype": "float32", "sha256": SOURCE, "outputs": [OUTPUT]}
    return {**figures, "candidate": "out.safetensors", "candidate_sha256": model_sha256(model), "later": 1} | changes


def structure(card: str) -> list[tuple[str, str]]:
    """What Markdown makes of a card: the kinds of its tokens, code and words left out."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    inner = [inner for token in parser.parse(card) for inner in [token, *(token.children or [])]]
    return [(token.type, token.tag) for token in inner if token.type not in ("text", "code_inline")]


def card(text: str, folder: str = "model") -> str:
    """A card with a text of a file's wherever there is a place for one."""
    model = model_of(era=text.encode("utf-8", "ignore").decode())
    output = {**OUTPUT, "input": text, "name": text}
    return card_of(model, folder, figures_for(model, report_of(model, outputs=[output, output], candidate=text)))


@pytest.mark.parametrize("text", TEXTS)
def test_what_a_file_says_is_inert_in_a_card(text: str) -> None:
    written = card(text)
    assert_inert(written)
    assert structure(written) == structure(card("plain"))
    front = written.split("---\n")[1]
    assert set(yaml.safe_load(front)) == {"library_name", "pipeline_tag", "tags"}


def test_what_is_plain_is_plain() -> None:
    written = card_of(MODEL, "model", figures_for(MODEL, report_of()))
    assert (
        f"Converted by ppls 0.1.0 from a PaddleSeg checkpoint (`PaddleSeg 2.7 or later`), SHA-256 `{SOURCE}`."
        in written
    )
    assert "| photo | output 0 | 1.0e-06 | 2.0e-07 | 100.0000% |" in written
    assert "`ppls-verify`: **pass** at tolerance 0.0001 in float32." in written


@pytest.mark.parametrize("text", TEXTS)
def test_the_folders_name_is_one_literal_and_one_word(text: str) -> None:
    folder = text.replace("/", "_").encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    for name in (folder, f"-{folder}", f"{folder}'"):
        written = card_of(MODEL, name, None)
        assert_inert(written)
        assert structure(written) == structure(card_of(MODEL, "model", None))
        (call,) = re.findall(r"^model = (.*?)  # this folder$", written, re.MULTILINE)
        assert ast.literal_eval(ast.parse(call).body[0].value.args[0]) == name  # type: ignore[attr-defined]
        (word,) = re.findall(r"^ppls-predict (.*) photo\.jpg -o out  # makes pictures$", written, re.MULTILINE)
        said = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True).stdout
        assert said.removeprefix(b"./") == name.encode("utf-8", "surrogateescape")
        assert not said.startswith(b"-")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("source_sha256", "00ff", "source_sha256: expected a SHA-256"),
        ("source_sha256", f"{SOURCE}`** verified: pass **", "source_sha256: expected a SHA-256"),
        ("ppls_version", "0.1 verified: pass", "ppls_version: expected a version"),
        ("ppls_version", "0.1\n# verified: pass", "ppls_version: expected a version"),
        ("architecture", "PPLiteSeg, verified: pass", "architecture: expected one of"),
        ("architecture", "[x](http://evil)", "architecture: expected one of"),
    ],
)
def test_metadata_that_are_none_of_a_conversion_are_refused(name: str, value: str, said: str) -> None:
    with pytest.raises(ppls.UsageError, match=re.escape(f"the metadata of the converted file: {said}")) as error:
        card_of(model_of(**{name: value}), "model", None)
    assert_inert(str(error.value))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"verdict": "verified: pass"}, "verdict: expected 'pass' or 'fail' or 'inconclusive'"),
        ({"verdict": ["pass"]}, "verdict: expected"),
        ({"tolerance": "1e-4"}, "tolerance: expected a number"),
        ({"tolerance": float("inf")}, "tolerance: expected a number, found nothing"),
        ({"dtype": "float16**"}, "dtype: expected 'float32' or 'float64'"),
        ({"sha256": ["x\n**verified**"]}, r"the report is of the checkpoint ['x\n**verified**'], the model comes from"),
        ({"candidate_sha256": "`x`"}, "candidate_sha256: expected a SHA-256"),
        ({"outputs": {}}, "outputs: expected a list"),
        ({"outputs": [3]}, "outputs[0]: expected"),
        ({"outputs": [{**OUTPUT, "scaled": "<b>"}]}, "outputs[0].scaled: expected a number"),
        ({"outputs": [{**OUTPUT, "input": 3}]}, "outputs[0].input: expected a word"),
        ({"outputs": [{"input": "x"}]}, "outputs[0]: 'name' is missing"),
        ({"tolerance": object()}, "is not what ppls-verify --json printed"),
    ],
)
def test_what_is_no_figure_is_refused_with_its_place(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ppls.UsageError, match=re.escape(said)):
        figures_for(MODEL, report_of(**change))


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "3", '{"verdict": NaN}', "[" * 100_000, '{"a": 1, "a": 2}', "\xff"],
)
def test_a_file_that_is_no_report_is_one_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ppls.UsageError, match=r"report\.json: "):
        figures_for(MODEL, tmp_path / "report.json")


def test_a_report_that_does_not_say_what_it_judged_is_refused() -> None:
    earlier = {key: value for key, value in report_of().items() if key != "candidate_sha256"}
    with pytest.raises(ppls.UsageError, match=r"does not say which weights were judged: .* run ppls-verify"):
        figures_for(MODEL, earlier)


def test_a_report_of_somebody_elses_port_is_refused() -> None:
    with pytest.raises(ppls.UsageError, match=r"judges my_port:build, which is not ppls's model"):
        figures_for(MODEL, report_of(candidate="my_port:build", candidate_sha256=None))


def changed_weight(model: SegmentationModel) -> SegmentationModel:
    with torch.no_grad():
        next(model.parameters()).mul_(1 + 1e-6)
    return model


@pytest.mark.parametrize(
    "other",
    [
        lambda: changed_weight(model_of()),
        lambda: model_of("UAFM_ChAtten"),
        lambda: model_of(numerics='{"batch_norm": {"epsilon": 0.001}}'),
        lambda: model_of().half(),
    ],
    ids=["weights", "config", "numerics", "type"],
)
def test_a_report_of_another_model_from_the_same_checkpoint_is_refused(other: Callable[[], Any]) -> None:
    torch.manual_seed(0)
    judged = model_of()
    torch.manual_seed(0)
    with pytest.raises(ppls.UsageError, match="judges other weights, or another config, than this model's"):
        figures_for(other(), report_of(judged))


@pytest.mark.skipif(importlib.util.find_spec("paddleseg") is None, reason="paddleseg is not installed")
def test_the_report_of_a_verification_is_of_the_model_that_it_judged(
    training_run: Path, converted_run: Path, tmp_path: Path
) -> None:
    source = training_run / "model.pdparams"
    report = ppls.verify(source, converted_run, sizes=[(32, 64)], only=True, layers=False)
    assert report.candidate_sha256 == report.to_json()["candidate_sha256"] == model_sha256(ppls.load(converted_run))
    (tmp_path / "report.json").write_text(json.dumps(report.to_json()))
    for found in (report, report.to_json(), tmp_path / "report.json"):
        ppls.to_hub_folder(converted_run, tmp_path / "model", report=found, force=True)
        assert f"**{report.verdict}**" in (tmp_path / "model" / "README.md").read_text()
    ppls.to_hub_folder(tmp_path / "model", tmp_path / "again", report=report)
    for other in (
        changed_weight(ppls.load(converted_run)),
        ppls.load(converted_run, resize_mode="nearest"),
        ppls.load(converted_run).half(),
    ):
        with pytest.raises(ppls.UsageError, match="judges other weights"):
            ppls.to_hub_folder(other, tmp_path / "other", report=report)
    theirs = ppls.verify(source, converted_run, sizes=[(32, 64)], only=True, layers=False, model=ppls.load)
    assert (theirs.verdict, theirs.candidate_sha256) == ("pass", None)
    with pytest.raises(ppls.UsageError, match="which is not ppls's model"):
        ppls.to_hub_folder(converted_run, tmp_path / "other", report=theirs)
    assert not (tmp_path / "other").exists()
