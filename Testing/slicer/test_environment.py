"""What an interpreter can compute with."""

from __future__ import annotations

import os
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jobs import tools

from AutoRegSlicerLib import environment
from AutoRegSlicerLib.environment import Environment, plans, probing

TOLD: dict[str, Any] = {
    "python": "3.12.10", "torch": "2.7.0+cu126", "cuda": "12.6", "devices": [["A GPU", 8 * 2**30, 10 * 2**30, True]],
    "torch_error": "", "numpy": "", "missing": [], "threads": 8, "memory": [1, 2], "gpus": ["A GPU, 10240 MiB"],
}


def answer(question: probing.Probe) -> Environment:
    until = time.monotonic() + 60
    while (told := question.poll()) is None and time.monotonic() < until:
        time.sleep(0.02)
    assert told is not None
    return told


def test_this_interpreter_answers_without_loading_torch_here() -> None:
    before = "torch" in sys.modules
    question = environment.probe(sys.executable)
    assert question.poll() is None  # it does not wait for the answer
    told = answer(question)
    import importlib.metadata

    assert told.torch.split("+")[0] == importlib.metadata.version("torch").split("+")[0]
    assert told.ready and told.python == ".".join(map(str, sys.version_info[:3])) and told.threads >= 1
    assert told.memory[1] > 2**28 and told.missing == ()
    assert before == ("torch" in sys.modules)


@pytest.mark.skipif(not tools.posix, reason="needs a shell")
def test_interpreters_that_do_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer(environment.probe(tmp_path / "absent")).state == "broken"
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\necho nothing to say\n")
    other.chmod(0o755)
    told = answer(environment.probe(other))
    assert told.state == "broken" and "nothing to say" in told.warnings[0][1]
    monkeypatch.setattr(probing, "ANSWER_SECONDS", 0.2)
    other.write_text("#!/bin/sh\nexec sleep 60\n")
    assert "no answer" in answer(environment.probe(other)).warnings[0][1]


@pytest.mark.parametrize(
    ("changes", "state", "code"),
    [
        ({}, "ready", ""),
        ({"devices": [], "cuda": "", "torch": "2.7.0+cpu"}, "cpu-only", "cpu-build"),
        ({"devices": []}, "cpu-only", "driver"),
        ({"devices": [], "gpus": []}, "cpu-only", "no-gpu"),
        ({"devices": [["An old GPU", 1, 2, False]]}, "cpu-only", "old-gpu"),
        ({"torch": "2.3.1"}, "missing", "old-torch"),
        ({"torch": "", "torch_error": "OSError: libcudart"}, "missing", "torch-broken"),
        ({"torch": "", "devices": [], "missing": ["torch", "safetensors"]}, "missing", ""),
        ({"missing": ["nibabel"]}, "ready", ""),
        ({"numpy": "_ARRAY_API not found"}, "ready", "numpy"),
        ({"python": "3.10.14"}, "broken", "old-python"),
        ({"devices": [], "gpus": [], "cuda": "", "mps": True}, "cpu-only", "mps"),
    ],
)
def test_what_the_answer_means(changes: dict[str, Any], state: str, code: str) -> None:
    told = environment.describe({**TOLD, **changes})
    assert told.state == state
    assert [c for c, _ in told.warnings] == ([code] if code else [])
    if code in ("cpu-build", "driver"):
        assert "20-50x slower" in told.warnings[0][1]
    assert told.text and ("A GPU, 8.0 of 10.0 GB free" in told.text) == (state == "ready")


def test_an_external_python_gets_nothing_of_slicer(monkeypatch: pytest.MonkeyPatch) -> None:
    home = "/opt/slicer"
    monkeypatch.setenv("SLICER_HOME", home)
    monkeypatch.setenv("PYTHONHOME", f"{home}/lib/Python")
    monkeypatch.setenv("PYTHONPATH", f"{home}/bin/Python")
    monkeypatch.setenv("LD_LIBRARY_PATH", os.pathsep.join([f"{home}/lib", "/usr/local/cuda/lib64"]))
    before = dict(os.environ)
    variables = environment.cleanEnvironment("/usr/bin/python3")
    assert "PYTHONHOME" not in variables and "PYTHONPATH" not in variables
    assert variables["LD_LIBRARY_PATH"] == "/usr/local/cuda/lib64"
    assert "PYTHONHOME" not in environment.cleanEnvironment()
    assert dict(os.environ) == before


def test_requirements_are_those_of_the_library() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    wanted = set(project["dependencies"])
    assert plans.TORCH in wanted and set(environment.requirements()) <= wanted
