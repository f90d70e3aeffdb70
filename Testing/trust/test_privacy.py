"""What is kept of patients is for the user's eyes alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest


@pytest.mark.skipif(os.name == "nt", reason="POSIX rights")
def test_a_job_folder_is_the_users_alone(tmp_path: Path) -> None:
    from AutoRegSlicerLib.jobs.record import new_folder

    folder = new_folder(tmp_path, "register", "one", {})
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and (folder / "in").is_dir()
