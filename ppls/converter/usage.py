"""What a run's config, an export's `deploy.yaml` or the user says about how a model is used with images."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.folder import DEPLOY
from ppls.converter.run_config import load_inside, load_run
from ppls.errors import ConversionError, UsageError
from ppls.images.label_sets import LabelSet, find_label_set, label_sets
from ppls.images.transforms import Transforms
from ppls.images.usage import Usage
from ppls.records import dataclass
from ppls.schema import Node, Part, Word, build
from ppls.shown import shown

_SETS = {"Cityscapes": "cityscapes", "PascalVOC": "voc", "ADE20K": "ade20k"}  # by PaddleSeg's classes of data sets


@dataclass(eq=False, repr=False)
class _Section(Part):
    type: Word | None = None
    transforms: Node | None = None


@dataclass(eq=False, repr=False)
class _Run(Part):
    """What is read of a config: the data set and the transforms of a run, or those of an export (`Deploy`)."""

    val_dataset: _Section | None = None
    deploy: _Section | None = field(default=None, metadata={"key": "Deploy"})
    test_dataset: _Section | None = None


def transforms_of_run(run: Node) -> Node | None:
    """What a config lists as the transforms of its evaluation; None if there is no such list."""
    found: _Run = build(run, _Run)
    sections = (found.val_dataset, found.deploy, found.test_dataset)
    return next((section.transforms for section in sections if section is not None and section.transforms), None)


def usage_of(
    checkpoint: Checkpoint, run: Node | None, classes: str | Path | None, count: int | None
) -> tuple[Usage, list[str]]:
    """What is known, and warnings about what was said and is of no use.

    Args:
        checkpoint: of an export, the `deploy.yaml` beside it is read if there is no `run`.
        run: PaddleSeg's config of the run.
        classes: the name of a published set, or a file with a name on each line.
        count: the model's classes; None for a backbone.

    Raises:
        UsageError: `classes` are not so many.
        InputError: they cannot be read.
    """
    warnings: list[str] = []
    steps, labels = None, None
    try:
        run = run or _deploy_config(checkpoint)
        labels = None if run is None else data_set_of_run(run)
        listed = None if run is None else transforms_of_run(run)
        steps = None if listed is None else Transforms.of(listed)
    except ConversionError as error:
        warnings.append(f"{error}; the converted file records no preprocessing")
    if classes is not None:
        labels = find_label_set(classes)
        if len(labels.classes) != count:
            of = "is a backbone alone" if count is None else f"has {count}"
            raise UsageError(f"--classes {shown(classes)}: are {len(labels.classes)} classes, the model {of}")
    elif labels is not None and len(labels.classes) != count:
        if count is not None:
            warnings.append(
                f"{labels.name} has {len(labels.classes)} classes, the model {count}; no names are recorded"
            )
        labels = None
    if labels is None:
        return Usage(steps), warnings
    return Usage(steps, labels.classes, labels.palette), warnings


def _deploy_config(checkpoint: Checkpoint) -> Node | None:
    """What `paddleseg`'s export wrote beside the program and the weights; None where it did not."""
    if checkpoint.deploy is not None:
        return load_inside(checkpoint.deploy)
    program = checkpoint.files[-1]
    file = program.with_name(DEPLOY)
    is_export = len(checkpoint.files) > 1 and checkpoint.graph() is not None
    return load_run(file) if is_export and file.is_file() else None


def data_set_of_run(run: Node) -> LabelSet | None:
    """The published set of classes that a config names; None if it names none."""
    dataset = build(run, _Run).val_dataset
    return label_sets().get(_SETS.get((dataset.type if dataset else None) or "", ""))
