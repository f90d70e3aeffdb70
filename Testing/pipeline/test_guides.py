"""Guide landmarks: a pair that intensities alone get wrong, deformations, and points that are refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from pipeline.synthetic import blobs, grid_about, known_model

from AutoRegLib import register
from AutoRegLib.app.perform import perform
from AutoRegLib.core.errors import InputError
from AutoRegLib.core.jobs import JobRequest, Monitor
from AutoRegLib.imaging.files import write_points, write_volume
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.registration import metrics
from AutoRegLib.registration.pair import RegisterOptions
from AutoRegLib.registration.run import register as register_files

PLANE = grid_about((0, 0), (72, 64), (1.5, 1.5), np.eye(2))
PERIOD = 15.0
SPOTS = np.array([[-20.0, -12], [14, -18], [3, 2], [-16, 15], [22, 20], [-2, -25]])
NONE: dict[str, Any] = {"model": "none", "refine": "auto"}


def lattice(shift: np.ndarray) -> Volume:
    """A pattern without an end, which lies on itself after a period in every direction."""
    points = (metrics.coordinates(PLANE).astype(float) - shift) * 2 * np.pi / PERIOD
    value = (1 + np.cos(points[..., 0])) * (1 + np.cos(points[..., 1])) + 0.3 * np.cos(2 * points[..., 0])
    return Volume((100 * value).astype(np.float32), PLANE, "intensity")


def written(base: Path, fixed: Volume, moving: Volume, ours: np.ndarray, theirs: np.ndarray, *, suffix: str = ".csv",
            order: slice = slice(None)) -> dict[str, Any]:
    write_volume(fixed, base / "fixed.nii.gz")
    write_volume(moving, base / "moving.nii.gz")
    names = [f"point {number}" for number in range(len(ours))]
    write_points(names, ours, base / f"ours{suffix}")
    write_points(names[order], theirs[order], base / f"theirs{suffix}")
    return {"fixed": base / "fixed.nii.gz", "moving": base / "moving.nii.gz", "output": base / "out", **NONE}


def field_of(base: Path, folder: str = "out") -> sitk.DisplacementFieldTransform:
    path = str(base / folder / "transform.nrrd")
    return sitk.DisplacementFieldTransform(sitk.ReadImage(path, sitk.sitkVectorFloat64))


def moved(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    return np.array([transform.TransformPoint(point) for point in points.tolist()])


def test_where_intensities_see_another_period_landmarks_make_it_right(tmp_path: Path) -> None:
    true = np.array([PERIOD - 3.5, 2.0])
    arguments = written(tmp_path, lattice(np.zeros(2)), lattice(true), SPOTS, SPOTS + true)
    others = np.array([[8.0, -7], [-9, 4], [17, 9]])
    register(**arguments)
    assert np.linalg.norm(moved(field_of(tmp_path), others) - others - true, axis=1).min() > 10  # the nearest period
    report = register(**arguments, overwrite=True,
                      guide_landmarks=(str(tmp_path / "ours.csv"), str(tmp_path / "theirs.csv")))
    assert np.abs(moved(field_of(tmp_path), others) - others - true).max() < 1.0
    guided = report["guide_landmarks"]
    assert guided["count"] == 6 and "landmarks" in report["alignment"]["kept"]
    assert abs(guided["before_mm"] - np.linalg.norm(true)) < 1e-3 and guided["after_mm"] < 1.0
    assert len(guided["after_by_landmark_mm"]) == 6 and guided["after_max_mm"] >= guided["after_mm"]
    assert report["folds"] == 0 and report["ndv_fraction"] == 0
    assert {"fixed_guides", "moving_guides"} <= set(report["inputs"])


def test_a_table_names_points_that_guide(tmp_path: Path) -> None:
    """The same pair twice, with points and without; one file of points alone fails by itself."""
    true = np.array([PERIOD - 3.5, 2.0])
    written(tmp_path, lattice(np.zeros(2)), lattice(true), SPOTS, SPOTS + true)
    (tmp_path / "pairs.csv").write_text("name,fixed,moving,fixed_guides,moving_guides\n" + "\n".join(
        f"{name},fixed.nii.gz,moving.nii.gz,{ours},{theirs}" for name, ours, theirs in (
            ("with", "ours.csv", "theirs.csv"), ("without", "", ""), ("half", "ours.csv", ""))))
    found = perform(JobRequest("batch", {"table": str(tmp_path / "pairs.csv"), "output": str(tmp_path / "all"),
                                         "device": "cpu", **NONE}))
    assert (found["done"], found["failed"]) == (2, 1)
    error = {name: np.abs(moved(field_of(tmp_path / "all", name), SPOTS) - SPOTS - true).max()
             for name in ("with", "without")}
    assert error["with"] < 1.0 and error["without"] > 10
    rows = {row["name"]: row for row in csv.DictReader((tmp_path / "all" / "summary.csv").read_text().splitlines())}
    assert abs(float(rows["with"]["guides_before_mm"]) - np.linalg.norm(true)) < 1e-3
    left = np.linalg.norm(moved(field_of(tmp_path / "all", "with"), SPOTS) - SPOTS - true, axis=1).mean()
    assert abs(float(rows["with"]["guides_after_mm"]) - left) < 1e-2
    assert {rows[name][key] for name in ("without", "half") for key in ("guides_before_mm", "guides_after_mm")} == {""}


def smooth_inside(shift: np.ndarray | None = None) -> tuple[Volume, Volume, np.ndarray]:
    """A disc without any detail inside; of the moving one the inside is pushed, which no intensity shows."""
    points = metrics.coordinates(PLANE).astype(float)
    disc = 1 / (1 + np.exp((np.linalg.norm(points, axis=-1) - 34) / 1.5))
    image = Volume((200 * disc).astype(np.float32), PLANE, "intensity")
    return image, image, points


def test_in_what_shows_nothing_landmarks_pull_and_nothing_folds(tmp_path: Path) -> None:
    fixed, moving, _ = smooth_inside()
    ours = np.array([[0.0, 0], [8, 2], [-7, 4], [2, -8]])
    theirs = ours + np.array([5.0, -3.0])
    arguments = written(tmp_path, fixed, moving, ours, theirs, suffix=".csv", order=slice(None, None, -1))
    report = register(**arguments, affine="none",
                      guide_landmarks=(str(tmp_path / "ours.csv"), str(tmp_path / "theirs.csv")))
    guided = report["guide_landmarks"]
    assert abs(guided["before_mm"] - np.hypot(5, 3)) < 1e-3 and guided["aligned_mm"] == guided["before_mm"]
    assert guided["after_mm"] < 2.0
    between = np.array([[2.0, 1.0]])  # no landmark: it goes along
    assert np.linalg.norm(moved(field_of(tmp_path), between) - between - [5, -3]) < 2.5
    outline = np.array([[0.0, 34], [0, -34], [-34, 0], [34, 0]])  # what the images show stays
    assert np.linalg.norm(moved(field_of(tmp_path), outline) - outline, axis=1).mean() < 2.0
    assert report["folds"] == 0 and report["ndv_fraction"] == 0


@pytest.mark.parametrize(("affine", "word"), [("rigid", "the affine alignment alone"), ("none", "nothing")])
def test_without_a_refinement_it_is_said_that_points_had_no_more_say(tmp_path: Path, affine: str, word: str) -> None:
    heard: list[str] = []

    class Listener(Monitor):
        def event(self, type: str, **payload: Any) -> None:
            heard.extend([payload["text"]] if type == "warning" else [])

    arguments = written(tmp_path, blobs(PLANE), blobs(PLANE, shift=(4.0, -3.0)), SPOTS, SPOTS + (4.0, -3.0))
    paths = {name: Path(arguments[name]) for name in ("fixed", "moving")}
    guides = (str(tmp_path / "ours.csv"), str(tmp_path / "theirs.csv"))

    def warned(**options: Any) -> bool:
        heard.clear()
        report = register_files(known_model(2, 0.0), **paths, output=tmp_path / "out", monitor=Listener(),
                                options=RegisterOptions(affine=affine, **options))  # type: ignore[arg-type]
        said = [text for text in report["warnings"] if text.startswith(f"The guide landmarks guided {word}")]
        assert set(said) <= set(heard) and all("--refine auto" in text for text in said)
        return bool(said)

    assert warned(guide_landmarks=guides)
    assert not warned(guide_landmarks=guides, refine=1) and not warned()


def test_landmarks_that_contradict_one_another_leave_the_alignment_alone(tmp_path: Path) -> None:
    shift, random = np.array([4.0, -3.0]), np.random.default_rng(1)
    arguments = written(tmp_path, blobs(PLANE), blobs(PLANE, shift=tuple(shift)), SPOTS,
                        SPOTS + random.normal(0, 12, SPOTS.shape))
    report = register(**{**arguments, "refine": 0}, affine="rigid",
                      guide_landmarks=(str(tmp_path / "ours.csv"), str(tmp_path / "theirs.csv")))
    assert report["alignment"]["kept"] == "rigid"
    inner = SPOTS[[2]]
    assert np.abs(moved(field_of(tmp_path), inner) - inner - shift).max() < 1.0


def test_volumes_points_of_slicer_and_a_turn_that_only_landmarks_know(tmp_path: Path) -> None:
    grid = grid_about((10, -20, 30), (26, 28, 24), (2.0, 2.0, 2.0), np.eye(3))
    turn = sitk.Euler3DTransform((10, -20, 30), 0, 0, np.pi / 2, (3.0, 0.0, 0.0))
    points = metrics.coordinates(grid) - np.array([10.0, -20, 30])
    bright = 200 / (1 + np.exp((np.linalg.norm(points, axis=-1) - 15) / 2))
    ball = Volume(bright.astype(np.float32), grid, "intensity")
    ours = np.array([10.0, -20, 30]) + np.array([[9.0, 0, 0], [0, 8, 3], [-5, -5, 6], [2, 3, -9]])
    theirs = moved(turn, ours)
    theirs[:, 0] -= 3  # the ball does not move
    arguments = written(tmp_path, ball, ball, ours, theirs, suffix=".mrk.json")
    report = register(**{**arguments, "refine": 0},
                      guide_landmarks=(str(tmp_path / "ours.mrk.json"), str(tmp_path / "theirs.mrk.json")))
    assert report["alignment"]["kept"] == "rigid of landmarks"
    assert report["guide_landmarks"]["before_mm"] > 8 and report["guide_landmarks"]["aligned_mm"] < 0.5
    assert np.linalg.norm(moved(field_of(tmp_path), ours) - theirs, axis=1).max() < 0.5


def test_points_that_cannot_guide_are_refused_by_name(tmp_path: Path) -> None:
    image = blobs(PLANE)
    far = SPOTS.copy()
    far[3] = [200.0, 0]
    arguments = written(tmp_path, image, image, SPOTS, far)
    ours, theirs = str(tmp_path / "ours.csv"), str(tmp_path / "theirs.csv")
    with pytest.raises(InputError, match="outside the moving image") as problem:
        register(**arguments, guide_landmarks=(ours, theirs))
    assert problem.value.got == "point 3"
    with pytest.raises(InputError, match="outside the fixed image"):
        register(**arguments, guide_landmarks=(theirs, ours))
    write_points(["a", "b"], SPOTS[:2], tmp_path / "few.csv")
    with pytest.raises(InputError, match="correspond"):
        register(**arguments, guide_landmarks=(ours, str(tmp_path / "few.csv")))
    with pytest.raises(InputError, match="both images"):
        register(**arguments, guide_landmarks=(ours,))
    field = sitk.DisplacementFieldTransform(sitk.Image(8, 8, sitk.sitkVectorFloat64))
    sitk.WriteTransform(field, str(tmp_path / "bent.h5"))
    with pytest.raises(InputError, match="not linear"):
        register(**arguments, guide_landmarks=(ours, ours), initial_transform=str(tmp_path / "bent.h5"))


def test_a_slice_of_a_volume_takes_landmarks_of_space(tmp_path: Path) -> None:
    flat = lattice(np.zeros(2))
    grid = Geometry((*PLANE.size, 1), (*PLANE.spacing, 4.0), (*PLANE.origin, 11.0), tuple(np.eye(3).ravel()))
    true = np.array([PERIOD - 3.5, 2.0, 0.0])
    pair = [Volume(image.array[None], grid, "intensity") for image in (flat, lattice(true[:2]))]
    ours = np.c_[SPOTS, np.full(len(SPOTS), 11.0)]
    arguments = written(tmp_path, *pair, ours, ours + true, suffix=".fcsv")
    report = register(**{**arguments, "refine": 0},
                      guide_landmarks=(str(tmp_path / "ours.fcsv"), str(tmp_path / "theirs.fcsv")))
    assert report["guide_landmarks"]["aligned_mm"] < 0.5
    assert np.abs(moved(field_of(tmp_path), ours) - ours - true).max() < 0.5
