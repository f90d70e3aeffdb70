"""A scenario from a folder: the layouts in use, splits by subject, and what was understood."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from AutoRegLib.app.cli import main
from AutoRegLib.core.errors import InputError
from AutoRegLib.core.layouts import divide, find_cases
from AutoRegLib.core.scenario import Case, read_scenario
from AutoRegLib.imaging.files import write_volume
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume

GRID = Geometry((6, 6, 6), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel().tolist()))


def image(path: Path, *, labels: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.arange(216).reshape(6, 6, 6)
    volume = Volume((array % 3).astype(np.uint8), GRID, "labels") if labels else Volume(
        array.astype(np.float32), GRID, "intensity")
    write_volume(volume, path)


def nnunet(folder: Path, *, channels: int = 1, test: int = 2) -> Path:
    for number in range(8):
        for channel in range(channels):
            image(folder / f"imagesTr/brain_{number:03d}_{channel:04d}.nii.gz")
        image(folder / f"labelsTr/brain_{number:03d}.nii.gz", labels=True)
    for number in range(20, 20 + test):
        for channel in range(channels):
            image(folder / f"imagesTs/brain_{number:03d}_{channel:04d}.nii.gz")
    (folder / "dataset.json").write_text(json.dumps({
        "labels": {"background": 0, "left": 1, "right": 2},
        "channel_names": {str(channel): f"T{channel + 1}" for channel in range(channels)},
    }))
    return folder


def bids(folder: Path) -> Path:
    for number in range(1, 7):
        for session in ("a", "b"):
            name = f"sub-{number:02d}_ses-{session}"
            place = f"sub-{number:02d}/ses-{session}/anat"
            image(folder / f"{place}/{name}_T1w.nii.gz")
            if session == "a":
                image(folder / f"{place}/{name}_T2w.nii.gz")
            image(folder / f"derivatives/seg/{place}/{name}_space-orig_dseg.nii.gz", labels=True)
    (folder / "derivatives/seg/x_dseg.tsv").write_text("index\tname\n0\tair\n1\thead\n2\tbody\n")
    return folder


def test_nnunet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nnunet(tmp_path / "Task")
    assert main(["scenario", str(tmp_path / "Task")]) == 0
    said = capsys.readouterr().out
    scenario = read_scenario(tmp_path / "Task" / "scenario.json")
    assert scenario.name == "Task" and scenario.structures == {1: "left", 2: "right"} and len(scenario.cases) == 10
    assert {case.id for case in scenario.split("test")} == {"brain_020", "brain_021"}
    assert len(scenario.split("val")) == 2 and len(scenario.split("train")) == 6
    assert all(case.labels for case in scenario.split("train")) and scenario.cases[0].modality == "T1"
    for words in ("nnU-Net", "10 of 10 subjects, 3-D, 8 with labels", "1 left, 2 right", "6 cases, 30 pairs: brain_"):
        assert words in said
    written = json.loads((tmp_path / "Task/scenario.json").read_text())["cases"]
    assert written[0]["image"].startswith("imagesTr/") and written[0]["labels"].startswith("labelsTr/")


def test_nnunet_with_channels(tmp_path: Path) -> None:
    nnunet(tmp_path, channels=2)
    found = find_cases(tmp_path)
    assert "T1, T2 the first is taken" in found.notes[0] and all(c.image.endswith("_0000.nii.gz") for c in found.cases)
    second = find_cases(tmp_path, modality="T2")
    assert all(c.image.endswith("_0001.nii.gz") and c.modality == "T2" for c in second.cases) and not second.notes
    with pytest.raises(InputError, match="no channel 'CT'"):
        find_cases(tmp_path, modality="CT")


def test_bids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bids(tmp_path / "study")
    output = tmp_path / "s.json"
    assert main(["scenario", str(tmp_path / "study"), "--output", str(output), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    scenario = read_scenario(output)
    assert facts["cases"] == 12 and facts["subjects"] == 6 and facts["with_labels"] == 12
    assert scenario.structures == {1: "head", 2: "body"} and "kind T1w" in facts["notes"][0]
    for case in scenario.cases:
        assert case.labels and Path(case.labels).name.startswith(case.id) and case.modality == "T1"
    splits = {case.subject: {c.split for c in scenario.cases if c.subject == case.subject} for case in scenario.cases}
    assert all(len(found) == 1 for found in splits.values())
    assert main(["scenario", str(tmp_path / "study"), "--output", str(output), "--overwrite", "--pairing",
                 "within-subject", "--shares", "80", "20", "0"]) == 0
    pairs = read_scenario(output).pairs_of("train")
    assert pairs and all(pair.fixed.subject == pair.moving.subject for pair in pairs)
    assert not read_scenario(output).split("test")


def test_patterns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(6):
        for visit in (1, 2):
            image(tmp_path / f"scans/p{number}v{visit}_t1.nii.gz")
            image(tmp_path / f"segs/seg-p{number}v{visit}.nii.gz", labels=True)
    image(tmp_path / "segs/seg-p9v1.nii.gz", labels=True)
    argv = ["scenario", str(tmp_path), "--images", "scans/*_t1.nii.gz", "--labels", "segs/seg-*.nii.gz"]
    assert main([*argv, "--subject", r"p(\d+)"]) == 0
    assert "no image for seg-p9v1.nii.gz" in capsys.readouterr().out
    scenario = read_scenario(tmp_path / "scenario.json")
    assert len(scenario.cases) == 12 and {case.subject for case in scenario.cases} == set("012345")
    assert all(Path(c.labels or "").name == f"seg-{c.id}.nii.gz" for c in scenario.cases)
    assert scenario.structures == {1: "structure 1", 2: "structure 2"}
    before = (tmp_path / "scenario.json").read_bytes()
    assert main(argv) == 2 and (tmp_path / "scenario.json").read_bytes() == before
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(("argv", "said"), [
    ([], "no layout that is known"),
    (["--images", "scans/*.nii.gz"], "no images in"),
    (["--images", "scans/a.nii.gz"], "one \\*"),
    (["--images", "*.nii.gz", "--labels", "segs/*.nii.gz"], "no case in common"),
    (["--images", "*.nii.gz", "--subject", "("], "regular expression"),
    (["--images", "*.nii.gz", "--subject", "x"], "no subject in the name"),
    (["--images", "*.nii.gz"], "too few subjects"),
])
def test_what_is_not_understood_is_said(
    argv: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    import re

    for name in "abc":
        image(tmp_path / f"{name}.nii.gz")
    assert main(["scenario", str(tmp_path), *argv]) == 2
    assert re.search(said, capsys.readouterr().err)
    assert not (tmp_path / "scenario.json").exists()
    assert main(["scenario", str(tmp_path / "nowhere")]) == 2


@pytest.mark.parametrize("count", [4, 5, 6, 7, 20, 101])
def test_every_split_has_a_pair_and_no_subject_twice(count: int) -> None:
    cases = tuple(Case(f"c{i}{visit}", "x", f"p{i}", "train") for i in range(count) for visit in "ab")
    divided = divide(cases, shares=(70, 15, 15), seed=3)
    subjects = {split: {c.subject for c in divided if c.split == split} for split in ("train", "val", "test")}
    assert [c.id for c in divided] == [c.id for c in cases]
    assert sum(map(len, subjects.values())) == count and set.union(*subjects.values()) == {c.subject for c in cases}
    assert min(len(subjects["train"]), len(subjects["val"])) >= 2 and len(subjects["test"]) in (
        {0} if count < 6 else {2} if count < 17 else {round(0.15 * count)})
    assert divided == divide(cases, shares=(70, 15, 15), seed=3) != divide(cases, shares=(70, 15, 15), seed=4)
