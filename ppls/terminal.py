"""The one console of ppls: what a terminal would obey, or cannot show in its encoding, is escaped in all it prints.

Whatever it is given is text and no markup: a path or a tensor's name may well look like `[/red]` or `:smile:`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.segment import Segment
from rich.text import Text

from ppls.shown import encodable, shown_line, shown_lines


def console(*, err: bool = False) -> Console:
    """The console of stdout as it is now, or of stderr."""
    return _Console(file=sys.stderr if err else sys.stdout, markup=False, emoji=False, highlight=False)


def styled(*parts: str | tuple[str, str]) -> Text:
    """One line of parts, each as it is or with a style: `styled(("failure:", "red"), f" {reason}")`."""
    return Text.assemble(
        *(shown_line(part) if isinstance(part, str) else (shown_line(part[0]), part[1]) for part in parts)
    )


def lines(parts: Iterable[str]) -> Group:
    """What stands below each other in one cell of a table, each on a line of its own."""
    return Group(*parts)


class _Console(Console):
    def print(self, *objects: Any, **options: Any) -> None:
        """A line stays one line, however long: broken at a name's spaces, what follows them would look like ours."""
        options.setdefault("soft_wrap", all(isinstance(found, (str, Text)) for found in objects))
        super().print(*objects, **options)

    def render_str(self, text: str, *args: Any, **options: Any) -> Text:
        """Text is escaped before it is laid out, so that columns stay as wide as they look."""
        return super().render_str(encodable(shown_line(text), self.encoding), *args, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """All that is printed comes by here, in lines; only rich's own control codes pass as they are."""
        for segment in super().render(renderable, options):
            if segment.control is None:
                segment = Segment(encodable(shown_lines(segment.text), self.encoding), segment.style)
            yield segment
