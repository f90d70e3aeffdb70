"""What the table of pairs says of one pair."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from AutoRegLib.core.pair_table import PairLine
from AutoRegSlicerLib.panels.cases_table import title
from AutoRegSlicerLib.registration.pairs import NodePair


def cells(pair: NodePair | PairLine, row: dict[str, Any]) -> list[str]:
    """One line of the table; what was not measured stays empty."""
    states = {"waiting": _("Waiting"), "running": _("Running"), "done": _("Done"), "failed": _("Failed"),
              "cancelled": _("Cancelled")}

    def change(name: str) -> str:
        before, after = row.get(f"{name}_before"), row.get(name)
        return "" if after is None else f"{after:.2f}" if before is None else f"{before:.2f} → {after:.2f}"

    folds = row.get("folds")
    return [pair.name, states.get(str(row.get("state", "")), ""), change("dice"), change("lncc"),
            "" if folds is None else str(folds)]


def belongings(pair: NodePair | PairLine, *, guided: bool) -> str:
    """The labels and the points of both volumes, as they were found in the scene; empty for files."""
    if isinstance(pair, PairLine):
        return ""
    words = {"labels": _("Labels"), "landmarks": _("Guide points") if guided else _("Landmarks")}
    sides = {name: [title(getattr(row, kind)) or _("none") for row in (pair.fixed, pair.moving)]
             for kind, name in words.items()}
    return "\n".join(_("{what}: {fixed} (fixed), {moving} (moving)").format(what=name, fixed=fixed, moving=moving)
                     for name, (fixed, moving) in sides.items())
