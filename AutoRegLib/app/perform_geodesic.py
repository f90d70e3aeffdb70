"""The verbs of ``core.geodesic_verbs`` to their computations."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from AutoRegLib.app.outputs import claim_output
from AutoRegLib.core.geodesic_verbs import FitArguments, PredictArguments, SampleArguments, TrainPredictorArguments
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.records import write_json
from AutoRegLib.core.verbs import VERBS


def _output(verb: str, arguments: SampleArguments | FitArguments | TrainPredictorArguments, monitor: Monitor) -> Path:
    return claim_output(arguments.output, VERBS[verb].results, overwrite=arguments.overwrite, resume=arguments.resume,
                        monitor=monitor)


def _sample(arguments: SampleArguments, device: str, monitor: Monitor) -> dict[str, Any]:
    from AutoRegLib.imaging.files import read_volume
    from AutoRegLib.learning.regularity_pairs import sample_pairs

    image = None if arguments.image is None else read_volume(arguments.image, "intensity")
    return sample_pairs(
        _output("lddmm sample", arguments, monitor), alphas=arguments.alphas, count=arguments.pairs,
        size=arguments.size, image=image, spacing=arguments.spacing, noise=arguments.noise, seed=arguments.seed,
        resume=arguments.resume, monitor=monitor)


def _fit(arguments: FitArguments, device: str, monitor: Monitor) -> dict[str, Any]:
    from AutoRegLib.learning.regularity_pairs import fit_pairs

    return fit_pairs(
        Path(arguments.table), _output("lddmm fit", arguments, monitor), spacing=arguments.spacing, by=arguments.by,
        affine=arguments.affine, seed=arguments.seed, resume=arguments.resume, monitor=monitor)


def _train_predictor(arguments: TrainPredictorArguments, device: str, monitor: Monitor) -> dict[str, Any]:
    from AutoRegLib.geodesic.predictor import PredictorSettings
    from AutoRegLib.learning.predictor_training import PredictorTraining, train_predictor
    from AutoRegLib.learning.regularity_pairs import read_known_pairs

    output = _output("lddmm train-predictor", arguments, monitor)
    pairs = read_known_pairs(Path(arguments.table), spacing=arguments.spacing, affine=arguments.affine,
                             seed=arguments.seed, monitor=monitor)
    predictor = train_predictor(
        pairs["train"], pairs["val"], output=output, spacing=arguments.spacing,
        settings=PredictorSettings(spatial_dims=pairs["train"].fixed.dim() - 2),
        course=PredictorTraining(epochs=arguments.epochs), minutes=arguments.minutes, seed=arguments.seed,
        resume=arguments.resume, device=device, monitor=monitor)
    return {"output": str(output), **{key: value for key, value in predictor.facts.items() if key != "training"},
            "device": device}


def _predict(arguments: PredictArguments, device: str, monitor: Monitor) -> dict[str, Any]:
    from AutoRegLib.geodesic.predictor import load_predictor
    from AutoRegLib.imaging.files import read_volume
    from AutoRegLib.registration.regularity import predict_regularity, prepare_pair

    output = claim_output(arguments.output, VERBS["lddmm predict"].results, overwrite=arguments.overwrite,
                          monitor=monitor)
    predictor = load_predictor(arguments.predictor, device=device)
    fixed, moving = (read_volume(path, "intensity") for path in (arguments.fixed, arguments.moving))
    pair = prepare_pair(fixed, moving, spacing=predictor.spacing, affine=arguments.affine, seed=arguments.seed)
    began = time.perf_counter()
    alpha = predict_regularity(predictor, pair)
    result = {"alpha": alpha, "seconds": time.perf_counter() - began, "predictor": str(arguments.predictor),
              "fixed": str(arguments.fixed), "moving": str(arguments.moving)}
    write_json(output / "prediction.json", result)
    return {"output": str(output), **result}


GEODESIC_HANDLERS: dict[str, Callable[[Any, str, Monitor], dict[str, Any]]] = {
    "lddmm sample": _sample,
    "lddmm fit": _fit,
    "lddmm train-predictor": _train_predictor,
    "lddmm predict": _predict,
}
