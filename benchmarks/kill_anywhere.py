"""Ends jobs by SIGKILL at random moments, looks at every file that is left, and lets them go on.

``python -m benchmarks.kill_anywhere --work DIR --kills 200 [--seed 0] [--verbs ...]``: jobs on tiny data, in turn, of
search, train, register, evaluate and study, or of the verbs named (``--verbs later``: all others). Half of the kills
fall at a random time, the other half right before a random access to a file that changes it. A job is killed up to five
times, then runs to its end, which must equal that of a job that was left alone: the same files, arrays and numbers,
seconds aside; of the demo, which has minutes instead of steps, the same files. ``purge`` is no job: killed, it may have
removed nothing else, and run again, it leaves nothing of what it lists. Prints a line a job and what was wrong; writes
``kill_anywhere.json`` into ``--work``. ``--resume`` goes on with the count. POSIX only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.artefacts import broken, fingerprint

VERBS = ("search", "train", "register", "evaluate", "study")
LATER = ("batch", "sweep", "synthesise", "augment", "fuse", "lddmm register", "lddmm sample", "lddmm fit",
         "lddmm train-predictor", "lddmm predict", "purge", "demo")
BY_MINUTES = ("demo",)  # ends elsewhere each time
MOST_KILLS = 5  # of one job
PATIENCE = 120.0  # seconds that a run may take
#: accesses to files that change something, as Python audits them
CHANGES = ("os.rename", "os.remove", "os.link", "os.mkdir", "os.truncate")


def prepare(folder: Path, verbs: Sequence[str] = VERBS) -> dict[str, dict[str, Any]]:
    """Tiny data, a recipe and a model; the arguments of each verb. Runs in a process of its own."""
    from AutoRegLib.core.recipe import read_recipe
    from AutoRegLib.core.scenario import read_scenario
    from AutoRegLib.learning.train import train
    from benchmarks.phantom import write_phantom

    scenario = write_phantom(folder, side=16, splits=("train", "train", "val", "val", "test", "test"))
    known = read_scenario(scenario)
    run_verb("search", {"scenario": str(scenario), "output": str(folder / "found"), **QUICK})
    train(read_recipe(folder / "found" / "recipe.json"), known, output=folder / "model")
    fixed, moving = known.split("test")[:2]
    return {
        "search": {"scenario": str(scenario), **QUICK},
        "train": {"recipe": str(folder / "found"), "scenario": str(scenario), "seed": 0},
        "register": {"fixed": fixed.image, "moving": moving.image, "fixed_labels": str(fixed.labels),
                     "moving_labels": str(moving.labels), "model": str(folder / "model"), "refine": 3,
                     "inverse": True},
        "evaluate": {"model": str(folder / "model"), "scenario": str(scenario), "split": "test", "refine": 0},
        "study": {"scenario": str(scenario), "rows": ["manual-small", "manual-large"], "limit": 1, **QUICK},
    } | (later(folder, scenario) if set(verbs) & set(LATER) else {})


def later(folder: Path, scenario: Path) -> dict[str, dict[str, Any]]:
    """The arguments of the verbs of :data:`LATER`, from the same data and model."""
    cases = json.loads(scenario.read_text())["cases"]
    fixed, moving, other = (str(folder / case["image"]) for case in cases[-3:])
    table = folder / "table.csv"
    table.write_text(f"fixed,moving\n{fixed},{moving}\n{moving},{fixed}\n{fixed},{other}\n")
    pair = {"fixed": fixed, "moving": moving}
    sampled, predictor = folder / "sampled", folder / "predictor"
    samples: dict[str, Any] = {"alphas": [1.0, 10.0], "pairs": 2, "size": [16, 16]}
    learning: dict[str, Any] = {"table": str(sampled / "pairs.csv"), "affine": False, "epochs": 3}
    run_verb("lddmm sample", {"output": str(sampled), **samples})
    run_verb("lddmm train-predictor", {"output": str(predictor), **learning})
    first = (sampled / "pairs.csv").read_text().splitlines()
    drawn = dict(zip(first[0].split(","), first[1].split(","), strict=True))
    return {
        "batch": {"table": str(table), "model": str(folder / "model"), "refine": 1, "inverse": True},
        "sweep": {"recipe": str(folder / "found"), "scenario": str(scenario), "limit": 1,
                  "over": ["loss_weights.smoothness", "0.5", "1"]},
        "synthesise": {"source": str(scenario), "sigma": [2.0], "pairs": [2, 1, 1]},
        "augment": {"model": str(folder / "model"), "scenario": str(scenario), "count": 3, "fields": "random"},
        "fuse": pair, "lddmm register": {**pair, "refine": 2},
        "lddmm sample": samples, "lddmm fit": {"table": str(sampled / "pairs.csv"), "affine": False},
        "lddmm train-predictor": learning,
        "lddmm predict": {"predictor": str(predictor), "affine": False,
                          **{role: str(sampled / drawn[role]) for role in ("fixed", "moving")}},
        "demo": {"minutes": 0.02}, "purge": {},
    }


QUICK = {"preset": "quick", "seed": 0}


def run_verb(verb: str, arguments: dict[str, Any]) -> None:
    from AutoRegLib.app.perform import perform
    from AutoRegLib.core.jobs import JobRequest

    perform(JobRequest(verb, {**arguments, "device": "cpu", "threads": 1}))


def make_small() -> None:
    """Presets of some steps, a checkpoint whenever one may be written; no figures and no trials of the
    refinement, which take longer than the rest."""
    from AutoRegLib.core import presets
    from AutoRegLib.core.recipe import Recipe
    from AutoRegLib.learning import train
    from AutoRegLib.search import stage, successive_halving

    whole = presets.preset_recipe

    def small(*arguments: Any, **options: Any) -> Recipe:
        recipe = whole(*arguments, **options)
        return replace(
            recipe, network=replace(recipe.network, features=(2, 3), decoder=(4, 3, 2)),
            training=replace(recipe.training, steps=4),
            search=replace(recipe.search, stages=tuple(replace(stage, steps=2) for stage in recipe.search.stages),
                           finalists=2, final_steps=1, check_every=1, stable_checks=1000))

    presets.preset_recipe = small  # type: ignore[assignment]
    from AutoRegLib.app import demo

    demo.SPLITS = (("train", 2), ("val", 2), ("test", 2))
    train.choose_finish = lambda *_, **__: {}  # type: ignore[attr-defined]
    for module in (train, stage, successive_halving):
        module.CHECKPOINT_SECONDS = 0.0  # type: ignore[attr-defined]
    sys.modules["matplotlib"] = None  # type: ignore[assignment]


def load() -> None:
    """Import all that a job needs, so that a fork begins at once; nothing is computed, which would start threads."""
    import safetensors.numpy  # noqa: F401
    import torch
    import torch._dynamo

    import AutoRegLib.app.perform
    import AutoRegLib.app.worker
    import AutoRegLib.evaluation.study
    import AutoRegLib.registration.run
    import AutoRegLib.search.random_search  # noqa: F401

    torch.set_num_threads(1)


def plain(verb: str) -> str:
    """The verb as a part of a file's name."""
    return verb.replace(" ", "-")


def job(folder: Path, verb: str, arguments: dict[str, Any]) -> Path:
    """A new job folder; of ``purge`` what it looks through, and results that it must leave."""
    from AutoRegLib.core.jobs import JobRequest, write_request

    if verb == "purge":
        for place in ("cache/alignments/{}.json", "tmp/autoreg-peer-{}/image.nii.gz", "jobs/{}/in/image.nii.gz",
                      "jobs/{}/out/kept.json"):
            for number in range(4):
                file = folder / place.format(f"abcd123{number}")
                file.parent.mkdir(parents=True, exist_ok=True)
                if file.suffix == ".json":
                    file.write_text("{}")
                else:
                    shutil.copy(folder.parent / "data" / "image0.nii.gz", file)
        for one in (folder / "jobs").iterdir():
            write_request(one, JobRequest("register", {"output": "out"}))
            (one / "ui.json").write_text('{"state": "done"}')
        for path in (folder / "tmp").iterdir():
            os.utime(path, (0, 0))
        return folder
    write_request(folder, JobRequest(verb, {**arguments, "device": "cpu", "threads": 1}))
    return folder


def in_child(action: Callable[[], int], *, kill_after: float | None = None) -> tuple[int, float]:
    """Run ``action`` in a fork; its exit status (minus the signal that ended it) and seconds."""
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            code = action()
        finally:
            os._exit(code)
    killed = False
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        spent = time.monotonic() - began
        if done:
            return os.waitstatus_to_exitcode(status), spent
        if not killed and spent > (PATIENCE if kill_after is None else kill_after):
            killed = True
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def run_once(folder: Path, *, doomed: int | None = None, count: Path | None = None) -> int:
    """The job as its worker runs it; ends itself right before the ``doomed``-th change of a file under ``folder``.

    ``count``: where the number of changes is written.
    """
    from AutoRegLib.app.cli import main

    changes = 0
    place = str(folder.resolve())

    def seen(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal changes
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if not (writes or event in CHANGES) or place not in os.fsdecode(str(arguments[0])):
            return
        changes += 1
        if changes == doomed:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(seen)
    if (folder / "job.json").is_file():
        code = main(["run", str(folder)])
    else:
        tempfile.tempdir = str(folder / "tmp")
        os.environ["AUTOREG_CACHE"] = str(folder / "cache")
        code = main(["purge", "--jobs", str(folder / "jobs"), "--yes", "--quiet"])
    if count is not None:
        count.write_text(str(changes))
    return code


def reference(work: Path, verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """What the verb leaves when it is left alone; its seconds and changes of files."""
    folder = job(work / f"whole-{plain(verb)}", verb, arguments)
    code, seconds = in_child(lambda: run_once(folder, count=work / f"{plain(verb)}.count"))
    if code != 0:
        raise SystemExit(f"{verb} alone: exit {code}, see {folder / 'log.txt'}")
    found = looked_at(folder, work)
    return {"found": dict.fromkeys(found, "") if verb in BY_MINUTES else found, "seconds": seconds,
            "changes": int((work / f"{plain(verb)}.count").read_text())}


def looked_at(folder: Path, work: Path) -> dict[str, str]:
    """The fingerprint of the results, taken in a process of its own: no image library runs in the one that forks."""
    def look() -> int:
        results = folder / "out" if (folder / "job.json").is_file() else folder
        (work / "seen.json").write_text(json.dumps(fingerprint(results)))
        return 0

    in_child(look)
    return dict(json.loads((work / "seen.json").read_text()))


def damaged(folder: Path, work: Path) -> list[str]:
    """What is broken of the job's files, found in a process of its own."""
    def look() -> int:
        (work / "broken.json").write_text(json.dumps(broken(folder)))
        return 0

    (work / "broken.json").write_text('["the look at the files failed"]')
    in_child(look)
    return list(json.loads((work / "broken.json").read_text()))


def difference(expected: dict[str, str], found: dict[str, str]) -> str:
    return ", ".join(sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)))


def try_job(work: Path, number: int, verb: str, known: dict[str, Any], arguments: dict[str, Any],
            rng: random.Random) -> tuple[int, list[str]]:
    """Kill one job up to ``MOST_KILLS`` times, then let it end: how often it was killed, and what was wrong."""
    folder = job(work / f"job-{number:04d}-{plain(verb)}", verb, arguments)
    kills, wrong = 0, []
    for _ in range(rng.randint(1, MOST_KILLS)):
        if rng.random() < 0.5:
            code, _ = in_child(lambda: run_once(folder), kill_after=rng.uniform(0.0, known["seconds"]))
        else:
            doomed = rng.randint(1, known["changes"])
            code, _ = in_child(lambda: run_once(folder, doomed=doomed))  # noqa: B023
        if code != -signal.SIGKILL:  # it was done before
            wrong += [] if code == 0 else [f"exit {code} instead of a kill"]
            break
        kills += 1
        wrong += damaged(folder, work)
    code, _ = in_child(lambda: run_once(folder))
    if code != 0:
        return kills, [*wrong, f"exit {code} when it went on"]
    wrong += damaged(folder, work)
    found = looked_at(folder, work)
    found = dict.fromkeys(found, "") if verb in BY_MINUTES else found
    if found != known["found"]:
        wrong.append(f"another end: {difference(known['found'], found)}")
    wrong += [f"left behind: {path.name}" for path in folder.rglob(".*")]
    wrong += ["the lock stayed"] if (folder / "lock").exists() else []
    return kills, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbs", nargs="+", choices=(*VERBS, *LATER, "later"), default=VERBS)
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args()
    verbs = LATER if given.verbs == ["later"] else tuple(given.verbs)
    load()
    work = given.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    told = work / "kill_anywhere.json"
    make_small()
    if given.resume and told.exists():
        state = json.loads(told.read_text())
    else:
        def first() -> int:
            shutil.rmtree(work / "data", ignore_errors=True)
            (work / "arguments.json").write_text(json.dumps(prepare(work / "data", verbs)))
            return 0

        if in_child(first)[0] != 0:
            raise SystemExit("the data could not be made")
        state = {"jobs": 0, "kills": {}, "wrong": [], "alone": {},
                 "arguments": json.loads((work / "arguments.json").read_text())}
    while sum(state["kills"].values()) < given.kills:
        number = state["jobs"]
        verb = verbs[number % len(verbs)]
        if verb not in state["alone"]:
            shutil.rmtree(work / f"whole-{plain(verb)}", ignore_errors=True)
            known = state["alone"][verb] = reference(work, verb, state["arguments"][verb])
            told.write_text(json.dumps(state))
            print(f"{verb} alone: {known['seconds']:.1f} s, {known['changes']} changes of files", flush=True)
        # of a run that was stopped
        shutil.rmtree(work / f"job-{number:04d}-{plain(verb)}", ignore_errors=True)
        kills, wrong = try_job(work, number, verb, state["alone"][verb], state["arguments"][verb],
                               random.Random(f"{given.seed}/{number}"))
        state["jobs"] += 1
        state["kills"] = dict(Counter(state["kills"]) + Counter({verb: kills}))
        state["wrong"] += [f"job {number} ({verb}): {text}" for text in wrong]
        told.write_text(json.dumps(state))
        print(f"job {number} {verb}: {kills} kills {'; '.join(wrong)}", flush=True)
    print(f"{sum(state['kills'].values())} kills of {state['jobs']} jobs {state['kills']}; "
          f"{len(state['wrong'])} things wrong")


if __name__ == "__main__":
    main()
