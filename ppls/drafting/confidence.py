"""How surely a layer of the port is the one that it was filled with, and why."""

from __future__ import annotations

from collections.abc import Callable

from ppls.drafting.arithmetic import of_one_dilation
from ppls.drafting.attempt import Match
from ppls.drafting.comparing import NEAR, UNLIKE
from ppls.drafting.rows import Confidence
from ppls.drafting.search import Search
from ppls.drafting.units import Unit
from ppls.shown import listed

UNPROVEN = "other values in it changed nothing that could be seen"


def confidence_of(
    match: Match, search: Search, module_of: Callable[[Unit], str]
) -> tuple[Confidence, str, tuple[str, ...]]:
    """The confidence of a row, the reason, and what else it may be; `module_of` is what the source calls a layer."""
    unit = match.target
    also = sorted(filter(None, (module_of(each) for each in search.alternatives.get(unit, ()))))
    if also:
        return "open", f"as well by {listed(also, 4)}: as many layers agree", (module_of(match.source), *also)
    if unit in search.untried:
        return "likely", "not every alternative was tried in the time there was", ()
    if unit in search.unproven:
        return "likely", UNPROVEN, ()
    if unit in search.dependent:
        return "likely", "it is another way, or none of the source's, where what is open is decided otherwise", ()
    if unit in search.best.wrong_calls:
        return "likely", "it runs again where the source runs another layer", ()
    if match.exact and match.output_error <= NEAR and not of_one_dilation(unit, match.source):
        return "likely", "it is dilated otherwise, which does not show: the image is too small", ()
    if match.exact and match.output_error > NEAR:
        return "likely", f"it alone saw this input, but it computes otherwise ({match.output_error:.0e})", ()
    if not match.exact and match.input_error > UNLIKE:
        return (
            "likely",
            "nothing like its input comes to any layer of the source",
            (),
        )
    if not match.exact:
        return "certain", "its input is only like it, but what follows agrees, and with no other", ()
    if match.negated:
        return "certain", "what follows agrees with this sign alone", ()
    if match.order is not None:
        return "certain", "it alone saw these channels, in another order", ()
    if match.rivals:
        return (
            "certain",
            f"of {len(match.rivals) + 1} that saw this input what follows agrees with this one alone",
            (),
        )
    return "certain", "it alone saw this input, and gives the same", ()
