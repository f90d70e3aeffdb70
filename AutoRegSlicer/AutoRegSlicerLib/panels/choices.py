"""The choices of the combo boxes. Names are what a scene file keeps: never rename one; labels may change."""

from __future__ import annotations

from enum import Enum

from slicer.i18n import tr as _

from AutoRegLib.core.networks import NETWORKS as FACTS
from AutoRegLib.core.networks import network_names

#: minutes of each preset of the search
PRESET_MINUTES = {"Quick": 20.0, "Standard": 180.0, "Thorough": 720.0}
#: networks a search can be asked for
NETWORKS = network_names()


def networkWords(name: str) -> str:
    """What a network is and what it needs, one sentence each, as the library's table has them."""
    facts = FACTS[name]
    return _("{title}.\nNeeds: {needs}\nAutoReg's own network is searched for its operators and its loss, the others "
             "for their loss.").format(title=facts.title, needs=facts.needs)


class InitialAlignment(Enum):
    """How the volumes are brought near each other first."""

    Affine = "auto"
    Existing = "existing"
    NoAlignment = "none"

    def label(self) -> str:
        return {"auto": _("Automatic affine"), "existing": _("Existing transform"), "none": _("None")}[self.value]


class Similarity(Enum):
    """What images are compared by without a model; the value is the word of the command line."""

    Automatic = "auto"
    LocalCorrelation = "lncc"
    Mind = "mind"

    def label(self) -> str:
        return {"auto": _("Automatic"), "lncc": _("Local correlation"), "mind": _("MIND (different contrasts)")}[
            self.value]


class Device(Enum):
    """Where to compute; the value is what a job asks for."""

    Automatic = "auto"
    Gpu = "cuda"
    Cpu = "cpu"
    AppleGpu = "mps"

    def label(self) -> str:
        return {"auto": _("Automatic"), "cuda": _("GPU"), "cpu": _("CPU"), "mps": _("Apple GPU")}[self.value]


class Pairing(Enum):
    """Which cases are registered with which; the value is the scenario's word."""

    AllPairs = "all"
    WithinSubject = "within-subject"
    Template = "atlas"

    def label(self) -> str:
        return {"all": _("All pairs"), "within-subject": _("Within subject"), "atlas": _("To template")}[self.value]


class SearchPreset(Enum):
    """How long and on how fine a grid to search; the value is the preset of the command line."""

    Quick = "quick"
    Standard = "standard"
    Thorough = "thorough"
    Custom = "custom"

    def label(self) -> str:
        return {
            "quick": _("Quick look, 20 min"), "standard": _("Standard, 3 h"), "thorough": _("Thorough, overnight"),
            "custom": _("Custom time"),
        }[self.value]


class ValidationObjective(Enum):
    """The validation objective of a search's loss weights; the value is the word of the command line."""

    Automatic = "auto"
    Labels = "labels"
    Landmarks = "landmarks"
    Images = "images"

    def label(self) -> str:
        return {"auto": _("Automatic"), "labels": _("Overlap of labels"), "landmarks": _("Landmarks"),
                "images": _("Images alone")}[self.value]


class CompareMode(Enum):
    """The values are those of display.COMPARE_MODES."""

    Fade = "fade"
    Checkerboard = "checkerboard"
    RedCyan = "red-cyan"
    Difference = "difference"
    Edges = "edges"
    SideBySide = "side-by-side"

    def label(self) -> str:
        return {
            "fade": _("Fade"), "checkerboard": _("Checkerboard"), "red-cyan": _("Red/cyan"),
            "difference": _("Difference"), "edges": _("Moving edges on fixed"), "side-by-side": _("Side by side"),
        }[self.value]


class TransformDisplay(Enum):
    """The values are those of display.TRANSFORM_MODES."""

    Nothing = "none"
    Grid = "grid"
    Glyphs = "glyphs"
    Contours = "contours"

    def label(self) -> str:
        return {"none": _("None"), "grid": _("Grid"), "glyphs": _("Glyphs"), "contours": _("Contours")}[self.value]


class Direction(Enum):
    """Which way nodes are carried."""

    MovingToFixed = "forward"
    FixedToMoving = "inverse"

    def label(self) -> str:
        return {"forward": _("Moving → fixed"), "inverse": _("Fixed → moving")}[self.value]


def refinement(steps: int, *, model: bool, geodesic: bool = False) -> int | str | None:
    """The refinement that a number of steps asks for.

    0: what the model's validation pairs liked (None), without a model until it converges; below 0: every level.
    After geodesic shooting only steps that are asked for.
    """
    if steps > 0 or geodesic:
        return max(steps, 0)
    return ("full" if steps else None) if model else "auto"


def refinementWords(given: object, *, model: bool) -> str:
    """What stands behind the number of steps: what 0 means, unless steps are ``given``."""
    return _(" steps") if given else _(" = as validated") if model else _(" = until it converges")


def remedyButtons() -> dict[str, tuple[str, str]]:
    """Text and tool tip of the button that mends what a message is about, by the message's action."""
    return {
        "set-up": (_("Set up…"), _("Install what is missing.")),
        "align-centers": (_("Align centers"), _("Start from a transform that brings the centers of the volumes "
                                                "together.")),
        "take-off": (_("Take off"), _("Take the volume off the transform it was previewed under.")),
    }


def similarityWords(*, model: bool, found: bool) -> tuple[list[str], str]:
    """Why the similarity cannot be chosen, and what the choices mean."""
    reasons = [_("A model compares images by the loss it was trained with.")] if model else [
        _("The loss that the search found says what is compared.")] if found else []
    return reasons, _(
        "Automatic looks at the aligned images. Local correlation: the same kind of image. MIND: different "
        "contrasts or modalities, such as T1 with T2 or CT with MR.")


def guideWords() -> dict[str, str]:
    """What the guide points of each volume do."""
    return {"fixed": _("Points of the fixed volume whose partners in the moving volume are known: they correct the "
                       "affine alignment and pull in the refinement, softly. Partners bear the same name, or else "
                       "stand at the same place of their lists."),
            "moving": _("The corresponding points in the moving volume.")}
