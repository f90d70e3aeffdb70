"""Every reader of text files, given any bytes at all: a value, or an error that says what to do; never another one."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from AutoRegLib.app.batch import _finished
from AutoRegLib.app.memory_fallback import _kept_level
from AutoRegLib.core.bundle_folder import count_weights, import_archive, read_facts
from AutoRegLib.core.errors import MOST_CHARACTERS, AutoRegError, InputError, visible
from AutoRegLib.core.jobs import FolderMonitor, lock_holder, read_events, read_request
from AutoRegLib.core.layouts import _nnunet, _structures
from AutoRegLib.core.pair_table import read_pair_table
from AutoRegLib.core.recipe import Recipe, read_recipe, write_recipe
from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.core.strict_json import MOST_DEPTH, parse_json
from AutoRegLib.imaging.points import read_points

ROOT = Path(__file__).resolve().parents[2]


def job(folder: Path) -> Any:
    return read_request(folder)


def events(folder: Path) -> Any:
    from AutoRegSlicerLib.jobs.progress import Digest
    from AutoRegSlicerLib.jobs.tail import EventTail

    digest = Digest()
    for event in EventTail(folder).read():
        digest.feed(event)
    FolderMonitor(folder).event("warning", text="on we go")
    assert read_events(folder)[-1].payload == {"text": "on we go"}
    return digest.secondsRunning, digest.fraction


def record(folder: Path) -> Any:
    from AutoRegSlicerLib.jobs.record import read_record

    return read_record(folder)


def state(folder: Path) -> Any:
    from AutoRegSlicerLib.jobs.record import worker_state

    return worker_state(folder)


#: name of the file -> its reader, called with the folder
READERS: dict[str, Callable[[Path], Any]] = {
    "recipe.json": read_recipe,
    "scenario.json": lambda folder: read_scenario(folder / "scenario.json"),
    "metrics.json": lambda folder: read_facts(folder / "metrics.json"),
    "weights.safetensors": lambda folder: count_weights(folder / "weights.safetensors"),
    "job.json": job,
    "events.jsonl": events,
    "lock": lock_holder,
    "state.json": state,
    "ui.json": record,
    "report.json": _finished,
    "memory.json": lambda folder: _kept_level(folder, "train"),
    "dataset.json": lambda folder: _nnunet(folder, ""),
    "structures.tsv": lambda folder: _structures(folder / "structures.tsv"),
    "pairs.csv": lambda folder: read_pair_table(folder / "pairs.csv"),
    "p.csv": lambda folder: read_points(folder / "p.csv"),
    "p.fcsv": lambda folder: read_points(folder / "p.fcsv"),
    "p.mrk.json": lambda folder: read_points(folder / "p.mrk.json"),
}
NUMBERS = ["NaN", "-Infinity", "1e400", "1" * 5000, "-1e-400", "1e308", "9" * 18]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=12,
)
SEEDS = {
    "recipe.json": None,  # written below
    "scenario.json": {"schema": "autoreg-scenario/1", "name": "s", "spatial_dims": 3, "pairing": "all", "cases": [
        {"id": "a", "image": "x" * 300, "subject": "a", "split": "train"}]},
    "job.json": {"schema": "autoreg-job/1", "verb": "train", "arguments": {"output": "o"}},
    "events.jsonl": {"v": 1, "seq": 0, "t": 1.0, "type": "progress", "done": 1, "total": 2, "eta_s": 3},
    "ui.json": {"schema": "autoreg-job-ui/1", "verb": "train", "title": "t", "created": 1.0, "failure": {"code": "a"}},
    "dataset.json": {"channel_names": {"0": "T1"}, "labels": {"background": 0, "1": "core"}},
    "p.mrk.json": {"markups": [{"coordinateUnits": "mm", "controlPoints": [{"label": "a", "position": [1, 2, 3]}]}]},
    "weights.safetensors": {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
}


@st.composite
def contents(draw: st.DrawFn, seed: Any) -> bytes:
    """Any bytes, any JSON, or a good file in which one value became another."""
    way = draw(st.integers(0, 3))
    if way == 0:
        return draw(st.binary(max_size=400))
    if way == 1 or seed is None:
        return json.dumps(draw(values), ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    text = json.dumps(seed)
    spots = [m.span() for m in re.finditer(r'"[^"]*"|-?[0-9.]+|\[[^\[\]]*\]|\{[^{}]*\}', text)]
    start, end = draw(st.sampled_from(spots))
    new = draw(st.sampled_from(NUMBERS) | values.map(json.dumps))
    return (text[:start] + new + text[end:] + "\n").encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("name", READERS)
def test_any_bytes_give_a_value_or_an_error_of_ours(name: str, tmp_path: Path) -> None:
    seed = SEEDS.get(name, {})
    if name == "recipe.json":
        write_recipe(tmp_path / "recipe.json", Recipe())
        seed = json.loads((tmp_path / "recipe.json").read_text())

    @settings(max_examples=60, deadline=None, database=None,
              suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(contents(seed))
    def check(data: bytes) -> None:
        if name == "weights.safetensors":
            data = len(data).to_bytes(8, "little") + data
        (tmp_path / name).write_bytes(data)
        try:
            READERS[name](tmp_path)
        except AutoRegError as problem:
            assert problem.exit_code == 2 and len(str(problem)) < 4 * MOST_CHARACTERS
            assert "\n" not in str(problem) and "\x1b" not in str(problem)

    check()


@pytest.mark.parametrize(("text", "why"), [
    ("[" * 100_000, "levels"), ('{"a":' * (MOST_DEPTH + 2) + "1" + "}" * (MOST_DEPTH + 2), "levels"),
    ('{"a": NaN}', "NaN"), ('{"a": -Infinity}', "Infinity"), ('{"a": 1e400}', "too large"),
    ('{"a": ' + "9" * 5000 + "}", "5000 digits"), ('{"a": 1, "a": 2}', "'a' twice"), ('{"a": 1', "delimiter"),
])
def test_what_no_computation_bears_is_refused_at_the_door(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as found:
        parse_json(text, where="x")
    assert len(str(found.value)) < 600


@pytest.mark.parametrize("change", [
    ("network", "features", [10**9, 16]), ("network", "squarings", 10**6), ("training", "batch", 0),
    ("training", "learning_rate", -1.0), ("preprocessing", "spacing", [1.0, 0.0, 1.0]), ("training", "average", 2.0),
    ("search", "check_every", 0), ("preprocessing", "spacing", [1e300] * 3), ("network", "decoder", [-1, 2, 3]),
    ("training", "steps", 10**17),
])
def test_a_recipe_out_of_range_is_refused_by_name(change: tuple[str, str, Any], tmp_path: Path) -> None:
    part, name, value = change
    write_recipe(tmp_path / "recipe.json", Recipe())
    assert read_recipe(tmp_path) == Recipe()
    data = json.loads((tmp_path / "recipe.json").read_text())
    data[part][name] = value
    (tmp_path / "recipe.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match=f"{name} is out of range"):
        read_recipe(tmp_path)


def test_names_cannot_write_to_the_terminal() -> None:
    assert visible("a\x1b[2Jb\nc\u202ed\udc80é 日本") == r"a\x1b[2Jb\nc\u202ed\udc80é 日本"
    text = str(InputError("x" * 10_000, expected="e" * 10_000, got="\n" * 10_000, remedy="r" * 10_000))
    assert len(text) < 8 * MOST_CHARACTERS and "\n" not in text


def test_there_is_one_door() -> None:
    found = [path.name for half in ("AutoRegLib", "AutoRegSlicer") for path in (ROOT / half).rglob("*.py")
             if re.search(r"\bjson\.loads?\(", path.read_text(encoding="utf-8"))]
    assert found == ["strict_json.py"]


@pytest.mark.parametrize(("text", "why"), [
    ("fixed,moving\na,b,c,d\n", "more cells"), ("fixed\na,b,c\n", "columns fixed, moving"),
    ("fixed,moving\na\0,b\n", "no name has"), ("", "columns fixed, moving")])
def test_a_table_of_pairs_says_which_line_is_wrong(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(InputError, match=why):
        read_pair_table(tmp_path / "pairs.csv")


@pytest.mark.parametrize("spot", [0x1e, 0x1f])  # a letter of a name in the archive that is none
def test_an_archive_with_damaged_names_is_no_model(spot: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOREG_MODELS", str(tmp_path / "models"))
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as packed:
        packed.writestr("récipe.json", "{}")
    data = (tmp_path / "m.zip").read_bytes()
    where = data.find("é".encode(), 60) - spot % 2
    (tmp_path / "m.zip").write_bytes(data[:where] + b"\xff" + data[where + 1:])
    with pytest.raises(InputError, match="not a model archive"):
        import_archive(tmp_path / "m.zip")
    assert not any((tmp_path / "models").iterdir())
