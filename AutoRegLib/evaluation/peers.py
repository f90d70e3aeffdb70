"""Other registration programs as rows of a study: each a command of its own, given the same pairs, measured alike."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from AutoRegLib.core.errors import EnvironmentProblem, InputError
from AutoRegLib.core.leftovers import private_prefix
from AutoRegLib.core.options import Affine
from AutoRegLib.core.recipe import Timer
from AutoRegLib.core.records import from_plain, read_json
from AutoRegLib.core.scenario import Pair
from AutoRegLib.core.strict_json import read_object
from AutoRegLib.core.study_rows import PEERS
from AutoRegLib.evaluation.evaluate import Registrar
from AutoRegLib.imaging.align import Alignment
from AutoRegLib.imaging.displacement import compose_on
from AutoRegLib.imaging.files import read_displacement, write_volume
from AutoRegLib.imaging.volume import Volume, resample
from AutoRegLib.learning.budget import TIMERS
from AutoRegLib.registration.no_network import no_network
from AutoRegLib.registration.pair import PairInputs
from AutoRegLib.registration.pipeline import Registration, register_volumes

SCHEMA = "autoreg-peers/1"
_SECONDS = 3600.0  # of one pair
_SAID = 300  # characters of what a program that failed said last


@dataclass(frozen=True)
class Peer:
    """``command`` is run with ``--fixed F --moving M --moving-labels L --output DIR --threads N`` and leaves
    ``displacement.nrrd`` in DIR (mm, LPS, pull-back on the fixed grid) and the registration's ``seconds.json``.
    ``dimensions``: of the images that it can register.
    """

    command: tuple[str, ...]
    dimensions: tuple[int, ...] = (2, 3)


@dataclass(frozen=True)
class _File:
    peers: dict[str, Peer]


def read_peers(path: str | Path) -> dict[str, Peer]:
    """The programs in a file, by the name of the row that each of them is. Raises InputError."""
    peers = from_plain(_File, read_json(path, schema=SCHEMA), where=str(path)).peers
    for name, peer in peers.items():
        if name not in PEERS or not peer.command:
            raise InputError(f"{path} names a program that is no row", expected=", ".join(PEERS), got=name)
    return peers


def peer_registrar(name: str, peer: Peer, *, affine: Affine, threads: int, device: str, seed: int = 0,
                   timer: Timer = "wall") -> Registrar:
    """What registers a pair by a peer: the images come affinely aligned as ours do, so all begin at the same place.

    ``timer``: which of the seconds that it tells count. The peer sees the moving image resampled; what is delivered is
    its field followed by the affine, and carries the original images. Raises EnvironmentProblem (of the registrar).
    """
    def register(inputs: PairInputs, pair: Pair, alignment: Alignment | None) -> Registration:
        model = no_network(inputs.fixed.geometry, inputs.moving.geometry)
        start = register_volumes(model, inputs.fixed, inputs.moving, affine=affine, deliver="whole",
                                 alignment=alignment, seed=seed, device=device, timer=TIMERS[timer])
        outer, grid = start.alignment.transform, inputs.fixed.geometry
        labels = inputs.moving_labels or Volume(np.zeros(inputs.moving.geometry.shape, np.uint8),
                                                inputs.moving.geometry, "labels")
        with tempfile.TemporaryDirectory(prefix=private_prefix("peer")) as place:
            folder = Path(place)
            given = {"fixed": inputs.fixed, "moving": resample(inputs.moving, grid, outer),
                     "moving-labels": resample(labels, grid, outer)}
            for role, volume in given.items():
                write_volume(volume, folder / f"{role}.nii.gz")
            options = [part for role in given for part in (f"--{role}", str(folder / f"{role}.nii.gz"))]
            _run(name, [*peer.command, *options, "--output", place, "--threads", str(threads)], folder)
            field = read_displacement(folder / "displacement.nrrd")
            spent: Any = read_object(folder / "seconds.json").get(
                "registration_cpu_s" if timer == "processor" else "registration_wall_s")
        whole = compose_on(grid, field.to_transform(), outer)
        align = start.seconds["align"]
        return Registration(whole, None, start.alignment,
                            seconds={"align": align, "registration": align + float(spent)})

    return register


def _run(name: str, command: list[str], folder: Path) -> None:
    """Run a peer; its output lies in the folder. Raises EnvironmentProblem."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, cwd=folder, check=False)
    except (OSError, subprocess.SubprocessError) as problem:
        raise EnvironmentProblem(f"'{name}' did not run", got=problem,
                                 remedy="correct its command in the file of peers") from None
    if done.returncode or not (folder / "displacement.nrrd").is_file():
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()[-_SAID:]
        raise EnvironmentProblem(f"'{name}' ended with {done.returncode}", expected="displacement.nrrd",
                                 got=said or "no word")
