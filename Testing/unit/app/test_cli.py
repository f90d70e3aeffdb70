"""The command line itself: help, codes, messages, what goes to stdout and what to stderr."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from AutoRegLib.app import cli, console
from AutoRegLib.app import perform as verbs
from AutoRegLib.app.cli import main
from AutoRegLib.app.options import build_parser
from AutoRegLib.app.outputs import claim_output
from AutoRegLib.core.arguments import located
from AutoRegLib.core.errors import AutoRegError, CancelledError, DivergedError, InputError
from AutoRegLib.core.failures import explain
from AutoRegLib.core.jobs import JobRequest, Monitor
from AutoRegLib.core.verbs import VERBS as TABLE

ROOT = Path(__file__).resolve().parents[3]
VERBS = ("demo", "search", "train", "register", "batch", "apply", "evaluate", "study", "sweep", "synthesise",
         "augment", "fuse", "lddmm", "scenario", "models", "run", "info")
Captured = pytest.CaptureFixture[str]


def answer_with(monkeypatch: pytest.MonkeyPatch, result: Any) -> list[JobRequest]:
    """Replace the computation; returns the list that will hold the requests."""
    asked: list[JobRequest] = []

    def perform(request: JobRequest, *, monitor: Monitor) -> Any:
        asked.append(request)
        if isinstance(result, BaseException):
            raise result
        return result(monitor) if callable(result) else result

    monkeypatch.setattr(verbs, "perform", perform)
    return asked


@pytest.mark.parametrize("verb", [*(verb for verb in VERBS if verb != "lddmm"), *(
    name for name in TABLE if " " in name)])
def test_help_explains_and_gives_an_example(verb: str, capsys: Captured) -> None:
    assert main([*verb.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert "example:" in text and f"autoreg {verb}" in text


def test_help_names_every_verb_and_the_exit_codes(capsys: Captured) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(re.search(rf"\n    {verb}\s", text) for verb in VERBS) and "exit codes" in text


@pytest.mark.parametrize(
    "argv", [[], ["fly"], ["lddmm"], ["lddmm", "fly"], ["register"], ["search", "s.json"],
             ["evaluate", "--split", "all"], ["models"],
             ["register", "--model", "m", "--fixed", "f", "--moving", "m", "--output", "o", "--affine", "maybe"]]
)
def test_usage_errors_are_two(argv: list[str], capsys: Captured) -> None:
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "usage:" in captured.err


def test_options_and_arguments_are_the_same() -> None:
    """Every field of a verb's record is an option and the other way round, so a job can ask for all of it."""
    for name, verb in TABLE.items():
        parser: Any = build_parser()
        for word in name.split():
            parser = parser._subparsers._group_actions[0].choices[word]
        options = {action.dest for action in parser._actions} - {"help", "quiet", "json"}
        assert options == set(verb.arguments.__dataclass_fields__), name


def test_the_request_holds_what_was_typed(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    asked = answer_with(monkeypatch, {"output": "o"})
    argv = ["register", "--model", "m", "--fixed", "f", "--moving", "g", "--output", "o", "--refine", "3", "--inverse",
            "--transform-format", "nrrd", "h5", "--seed", "4"]
    assert main(argv) == 0
    assert asked[0].verb == "register"
    assert asked[0].arguments == {
        "model": "m", "fixed": "f", "moving": "g", "output": "o", "refine": 3, "inverse": True, "overwrite": False,
        "transform_format": ["nrrd", "h5"], "seed": 4, "share": False,
    }


@pytest.mark.parametrize(("text", "meant"), [("auto", "auto"), ("7", 7), ("0", 0)])
def test_refine_takes_a_number_or_auto(
    text: str, meant: Any, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    asked = answer_with(monkeypatch, {"output": "o"})
    argv = ["register", "--model", "none", "--fixed", "f", "--moving", "g", "--output", "o", "--refine"]
    assert main([*argv, text]) == 0 and asked[0].arguments["refine"] == meant
    assert main([*argv, "much"]) == 2
    assert "is not auto, full or a whole number" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "message"), [
    ("much", "int or auto"), (1.5, "int or auto"), (True, "int or auto"), (-1, "0 or more"),
])
def test_a_job_is_refused_another_refine(given: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "f.nii").touch()
    with pytest.raises(InputError, match=message):
        verbs.perform(JobRequest("register", {
            "model": "none", "fixed": str(tmp_path / "f.nii"), "moving": str(tmp_path / "f.nii"),
            "output": str(tmp_path), "refine": given,
        }))


def test_json_is_one_object_on_stdout(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    def work(monitor: Monitor) -> dict[str, Any]:
        monitor.event("stage", name="step", index=0, count=2)
        monitor.event("warning", code="w", text="look here")
        return {"dice": {"mean": 0.5}}

    answer_with(monkeypatch, work)
    assert main(["demo", "--output", "o", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"dice": {"mean": 0.5}}
    assert "step (1/2)" in captured.err and "warning: look here" in captured.err


def test_quiet_is_quiet_but_warns(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    def work(monitor: Monitor) -> dict[str, Any]:
        monitor.event("stage", name="step", index=0, count=1)
        monitor.event("warning", code="w", text="look here")
        return {"folds": 3}

    answer_with(monkeypatch, work)
    assert main(["demo", "--output", "o", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == "warning: look here\n"


def test_plain_progress_lines_tell_the_time_left(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    monitor = console.ConsoleMonitor()
    monitor.event("stage", name="train", index=0, count=1)
    for second in range(0, 25):
        now[0] = float(second)
        monitor.event("progress", done=second, total=100, eta_s=100.0 - second)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["train ...", "  train: 10 %, 1:30 left", "  train: 20 %, 1:20 left"]


@pytest.mark.parametrize(
    ("problem", "code", "part"),
    [
        (InputError("bad thing", expected="a", got="b", remedy="c"), 2, "bad thing. Expected: a. Got: b. Remedy: c."),
        (CancelledError("stopped"), 3, "stopped"),
        (KeyboardInterrupt(), 3, "stopped by the user"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 4, "pip install torch"),
        (RuntimeError("[enforce fail] . DefaultCPUAllocator: not enough memory: you tried"), 5, "memory"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory."), 5, "memory"),
        (DivergedError("loss is nan"), 6, "nan"),
        (OSError(errno.ENOSPC, "No space left on device", "out/x"), 7, "out/x"),
        (PermissionError(errno.EACCES, "Permission denied", "out/y"), 7, "out/y"),
        (ZeroDivisionError("division by zero"), 70, "please report it with the log"),
    ],
)
def test_failures_become_codes_and_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured, tmp_path: Path, problem: BaseException, code: int, part: str
) -> None:
    monkeypatch.setattr(cli.tempfile, "gettempdir", lambda: str(tmp_path))
    answer_with(monkeypatch, problem)
    assert main(["demo", "--output", "o"]) == code
    captured = capsys.readouterr()
    assert captured.out == "" and part in captured.err and "Traceback" not in captured.err
    logs = list(tmp_path.glob("*.log"))
    assert bool(logs) == (code == 70)
    if logs:
        assert str(logs[0]) in captured.err and "Traceback" in logs[0].read_text()


def test_traceback_on_request(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setenv("AUTOREG_TRACEBACK", "1")
    answer_with(monkeypatch, ZeroDivisionError("division by zero"))
    assert main(["demo", "--output", "o"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_explain_keeps_ours() -> None:
    ours = InputError("x")
    assert explain(ours) is ours
    assert type(explain(ValueError("y"))) is AutoRegError


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(
    ("verb", "wish"),
    [("search", "finish"), ("train", "finish"), ("study", "finish"), ("batch", "finish"),
     ("evaluate", "finish"), ("register", None)],
)
def test_ctrl_c_once(monkeypatch: pytest.MonkeyPatch, capsys: Captured, verb: str, wish: str | None) -> None:
    def work(monitor: Monitor) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(100):
            if monitor.wish():
                break
        assert monitor.wish() == wish
        return {"output": "kept"}

    answer_with(monkeypatch, work)
    argv = {"search": ["search", "s"], "train": ["train", "r", "--scenario", "s"], "study": ["study", "s"],
            "batch": ["batch", "t.csv", "--model", "m"],
            "evaluate": ["evaluate", "--model", "m", "--scenario", "s"],
            "register": ["register", "--model", "m", "--fixed", "f", "--moving", "m"]}[verb]
    before = signal.getsignal(signal.SIGINT)
    assert main([*argv, "--output", "o"]) == 3
    assert signal.getsignal(signal.SIGINT) is before
    captured = capsys.readouterr()
    assert ("what there is so far" in captured.err) == (wish == "finish")
    assert ("kept" in captured.out) == (wish == "finish")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_second_ctrl_c_and_sigterm_cancel(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    def work(*signals: int) -> Any:
        def run(monitor: Monitor) -> dict[str, Any]:
            for number in signals:
                os.kill(os.getpid(), number)
            assert monitor.wish() == "cancel"
            raise CancelledError("stopped by the user")

        return run

    for signals in ((signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)):
        answer_with(monkeypatch, work(*signals))
        assert main(["search", "s", "--output", "o"]) == 3


def test_output_rule(tmp_path: Path) -> None:
    said: list[str] = []

    class Listener(Monitor):
        def event(self, type: str, **payload: Any) -> None:
            said.append(payload["text"])

    def claim(**options: Any) -> Path:
        return claim_output(tmp_path / "o", ("a.json", "checkpoint.pt"), monitor=Listener(), **options)

    assert claim(overwrite=False).is_dir()
    (tmp_path / "o" / "notes.txt").write_text("mine")
    claim(overwrite=False)  # files of others do not matter
    (tmp_path / "o" / "a.json").write_text("{}")
    with pytest.raises(InputError, match="--overwrite") as caught:
        claim(overwrite=False)
    assert "a.json" in str(caught.value) and "--resume" not in str(caught.value)
    (tmp_path / "o" / "checkpoint.pt").write_text("")
    with pytest.raises(InputError, match="--resume"):
        claim(overwrite=False, resume=False)
    claim(overwrite=False, resume=True)
    assert (tmp_path / "o" / "checkpoint.pt").exists() and not said
    claim(overwrite=True)
    assert "a.json" in said[0] and (tmp_path / "o" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "o" / "checkpoint.pt").exists()
    with pytest.raises(InputError, match="is a file"):
        claim_output(tmp_path / "o" / "notes.txt", (), overwrite=True, monitor=Monitor())


def test_job_paths_are_relative_to_the_job(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    absolute = tmp_path / "x" / "fixed.nrrd"
    asked = {"fixed": str(absolute), "moving": "in/m.nrrd", "output": "out", "model": "brain", "seed": 1}
    found = located("register", asked, tmp_path)
    assert found == {"fixed": str(absolute), "moving": str(tmp_path / "in" / "m.nrrd"), "seed": 1,
                     "output": str(tmp_path / "out"), "model": "brain"}
    assert located("register", {"model": "models"}, tmp_path)["model"] == str(tmp_path / "models")


def test_info(capsys: Captured) -> None:
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert set(facts) == {"version", "torch", "devices", "networks", "operators", "models", "problems"}
    assert "cpu" in facts["devices"] and "autoreg" in facts["networks"] and "sep3" in facts["operators"]
    assert main(["info"]) == 0
    assert "networks" in capsys.readouterr().out


def test_the_module_runs_as_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "AutoRegLib", "--version"], capture_output=True, text=True, cwd=ROOT,
                          check=False)
    assert done.returncode == 0 and done.stdout.startswith("autoreg 0.")
    done = subprocess.run([sys.executable, "-m", "AutoRegLib", "apply", "--transform", "nowhere.nrrd", "--input", "x",
                           "--output", "y"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2 and "no such file: nowhere.nrrd" in done.stderr and "Traceback" not in done.stderr


def test_a_gpu_that_is_not_there(capsys: Captured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["demo", "--output", str(tmp_path / "o"), "--device", "cuda"]) == 4
    assert "--device cpu" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
