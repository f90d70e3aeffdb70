"""What 32 bits cost: ``python -m benchmarks.double_precision scenario.json --model none MODEL --pairs 3``.

Each test pair is registered in 32 bits twice, by two threads, and once with everything that torch computes in 64 bits,
always from the same affine alignment, which is in 64 bits anyway. Prints the largest and the mean distance of the
delivered fields, in voxels of the fixed image, and how far their overlap of labels is apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from AutoRegLib.bundle import ModelBundle, load_bundle
from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.evaluation.evaluate import read_pair
from AutoRegLib.imaging.align import Alignment
from AutoRegLib.imaging.displacement import DisplacementField, pull_back
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.registration import guard, pipeline, similarity
from AutoRegLib.registration.metrics import dice, structures_of
from AutoRegLib.registration.no_network import no_network
from AutoRegLib.registration.pair import PairInputs


@contextmanager
def in_double(model: ModelBundle) -> Iterator[None]:
    """Images become 64 bit tensors in here, and so does all that is computed from them; the network is one too."""

    def to_tensor(volume: Volume) -> Tensor:
        return torch.from_numpy(np.array(volume.array, dtype=np.float64))[None, None]

    modules: tuple[Any, ...] = (pipeline, guard, similarity)
    before = [module.to_tensor for module in modules]
    for module in modules:
        module.to_tensor = to_tensor
    model.network.double()
    try:
        yield
    finally:
        model.network.float()
        for module, plain in zip(modules, before, strict=True):
            module.to_tensor = plain


def apart(one: DisplacementField, other: DisplacementField) -> tuple[float, float]:
    """Largest and mean distance of two fields on one lattice. Unit: voxels."""
    found = np.linalg.norm((one.vectors - other.vectors) / np.array(one.geometry.spacing), axis=-1)
    return float(found.max()), float(found.mean())


def fields(
    model: ModelBundle, fixed: Volume, moving: Volume, *, refine: Any, threads: int = 2
) -> dict[str, DisplacementField]:
    """What is found in 32 bits (twice), by more threads, and in 64 bits."""
    alignment: Alignment | None = None

    def run(count: int = 1) -> DisplacementField:
        nonlocal alignment
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            found = pipeline.register_volumes(model, fixed, moving, refine=refine, alignment=alignment)
        finally:
            torch.set_num_threads(before)
        alignment = found.alignment
        return found.field

    result = {"32 bits": run(), "again": run(), f"{threads} threads": run(threads)}
    with in_double(model):
        result["64 bits"] = run()
    return result


def overlap(inputs: PairInputs, field: DisplacementField) -> float:
    """Mean Dice of all structures."""
    assert inputs.fixed_labels is not None and inputs.moving_labels is not None
    values = dice(inputs.fixed_labels, pull_back(inputs.moving_labels, field), structures_of(inputs.fixed_labels))
    return float(np.mean(list(values.values())))


def main() -> None:
    """Compare, print a line for each pair and each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario")
    parser.add_argument("--model", nargs="+", default=["none"])
    parser.add_argument("--refine", nargs="+", default=["auto"], help="iterations, or auto; 0 is the network alone")
    parser.add_argument("--pairs", type=int, default=3)
    given = parser.parse_args()
    scenario = read_scenario(given.scenario)
    print("| model | refinement | pair | compared with | largest (voxels) | mean (voxels) | Dice |")
    print("|---|---|---|---|---|---|---|")
    for name in given.model:
        for pair in scenario.pairs_of("test", limit=given.pairs, seed=0):
            inputs = read_pair(scenario, pair)
            model = no_network(inputs.fixed.geometry, inputs.moving.geometry) if name == "none" else load_bundle(name)
            for refine in given.refine:
                found = fields(model, inputs.fixed, inputs.moving, refine=int(refine) if refine.isdigit() else refine)
                first = found.pop("32 bits")
                for way, field in found.items():
                    largest, mean = apart(first, field)
                    change = overlap(inputs, field) - overlap(inputs, first)
                    print(f"| {model.path.name} | {refine} | {pair.moving.id} onto {pair.fixed.id} | {way} | "
                          f"{largest:.1e} | {mean:.1e} | {change:+.4f} |", flush=True)


if __name__ == "__main__":
    main()
