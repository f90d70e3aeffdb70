"""The command line: parse, ask the worker, show, and turn every failure into one message and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from AutoRegLib import __version__
from AutoRegLib.app.console import ConsoleMonitor, result_lines, show_json, show_result, table, warn
from AutoRegLib.app.options import build_parser
from AutoRegLib.core.bundle_folder import delete, list_bundles, read_bundle
from AutoRegLib.core.errors import AutoRegError
from AutoRegLib.core.failures import explain
from AutoRegLib.core.jobs import JobRequest
from AutoRegLib.core.records import make_folder
from AutoRegLib.core.verbs import VERBS

CANCELLED = 3
#: what belongs to the command line and not to the computation
OURS = ("verb", "action", "handler", "quiet", "json", "refuse", "demands")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; never raises."""
    try:
        options = build_parser().parse_args(argv)
        missing = [name for name in getattr(options, "demands", ()) if getattr(options, name, None) is None]
        if missing:
            options.refuse(f"the following arguments are required: {', '.join(map(str.upper, missing))}")
    except SystemExit as ended:  # argparse: --help and --version 0, usage 2
        return int(ended.code or 0)
    try:
        return HANDLERS[options.handler](options)
    except BrokenPipeError:
        # the reader of our output went away; keep the interpreter from complaining when it flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BaseException as problem:
        return report_problem(problem)


def report_problem(problem: BaseException) -> int:
    """One message to stderr; returns the exit code. An unexpected failure leaves its traceback in a log file."""
    reason = explain(problem)
    warn(f"autoreg: {reason}")
    if os.environ.get("AUTOREG_TRACEBACK"):
        traceback.print_exception(problem)
    elif reason.exit_code == AutoRegError.exit_code:
        log = Path(tempfile.gettempdir()) / f"autoreg-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
        try:
            log.touch(0o600)  # it holds the command line
            log.write_text(f"autoreg {__version__}\n{sys.argv}\n" + "".join(traceback.format_exception(problem)))
            warn(f"The log is {log}")
        except OSError:
            warn("Set AUTOREG_TRACEBACK=1 and run it again to see the log.")
    return reason.exit_code


def run_verb(options: argparse.Namespace) -> int:
    """A verb of the table: one request to what computes it."""
    from AutoRegLib.app.perform import perform

    verb = options.verb
    arguments = {name: value for name, value in vars(options).items() if name not in OURS and value is not None}
    with ConsoleMonitor(quiet=options.quiet, can_finish=VERBS[verb].finishable) as monitor:
        result = perform(JobRequest(verb, arguments), monitor=monitor)
    if options.json:
        show_json(result)
    elif not options.quiet:
        show_result(verb, result)
    if monitor.stopped:
        warn("autoreg: stopped early by the user; what there is so far is kept.")
        return CANCELLED
    return 0


def run_job_folder(options: argparse.Namespace) -> int:
    """run: everything it has to say goes to the job folder."""
    from AutoRegLib.app.worker import run_job

    return run_job(options.folder)


def run_info(options: argparse.Namespace) -> int:
    """info: what is installed."""
    from AutoRegLib.app.environment import describe

    facts = describe()
    if options.json:
        show_json(facts)
        return 0
    for name, value in facts.items():
        text = ", ".join(value) or "none" if isinstance(value, list) else value or "not installed"
        print(f"{name:10s} {text}")
    return 0


def run_models(options: argparse.Namespace) -> int:
    """models list, info, import, export, delete."""
    result: Any
    if options.action == "list":
        models, problems = list_bundles()
        result = [model.facts() for model in models]
        columns = ("name", "network", "spatial_dims", "modality", "scenario", "validation")
        lines = table(result, columns) if result else ["no models yet: train one with 'autoreg train', or import one"]
        result = {"models": result, "problems": problems}
        for text in problems:
            warn(f"warning: {text}")
    elif options.action == "info":
        from AutoRegLib.bundle import load_bundle, origin

        path = load_bundle(options.model).path  # loaded: its weights fit its recipe
        result = read_bundle(path).facts() | {"weights_sha256": origin(path)["weights_sha256"]}
        lines = result_lines("models", result)
    elif options.action == "import":
        from AutoRegLib.bundle import import_bundle, origin

        path = import_bundle(options.archive)
        result = {"name": path.name, "path": str(path), "weights_sha256": origin(path)["weights_sha256"]}
        lines = [f"imported: use it with --model {path.name}", f"SHA-256 of its weights: {result['weights_sha256']}"]
    elif options.action == "delete":
        path = delete(options.model)
        result, lines = {"name": path.name, "path": str(path)}, [f"deleted: {path}"]
    else:
        from AutoRegLib.bundle import export_bundle

        archive = Path(options.archive)
        if archive.parent != Path():
            make_folder(archive.parent)
        path = export_bundle(options.model, archive)
        result, lines = {"archive": str(path)}, [f"written: {path}"]
    if options.json:
        show_json(result)
    else:
        print("\n".join(lines))
    return 0


def run_scenario(options: argparse.Namespace) -> int:
    """scenario: what a folder holds, as a file."""
    from AutoRegLib.app.scenario_folder import make_scenario

    facts, lines = make_scenario(options)
    if options.json:
        show_json(facts)
    elif not options.quiet:
        print("\n".join(lines))
    return 0


def run_purge(options: argparse.Namespace) -> int:
    """purge: what is kept beside results."""
    from AutoRegLib.app.purge import kept, remove

    things = kept(options.jobs)
    freed = remove(things) if options.yes else 0
    if options.json:
        show_json({"kept": [{"kind": one.kind, "path": str(one.path), "bytes": one.bytes} for one in things],
                   "removed": options.yes, "bytes": sum(one.bytes for one in things)})
    elif not options.quiet:
        rows = [{"kind": one.kind, "bytes": one.bytes, "path": one.path} for one in things]
        print("\n".join([*(table(rows, ("kind", "bytes", "path")) if rows else []),
                         f"removed: {freed} bytes" if options.yes else
                         "nothing was removed: --yes removes this" if rows else "nothing is kept"]))
    return 0


HANDLERS: dict[str, Callable[[argparse.Namespace], int]] = {
    "verb": run_verb,
    "models": run_models,
    "purge": run_purge,
    "job": run_job_folder,
    "info": run_info,
    "scenario": run_scenario,
}
