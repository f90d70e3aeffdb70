"""Results that belong together replace earlier ones together, or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from AutoRegLib.core.errors import DiskError
from AutoRegLib.core.records import write_text
from AutoRegLib.core.result_set import together

ROOT = Path(__file__).resolve().parents[3]


def held(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    for name in ("a.txt", "b.txt", "last.json", "notes.txt"):
        (tmp_path / name).write_text("earlier")
    return tmp_path


def test_a_set_replaces_the_earlier_one_and_leaves_what_is_not_of_it(earlier: Path) -> None:
    with together(earlier, last="last.json", obsolete=("a.txt", "b.txt")) as stage:
        write_text(stage / "a.txt", "new")
        (stage / "figures").mkdir()
        write_text(stage / "figures" / "c.txt", "new")
        write_text(stage / "last.json", "new")
        assert set(held(earlier).values()) == {"earlier", "new"} and held(earlier)["a.txt"] == "earlier"
    assert held(earlier) == {"a.txt": "new", "figures/c.txt": "new", "last.json": "new", "notes.txt": "earlier"}


def test_an_error_leaves_the_earlier_set(earlier: Path) -> None:
    before = held(earlier)
    with pytest.raises(DiskError, match=r"cannot write .*last\.json") as told, together(
        earlier, last="last.json", obsolete=("b.txt",)
    ) as stage:
        write_text(stage / "a.txt", "new")
        raise DiskError(f"cannot write {stage / 'last.json'}", got="no room", remedy="make room")
    assert held(earlier) == before and str(earlier / "last.json") in str(told.value)


@pytest.mark.parametrize("moment", range(1, 4))
def test_a_kill_while_places_are_taken_leaves_no_set_that_reads_as_whole(moment: int, earlier: Path) -> None:
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from AutoRegLib.core.result_set import together\n"
        "replace, count = os.replace, 0\n"
        "def doomed(a, b):\n"
        "    global count\n"
        "    count += 1\n"
        "    os.kill(os.getpid(), 9) if count == int(sys.argv[3]) else replace(a, b)\n"
        "with together(sys.argv[2], last='last.json') as stage:\n"
        "    for name in ('a.txt', 'last.json', 'b.txt'): (stage / name).write_text('new')\n"
        "    os.replace = doomed\n")
    subprocess.run([sys.executable, "-c", code, str(ROOT), str(earlier), str(moment)], check=False)
    found = {name: text for name, text in held(earlier).items() if not name.startswith(".")}
    assert "last.json" not in found and [found[n] for n in ("a.txt", "b.txt")].count("new") == moment - 1
    assert os.path.exists(earlier / "notes.txt")
