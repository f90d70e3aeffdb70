"""The measures of one pair, and what a clinician should be told about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from AutoRegLib import __version__
from AutoRegLib.bundle import ModelBundle
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.imaging.displacement import chain, pull_back
from AutoRegLib.imaging.tetrahedra import orientation
from AutoRegLib.imaging.volume import Volume, looks_like_ct, resample
from AutoRegLib.networks.registry import count_parameters
from AutoRegLib.registration import metrics
from AutoRegLib.registration.fit import Registered, fit
from AutoRegLib.registration.guides import guide_measures
from AutoRegLib.registration.no_network import NAME, finest_spacing
from AutoRegLib.registration.pair import PairInputs
from AutoRegLib.registration.pipeline import Registration
from AutoRegLib.registration.similarity import hopeless

#: below this part of the fixed image with data from the moving one, something is probably cut off
_COVERED = 0.9
_SAMPLED_POINTS = 500_000  # of the fixed grid, spread evenly: where inverse consistency is measured


@dataclass(frozen=True, eq=False)
class ResultVolumes:
    """Everything on the fixed grid that is written or drawn."""

    before: Volume  # moving by its header alone
    warped: Volume
    jacobian: Volume
    labels_before: Volume | None = None
    warped_labels: Volume | None = None


def assemble(
    model: ModelBundle, pair: PairInputs, found: Registration, *, structures: Sequence[int] = (),
    inverse_consistency: bool = True, device: str = "cpu",
) -> tuple[dict[str, Any], ResultVolumes]:
    """Resample once and measure. A measurement that could not be made has no key.

    ``structures``: the only labels to compare, where both images have them; else all that both have.
    ``inverse_consistency`` False leaves the inverse-consistency error out.

    Unit: mm, seconds, bytes. Raises nothing of its own.
    """
    grid = pair.fixed.geometry
    labels = pair.moving_labels
    oriented = found.orientation or orientation(found.field)
    volumes = ResultVolumes(
        before=resample(pair.moving, grid),
        warped=pull_back(pair.moving, found.field),
        jacobian=oriented.jacobian,
        labels_before=None if labels is None else resample(labels, grid),
        warped_labels=None if labels is None else pull_back(labels, found.field),
    )
    report: dict[str, Any] = {"version": __version__}
    seen = Result(pair, found, volumes, structures=tuple(structures),
                  inverse_consistency=inverse_consistency, device=device, turned=oriented.turned)
    for measured in MEASURED:
        report |= measured(seen)
    if pair.guides is not None:
        report |= guide_measures(pair.guides, found.alignment.transform, pair.initial, found.field)
    peak = metrics.peak_memory_bytes(device)
    if peak is not None:
        report["peak_memory_bytes"] = peak
    report |= {"parameters": count_parameters(model.network), "device": device, "model": model.path.name,
               **({} if model.asks == 1 else {"asks": model.asks}),
               "network": model.recipe.network.name}
    aligned = found.alignment
    report["alignment"] = {"kept": aligned.kept, "reason": aligned.reason, "information_before": aligned.metric_before,
                           "information": aligned.metric_after}
    if found.verdict.scores:
        report["delivered"] = {"deformation": found.verdict.share, "agreement": found.verdict.scores,
                               **({"reason": found.verdict.reason} if found.verdict.reason else {})}
    if found.unfolded:
        report["unfolded_voxels"] = found.unfolded
    if found.refinement:
        report["refine"] = found.refinement
    report |= fit(Registered(model.recipe, pair, found, volumes.jacobian, report))
    told = found.warnings if pair.slices is None else (*found.warnings, *pair.slices.words)
    report["warnings"] = [*(_sentence(text) for text in told), *remarks(model.recipe, pair, report)]
    return report, volumes


@dataclass(frozen=True, eq=False)
class Result:
    """What there is to measure of one pair. ``structures``: as in :func:`assemble`; ``turned``: its field's
    non-diffeomorphic volume, as a share of all.
    """

    pair: PairInputs
    found: Registration
    volumes: ResultVolumes
    structures: tuple[int, ...] = ()
    inverse_consistency: bool = True
    device: str = "cpu"
    turned: float = 0.0


def overlap_measures(result: Result) -> dict[str, Any]:
    """Dice by headers, by the affine and by the whole field, and surface distance; empty without both label maps."""
    pair, found, volumes = result.pair, result.found, result.volumes
    if pair.fixed_labels is None or volumes.labels_before is None or volumes.warped_labels is None:
        return {}
    common = metrics.structures_of(pair.fixed_labels, _known(pair.moving_labels))
    structures = tuple(s for s in common if not result.structures or s in result.structures)
    outer = (found.alignment.transform,) if pair.initial is None else (found.alignment.transform, pair.initial)
    linear = chain(*outer)
    stages = {
        "dice_before": volumes.labels_before,
        "dice_affine": resample(_known(pair.moving_labels), pair.fixed.geometry, linear),
        "dice": volumes.warped_labels,
    }
    measures: dict[str, Any] = {}
    for key, labels in stages.items():
        values = metrics.with_mean(metrics.dice(pair.fixed_labels, labels, structures))
        if values:
            measures[key] = values
    distances = metrics.with_mean(metrics.hd95(pair.fixed_labels, volumes.warped_labels, structures))
    if distances:
        measures["hd95_mm"] = distances.pop("mean")
        measures["hd95_by_structure_mm"] = distances
    return measures


def landmark_measures(result: Result) -> dict[str, Any]:
    """Mean target registration error before and after, the largest, and each; empty without landmarks."""
    landmarks = result.pair.landmarks
    if landmarks is None:
        return {}
    errors = metrics.tre(result.found.field.warp_points(landmarks.fixed), landmarks.moving)
    return {
        "tre_before_mm": float(metrics.tre(landmarks.fixed, landmarks.moving).mean()),
        "tre_mm": float(errors.mean()),
        "tre_max_mm": float(errors.max()),
        "tre_by_landmark_mm": _by_name(landmarks.names, errors),
    }


def similarity_measures(result: Result) -> dict[str, Any]:
    """Local correlation of the images before and after."""
    pair, volumes = result.pair, result.volumes
    return {
        "lncc_before": metrics.lncc(pair.fixed, volumes.before, mask=pair.mask, device=result.device),
        "lncc": metrics.lncc(pair.fixed, volumes.warped, mask=pair.mask, device=result.device),
    }


def fold_measures(result: Result) -> dict[str, Any]:
    """Folds, what is turned over between voxels, and the spread of volume change."""
    return {**metrics.fold_measures(result.volumes.jacobian, mask=result.pair.mask),
            "ndv_fraction": result.turned}


def inverse_measures(result: Result) -> dict[str, Any]:
    """How far points end from where they began, through the delivered inverse or else the negative velocity's."""
    pair, found = result.pair, result.found
    backward = found.inverse_chain if found.inverse is None else (found.inverse.to_transform(),)
    if not result.inverse_consistency or not backward:
        return {}
    return metrics.inverse_consistency(found.field, backward, pair.moving.geometry, mask=pair.mask,
                                       most_points=_SAMPLED_POINTS)


def coverage_measures(result: Result) -> dict[str, Any]:
    """The part of the fixed image for which the moving image has data."""
    return {"coverage": metrics.coverage(result.found.field, result.pair.moving.geometry, mask=result.pair.mask)}


#: what measures a pair, in the order of the report; what a key means stands in ``core.measures``
MEASURED: tuple[Callable[[Result], dict[str, Any]], ...] = (
    overlap_measures, landmark_measures, similarity_measures, fold_measures, inverse_measures, coverage_measures,
)


def remarks(recipe: Recipe, pair: PairInputs, report: Mapping[str, Any]) -> list[str]:
    """What the figures mean for somebody who has to rely on them, in plain words."""
    said = [
        *_modality_remarks(recipe, pair), *_grid_remarks(recipe, pair), *_label_remarks(pair),
        *_refinement_remarks(recipe, report),
    ]
    where = "fixed mask" if pair.mask is not None else "fixed image's field of view"
    if report["coverage"] < _COVERED:
        said.append(f"The moving image covers only {_percent(report['coverage'])} of the {where}: the rest of the "
                    "warped image is empty (0) and was aligned without information.")
    if report["folds"]:
        inside = (f"; inside the mask {report['folds_in_mask']} ({_percent(report['fold_fraction_in_mask'])})"
                  if "folds_in_mask" in report else "")
        said.append(f"The deformation folds at {report['folds']} voxels ({_percent(report['fold_fraction'])} of the "
                    f"image{inside}): anatomy is turned inside out there, so volumes and shapes measured at these "
                    "places are not reliable.")
    if report["lncc"] < report["lncc_before"] - 0.005:
        said.append(f"The images look less alike after the registration than before (LNCC {report['lncc_before']:.3f} "
                    f"to {report['lncc']:.3f}): check the result before using it.")
    before, after = (report.get(key, {}).get("mean") for key in ("dice_before", "dice"))
    if before is not None and after is not None and after < before - 0.005:
        said.append(f"The structures overlap less after the registration than before (mean Dice {before:.3f} to "
                    f"{after:.3f}): check the result before using it.")
    if report.get("tre_mm", 0) > report.get("tre_before_mm", np.inf):
        said.append(f"The landmarks lie further apart after the registration ({report['tre_before_mm']:.2f} to "
                    f"{report['tre_mm']:.2f} mm): check the result before using it.")
    if pair.landmarks is not None:
        lost = [name for name, ok in zip(pair.landmarks.names,
                                         metrics.inside(pair.fixed.geometry, pair.landmarks.fixed), strict=True)
                if not ok]
        if lost:
            said.append(f"{len(lost)} landmarks lie outside the fixed image, where the deformation is not known: "
                        f"{', '.join(lost[:5])}.")
    return said


def _modality_remarks(recipe: Recipe, pair: PairInputs) -> list[str]:
    """Only CT can be told from its numbers: nothing else has voxels far below zero."""
    wanted = recipe.preprocessing.modality.strip().upper()
    said = []
    for role, volume in (("fixed", pair.fixed), ("moving", pair.moving)):
        looks_ct = looks_like_ct(volume)
        if wanted and wanted != "CT" and looks_ct:
            said.append(f"The {role} image looks like CT, but the model was trained on {wanted}: expect a poor result.")
        elif wanted == "CT" and not looks_ct:
            said.append(f"The model was trained on CT, but the {role} image does not hold Hounsfield units: expect a "
                        "poor result.")
    return said


def _refinement_remarks(recipe: Recipe, report: Mapping[str, Any]) -> list[str]:
    done = report.get("refine")
    if done is None:
        return ["There was no network and no refinement: the images are only aligned affinely. Ask for --refine auto."
                ] if recipe.network.name == NAME else []
    if hopeless(done):
        seen = "The images hardly resemble each other" if done.get("unlike") else (
            "No way to compare these images finds back a small known warp")
        return [f"{seen}: they were only aligned. Check the result; --similarity mind refines all the same."]
    if done["loss_after"] >= done["loss_before"]:
        return ["The refinement found nothing better and was left out."]
    return []


def _grid_remarks(recipe: Recipe, pair: PairInputs) -> list[str]:
    spacing, fixed = recipe.preprocessing.spacing, pair.fixed.geometry
    if recipe.network.name == NAME:
        finest = finest_spacing(fixed, pair.moving.geometry)
        return [f"The images were compared at {min(spacing):.3g} mm instead of their own {finest:.3g} mm, so that they "
                "fit into memory: finer detail was not used."] if min(spacing) > 1.01 * finest else []
    if spacing and max(fixed.spacing) > 2 * max(spacing):
        return [f"The fixed image's voxels ({max(fixed.spacing):.3g} mm) are more than twice those the model was "
                f"trained on ({max(spacing):.3g} mm): fine detail cannot be recovered."]
    return []


def _label_remarks(pair: PairInputs) -> list[str]:
    if (pair.fixed_labels is None) != (pair.moving_labels is None):
        given, missing = ("fixed", "moving") if pair.moving_labels is None else ("moving", "fixed")
        return [f"Only the {given} image has labels; without {missing} labels no overlap can be measured."]
    if pair.fixed_labels is None:
        return []
    fixed, moving = (set(metrics.structures_of(v)) for v in (pair.fixed_labels, _known(pair.moving_labels)))
    said = [
        f"Structures only in the {role} labels, not measured: {_listed(only)}."
        for role, only in (("fixed", fixed - moving), ("moving", moving - fixed)) if only
    ]
    if not fixed & moving:
        said.append("The two label maps have no structure in common: no overlap can be measured.")
    return said


def _known(labels: Volume | None) -> Volume:
    if labels is None:
        raise TypeError("label maps are checked by the caller")
    return labels


def _by_name(names: tuple[str, ...], values: np.ndarray) -> dict[str, float]:
    """Repeated names get their number, so that no landmark is lost."""
    result: dict[str, float] = {}
    for index, (name, value) in enumerate(zip(names, values.tolist(), strict=True), start=1):
        result[name if name not in result else f"{name} ({index})"] = value
    return result


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g} %"


def _listed(values: set[int]) -> str:
    ordered = sorted(values)
    return ", ".join(map(str, ordered[:10])) + (f" and {len(ordered) - 10} more" if len(ordered) > 10 else "")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
