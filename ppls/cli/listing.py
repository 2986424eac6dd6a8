"""`ppls list`."""

from __future__ import annotations

import click

from ppls.cli.command import command
from ppls.cli.output import asked_for, echo, print_json

MODELS = "models"


@command(summary="The models that ppls has.", example="ppls list models 'pp*'")
@click.argument("what", type=click.Choice([MODELS]), default=MODELS)
@click.argument("pattern", default="*")
def listing(what: str, pattern: str) -> int:
    """List the models that ppls has: architectures, what each may stand on, and its published configs.

    PATTERN is of a name, with * and ?, in any letter case. The exit status is 1 if nothing fits.
    """
    from ppls.mappings.known import known_backbones, known_models

    found = known_models(pattern)
    if asked_for("json"):
        print_json({"models": [model.to_json() for model in found], "backbones": known_backbones()})
    else:
        from ppls.cli.summary import print_models

        print_models(found, known_backbones())
    if not found:
        echo(f"no model fits {pattern}", err=True)
    return 0 if found else 1
