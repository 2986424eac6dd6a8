"""What a model says of its origin is true of its weights as they are: converted, trained, edited, with another head."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import ppls
from ppls.deploy.metadata import metadata_of
from ppls.images.usage import Usage
from ppls.models.card import brought_up_to_date
from ppls.models.digest import model_sha256
from ppls.models.provenance import checksums

from .test_fine_tuning import assert_same, small_model, train

SOURCE = "ab" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model that says that it was converted."""
    model = small_model()
    model.save_pretrained(tmp_path / "hub")
    model = ppls.load(tmp_path / "hub")
    model.provenance |= {"source_sha256": SOURCE, "era": "PaddleSeg 2.7 or later"}
    model.save_pretrained(tmp_path / "hub")
    return tmp_path / "hub"


def trained(folder: Path) -> Any:
    model = ppls.load(folder)
    train(model, steps=1)
    return model


def with_statistics_alone(folder: Path) -> Any:
    model = ppls.load(folder).train()
    with torch.no_grad():
        model(torch.randn(2, 3, 64, 64))
    return model.eval()


def with_another_head(folder: Path) -> Any:
    with pytest.warns(UserWarning, match="drawn anew"):
        return ppls.load(folder, num_classes=8)


def with_one_weight_edited(folder: Path) -> Any:
    model = ppls.load(folder)
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1
    return model


CHANGES = [trained, with_statistics_alone, with_another_head, with_one_weight_edited]


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_is_trained_from_the_checkpoint_and_not_converted(
    change: Callable[[Path], Any], folder: Path, tmp_path: Path
) -> None:
    model = change(folder)
    assert model.is_changed()
    model.save_pretrained(tmp_path / "changed")
    back = ppls.load(tmp_path / "changed")
    assert not back.is_changed()
    assert (back.provenance["trained_from"], "source_sha256" in back.provenance) == (SOURCE, False)
    assert model_sha256(back) == model_sha256(model)
    ppls.to_hub_folder(back, tmp_path / "card")
    said = (tmp_path / "card" / "README.md").read_text()
    assert (
        f"Trained or edited in PyTorch, from a PaddleSeg checkpoint (`PaddleSeg 2.7 or later`), SHA-256 `{SOURCE}`"
        in said
    )
    assert "Converted by" not in said
    (warning,) = ppls.convert_back(tmp_path / "changed").warnings
    assert f"was trained or edited in PyTorch, from the checkpoint {SOURCE}: it is not that one" in warning


def test_names_of_classes_are_saved_for_the_classes_that_they_are_of(folder: Path, tmp_path: Path) -> None:
    model = ppls.load(folder)
    model.provenance |= Usage(classes=("road", "car", "sky"), palette=("#000000", "#111111", "#222222")).metadata
    model.save_pretrained(tmp_path / "named")
    config = json.loads((tmp_path / "named" / "config.json").read_text())
    assert config["id2label"] == {"0": "road", "1": "car", "2": "sky"}
    assert_same(model, ppls.models.PPLiteSeg.from_pretrained(tmp_path / "named"))
    assert ppls.load(tmp_path / "named").usage.classes == ("road", "car", "sky")
    model.reset_classifier(8)
    model.save_pretrained(tmp_path / "other")
    assert "id2label" not in json.loads((tmp_path / "other" / "config.json").read_text())
    assert not {"classes", "palette"} & ppls.load(tmp_path / "other").provenance.keys()


def test_what_was_not_changed_is_what_was_converted(folder: Path, tmp_path: Path) -> None:
    model = ppls.load(folder)
    model.train()(torch.zeros(2, 3, 64, 64))  # and back again
    model.load_state_dict(ppls.load(folder).state_dict())
    assert not model.is_changed()
    model.double().float().save_pretrained(tmp_path / "same")
    assert ppls.load(tmp_path / "same").provenance == ppls.load(folder).provenance
    assert not ppls.convert_back(folder).warnings


def test_the_card_of_a_new_folder_says_where_the_weights_come_from(folder: Path, tmp_path: Path) -> None:
    with_one_weight_edited(folder).save_pretrained(tmp_path / "new")
    card = (tmp_path / "new" / "README.md").read_text()
    assert (
        f"Trained or edited in PyTorch, from a PaddleSeg checkpoint (`PaddleSeg 2.7 or later`), SHA-256 `{SOURCE}`"
        in card
    )
    assert "Not verified for this card" in card
    assert "More Information Needed" not in card
    small_model().save_pretrained(tmp_path / "theirs", model_card_kwargs={"words": "mine"})
    assert "PytorchModelHubMixin" in (tmp_path / "theirs" / "README.md").read_text()


def test_a_model_that_was_built_by_hand_loads_and_goes_to_paddle(tmp_path: Path) -> None:
    model = small_model()
    model.save_pretrained(tmp_path / "hub")
    assert_same(model, ppls.load(tmp_path / "hub"))
    assert not {"source_sha256", "trained_from"} & ppls.load(tmp_path / "hub").provenance.keys()
    ppls.convert_back(tmp_path / "hub", tmp_path / "back.pdparams")
    assert_same(model, ppls.load(tmp_path / "back.pdparams"))
    ppls.to_hub_folder(tmp_path / "hub", tmp_path / "card")
    assert "Built in PyTorch; no PaddleSeg checkpoint is recorded." in (tmp_path / "card" / "README.md").read_text()


def verified(folder: Path, place: Path) -> str:
    model = ppls.load(folder)
    figures = {"verdict": "pass", "tolerance": 1e-4, "dtype": "float32", "sha256": SOURCE, "outputs": []}
    report = {**figures, "candidate": "hub", "candidate_sha256": model_sha256(model)}
    ppls.to_hub_folder(model, place, report=report)
    return (place / "README.md").read_text()


def test_a_card_keeps_its_verdict_for_the_very_weights(folder: Path, tmp_path: Path) -> None:
    card = verified(folder, tmp_path / "hub2")
    assert "`ppls-verify`: **pass**" in card
    ppls.load(tmp_path / "hub2").save_pretrained(tmp_path / "hub2")
    assert (tmp_path / "hub2" / "README.md").read_text() == card


@pytest.mark.parametrize("change", CHANGES)
def test_a_card_has_no_verdict_for_other_weights_in_its_folder(
    change: Callable[[Path], Any], folder: Path, tmp_path: Path
) -> None:
    card = verified(folder, tmp_path / "hub2")
    (tmp_path / "hub2" / "README.md").write_text(card.replace("## Use\n", "## Mine\n\nmy words\n\n## Use\n"))
    model = change(folder)
    model.save_pretrained(tmp_path / "hub2")
    said = (tmp_path / "hub2" / "README.md").read_text()
    assert "**pass**" not in said
    assert "Not verified: the weights were changed since there were figures" in said
    assert "Trained or edited in PyTorch, from" in said
    assert "Converted by ppls" not in said
    assert f"num_classes: {model.num_classes}" in said
    assert "my words" in said
    assert brought_up_to_date(said, model) == said


def test_a_card_of_an_earlier_release_keeps_no_verdict(folder: Path) -> None:
    card = "# PPLiteSeg\n\nby me\n\n## Parity with PaddleSeg\n\n`ppls-verify`: **pass** at tolerance 0.0001.\n"
    assert "**pass**" not in brought_up_to_date(card, ppls.load(folder))
    assert brought_up_to_date("# Mine\n\n**pass**\n", ppls.load(folder)) == "# Mine\n\n**pass**\n"


def test_an_export_says_what_the_weights_are_now(folder: Path) -> None:
    model = ppls.load(folder)
    assert metadata_of(model, {})["source_sha256"] == SOURCE
    model.reset_classifier(8)
    told = metadata_of(model, {})
    assert (told["trained_from"], told["config"]["num_classes"], "source_sha256" in told) == (SOURCE, 8, False)
    model.heads[0].classifier = torch.nn.Identity()
    told = metadata_of(model, {})
    assert (told["trained_from"], "config" in told, "source_sha256" in told) == (SOURCE, False, False)


def test_a_tensor_has_another_number_when_anything_of_it_changes() -> None:
    tensor = torch.arange(6.0)
    others = [tensor + 1, tensor.reshape(2, 3), tensor.half(), tensor.flip(0), tensor[:5], -tensor]
    assert len({checksums({"x": each})["x"] for each in [tensor, *others]}) == 7
    assert checksums({"a._orig_mod.x": tensor}) == checksums({"a.x": tensor.clone()})
