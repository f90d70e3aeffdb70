"""NiftyReg's reg_f3d with its defaults, where the package brings the programs."""

import shutil
import subprocess
import sys
from pathlib import Path

from task import read_task, timed

task = read_task()
folder = Path(sys.executable).parent


def program(name: str) -> str:
    found = shutil.which(name, path=str(folder)) or shutil.which(name)
    if found is None:
        raise SystemExit(f"RuntimeError: the package brings no {name}")
    return found


grid = str(task.output / "ants_grid.nii.gz")  # removed with the other large files
with timed(task):
    subprocess.run([program("reg_f3d"), "-ref", task.fixed, "-flo", task.moving, "-cpp", grid, "-res",
                    str(task.output / "ants_warped.nii.gz")], check=True)
subprocess.run([program("reg_resample"), "-ref", task.fixed, "-flo", task.moving_labels, "-trans", grid, "-inter", "0",
                "-res", task.labels_file], check=True)
