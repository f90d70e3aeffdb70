"""What a model is for and what a registration found, in one line each."""

from __future__ import annotations

from math import prod
from typing import Any

from slicer.i18n import tr as _

from AutoRegSlicerLib.panels import qtbits
from AutoRegSlicerLib.panels.bundles import Bundle

#: seconds that geodesic shooting takes on one core, as a process and for a million voxels: a whole brain 25
SHOT_SECONDS = (8.0, 2.5)
MOST_VOXELS = 256**3  # finer images are shot on a coarser grid


def compatibility(bundle: Bundle) -> str:
    """What a model was made for, in one line."""
    spacing = "\u00a0×\u00a0".join(f"{s:g}" for s in bundle.spacing)  # one line never ends inside it
    parts = [_("Trained on {what}").format(what=bundle.anatomy or _("unknown data"))]
    parts += [bundle.modality] if bundle.modality else []
    parts += [_("works at {spacing}\u00a0mm").format(spacing=spacing)] if spacing else []
    dice = bundle.validation("dice")
    parts += [_("validation Dice {dice}").format(dice=f"{dice:.2f}")] if dice is not None else []
    return ", ".join(parts) + "."


def summarize(report: dict[str, Any]) -> str:
    """A finished registration in one line: how good it is, as far as it was measured."""
    parts = fitted(report.get("fit", {}))
    if "seconds" in report:
        ended = _("Ended after {time}.") if report.get("fit", {}).get("verdict") == "red" else _("Done in {time}.")
        parts.append(ended.format(time=qtbits.duration(report["seconds"])))
    overlap = report.get("dice_before", {}).get("mean"), report.get("dice", {}).get("mean")
    points = report.get("tre_before_mm"), report.get("tre_mm")
    guides = tuple(report.get("guide_landmarks", {}).get(key) for key in ("before_mm", "after_mm"))
    for (before, after), text in ((overlap, _("Dice {before} → {after}.")),
                                  (points, _("Landmarks {before} → {after} mm.")),
                                  (guides, _("Guide points {before} → {after} mm."))):
        if before is not None and after is not None:
            parts.append(text.format(before=f"{before:.2f}", after=f"{after:.2f}"))
    parts += comparedBy(report.get("refine", {}))
    if "folds" in report:
        percent = 100 * report.get("fold_fraction", 0.0)
        parts.append(_("No folds.") if not report["folds"] else _(
            "{percent} % of voxels fold; inverse and volume measures are unreliable there.").format(
                percent=f"{percent:.2g}"))
    return " ".join(parts)


def fitted(fit: dict[str, Any]) -> list[str]:
    """What speaks against a result, first of all; empty where nothing does."""
    words = {"red": _("Do not use this result: {reason}"), "amber": _("Look before you use it: {reason}")}
    reasons = fit.get("reasons", [])
    return [words[fit["verdict"]].format(reason=reasons[0]["text"])] if reasons and fit["verdict"] in words else []


def geodesic(volume: Any) -> str:
    """What geodesic shooting is, and how long it will take on the fixed volume, once there is one."""
    words = _("Geodesic shooting: one smooth, invertible path between the images. Needs no training.")
    if volume is None or volume.GetImageData() is None:
        return words
    voxels = min(prod(volume.GetImageData().GetDimensions()), MOST_VOXELS)
    seconds = SHOT_SECONDS[0] + SHOT_SECONDS[1] * voxels / 1e6
    return words + " " + _("On a processor it takes about {time} for this volume.").format(
        time=qtbits.duration(seconds))


def comparedBy(refinement: dict[str, Any]) -> list[str]:
    """What the refinement compared images by, and who chose it; empty without one, or with a model's own loss."""
    name = {"lncc": _("local correlation"), "mind": "MIND"}.get(refinement.get("similarity", ""))
    reasons = {"images": _("Compared by {name}, chosen by how alike the images are."),
               "request": _("Compared by {name}, as asked."),
               "recipe": _("Compared by {name}, with the loss that a search found.")}
    reason = reasons.get(refinement.get("similarity_chosen_by", ""))
    return [reason.format(name=name)] if name and reason else []
