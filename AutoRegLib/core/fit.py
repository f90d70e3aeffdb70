"""Whether a registration can be relied on: the checks of a pair before and after, each written once.

Report, picture, console and the Slicer module read this table. What computes a check is in
:data:`AutoRegLib.registration.fit.FOUND`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Light = Literal["green", "amber", "red"]
LIGHTS: tuple[Light, ...] = ("green", "amber", "red")  # ever worse
#: what a light says, in one sentence
MEANING: dict[str, str] = {
    "green": "Nothing speaks against this result.",
    "amber": "Look at this result before using it.",
    "red": "Do not use this result: the registration failed, or the images do not belong together.",
}


@dataclass(frozen=True)
class Check:
    """One check. ``amber``, ``red``: the limits of its figure; None: it never says that. ``rising``: large figures are
    bad, else small ones. ``words``: what it says beside green, with ``{value}``.
    """

    key: str
    when: Literal["before", "after"]
    amber: float | None
    red: float | None
    words: str
    rising: bool = True
    form: str = "{:.2f}"

    def light(self, value: float) -> Light:
        """The light for a figure; what is not a number is red."""
        def beyond(limit: float | None) -> bool:
            return limit is not None and not (value < limit if self.rising else value > limit)

        return "red" if beyond(self.red) else "amber" if beyond(self.amber) else "green"

    def said(self, value: float) -> str:
        """The words with the figure in them."""
        return self.words.format(value=self.form.format(value))


#: in the order in which they are told
CHECKS: dict[str, Check] = {check.key: check for check in (
    Check("content", "before", 0.02, 0.005, "One image is nearly empty: only {value} of its voxels show anything.",
          rising=False, form="{:.1%}"),
    Check("apart", "before", 0.5, None, "The headers place the images apart; they were brought together by their "
          "centers."),
    Check("modality", "before", 0.5, None, "The images are of another modality than the model's."),
    Check("resemblance", "after", 0.25, 0.12, "Once aligned, the images hardly resemble each other (local correlation "
          "{value}): they may show different things.", rising=False),
    Check("above_chance", "after", 0.1, 0.03, "Once aligned, the images resemble each other hardly more than unrelated "
          "ones do (local correlation {value} above chance): they may show different things.", rising=False),
    Check("mirrored", "after", -0.05, -0.15, "A mirrored copy of the moving image fits as well or better (by {value} "
          "of 1): one of the images may be flipped.", rising=False),
    Check("gained", "after", -0.02, -0.1, "The images agree less after the registration than by their headers (by "
          "{value} of 1).", rising=False),
    Check("held_back", "after", 0.5, None, "The deformation made the images agree less: part or all of it was left "
          "out."),
    Check("inverse", "after", 1.0, 6.0, "There and back again misses by {value} voxels."),
    Check("folds", "after", 1e-9, 1e-3, "{value} of the voxels fold.", form="{:.2%}"),
    Check("crushed", "after", 0.02, 0.1, "{value} of the tissue shrinks to less than a fifth or grows to more than "
          "five times its size.", form="{:.1%}"),
    Check("covered", "after", 0.5, 0.1, "The moving image covers only {value} of the fixed image.", rising=False,
          form="{:.0%}"),
)}


def fit_of(values: Mapping[str, float]) -> dict[str, Any]:
    """A report's record: ``verdict``, ``before``, ``after`` (lights), ``reasons`` (check, light, text), ``values``.

    A check without a value is not made.
    """
    lights = {key: CHECKS[key].light(value) for key, value in values.items()}
    reasons = [{"check": key, "light": lights[key], "text": check.said(values[key])}
               for key, check in CHECKS.items() if lights.get(key, "green") != "green"]
    reasons.sort(key=lambda reason: -LIGHTS.index(reason["light"]))  # type: ignore[arg-type]

    def worst(when: Sequence[str]) -> Light:
        return max((lights[key] for key in lights if CHECKS[key].when in when), key=LIGHTS.index, default="green")

    return {"verdict": worst(("before", "after")), "before": worst(("before",)), "after": worst(("after",)),
            "reasons": reasons, "values": dict(values)}
