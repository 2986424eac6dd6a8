"""Paddle on one machine, torch on another: a file between them."""

import json
import subprocess
import sys
import zipfile

import pytest
from click.testing import CliRunner

import ppls
from ppls.cli.verify import verify
from ppls.errors import ParityError, UsageError
from ppls.models.norms import BatchNorm2d


def test_a_dump_takes_the_place_of_paddle(embedded_checkpoint, dump):
    report = ppls.verify(embedded_checkpoint, reference=dump, reference_python="/no/paddle/here")
    assert report.verdict == "pass"
    assert report.inputs == ("coffee 32x64", "noise 32x64")
    assert len(report.layers) == 105


def test_a_dump_finds_what_paddle_finds(embedded_checkpoint, dump):
    def build(path):
        model = ppls.load(path)
        model.backbone.blocks[0].bn.eps = 1e-2
        return model

    report = ppls.verify(embedded_checkpoint, model=build, reference=dump)
    assert report.first_divergence.source == "backbone.features.0.bn"


@pytest.fixture(scope="module")
def trained(needs_reference, tmp_path_factory):
    """A dump of the embedded default of an architecture, with training steps."""
    path = tmp_path_factory.mktemp("trained") / "reference.zip"
    options = ["--arch", "STDCSeg", "--size", "32x64", "--only", "--no-layers", "--train-steps", "2"]
    result = CliRunner().invoke(verify, [*options, "--dump", str(path)])
    assert result.exit_code == 0, result.stderr
    return path


def test_training_steps_and_an_architectures_embedded_default_travel_in_a_dump(trained):
    report = ppls.verify(reference=trained, reference_python="/no/paddle/here")
    assert report.verdict == "pass"
    assert report.checkpoint == "embedded default (STDCSeg-STDC1, 19 classes, built by PaddleSeg)"
    assert {figures.step for figures in report.training} == {1, 2}
    assert {figures.what for figures in report.training if figures.dtype == "float32"} == {"loss", "gradient norm"}


def test_a_dump_finds_what_training_shows(trained):
    def build(path):
        model = ppls.load(path)
        for module in model.modules():
            if isinstance(module, BatchNorm2d):
                module.momentum = 0.9
        return model

    report = ppls.verify(model=build, reference=trained)
    assert report.verdict == "fail"
    assert report.training_cause.startswith("BatchNorm's momentum")


def test_a_dump_made_with_other_training_steps_is_refused(embedded_checkpoint, dump, trained):
    with pytest.raises(UsageError, match="was made with --train-steps 0; make it with --train-steps 3"):
        ppls.verify(embedded_checkpoint, reference=dump, train_steps=3)
    assert ppls.verify(reference=trained, train_steps=2).training


def test_a_dump_of_another_checkpoint_is_refused(embedded_checkpoint, dump, tmp_path):
    paddle = pytest.importorskip("paddle")
    tensors = paddle.load(str(embedded_checkpoint))
    tensors["seg_heads.0.conv_out.weight"] *= 2
    paddle.save(tensors, str(tmp_path / "other.pdparams"))
    with pytest.raises(ParityError, match="was made from another checkpoint: SHA-256"):
        ppls.verify(tmp_path / "other.pdparams", reference=dump)


def test_a_dump_needs_the_checkpoint_it_was_made_from(dump):
    with pytest.raises(UsageError, match="give the CHECKPOINT"):
        ppls.verify(reference=dump)


def test_the_inputs_of_a_dump_are_its_own(embedded_checkpoint, dump):
    with pytest.raises(UsageError, match="--size and --image belong to --dump"):
        ppls.verify(embedded_checkpoint, reference=dump, sizes=[(64, 64)])


def test_a_dump_made_with_another_resize_is_refused(embedded_checkpoint, dump):
    with pytest.raises(UsageError, match="was made with --upsample bilinear"):
        ppls.verify(embedded_checkpoint, reference=dump, upsample="nearest")


def test_what_is_no_dump_is_named(embedded_checkpoint, tmp_path):
    (tmp_path / "text").write_text("hello")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with zipfile.ZipFile(tmp_path / "newer.zip", "w") as archive:
        archive.writestr("reference.json", json.dumps({"format": "ppls reference 9"}))
    for name, message in [
        ("absent", "does not exist"),
        ("text", "is not a file that ppls-verify --dump wrote"),
        ("empty.zip", "is not a file that ppls-verify --dump wrote"),
        ("newer.zip", "is of the format 'ppls reference 9'"),
    ]:
        with pytest.raises(ParityError, match=message):
            ppls.verify(embedded_checkpoint, reference=tmp_path / name)


def test_a_dump_whose_names_lead_out_of_its_folder_is_refused(embedded_checkpoint, dump, tmp_path):
    with zipfile.ZipFile(dump) as archive:
        manifest = json.loads(archive.read("reference.json"))
    manifest["result"]["outputs"][0]["file"] = "../outside.npy"
    with zipfile.ZipFile(tmp_path / "hostile.zip", "w") as archive:
        archive.writestr("reference.json", json.dumps(manifest))
        archive.writestr("../outside.npy", b"")
    with pytest.raises(ParityError, match="is not a file that ppls-verify --dump wrote"):
        ppls.verify(embedded_checkpoint, reference=tmp_path / "hostile.zip")


def test_an_existing_file_is_kept(embedded_checkpoint, dump):
    before = dump.read_bytes()
    result = CliRunner().invoke(verify, [str(embedded_checkpoint), "--dump", str(dump)])
    assert result.exit_code == 1
    assert "exists" in result.stderr
    assert dump.read_bytes() == before


def test_a_folder_that_does_not_exist_is_named_before_anything_is_run(tmp_path):
    result = CliRunner().invoke(verify, ["--dump", str(tmp_path / "nowhere" / "reference.zip")])
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].endswith("cannot be written: its folder does not exist; create it first")
    assert len(result.stderr.splitlines()) == 1


def test_dumping_imports_no_torch():
    code = "import sys, ppls.parity.dump; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
