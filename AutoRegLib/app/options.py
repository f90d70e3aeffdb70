"""The verbs and options of the command line, with their help; what they mean is in ``arguments``."""

from __future__ import annotations

import argparse
from typing import Any, get_args

from AutoRegLib import __version__
from AutoRegLib.core import arguments as known
from AutoRegLib.core.study_rows import ROWS, TABLES

ABOUT = """Register medical images with a network whose architecture and loss are searched for your own data."""
CODES = """exit codes: 0 done, 2 usage or bad input, 3 cancelled, 4 environment (no torch, no GPU asked for),
5 out of memory, 6 training diverged, 7 disk, 70 a fault of ours. AUTOREG_TRACEBACK=1 shows where a failure arose."""


def build_parser() -> argparse.ArgumentParser:
    """All verbs and their options; names and defaults are those of ``arguments``."""
    parser = argparse.ArgumentParser(
        prog="autoreg", description=ABOUT, epilog=CODES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"autoreg {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", title="verbs")
    for add in (
        _add_demo,
        _add_search,
        _add_train,
        _add_register,
        _add_apply,
        _add_evaluate,
        _add_study,
        _add_models,
        _add_run,
        _add_info,
    ):
        add(verbs)
    return parser


def _verb(verbs: Any, name: str, summary: str, example: str, handler: str) -> Any:
    """A verb's parser with its summary and an example."""
    parser = verbs.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(handler=handler)
    return parser


def _common(parser: Any, *, seed: str | None = "default 0") -> None:
    """The options that every computing verb takes."""
    group = parser.add_argument_group("common")
    group.add_argument(
        "--device", choices=get_args(known.Device),
        help="where to compute (default auto: a CUDA GPU if there is one; mps, an Apple GPU, is experimental)",
    )
    group.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all)")
    if seed is not None:
        group.add_argument("--seed", type=int, metavar="N", help=f"random seed ({seed})")
    group.add_argument(
        "--overwrite", action="store_true", help="replace the results of another run in --output, saying which"
    )
    _spoken(group)


def _spoken(parser: Any) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary; warnings and errors only")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object on stdout")


def _refinement(parser: Any) -> None:
    parser.add_argument("--refine", type=_iterations, metavar="N", help="optimise each pair further after the network: "
                        "most iterations of the finest level, or auto (default 0: not at all)")
    parser.add_argument("--similarity", choices=get_args(known.Similarity),
                        help="what --model none compares images by (default auto: lncc for images that look alike)")


def _iterations(text: str) -> int | str:
    """``auto`` or a whole number. Raises ArgumentTypeError."""
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is neither auto nor a whole number") from None


def _add_demo(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "demo",
        "the whole job on real brain images: search, train, register, evaluate, report",
        "autoreg demo --output demo-output",
        "verb",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for everything the demo makes")
    parser.add_argument("--minutes", type=float, metavar="M", help="for search and training together (default 10)")
    _common(parser)


def _scale(parser: argparse.ArgumentParser) -> None:
    """What decides the working grid, the length of a search and the use of labels."""
    parser.add_argument("--preset", choices=get_args(known.Preset), help="how fine and how long (default standard)")
    parser.add_argument(
        "--spacing", type=float, metavar="MM", help="of the working grid (default: the images', as the preset allows)"
    )
    parser.add_argument(
        "--label-weight", type=float, metavar="W", help="how much the overlap of training labels counts in training, "
        "1 for instance (default 0: images alone)"
    )


def _limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many pairs, drawn at random (default 100)")


def _add_search(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "search",
        "find the network's operators and the loss weights for a scenario",
        "autoreg search scenario.json --output search --preset quick --minutes 20",
        "verb",
    )
    parser.add_argument("scenario", metavar="SCENARIO", help="scenario.json naming cases, pairing and split")
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder for recipe.json, genotype.json, history.csv, figures/"
    )
    _scale(parser)
    parser.add_argument("--minutes", type=float, metavar="M", help="time budget instead of the preset's steps")
    parser.add_argument("--network", metavar="NAME", help="a network of 'autoreg info' (default autoreg)")
    parser.add_argument(
        "--judge", choices=("auto", "labels", "landmarks", "images"),
        help="what the loss weights are judged by (default auto: labels where there are any, else landmarks)",
    )
    parser.add_argument(
        "--max-seconds", type=float, metavar="S", help="the most a pass over one pair may take on this device"
    )
    parser.add_argument(
        "--speed-weight", type=float, metavar="W", help="how much speed counts while operators are chosen (default 0)"
    )
    parser.add_argument(
        "--start", metavar="MODEL", help="a model of the same network: its operators and loss weights are what the "
        "search starts from and has to beat (default: conv3 and the papers' loss weights)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --output")
    _common(parser)


def _add_train(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "train",
        "train a recipe's network into a model bundle",
        "autoreg train search/recipe.json --scenario scenario.json --output model --minutes 30",
        "verb",
    )
    parser.add_argument("recipe", metavar="RECIPE", help="recipe.json of a search (or its folder)")
    parser.add_argument(
        "--scenario", required=True, metavar="FILE", help="scenario.json naming cases, pairing and split"
    )
    parser.add_argument("--output", required=True, metavar="BUNDLE", help="folder of the new model")
    parser.add_argument("--minutes", type=float, metavar="M", help="time budget instead of the recipe's steps")
    parser.add_argument(
        "--start", metavar="MODEL", help="a model with the recipe's network, whose weights the training starts from "
        "(default: random weights)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --output")
    _common(parser, seed="default: the recipe's")


def _add_register(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "register",
        "register a moving image onto a fixed one",
        "autoreg register --model model --fixed f.nii.gz --moving m.nii.gz --moving-labels s.nii.gz --output result",
        "verb",
    )
    parser.add_argument(
        "--model", required=True, metavar="BUNDLE",
        help="a model folder, a name of 'autoreg models list', or none (with --refine)",
    )
    parser.add_argument("--fixed", required=True, metavar="F", help="image that stays (NIfTI, NRRD, MetaImage, PNG)")
    parser.add_argument("--moving", required=True, metavar="M", help="image that is moved onto it")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for transform, warped images and report")
    for name, text in (
        ("moving-labels", "label map of the moving image, carried along"),
        ("fixed-labels", "label map of the fixed image, for Dice and surface distances"),
        ("fixed-landmarks", "points in the fixed image (.csv in LPS mm, .fcsv, .mrk.json)"),
        ("moving-landmarks", "the corresponding points in the moving image"),
        ("fixed-mask", "the only voxels of the fixed image that count in affine and refinement; reported on as well"),
        ("moving-mask", "the only voxels of the moving image that count in affine and refinement"),
        ("initial-transform", "transform to start from, fixed to moving points"),
    ):
        parser.add_argument(f"--{name}", metavar="FILE", help=text)
    parser.add_argument("--affine", choices=("auto", "none"), help="affine alignment before the network (default auto)")
    _refinement(parser)
    parser.add_argument("--inverse", action="store_true", help="also write inverse_transform.nrrd")
    parser.add_argument(
        "--transform-format",
        nargs="+",
        choices=("nrrd", "nii.gz", "h5", "tfm"),
        metavar="FORMAT",
        help="nrrd is always written; also nii.gz, h5, tfm",
    )
    parser.add_argument(
        "--compress", action=argparse.BooleanOptionalAction, default=None,
        help="compress transform.nrrd (default yes; without it is written and read faster)",
    )
    _common(parser)


def _add_apply(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "apply",
        "carry an image, a label map or points through a transform",
        "autoreg apply --transform result/transform.nrrd --reference f.nii.gz --input x.nii.gz --output y.nii.gz",
        "verb",
    )
    parser.add_argument("--transform", required=True, metavar="T", help="transform from fixed to moving points")
    parser.add_argument("--reference", metavar="F", help="image whose grid the result gets (points: optional)")
    parser.add_argument("--input", required=True, metavar="X", help="what to carry")
    parser.add_argument("--output", required=True, metavar="Y", help="file to write")
    parser.add_argument(
        "--kind", choices=("image", "labels", "points"), help="image: linear, labels: nearest (default image)"
    )
    _common(parser, seed=None)


def _add_evaluate(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "evaluate",
        "register every pair of a split and measure",
        "autoreg evaluate --model model --scenario scenario.json --output results --split test",
        "verb",
    )
    parser.add_argument(
        "--model", required=True, metavar="BUNDLE",
        help="a model folder, a name of 'autoreg models list', or none (with --refine)",
    )
    parser.add_argument(
        "--scenario", required=True, metavar="FILE", help="scenario.json naming cases, pairing and split"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for metrics.csv, summary.json, figures/")
    parser.add_argument("--split", choices=get_args(known.Split), help="which cases (default test)")
    _limit(parser)
    _refinement(parser)
    _common(parser)


def _add_study(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "study",
        "compare searches, baselines and ablations on your own data: the papers' tables",
        "autoreg study scenario.json --output study --rows ablation manual --minutes 20 --seeds 3",
        "verb",
    )
    parser.add_argument("scenario", metavar="SCENARIO", help="scenario.json naming cases, pairing and split")
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder for study.csv, study.md, figures/ and a folder per row"
    )
    parser.add_argument(
        "--rows", nargs="+", metavar="NAME",
        help=f"all (default), tables ({', '.join(TABLES)}) or rows ({', '.join(ROWS)})",
    )
    _scale(parser)
    parser.add_argument(
        "--minutes", type=float, metavar="M", help="of each search and of each training, instead of the preset's steps"
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="runs of each row, from --seed upwards (default 1)")
    _limit(parser)
    parser.add_argument(
        "--resume", action="store_true", help="keep what is finished in --output, go on with the rest; rows and seeds "
        "may be added"
    )
    _common(parser)


def _add_models(verbs: Any) -> None:
    parser = _verb(verbs, "models", "list, describe, import and export models", "autoreg models list", "models")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text, parts in (
        ("list", "shipped and imported models", ()),
        ("info", "what one model is and was trained on", ("model",)),
        ("import", "add a model from a zip archive", ("archive",)),
        ("export", "pack a model into a zip archive", ("model", "archive")),
    ):
        action = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        for part in parts:
            action.add_argument(part, metavar=part.upper())
        _spoken(action)


def _add_run(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "run",
        "run the job in a job folder (used by the Slicer module)",
        "autoreg run jobs/20260101-120000-search",
        "job",
    )
    parser.add_argument("folder", metavar="JOBDIR", help="folder with job.json; events, log and results go there")


def _add_info(verbs: Any) -> None:
    parser = _verb(
        verbs, "info", "version, devices, networks, operators and models at hand", "autoreg info --json", "info"
    )
    _spoken(parser)
