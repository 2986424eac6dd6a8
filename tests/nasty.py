"""Texts that a file may hold and that nothing may obey: terminals, editors, browsers, Markdown, rich's own markup."""

from __future__ import annotations

import unicodedata

NASTY = {
    "clears the screen": "\x1b[2J",
    "sets the title": "\x1b]0;pass\x07",
    "goes back": "all fine\rfail",
    "breaks the line": "x\nverified: pass",
    "breaks the line as Unicode has it": "x\u2028verified: pass",
    "next line": "x\x85verified: pass",
    "tab": "a\tb",
    "delete": "\x7f\x08",
    "one-byte escape": "\x9b31m",
    "writes from right to left": "\u202efdp.exe",
    "isolates": "\u2066x\u2069",
    "has no width": "pa\u200bss\u200d\ufeff",
    "cannot be seen": "a\u3164\u034fb\U000e0101",
    "tag": "\U000e0041",
    "lone surrogate": "\ud800x\udce9",
    "rich markup": "[/red][bold]x[link=http://evil]y",
    "emoji name": ":smile:",
    "script": "</title><script>alert(1)</script>",
    "attribute": "\"><img src=x onerror=alert(1) a='",
    "template": "{{ 7 * 7 }}{% x %}",
    "cells": "a|b\\|c",
    "code": "`x` ``` ~~~",
    "image": "![x](http://evil/x.png)",
    "links": "[x](http://evil) <http://evil> http://evil/ www.evil.com a@evil.com",
    "heading": "# verified: pass",
    "emphasis": "**verified: pass** __x__",
    "mathematics": "$\\frac{1}{0}$ $x$",
    "percent": "%s %(x)d {0} {x}",
    "beyond ASCII": "Stra\xdfe \u65e5\u672c \U0001f600 \xd7",
}
WHOLE = " ".join(NASTY.values())


def obeyed(shown: str) -> list[str]:
    """The characters of what was shown that something would obey: line breaks are ppls's own."""
    kinds = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    unseen = "\u034f\u3164\U000e0101"
    return [c for c in shown if (c != "\n" and unicodedata.category(c) in kinds) or c in unseen]


def assert_inert(shown: str) -> None:
    """Nothing in what was shown is obeyed, and no name made a line of its own."""
    assert obeyed(shown) == []
    assert not [line for line in shown.split("\n") if line.startswith("verified")]
