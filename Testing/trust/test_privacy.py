"""What is kept of patients is for the user alone; what is passed on names files only; the rest can be removed."""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from pipeline.scenes import make_scenario
from trust.test_disposable import scenario

from AutoRegLib import register
from AutoRegLib.app.cli import main
from AutoRegLib.app.perform import perform
from AutoRegLib.core import leftovers, places
from AutoRegLib.core.bundle_folder import FILES
from AutoRegLib.core.errors import InputError
from AutoRegLib.core.jobs import JobRequest, write_request
from AutoRegLib.core.locks import process_mark
from AutoRegLib.core.recipe import Network, Preprocessing, Recipe, Training
from AutoRegLib.core.scenario import read_scenario, write_scenario
from AutoRegLib.core.sharing import without_paths
from AutoRegLib.evaluation import study_run
from AutoRegLib.imaging.files import read_volume, write_volume
from AutoRegLib.learning.train import train
from AutoRegSlicerLib.jobs.record import Record, new_folder, write_record

SECRET = "Jane Doe 1970"


@pytest.mark.skipif(os.name == "nt", reason="POSIX rights")
def test_a_job_folder_is_the_users_alone(tmp_path: Path) -> None:
    folder = new_folder(tmp_path, "register", "one", {})
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and (folder / "in").is_dir()


def texts(folder: Path) -> dict[str, str]:
    """Every file of a folder as text, unpacked where it is packed."""
    return {str(path.relative_to(folder)): unpacked(path.read_bytes()).decode("latin-1")
            for path in folder.rglob("*") if path.is_file()}


def unpacked(content: bytes) -> bytes:
    if content.startswith(b"PK\x03\x04"):  # arrays and checkpoints
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return content + b"".join(archive.read(name) for name in archive.namelist())
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


def private_pair(folder: Path) -> dict[str, str]:
    """Two images whose headers and folders name a patient, and landmarks that do."""
    folder.mkdir()
    y, x = np.meshgrid(np.linspace(-1, 1, 24), np.linspace(-1, 1, 24), indexing="ij")
    for name, shift in (("fixed", 0.0), ("moving", 0.15)):
        array = np.exp(-4 * (y**2 + (x - shift) ** 2)).astype(np.float32)
        image = nibabel.Nifti1Image(array, np.eye(4))
        image.header["descrip"], image.header["aux_file"] = SECRET, SECRET
        nibabel.save(image, folder / f"{name}.nii")
        (folder / f"{name}.csv").write_text(f"label,x,y\n{SECRET},-10,-9\nb,-4,-12\n")
    return {name: str(folder / file) for name, file in (
        ("fixed", "fixed.nii"), ("moving", "moving.nii"), ("fixed_landmarks", "fixed.csv"),
        ("moving_landmarks", "moving.csv"))}


def test_header_texts_go_into_no_result(tmp_path: Path) -> None:
    files = private_pair(tmp_path / "in")
    image = sitk.ReadImage(files["fixed"])
    image.SetMetaData("patient", SECRET)
    sitk.WriteImage(image, str(tmp_path / "in" / "a.nrrd"))
    write_volume(read_volume(tmp_path / "in" / "a.nrrd", "intensity"), tmp_path / "b.nrrd")
    assert SECRET in (tmp_path / "in" / "a.nrrd").read_bytes().decode("latin-1")
    assert SECRET not in (tmp_path / "b.nrrd").read_bytes().decode("latin-1")
    register(files["fixed"], files["moving"], tmp_path / "out", model="none", refine=1, inverse=True)
    found = texts(tmp_path / "out")
    assert "warped.nii.gz" in found
    assert [name for name, text in found.items() if SECRET in text] == []


def test_a_report_to_be_passed_on_names_files_only(tmp_path: Path) -> None:
    place = tmp_path / SECRET
    files = private_pair(place)
    plain = register(**files, output=tmp_path / "plain", model="none", refine=1)
    told = register(**files, output=tmp_path / "shared", model="none", refine=1, share=True)
    assert plain["inputs"]["fixed"]["path"] == files["fixed"] and SECRET in plain["tre_by_landmark_mm"]
    assert told["inputs"]["fixed"]["path"] == "fixed.nii" and list(told["tre_by_landmark_mm"]) == ["1", "2"]
    assert list(told["tre_by_landmark_mm"].values()) == list(plain["tre_by_landmark_mm"].values())
    found = texts(tmp_path / "shared")
    assert [name for name, text in found.items() if SECRET in text or str(tmp_path) in text] == []


def test_batch_and_evaluation_to_be_passed_on(tmp_path: Path) -> None:
    place = tmp_path / SECRET
    files = private_pair(place)
    (place / "pairs.csv").write_text(f"fixed,moving\n{files['fixed']},{files['moving']}\n{files['fixed']},gone.nii\n")
    perform(JobRequest("batch", {"table": str(place / "pairs.csv"), "model": "none", "refine": 0, "share": True,
                                 "output": str(tmp_path / "batch")}))
    cases = scenario(place, {1: "a", 2: "b"})
    write_scenario(place / "s.json", cases)
    text = (place / "s.json").read_text().replace('"c0"', f'"{SECRET}"').replace('"p1"', f'"{SECRET}"')
    (place / "s.json").write_text(text)
    perform(JobRequest("evaluate", {"scenario": str(place / "s.json"), "model": "none", "refine": 0, "share": True,
                                    "output": str(tmp_path / "evaluated")}))
    for name in ("batch", "evaluated"):
        found = texts(tmp_path / name)
        assert [file for file, text in found.items() if SECRET in text or str(tmp_path) in text] == []
    assert "fixed.nii,moving.nii" in (tmp_path / "batch" / "summary.csv").read_text()
    assert "no such file: gone.nii" in (tmp_path / "batch" / "summary.csv").read_text()
    assert (tmp_path / "evaluated" / "pairs.csv").read_text().splitlines()[1].startswith("case1,case2,")


def test_a_study_to_be_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / SECRET
    path = make_scenario(place / "data")
    path.write_text(path.read_text().replace('"s0"', f'"{SECRET}"').replace('"s5"', f'"{SECRET} b"'))
    cases = read_scenario(path)
    learn = study_run.train

    def fragile(recipe: Recipe, *args: Any, **options: Any) -> Any:
        if "manual-large" in str(options["output"]):
            raise InputError(f"no such file: {cases.cases[0].image}", expected="an image", remedy="look for it")
        return learn(recipe, *args, **options)

    monkeypatch.setattr(study_run, "train", fragile)
    found = perform(JobRequest("study", {
        "scenario": str(path), "rows": ["manual-small", "manual-large"], "preset": "quick", "minutes": 0.005,
        "limit": 1, "share": True, "output": str(tmp_path / "study")}))
    assert (found["runs"], found["failed"]) == (1, 1)
    said = texts(tmp_path / "study")
    assert {"study.md", "study.html", "manual-large/0/error.log", "manual-small/0/evaluation/pairs.csv"} <= set(said)
    assert [file for file, text in said.items() if SECRET in text or str(tmp_path) in text] == []
    image = Path(cases.cases[0].image).name
    assert f"no such file: {image}" in said["study.md"] and f"no such file: {image}" in said["manual-large/0/error.log"]


def test_models_hold_no_paths(tmp_path: Path) -> None:
    place = tmp_path / SECRET
    cases = read_scenario(make_scenario(place / "data"))
    recipe = Recipe(spatial_dims=2, network=Network(features=(4, 4), decoder=(4, 4, 4)),
                    preprocessing=Preprocessing(spacing=(1.0, 1.0), affine="none"), training=Training(steps=2))
    first = train(recipe, cases, output=place / "model")
    train(recipe, cases, output=place / "next", start=first)
    found = texts(place / "next")
    assert set(FILES) <= set(found)
    assert json.loads(found["provenance.json"])["start"]["model"] == "model"
    assert [file for file, text in found.items() if SECRET in text or str(tmp_path) in text] == []


@pytest.mark.parametrize(("text", "left"), [
    ("Replacing /home/jane doe/x.nii.gz.", "Replacing x.nii.gz."),
    ("cannot read C:\\Users\\jane\\y.nii", "cannot read y.nii"),
    ("'/a/b/c.nrrd' and ../d/e.csv, ~/f/g.h5", "'c.nrrd' and e.csv, g.h5"),
    ("1/2 of 3 mm/s; https://a.b/c and/or",) * 2,
    ("LNCC 0.5 / 0.6", "LNCC 0.5 / 0.6")])
def test_paths_in_sentences(text: str, left: str) -> None:
    assert without_paths({"a": [text]}, ["/home/jane doe/x.nii.gz"]) == {"a": [left]}


def aged(path: Path, seconds: float) -> Path:
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_purge_lists_first_and_removes_what_is_not_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, models, temporary, jobs = (tmp_path / name for name in ("cache", "models", "tmp", "jobs"))
    (cache / "alignments").mkdir(parents=True)
    (cache / "alignments" / "0123.json").write_text("{}")
    (models / "m").mkdir(parents=True)
    temporary.mkdir()
    monkeypatch.setenv("AUTOREG_CACHE", str(cache))
    monkeypatch.setenv("AUTOREG_MODELS", str(models))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mine = leftovers.private_prefix()
    dead = mine.replace(f".{os.getpid()}-", f".{gone.pid}-")
    going = {"log": aged(temporary / "autoreg-20260101-101010-77.log", 0) if (
        temporary / "autoreg-20260101-101010-77.log").touch() is None else None}
    for name in (f"{dead}abc", f"{mine}abc", "autoreg-ab_12cd8", "autoreg-peer-zzzz1234"):
        (temporary / name).mkdir()
        (temporary / name / "image.nii").write_bytes(b"x" * 100)
    (temporary / "autoreg-notes.txt").touch()
    aged(temporary / "autoreg-ab_12cd8", 2e5)
    for name, verb, state, held in (("a", "register", "done", False), ("b", "register", "running", False),
                                    ("c", "search", "done", False), ("d", "register", "done", True),
                                    ("e", "register", "doneNotImported", False)):
        write_request(jobs / name, JobRequest(verb, {"output": "out"}))
        write_record(jobs / name, Record(verb, name, 0.0, state=state))
        for part in ("in/image.nii.gz", "in/nodes.json", "out/warped.nii.gz"):
            (jobs / name / part).write_bytes(b"y" * 10)
        if held:
            (jobs / name / "lock").write_text(json.dumps(process_mark(os.getppid())))
    before = sorted(path for path in tmp_path.rglob("*"))

    def told(*more: str) -> Any:
        assert main(["purge", "--jobs", str(jobs), "--json", *more]) == 0
        return json.loads(capsys.readouterr().out)

    listed = told()
    assert sorted(path for path in tmp_path.rglob("*")) == before and not listed["removed"]
    expected = {cache / "alignments" / "0123.json", temporary / f"{dead}abc", temporary / "autoreg-ab_12cd8",
                going["log"], jobs / "a" / "in" / "image.nii.gz"}
    assert {Path(one["path"]) for one in listed["kept"]} == expected and listed["bytes"] == 2 + 100 + 100 + 10
    assert told("--yes")["bytes"] == listed["bytes"]
    assert not any(path.exists() for path in expected)
    rest = {path for path in before if not any(path == one or one in path.parents for one in expected)}
    assert set(tmp_path.rglob("*")) == rest
    assert told()["kept"] == [] and places.models_folder() == models


def test_what_a_killed_reader_left_goes_with_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for pid in (gone.pid, os.getpid()):
        (tmp_path / leftovers.private_prefix().replace(f".{os.getpid()}-", f".{pid}-")).mkdir()
    log = tmp_path / "autoreg-20260101-101010-77.log"
    log.touch()
    leftovers.sweep_temporary()
    assert {path.name for path in tmp_path.iterdir()} == {leftovers.private_prefix(), log.name}
