"""Other programs, a model of another scenario, and several scenarios in one study."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline.scenes import make_scenario
from pipeline.test_study import RECIPE, lines
from scipy.ndimage import map_coordinates

from AutoRegLib.bundle import load_bundle
from AutoRegLib.core.errors import EnvironmentProblem, InputError
from AutoRegLib.core.recipe import LossWeights
from AutoRegLib.core.records import write_json
from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.evaluation.peers import SCHEMA, read_peers
from AutoRegLib.evaluation.study import study
from AutoRegLib.evaluation.study_series import study_series, with_large_structures
from AutoRegLib.imaging.files import read_volume
from AutoRegLib.learning.train import train

#: moves everything by (2, -1) mm along (x, y), and takes a quarter of a second, as it says
PEER = """
import argparse, json
import SimpleITK as sitk
parser = argparse.ArgumentParser()
for name in ("--fixed", "--moving", "--moving-labels", "--output", "--threads"):
    parser.add_argument(name, required=True)
given = parser.parse_args()
fixed = sitk.ReadImage(given.fixed)
field = sitk.Image(fixed.GetSize(), sitk.sitkVectorFloat32, 2)
field.CopyInformation(fixed)
field = sitk.Compose(sitk.VectorIndexSelectionCast(field, 0) + 2, sitk.VectorIndexSelectionCast(field, 1) - 1)
sitk.WriteImage(field, given.output + "/displacement.nrrd")
json.dump({"registration_wall_s": 0.25, "registration_cpu_s": 0.125}, open(given.output + "/seconds.json", "w"))
"""


@pytest.fixture(autouse=True)
def no_pictures_of_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("AutoRegLib.evaluation.evaluate._draw", lambda *args, **options: "")


def peers_file(folder: Path, script: str, name: str = "elastix", **facts: object) -> Path:
    (folder / "peer.py").write_text(script)
    command = [sys.executable, str(folder / "peer.py")]
    write_json(folder / "peers.json", {"peers": {name: {"command": command, **facts}}}, schema=SCHEMA)
    return folder / "peers.json"


def test_a_peer_is_measured_on_its_own_field(tmp_path: Path) -> None:
    """The Dice in the table is that of scipy's move of the labels by what the program answered."""
    scenario = read_scenario(make_scenario(tmp_path / "data"))
    peers = read_peers(peers_file(tmp_path, PEER))
    out = tmp_path / "out"
    found = study(RECIPE, scenario, output=out, rows=["elastix"], peers=peers, seeds=2)
    assert (found["runs"], found["left"]) == (1, 0)  # it has no seed
    table = lines(out)[0]
    assert float(table["seconds"]) >= 0.25 and "peak_memory_bytes" not in table  # its own, and the alignment
    with (out / "elastix" / "0" / "evaluation" / "pairs.csv").open(newline="") as stream:
        measured = {(line["fixed"], line["moving"]): float(line["dice_mean"]) for line in csv.DictReader(stream)}
    for pair in scenario.pairs_of("test"):
        fixed, moving = (read_volume(str(case.labels), "labels").array for case in (pair.fixed, pair.moving))
        y, x = np.indices(fixed.shape)
        moved = map_coordinates(moving, (y - 1, x + 2), order=0, mode="constant")
        overlap = [2 * ((fixed == s) & (moved == s)).sum() / ((fixed == s).sum() + (moved == s).sum()) for s in (1, 2)]
        assert measured[pair.fixed.id, pair.moving.id] == pytest.approx(np.mean(overlap), abs=1e-6)
    stored = np.load(out / "elastix" / "0" / "evaluation" / "pictures.npz")
    assert np.abs(stored["typical/field"] - np.array([-1, 2])[:, None, None]).max() < 1e-5


def test_a_slow_peer_registers_the_first_pairs_alone_and_tells_processor_time(tmp_path: Path) -> None:
    scenario = read_scenario(make_scenario(tmp_path / "data"))
    peers = read_peers(peers_file(tmp_path, PEER))
    busy = replace(RECIPE, training=replace(RECIPE.training, timer="processor"))
    out = tmp_path / "out"
    study(busy, scenario, output=out, rows=["elastix", "manual-medium"], peers=peers, peer_limit=1)
    table = {line["row"]: line for line in lines(out)}
    pairs = scenario.pairs_of("test", limit=100)
    assert [int(table[row]["pairs"]) for row in ("elastix", "manual-medium")] == [1, len(pairs)] != [1, 1]
    with (out / "elastix" / "0" / "evaluation" / "pairs.csv").open(newline="") as stream:
        line, = csv.DictReader(stream)
    assert (line["fixed"], line["moving"]) == (pairs[0].fixed.id, pairs[0].moving.id)
    assert 0.125 <= float(line["seconds"]) < 0.25  # nothing is aligned here
    text = (out / "study.md").read_text()
    assert f"{len(pairs)} test pairs;" in text and "|  | seeds | pairs | Dice |" in text


def test_a_peer_that_fails_is_a_row_that_says_so(tmp_path: Path) -> None:
    scenario = read_scenario(make_scenario(tmp_path / "data"))
    peers = read_peers(peers_file(tmp_path, "raise SystemExit('no licence')"))
    with pytest.raises(EnvironmentProblem, match="no licence"):
        study(RECIPE, scenario, output=tmp_path / "out", rows=["elastix"], peers=peers)
    with pytest.raises(InputError, match="is no row"):
        read_peers(peers_file(tmp_path, PEER, name="somebody"))
    with pytest.raises(InputError, match="file of peers"):
        study(RECIPE, scenario, output=tmp_path / "out", rows=["elastix"], resume=True)


def test_a_program_for_volumes_is_no_row_of_pictures(tmp_path: Path) -> None:
    """Left out of a table, refused where it is named: before anything is trained."""
    scenario = read_scenario(make_scenario(tmp_path / "data"))
    peers = read_peers(peers_file(tmp_path, PEER, dimensions=[3]))
    with pytest.raises(InputError, match="of so many dimensions"):
        study(RECIPE, scenario, output=tmp_path / "out", rows=["elastix"], peers=peers)
    assert not (tmp_path / "out").exists()


def test_from_a_model_of_another_scenario(tmp_path: Path) -> None:
    """Table II's rows: as it is, its weights trained on, its recipe trained anew, searched on from there."""
    other = read_scenario(make_scenario(tmp_path / "other"))
    weights = LossWeights(similarity_mix=0.7, smoothness=2.5)
    model = train(replace(RECIPE, loss_weights=weights, seed=9), replace(other, name="elsewhere"),
                  output=tmp_path / "older")
    scenario = read_scenario(make_scenario(tmp_path / "data"))
    out = tmp_path / "out"
    rows = ["applied", "fine-tuned", "from-loss-weights"]
    study(RECIPE, scenario, output=out, start=load_bundle(model.path), rows=rows)
    table = {line["row"]: line for line in lines(out)}
    assert not (out / "applied" / "0" / "model").exists() and not table["applied"]["train_seconds"]
    assert all(float(table[row]["smoothness"]) == 2.5 for row in ("applied", "fine-tuned"))
    tuned = json.loads((out / "fine-tuned" / "0" / "model" / "provenance.json").read_text())["start"]
    searched = json.loads((out / "from-loss-weights" / "0" / "search" / "provenance.json").read_text())["start"]
    assert tuned == searched and (tuned["model"], tuned["scenario"]) == ("older", "elsewhere")
    assert "start" not in json.loads((out / "from-loss-weights" / "0" / "model" / "provenance.json").read_text())
    assert "(AutoReg, Table II;" in (out / "study.md").read_text()


def test_several_scenarios_in_one_report(tmp_path: Path) -> None:
    first = read_scenario(make_scenario(tmp_path / "a"))
    second = replace(read_scenario(make_scenario(tmp_path / "b", (20, 24))), name="smaller blobs")
    out = tmp_path / "out"
    given: Any = {"output": out, "rows": ["manual-small"], "limit": 1}
    found = study_series([(RECIPE, first), (RECIPE, second)], **given)
    assert (found["scenarios"], found["runs"], found["left"]) == (2, 2, 0)
    text = (out / "study.md").read_text()
    table = text[text.index("## Dice"):].splitlines()[2:5]
    assert table[0] == "|  | blobs | smaller-blobs |"
    expected = [f"{float(lines(out / name)[0]['dice']):.3f}" for name in ("blobs", "smaller-blobs")]
    assert table[2] == f"| manual-small | {expected[0]} | {expected[1]} |"
    assert (out / "study.html").read_text().count("data:image/png") == 6  # both scenarios' own pictures
    again = study_series([(RECIPE, first), (RECIPE, second)], **given, resume=True)
    assert (again["runs"], again["left"]) == (2, 0)
    with pytest.raises(InputError, match="one name"):
        study_series([(RECIPE, first), (RECIPE, first)], **{**given, "output": tmp_path / "new"})


def test_only_structures_that_are_large_everywhere(tmp_path: Path) -> None:
    scenario = read_scenario(make_scenario(tmp_path / "data"))
    sizes = [[(read_volume(str(c.labels), "labels").array == s).sum() for c in scenario.split("test")] for s in (1, 2)]
    least = min(sizes[1]) + 1
    assert min(sizes[0]) >= least  # the shell is larger than the core
    assert with_large_structures(scenario, least=least).structures == {1: "shell"}
    assert with_large_structures(scenario, least=least - 1).structures == scenario.structures
    with pytest.raises(InputError, match="no structure"):
        with_large_structures(scenario, least=10**6)
