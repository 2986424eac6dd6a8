"""The witness: whether the checkpoint shows what each layer does, so that a fault there could have been found."""

from __future__ import annotations

from ppls.mappings.maps import Map
from ppls.parity.reference_run import Recording
from ppls.parity.stages.stage import Stage
from ppls.parity.tolerance import Tolerances
from ppls.shown import shown

_NAMED = 8  # of the layers that cannot be seen


def weigh_witness(recording: Recording, tolerances: Tolerances, map: Map | None = None) -> Stage:
    """Which layers and gates of the checkpoint cannot be seen: wrong by all of their size, they move less than allowed.

    Args:
        recording: of the reference, which measures that.
        tolerances: the largest scaled errors allowed.
        map: what it calls dead shows nothing, whatever the checkpoint is.
    """
    found = recording.result.witness
    if found is None:
        return Stage(name="witness", unit="layers and gates", why="left out by --no-layers")
    if found.why is not None:
        return Stage(name="witness", unit="layers and gates", why=f"it cannot be measured: {shown(found.why, 200)}")
    tolerance = tolerances.on(recording.layers_input or "")
    dead = [] if map is None else [each.pattern for each in map.dead]
    unseen = [faint.name for faint in found.faint if faint.moves <= tolerance]
    unseen = [name for name in unseen if not any(pattern.match_within(name) for pattern in dead)]
    if not unseen:
        return Stage(name="witness", unit="layers and gates", compared=found.examined, expected=found.examined)
    more = f" and {len(unseen) - _NAMED} more" if len(unseen) > _NAMED else ""
    names = ", ".join(shown(name, 80) for name in unseen[:_NAMED]) + more
    warning = (
        f"the checkpoint is a weak witness: whatever {names} should do, nothing that is compared shows it (a gate or "
        "scale of 0, a ReLU that is never open); verify the embedded default of the architecture, too"
    )
    return Stage(
        name="witness",
        unit="layers and gates",
        compared=found.examined - len(unseen),
        expected=found.examined,
        why=f"in this checkpoint no fault shows in or behind {names}",
        warnings=(warning,),
    )
