"""`ppls list`."""

from __future__ import annotations

import click

from ppls.cli.command import command
from ppls.cli.help import option
from ppls.cli.output import asked_for, echo, print_json

MODELS, PUBLISHED = "models", "published"


@command(
    summary="The models that ppls has, and the weights that PaddleSeg publishes.",
    example="ppls list published 'pp_liteseg*cityscapes*'",
    statuses={1: "Nothing fits."},
)
@click.argument("what", type=click.Choice([MODELS, PUBLISHED]), default=MODELS)
@click.argument("pattern", default="*")
@option("--all", "everything", is_flag=True, group="Published", help="Those too that ppls cannot convert yet.")
def listing(what: str, pattern: str, everything: bool) -> int:
    """List the models that ppls has: architectures, what each may stand on, and its published configs. Or the weights
    that PaddleSeg publishes: ppls convert, load and so on take their names in the place of a file.

    PATTERN is of a name, with * and ?, in any letter case.
    """
    count = _published(pattern, everything) if what == PUBLISHED else _models(pattern)
    if not count:
        echo(f"nothing fits {pattern}", err=True)
    return 0 if count else 1


def _models(pattern: str) -> int:
    from ppls.cli.summary import print_models
    from ppls.mappings.known import known_backbones, known_models

    found = known_models(pattern)
    if asked_for("json"):
        print_json({"models": [model.to_json() for model in found], "backbones": known_backbones()})
    else:
        print_models(found, known_backbones())
    return len(found)


def _published(pattern: str, everything: bool) -> int:
    from ppls.cli.summary import print_published
    from ppls.converter.published import list_published

    rows = list_published(pattern.lower(), available=not everything)
    if asked_for("json"):
        print_json({"published": [row.to_json() for row in rows]})
    else:
        print_published(rows)
    return len(rows)
