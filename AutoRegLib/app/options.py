"""The command line's verbs and options with their help, made from the table of verbs."""

from __future__ import annotations

import argparse
import types
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from AutoRegLib import __version__
from AutoRegLib.core.options import Common
from AutoRegLib.core.verbs import VERBS, Verb

ABOUT = """Register medical images with a network whose architecture and loss are searched for your own data."""
CODES = """exit codes: 0 done, 2 usage or bad input, 3 cancelled, 4 environment (no torch, no GPU asked for),
5 out of memory, 6 training diverged, 7 disk, 70 a fault of ours. AUTOREG_TRACEBACK=1 shows where a failure arose."""
#: the options of every verb stand together at the end of its help
_COMMON = ("device", "threads", "seed", "overwrite")


def build_parser() -> argparse.ArgumentParser:
    """All verbs and their options; names and defaults are those of the table."""
    parser = argparse.ArgumentParser(
        prog="autoreg", description=ABOUT, epilog=CODES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"autoreg {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", title="verbs")
    groups: dict[str, Any] = {}
    for name, verb in VERBS.items():
        group, _, action = name.rpartition(" ")  # "lddmm sample": an action of a group of verbs
        if group and group not in groups:
            groups[group] = _add_group(verbs, group)
        _add_verb(groups.get(group, verbs), action, verb, name)
    _add_scenario(verbs)
    _add_models(verbs)
    _add_purge(verbs)
    _add_run(verbs)
    _add_info(verbs)
    return parser


def _parser(verbs: Any, name: str, summary: str, example: str, handler: str) -> Any:
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


#: what the groups of verbs are about
_GROUPS = {"lddmm": "geodesic shooting: register; sample pairs, estimate, learn and tell their regularity"}


def _add_group(verbs: Any, name: str) -> Any:
    parser = verbs.add_parser(name, help=_GROUPS[name], description=_GROUPS[name][0].upper() + _GROUPS[name][1:] + ".")
    return parser.add_subparsers(dest="action", required=True, metavar="ACTION")


def _add_verb(verbs: Any, action: str, verb: Verb, name: str) -> None:
    parser = _parser(verbs, action, verb.summary, verb.example, "verb")
    parser.set_defaults(verb=name)
    hints = get_type_hints(verb.arguments)
    inherited = {field.name for field in fields(Common)} - {"output"}
    known = {field.name: field for field in fields(verb.arguments)}
    # the record's own fields in their order, "output" among them, then what all verbs have in common
    own = [field for name, field in known.items() if name not in inherited and name not in _COMMON]
    group = parser.add_argument_group("common")
    for place, chosen in ((parser, own), (group, [known[name] for name in _COMMON if name in known])):
        for field in chosen:
            _add_option(place, field, hints[field.name])
    _spoken(group)
    parser.set_defaults(refuse=parser.error, demands=tuple(
        name for name, field in known.items() if field.default is MISSING and field.metadata["position"] == "or named"))


def _add_option(parser: Any, field: Field[Any], hint: Any) -> None:
    """One field of a record as an option. What is not given on the command line is not part of the request."""
    facts, required = field.metadata, field.default is MISSING
    kind = _plain(hint)
    settings: dict[str, Any] = {"help": facts["help"]}
    if kind is bool:
        # only a value that differs from the default can be asked for, unless the default is yes
        parser.add_argument(_flag(field.name), **settings, **(
            {"action": argparse.BooleanOptionalAction, "default": None} if field.default else {"action": "store_true"}))
        return
    if get_origin(kind) is tuple:
        settings["nargs"], kind = "+", get_args(kind)[0]
    if get_origin(kind) is Literal:
        settings["choices"] = get_args(kind)
    elif kind in (int, float):
        settings["type"] = kind
    elif kind is not str:  # words, or a number
        settings["type"] = _word_or_number(kind)
    if facts["metavar"]:
        settings["metavar"] = facts["metavar"]
    if facts["position"]:
        either = facts["position"] == "or named"
        parser.add_argument(field.name, **settings, **({"nargs": "?", "default": argparse.SUPPRESS} if either else {}))
        if not either:
            return
        settings["help"] = f"the same as {facts['metavar']}"
    parser.add_argument(_flag(field.name), required=required and not facts["position"], **settings)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _plain(hint: Any) -> Any:
    """The type without its None."""
    if get_origin(hint) in (Union, types.UnionType):
        rest = [kind for kind in get_args(hint) if kind is not type(None)]
        return rest[0] if len(rest) == 1 else hint
    return hint


def _word_or_number(kind: Any) -> Callable[[str], int | float | str]:
    """What reads one of the words of a union, or its number. It raises ArgumentTypeError."""
    words = [word for part in get_args(kind) if get_origin(part) is Literal for word in get_args(part)]
    number = float if float in get_args(kind) else int

    def read(text: str) -> int | float | str:
        if text in words:
            return text
        try:
            return number(text)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"'{text}' is not {', '.join(words)} or a {'' if number is float else 'whole '}number") from None

    return read


def _spoken(parser: Any) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary; warnings and errors only")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object on stdout")


def _add_scenario(verbs: Any) -> None:
    parser = _parser(verbs, "scenario", "write a scenario.json from a folder of images", "autoreg scenario Task04 "
                     "--output hippocampus.json", "scenario")
    parser.add_argument("folder", metavar="FOLDER", help="folder in nnU-Net's or BIDS' layout, or any with --images")
    parser.add_argument("--images", metavar="PATTERN", default="", help="images, * is the case: 'images/*.nii.gz'")
    parser.add_argument("--labels", metavar="PATTERN", default="", help="label maps, the same * : 'labels/*.nii.gz'")
    parser.add_argument("--modality", metavar="NAME", default="", help="which images (BIDS suffix, nnU-Net channel)")
    parser.add_argument("--subject", metavar="REGEX", default="", help="finds the subject in a case's name (default: "
                        "each case is a subject; in BIDS sub-...)")
    parser.add_argument("--shares", nargs=3, type=float, metavar=("TRAIN", "VAL", "TEST"), default=(70.0, 15.0, 15.0),
                        help="of the subjects (default 70 15 15); a layout's own test images stay test")
    parser.add_argument("--pairing", choices=("all", "within-subject"), default="all",
                        help="pairs between subjects (default) or within each")
    parser.add_argument("--atlas", metavar="CASE", help="register every case onto this one instead")
    parser.add_argument("--name", metavar="NAME", help="of the scenario (default: the folder's)")
    parser.add_argument("--output", metavar="FILE", help="file to write (default FOLDER/scenario.json)")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the division into splits (default 0)")
    _spoken(parser)


def _add_models(verbs: Any) -> None:
    parser = _parser(verbs, "models", "list, describe, import, export and delete models", "autoreg models list",
                     "models")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text, parts in (
        ("list", "shipped and imported models", ()),
        ("info", "what one model is and was trained on", ("model",)),
        ("import", "add a model from a zip archive", ("archive",)),
        ("export", "pack a model into a zip archive", ("model", "archive")),
        ("delete", "delete an imported or trained model from this computer", ("model",)),
    ):
        action = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        for part in parts:
            action.add_argument(part, metavar=part.upper())
        _spoken(action)


def _add_purge(verbs: Any) -> None:
    parser = _parser(verbs, "purge", "list what AutoReg keeps beside results, and remove it with --yes",
                     "autoreg purge --yes", "purge")
    parser.add_argument("--jobs", metavar="DIR", help="also the images given to jobs of the Slicer module that are "
                        "over, in this folder of jobs; their results stay")
    parser.add_argument("--yes", action="store_true", help="remove what is listed (default: list it)")
    _spoken(parser)


def _add_run(verbs: Any) -> None:
    parser = _parser(verbs, "run", "run the job in a job folder (used by the Slicer module)",
                     "autoreg run jobs/20260101-120000-search", "job")
    parser.add_argument("folder", metavar="JOBDIR", help="folder with job.json; events, log and results go there")


def _add_info(verbs: Any) -> None:
    parser = _parser(verbs, "info", "version, devices, networks, operators and models at hand", "autoreg info --json",
                     "info")
    _spoken(parser)
