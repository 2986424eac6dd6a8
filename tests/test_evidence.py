"""What a digest in docs/zoo.md sees, and what it does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ppls.mappings.map_file import architectures
from scripts import evidence

Change = Callable[[str, str, str], None]
ARCHITECTURE = "PSPNet"


@pytest.fixture
def change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Change]:
    """Changes a file in a copy of ppls's models, which the digests are of then."""
    models = tmp_path / "models"
    shutil.copytree(evidence.MODELS, models)
    monkeypatch.setattr(evidence, "MODELS", models)

    def change(file: str, old: str, new: str) -> None:
        text = (models / file).read_text()
        assert old in text
        (models / file).write_text(text.replace(old, new, 1))
        evidence.definitions.cache_clear()

    yield change
    evidence.definitions.cache_clear()


def digest() -> str:
    return evidence.digest(architectures()[ARCHITECTURE])


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("pspnet.py", "nn.Dropout(0.1)", "nn.Dropout(0.2)"),
        ("pyramid.py", "pooled[::-1]", "pooled"),
        ("layers.py", "class ConvBNAct(", "class ConvBNAct(nn.Identity, "),
        ("resnet_vd.py", "register_backbone(f", "register_backbone('x' + f"),
    ],
)
def test_what_the_model_is_made_of_changes_it(change: Change, file: str, old: str, new: str) -> None:
    before = digest()
    change(file, old, new)
    assert digest() != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("attention.py", "class SqueezeExcite(", "class Another:\n    pass\n\n\nclass SqueezeExcite("),
        ("stdc.py", "class ", "class Other:\n    pass\n\n\nclass "),
        ("pspnet.py", "\nclass PSPNet", "\n# a comment\n\nclass PSPNet"),
        ("pspnet.py", '"""`image` ', '"""The image: `image` '),
    ],
)
def test_what_only_others_use_and_what_only_people_read_does_not(change: Change, file: str, old: str, new: str) -> None:
    before = digest()
    change(file, old, new)
    assert digest() == before


def test_every_definition_of_the_model_itself_is_in_it() -> None:
    made_of = evidence.made_of(architectures()[ARCHITECTURE])
    assert {("pspnet", "PSPNet"), ("resnet_vd", "ResNetVd"), ("resize", "resize"), ("norms", "BatchNorm2d")} <= made_of
    assert ("stdc", "STDCNet") not in made_of


def test_the_map_that_a_map_is_like_is_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("format: 2\narchitecture: One\nlike: two\n")
    (tmp_path / "two.yaml").write_text("format: 2\narchitecture: Two\n")
    found = evidence._documents([tmp_path / "one.yaml"])
    assert {path.stem for path in found} == {"one", "two"}
