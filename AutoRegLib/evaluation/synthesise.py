"""Pairs with made-up deformations of a known strength: a scenario turned into others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from AutoRegLib.bridge import displacement_to_field
from AutoRegLib.core.errors import CancelledError, InputError
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.names import file_stem
from AutoRegLib.core.records import make_folder, write_json
from AutoRegLib.core.scenario import Case, ListedPair, Scenario, Split, read_scenario, write_scenario
from AutoRegLib.fields.gaussian_mixture import mixture_displacement
from AutoRegLib.imaging.files import read_geometry, read_volume, write_volume
from AutoRegLib.imaging.volume import resample
from AutoRegLib.learning.determinism import generator
from AutoRegLib.registration.pair import read_labels

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def read_source(path: str | Path, labels: str | Path | None = None) -> Scenario:
    """A scenario file, or a scenario of the one image in ``path``, which then serves every split. Raises InputError."""
    if Path(path).suffix == ".json":
        return read_scenario(path)
    image, given = (None if name is None else str(Path(name).resolve()) for name in (path, labels))
    name = Path(path).name.split(".")[0]
    base = Case(name, str(image), name, "train", labels=given)
    return Scenario(name, read_geometry(str(image)).dims, "listed", (base,), atlas=name)


def synthesise(
    source: Scenario, *, output: str | Path, sigmas: Sequence[float] = (10.0, 16.0),
    pairs: Sequence[int] = (1000, 20, 80), seed: int = 0, monitor: Monitor | None = None,
) -> dict[str, Any]:
    """Deform images of the source by :func:`mixture_displacement` and write a scenario for every cross of strengths.

    A pair is an image of its split (fixed) and the same deformed (moving), labels with it. ``pairs``: of training,
    validation, test at each strength. ``<name>-<a>-<b>.json``: trained and validated at energy a, tested at b.
    Images lie in ``images``, one file a pair; what is drawn depends on seed, strength, split and number alone.

    Unit: ``sigmas`` in voxels of the image. Returns the paths. Raises InputError, DiskError, CancelledError.
    """
    monitor = monitor or Monitor()
    output = make_folder(output)
    folder = make_folder(output / "images")
    bases = {split: [c for c in source.cases if c.split == split or c.id == source.atlas] for split in SPLITS}
    wanted = {split: count for split, count in zip(SPLITS, pairs, strict=True) if count}
    for split in wanted:
        if not bases[split]:
            raise InputError(f"scenario '{source.name}' has no cases to deform for split '{split}'",
                             remedy="ask for 0 pairs of it, or add cases")
    made: dict[tuple[float, Split], list[tuple[Case, Case]]] = {}
    total, done = len(sigmas) * sum(wanted.values()), 0
    monitor.event("stage", name="deform images", index=0, count=1)
    for sigma in sigmas:
        for split, count in wanted.items():
            chosen = bases[split]
            made[sigma, split] = []
            for number in range(count):
                if monitor.wish() == "cancel":
                    raise CancelledError("stopped while deforming images")
                base = chosen[number % len(chosen)]
                case = _deformed(base, folder, name=f"{split}-s{sigma:g}-{number:04d}", sigma=sigma, seed=seed)
                own = split if base.id == source.atlas else base.subject
                made[sigma, split].append((base, replace(case, subject=own, split=split)))
                done += 1
                monitor.event("progress", done=done, total=total)
    scenarios = [_write(source, made, output, train=a, test=b) for a in sigmas for b in sigmas]
    write_json(output / "synthesis.json", {
        "source": source.name, "sigmas": list(sigmas), "pairs": dict(wanted), "seed": seed,
        "scenarios": [path.name for path in scenarios]})
    for path in scenarios:
        monitor.event("artifact", role="scenario", path=str(path))
    return {"output": str(output), "pairs": total, "scenarios": [str(path) for path in scenarios]}


def _deformed(base: Case, folder: Path, *, name: str, sigma: float, seed: int) -> Case:
    """The case of one deformed image, its files written."""
    image = read_volume(base.image, "intensity")
    chance = torch.Generator().manual_seed(generator(seed, f"synthesis/{name}", 0).getrandbits(62))
    field = mixture_displacement(image.geometry.shape, sigma=sigma, generator=chance)
    transform = displacement_to_field(field, image.geometry).to_transform()
    files = {"image": folder / f"{name}.nii.gz"}
    write_volume(resample(image, image.geometry, transform, outside=None), files["image"])
    if base.labels is not None:
        labels = read_labels(base.labels, image, role=f"labels of case '{base.id}'", image_role="image")
        files["labels"] = folder / f"{name}_labels.nii.gz"
        write_volume(resample(labels, image.geometry, transform, outside=None), files["labels"])
    return Case(name, subject="", split="train", modality=base.modality, **{k: str(v) for k, v in files.items()})


def _write(
    source: Scenario, made: dict[tuple[float, Split], list[tuple[Case, Case]]], output: Path, *, train: float,
    test: float,
) -> Path:
    """One cross as a scenario file; returns its path."""
    cases: dict[str, Case] = {}
    pairs = []
    for split in SPLITS:
        for base, moved in made.get((test if split == "test" else train, split), []):
            for case in (base, moved):
                cases[case.id] = replace(case, image=_near(case.image, output),
                                         labels=None if case.labels is None else _near(case.labels, output),
                                         mask=None, landmarks=None)
            pairs.append(ListedPair(base.id, moved.id, split))
    path = output / f"{file_stem(source.name, 'scenario')}-{train:g}-{test:g}.json"
    write_scenario(path, replace(source, name=path.stem, pairing="listed", cases=tuple(cases.values()),
                                 pairs=tuple(pairs), atlas=source.atlas if source.atlas in cases else None))
    return path


def _near(file: str, folder: Path) -> str:
    """The path as the scenario names it: relative where it lies within the folder, so that the folder may be moved."""
    inside = Path(file).is_relative_to(folder)
    return Path(os.path.relpath(file, folder)).as_posix() if inside else str(Path(file).resolve())
