"""Register one pair of files and write everything about it; apply a transform that was written."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from AutoRegLib.bundle import ModelBundle
from AutoRegLib.core.drawing import attempted
from AutoRegLib.core.errors import InputError
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import read_recipe
from AutoRegLib.core.records import make_folder, write_json
from AutoRegLib.core.result_set import together
from AutoRegLib.core.sharing import without_paths
from AutoRegLib.core.verbs import VERBS
from AutoRegLib.geodesic.predictor import load_predictor
from AutoRegLib.imaging.displacement import affine_of, transform_points
from AutoRegLib.imaging.files import (
    read_geometry,
    read_points,
    read_transform,
    read_volume,
    write_composite,
    write_coordinates,
    write_displacement,
    write_linear,
    write_points,
    write_volume,
)
from AutoRegLib.imaging.reach import points_beyond, voxels_beyond
from AutoRegLib.imaging.volume import resample
from AutoRegLib.registration.footprint import coarser, working_voxels_within
from AutoRegLib.registration.guides import numbered
from AutoRegLib.registration.metrics import inside
from AutoRegLib.registration.no_network import OWN, no_network
from AutoRegLib.registration.pair import PairInputs, RegisterOptions, read_pair
from AutoRegLib.registration.pipeline import Clock, Registration, register_volumes
from AutoRegLib.registration.report import ResultVolumes, assemble

__all__ = ["RegisterOptions", "Registration", "apply_transform", "register", "register_volumes"]

#: every file a registration may leave; what this run does not make must not stay from an earlier one
OUTPUTS = VERBS["register"].results
_COMPOSITE, _COORDINATES = "composite.h5", "npy"


def register(
    model: ModelBundle | None, fixed: str | Path, moving: str | Path, *, output: str | Path,
    options: RegisterOptions | None = None, device: str = "cpu", monitor: Monitor | None = None,
) -> dict[str, Any]:
    """Register two files and write the result folder (:data:`OUTPUTS`); return the report.

    ``model`` None: no network; the affine alignment and, where the options ask for it, the refinement.

    Raises: InputError, DiskError, OutOfMemoryProblem, CancelledError.
    """
    options, monitor = options or RegisterOptions(), monitor or Monitor()
    began = time.perf_counter()
    clock = Clock()
    output = make_folder(output)
    with clock("read", monitor):
        most = None if options.memory is None else working_voxels_within(
            options.memory, fixed, moving, model=model, options=options)
        pair = read_pair(fixed, moving, options)
        if options.share:
            pair = replace(pair, landmarks=numbered(pair.landmarks), guides=numbered(pair.guides))
        _protect(pair, output, options)
        initial = [] if pair.initial is None else [pair.initial]
        if _COMPOSITE in options.transform_format and initial:
            affine_of(*initial)  # before anything is computed
        if pair.slices is not None and pair.slices.fixed.axis == 2 and "nii.gz" in options.transform_format:
            raise InputError("a field of one slice as .nii.gz", expected="nrrd, h5, tfm or composite.h5",
                             got="nii.gz, of which ITK and Slicer drop the third axis",
                             remedy="leave --transform-format nii.gz out")
        loss = None if options.loss is None else read_recipe(options.loss)
        asked = model = model or no_network(pair.fixed.geometry, pair.moving.geometry, loss=loss)
        model = model if most is None else coarser(model, pair.fixed.geometry, most)
        regularity = options.alpha if options.predictor is None else load_predictor(options.predictor, device=device)
    found = register_volumes(
        model, pair.fixed, pair.moving, affine=options.affine, initial=pair.initial, fixed_mask=pair.mask,
        moving_mask=pair.moving_mask, guides=pair.guides, refine=options.refine,
        similarity=options.similarity if loss is None else OWN, deliver=options.deliver, smoothness=options.smoothness,
        preserve_volume=options.preserve_volume, transformation=options.transformation, regularity=regularity,
        inverse=options.inverse, seed=options.seed, device=device, monitor=monitor,
    )
    clock.seconds.update(found.seconds)
    formats = [suffix for suffix in ("nrrd", *options.transform_format) if suffix not in (_COMPOSITE, _COORDINATES)]
    fields = {f"transform.{suffix}": pair.written_field(found.field) for suffix in formats}
    if found.inverse is not None:
        fields["inverse_transform.nrrd"] = pair.written_field(found.inverse, inverse=True)
    if found.course is not None:
        fields["initial_velocity.nrrd"] = pair.written_velocity(found.course)
    with together(output, last="report.json", obsolete=OUTPUTS) as stage:
        with ThreadPoolExecutor(2 if most is None else 1) as writers:
            with clock("measure", monitor), ThreadPoolExecutor(1) as loader:
                loader.submit(import_module, "AutoRegLib.registration.figure")  # a second or two, hidden by measuring
                if most is not None:  # one after the other
                    report, volumes = assemble(model, pair, found, device=device)
                writing = {  # fields compress while they are measured
                    name: writers.submit(write_displacement, field, stage / name, compress=options.compress)
                    for name, field in fields.items()
                }
                if _COMPOSITE in options.transform_format:
                    name = f"transform.{_COMPOSITE}"
                    linear = pair.written_linear(affine_of(found.alignment.transform, *initial))
                    writing[name] = writers.submit(
                        write_composite, pair.written_field(found.field), linear, stage / name)
                if _COORDINATES in options.transform_format:
                    for stem, end in (("transform", "moving"), ("inverse_transform", "fixed")):
                        field, name = fields.get(f"{stem}.nrrd"), f"{stem}.{_COORDINATES}"
                        if field is not None:
                            writing[name] = writers.submit(
                                write_coordinates, field, pair.file_geometry(end), stage / name)
                if most is None:
                    report, volumes = assemble(model, pair, found, device=device)
            found = replace(found, orientation=None, inverse_chain=())  # measured: large images need the room
            with clock("write", monitor):
                images = {"warped.nii.gz": volumes.warped, "jacobian.nii.gz": volumes.jacobian}
                if found.alignment.level != "none":  # the affine alone; an initial transform follows it
                    writing["affine.tfm"] = writers.submit(
                        write_linear, pair.written_linear(found.alignment.transform), stage / "affine.tfm")
                if volumes.warped_labels is not None:
                    images["warped_labels.nii.gz"] = volumes.warped_labels
                writing |= {name: writers.submit(write_volume, pair.written_volume(image), stage / name)
                            for name, image in images.items()}
                shown = {**report, "seconds": time.perf_counter() - began}  # drawn while the files are compressed
                problem = _draw(stage / "report.png", pair, found, volumes, shown, names=model.recipe.structures)
                for written in writing.values():
                    written.result()
        made = list(writing)
        if model is not asked:
            report["warnings"].append(f"The images were compared at {min(model.recipe.preprocessing.spacing):.3g} mm "
                                      f"to stay below {options.memory:g} GB: finer detail was not used.")
        if problem:
            report["warnings"].append(problem)
        else:
            made.append("report.png")
        report = {
            **report, "seconds": time.perf_counter() - began, "seconds_by_step": clock.seconds,
            "inputs": pair.hashes(), "outputs": sorted([*made, "report.json"]),
        }
        if options.share:
            report = without_paths(report, [*pair.files.values(), output, model.path])
        write_json(stage / "report.json", report)
    for name in (*made, "report.json"):
        role = {"report.png": "figure"}.get(name, name.split(".")[0])
        monitor.event("artifact", role=role, path=str(output / name))
    for text in report["warnings"]:
        monitor.event("warning", code="registration", text=text)
    return report


def _draw(
    path: str | Path, pair: PairInputs, found: Registration, volumes: ResultVolumes, report: Mapping[str, Any],
    *, names: Mapping[int, str] | None = None,
) -> str:
    """Write ``report.png``; the reason in words when there can be no picture, else empty. Raises DiskError."""
    def draw() -> None:
        from AutoRegLib.registration.figure import report_figure

        report_figure(path, pair, found.field, volumes, report, names=names or {})

    return attempted(draw, "report.png")


def _protect(pair: PairInputs, output: Path, options: RegisterOptions) -> None:
    """Never write over an input. Raises InputError."""
    names = (*OUTPUTS, *(f"transform.{suffix}" for suffix in options.transform_format))
    ours = {(output / name).resolve() for name in names}
    for role, path in pair.files.items():
        if Path(path).resolve() in ours:
            raise InputError(f"the result would overwrite the {role.replace('_', ' ')}", expected="another folder",
                             got=path, remedy="choose another --output")


def apply_transform(
    transform: str | Path, *, reference: str | Path | None, input: str | Path, output: str | Path,
    kind: Literal["image", "labels", "points"] = "image",
) -> dict[str, Any]:
    """One warp with the numbers of SimpleITK and Slicer.

    Images and labels are pulled back onto ``reference``'s grid (linear, nearest; 0 where there is no data).
    Points go through the transform as it is stored: fixed to moving; to carry moving points to the fixed image
    give the inverse transform. Beyond its displacement field a transform moves nothing: ``outside_field`` counts the
    points, or the voxels of ``reference``, that lie there, and ``warnings`` says so.

    Unit: mm LPS. Raises: InputError, DiskError.
    """
    chain = read_transform(transform)
    flat = chain.GetDimension() == 2
    grid = None if reference is None else read_geometry(reference, flat=flat)
    if grid is not None and grid.dims != chain.GetDimension():
        raise InputError("the reference has another dimension than the transform",
                         expected=f"{chain.GetDimension()}-D", got=f"{grid.dims}-D", remedy="choose the fixed image")
    warnings: list[str] = []
    if kind == "points":
        names, points = read_points(input)
        write_points(names, transform_points(chain, points), output)
        lost = [name for name, beyond in zip(names, points_beyond(chain, points), strict=True) if beyond]
        outside = len(lost)
        if lost:
            warnings.append(f"{outside} of {len(names)} points lie outside the displacement field and were not moved: "
                            f"{', '.join(lost[:5])}{', ...' if outside > 5 else ''}. Remove them, or register with a "
                            "fixed image that holds them.")
        if grid is not None and not inside(grid, points).all():
            count = int((~inside(grid, points)).sum())
            warnings.append(f"{count} of {len(names)} points lie outside the reference image.")
    elif kind in ("image", "labels"):
        if grid is None:
            raise InputError("a reference image is needed", expected="the image onto whose grid to resample",
                             remedy="give --reference")
        volume = read_volume(input, "labels" if kind == "labels" else "intensity", flat=flat)
        write_volume(resample(volume, grid, chain), output)
        outside = voxels_beyond(chain, grid)
        if outside:
            share = 100 * outside / math.prod(grid.size)
            warnings.append(f"{outside} voxels ({share:.2g} %) of the reference image lie outside the displacement "
                            "field and were not moved. Choose the fixed image of the registration as the reference.")
    else:
        raise InputError("unknown kind of input", expected="image, labels or points", got=kind)
    return {"output": str(output), "kind": kind, "outside_field": outside, "warnings": warnings}
