"""Where the user's things lie on each system, and that nothing of an earlier version is lost."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from AutoRegLib.core import places, records
from AutoRegLib.core.errors import DiskError

VARIABLES = ("AUTOREG_MODELS", "AUTOREG_CACHE", "XDG_DATA_HOME", "XDG_CACHE_HOME")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "AppData" / "Local"))
    return tmp_path


@pytest.mark.parametrize(
    ("platform", "data", "cache"),
    [
        ("linux", ".local/share/autoreg", ".cache/autoreg"),
        ("darwin", "Library/Application Support/AutoReg", "Library/Caches/AutoReg"),
        ("win32", "AppData/Local/AutoReg", "AppData/Local/AutoReg/cache"),
    ],
)
def test_each_system_has_its_place(
    home: Path, monkeypatch: pytest.MonkeyPatch, platform: str, data: str, cache: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert places.models_folder() == home / data / "models" and places.cache_folder() == home / cache
    former = home / ".local" / "share" / "autoreg" / "models"
    former.mkdir(parents=True)
    assert places.models_folder() == home / data / "models"  # an empty folder keeps nothing
    (former / "my model").mkdir()
    assert places.models_folder() == former


def test_variables_name_other_places(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/b")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert (places.models_folder(), places.cache_folder()) == (Path("/b/autoreg/models"), Path("/c/autoreg"))
    monkeypatch.setenv("AUTOREG_MODELS", "/a")
    monkeypatch.setenv("AUTOREG_CACHE", "/d")
    assert (places.models_folder(), places.cache_folder()) == (Path("/a"), Path("/d"))


class InUse:
    """``os.replace`` as on Windows while somebody else has the file open."""

    def __init__(self, times: int, winerror: int | None = 32) -> None:
        self.times, self.winerror, self.tries, self.real = times, winerror, 0, os.replace

    def __call__(self, source: str, target: str) -> None:
        self.tries += 1
        if self.tries <= self.times:
            problem = PermissionError(13, "in use by another process")
            if self.winerror is not None:
                problem.winerror = self.winerror  # type: ignore[misc]
            raise problem
        self.real(source, target)


def test_a_file_that_somebody_reads_is_replaced_a_little_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state.json").write_text("before")
    replace = InUse(4)
    monkeypatch.setattr(records.os, "replace", replace)
    records.write_text(tmp_path / "state.json", "after")
    assert (tmp_path / "state.json").read_text() == "after" and replace.tries == 5
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize(("winerror", "tries"), [(32, 2), (None, 1)])
def test_a_refusal_that_stays_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, winerror: int | None, tries: int
) -> None:
    replace = InUse(10**6, winerror)
    monkeypatch.setattr(records.os, "replace", replace)
    monkeypatch.setattr(records, "PERSIST_SECONDS", 0.0)
    with pytest.raises(DiskError, match="cannot write"):
        records.write_text(tmp_path / "state.json", "after")
    assert replace.tries <= tries and list(tmp_path.iterdir()) == []
