"""The command `ppls`: a verb for each thing it does, each loaded when it is asked for."""

from __future__ import annotations

import importlib
from typing import Any

import click

from ppls.cli.command import Ending, with_version
from ppls.cli.help import Explained
from ppls.shown import listed

VERBS = {  # where each is
    "convert": "ppls.cli.convert",
    "verify": "ppls.cli.verify",
    "inspect": "ppls.cli.inspect",
    "map": "ppls.cli.map",
    "list": "ppls.cli.listing",
    "predict": "ppls.cli.predict",
    "eval": "ppls.cli.evaluate",
    "train": "ppls.cli.train",
    "export": "ppls.cli.export",
    "bench": "ppls.cli.bench",
}


def verb(name: str) -> click.Command:
    """The command that a verb is."""
    module = importlib.import_module(VERBS[name])
    made: click.Command = getattr(module, module.__name__.rpartition(".")[2])
    return made


def _options_of(made: click.Command) -> list[click.Parameter]:
    """Those of a verb, or of its actions."""
    actions = made.commands.values() if isinstance(made, click.Group) else [made]
    return [parameter for action in actions for parameter in action.params]


class _Verbs(Ending, Explained, click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return verb(name) if name in VERBS else None

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if not args and not context.resilient_parsing:
            click.echo(context.get_help())
            context.exit(2)
        return super().parse_args(context, args)

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        if args[0] not in VERBS and not context.resilient_parsing:
            from difflib import get_close_matches

            close = get_close_matches(args[0], VERBS, 1)
            meant = f"did you mean {close[0]!r}?" if close else f"there are {listed([*VERBS], len(VERBS))}"
            context.fail(f"No such verb {args[0]!r}; {meant}")
        return super().resolve_command(context, args)

    def hint(self, error: click.ClickException) -> str:
        """Of an option that stands before the verb, or behind one that has none of that name: which verbs have it."""
        if not isinstance(error, click.NoSuchOption):
            return ""
        having = [name for name in VERBS if any(error.option_name in each.opts for each in _options_of(verb(name)))]
        before = error.ctx is not None and isinstance(error.ctx.command, click.Group)
        if before and len(having) == len(VERBS):
            return f" Give it behind the verb: ppls VERB ... {error.option_name}"
        return f" It is an option of {listed(having, len(VERBS))}." if having else ""

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(context, formatter)
        Explained.format_options(self, context, formatter)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, str(verb(name).short_help)) for name in VERBS])


@with_version
@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    subcommand_metavar="VERB ...",
    example="ppls convert model.pdparams model.safetensors\nppls convert --help",
)
def ppls() -> None:
    """Move PaddleSeg models to PyTorch, and prove that nothing changed.

    Each verb is a command of its own too: ppls convert is ppls-convert.
    """
