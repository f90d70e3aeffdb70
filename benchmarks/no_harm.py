"""Does registering ever leave a pair worse than it was? Pairs of all kinds, overlap or error before and after.

``python -m benchmarks.no_harm --data DIR --work DIR --resume`` takes what there is in DIR of the sets of :data:`SETS`,
small images first, and keeps every pair's row, so that it may be stopped and go on. Nothing trained, ``--refine auto``
unless ``--refine 0`` says otherwise. A pair is harmed where its mean Dice falls by more than 0.01, or its mean error
in tissue rises by more than 2 % and 0.05 mm: as much as another resampling moves them. How much Dice itself depends on
where the voxels happen to lie is measured of every pair: both label maps are read on grids shifted by parts of a voxel;
``lost`` counts the harmed ones whose mean fall over these grids is more than twice its deviation. The measures that
decide within a registration see images alone; these here see labels and true warps. Times are processor seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice, permutations
from pathlib import Path

import numpy as np
import torch

from AutoRegLib.core.scenario import Split, read_scenario
from AutoRegLib.imaging.displacement import DisplacementField, compose_on, jacobian_determinant
from AutoRegLib.imaging.files import read_volume
from AutoRegLib.imaging.volume import Volume, resample
from AutoRegLib.registration import metrics
from AutoRegLib.registration.no_network import no_network
from AutoRegLib.registration.pipeline import register_volumes
from benchmarks.known_warps import Case, contrast_cases, ct_cases, measured, paired_cases, read, warped_case
from benchmarks.tables import Row, cached, markdown, save

_DICE, _SHARE, _ERROR = 0.01, 0.02, 0.05  # what is noise; the last in mm
_GRIDS = 20  # on which the overlap is read


def labelled(
    folder: Path, split: Split, *, spacing: float | None = None, file: str = "scenario.json",
) -> Iterator[Case]:
    """The pairs of a scenario's split of which both have labels, drawn with seed 0."""
    for pair in read_scenario(folder / file).pairs_of(split, limit=400, seed=0):
        if pair.fixed.labels and pair.moving.labels:
            fixed, moving = (read(case.image, "intensity", spacing) for case in (pair.fixed, pair.moving))
            ours, theirs = (read(str(case.labels), "labels", spacing) for case in (pair.fixed, pair.moving))
            yield Case(f"{folder.name} {pair.fixed.id} {pair.moving.id}", fixed, moving, fixed_labels=ours,
                       moving_labels=theirs)


def distorted(case: Case, number: int) -> Case:
    """The pair with the moving image's brightness inverted, humped (dark and bright become dark), or rooted."""
    kind, bend = (("inverted", lambda x: 1 - x), ("humped", lambda x: 4 * x * (1 - x)), ("rooted", np.sqrt))[number % 3]
    low, high = np.percentile(case.moving.array, (0.5, 99.5))
    array = bend(np.clip((case.moving.array.astype(np.float32) - low) / (high - low), 0, 1)).astype(np.float32)
    return replace(case, name=f"{case.name} {kind}", moving=Volume(array, case.moving.geometry, "intensity"))


def _lungs(folder: Path) -> Iterator[Case]:
    cases = read_scenario(folder / "scenario.json").cases
    for fixed, moving in permutations(cases, 2):
        yield Case(f"lung {fixed.id} {moving.id}", read_volume(fixed.image, "intensity"),
                   read_volume(moving.image, "intensity"), fixed_labels=read_volume(str(fixed.labels), "labels"),
                   moving_labels=read_volume(str(moving.labels), "labels"))


def _single(folder: Path, *, spacing: float) -> Iterator[Case]:
    cases = [case for case in read_scenario(folder / "scenario.json").cases if case.split == "val"]
    for number, case in enumerate(cases):
        image = read(case.image, "intensity", spacing)
        yield warped_case(f"known warp {case.id}", image, image, seed=number, mean=2.0)


#: cases by set, cheap ones first, and how many of each are taken
SETS: dict[str, tuple[int, Callable[[Path], Iterator[Case]]]] = {
    "cardiac 2 px": (90, lambda data: (case for split in ("test", "val", "train") for case in labelled(
        data / "cardiac_cine_2d", split, spacing=2.0))),  # type: ignore[arg-type]
    "hippocampus 1.5 mm": (40, lambda data: labelled(data / "hippocampus_mr", "test", spacing=1.5)),
    "hippocampus 1.5 mm, other contrast": (24, lambda data: (distorted(case, n) for n, case in enumerate(
        labelled(data / "hippocampus_mr", "val", spacing=1.5)))),
    "hippocampus 1.5 mm, known warp": (18, lambda data: _single(data / "hippocampus_mr", spacing=1.5)),
    "MR and US": (22, lambda data: paired_cases(data / "prostate_mrus_simulated", limit=None)),
    "contrasts 5 mm": (8, lambda data: contrast_cases(data / "brain_t1t2" / "tcga_fg_6692", seed=0, spacing=5.0)),
    "slab 3 mm": (6, lambda data: labelled(data / "brain_t1_slab", "test", spacing=3.0)),
    "CT": (2, lambda data: ct_cases(read_volume(data / "body_ct_single" / "example_ct_sm.nii.gz", "intensity"),
                                    seed=0)),
    "brain 5 mm": (8, lambda data: labelled(data / "brain_t1", "train", spacing=5.0, file="scenario_pairwise.json")),
    "lungs": (2, lambda data: _lungs(data / "lung_mr_proton")),
}


def registered(case: Case, refine: str | int) -> Row:
    """What registering does to one pair."""
    began = time.process_time()
    found = register_volumes(no_network(case.fixed.geometry, case.moving.geometry), case.fixed, case.moving,
                             refine=refine)  # type: ignore[arg-type]
    seconds, grid = time.process_time() - began, case.fixed.geometry
    row = measured(case, DisplacementField(np.zeros((*grid.shape, grid.dims)), grid), "before")
    row |= measured(case, compose_on(grid, found.alignment.transform), "aligned")
    row |= measured(case, found.field, "after")
    row |= {"alignment": found.alignment.kept, "by": found.refinement.get("similarity", ""),
            "deformation": found.verdict.share, "folds": int(metrics.fold_measures(jacobian_determinant(found.field))[
                "folds"]), "cpu s": seconds}
    row |= read_again(case, found.field)
    return row | {"harmed": harmed(row)}


def read_again(case: Case, field: DisplacementField, *, grids: int = _GRIDS) -> Row:
    """Mean and standard deviation of the change in mean Dice over grids shifted by up to half a voxel.

    Empty without labels. Direction: the field maps fixed to moving points.
    """
    if case.fixed_labels is None or case.moving_labels is None:
        return {}
    ours, theirs, own = case.fixed_labels, case.moving_labels, case.fixed.geometry
    structures, random = metrics.structures_of(ours, theirs), np.random.default_rng(0)
    changes = []
    for _ in range(grids):
        shift = own.direction_matrix @ (random.uniform(-0.5, 0.5, own.dims) * np.array(own.spacing))
        grid = replace(own, origin=tuple((np.array(own.origin) + shift).tolist()))
        there, before, after = (resample(labels, grid, through) for labels, through in (
            (ours, None), (theirs, None), (theirs, field.to_transform())))
        scores = [np.mean(list(metrics.dice(there, one, structures).values())) for one in (after, before)]
        changes.append(scores[0] - scores[1])
    return {"read again": float(np.mean(changes)), "read again sd": float(np.std(changes))}


def harmed(row: Row, before: str = "before", after: str = "after") -> bool:
    """Whether a pair is worse than it was, by more than noise."""
    if f"{after} mm" in row and row[f"{after} mm"] > max(
            (1 + _SHARE) * row[f"{before} mm"], row[f"{before} mm"] + _ERROR):
        return True
    return f"{after} Dice" in row and row[f"{after} Dice"] < row[f"{before} Dice"] - _DICE


def lost(row: Row) -> bool:
    """Whether a harmed pair is so wherever the voxels lie; one of a known warp alone always is."""
    return row["harmed"] and ("read again" not in row or row["read again"] < -2 * row["read again sd"])


def summary(rows: Sequence[Row]) -> list[Row]:
    """A line a set: means before, aligned and after, and how many pairs are harmed."""
    lines = []
    for name in dict.fromkeys(row["set"] for row in rows):
        of = [row for row in rows if row["set"] == name]
        line: Row = {"set": name, "pairs": len(of)}
        for key in ("before Dice", "aligned Dice", "after Dice", "before mm", "aligned mm", "after mm"):
            values = [row[key] for row in of if key in row]
            if values:
                line[key] = float(np.mean(values))
        line |= {"harmed": sum(row["harmed"] for row in of), "lost": sum(lost(row) for row in of),
                 "less delivered": sum(row["deformation"] < 1 for row in of),
                 "folds": sum(row["folds"] for row in of), "cpu s": float(np.mean([row["cpu s"] for row in of]))}
        lines.append(line)
    return lines


def main(argv: Sequence[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="rows, kept from run to run")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--limit", type=int, default=1000, help="pairs of a set")
    parser.add_argument("--refine", default="auto")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--save", action="store_true", help="write no_harm.csv and .md to the results")
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    refine = int(given.refine) if given.refine.isdigit() else given.refine
    rows: list[Row] = []
    for name in given.sets:
        count, cases = SETS[name]
        for case in islice(cases(given.data), min(count, given.limit)):
            rows.append(cached(given.work, case.name.replace(" ", "_").replace(",", ""),
                               lambda case=case: registered(case, refine),  # type: ignore[misc]
                               resume=given.resume, names={"set": name, "pair": case.name}))
    lines = summary(rows)
    print(markdown(lines), [row["pair"] for row in rows if row["harmed"]], flush=True)
    if given.save:
        save("no_harm", rows, title="Is a pair ever worse than it was?", summary=markdown(lines))
    return rows


if __name__ == "__main__":
    main()
