"""Lets the disk become full at twenty places of jobs that replace earlier results, and looks at what is left.

``python -m benchmarks.full_disk --work DIR [--verbs V ...]``: for search, train, register and evaluate on tiny data a
small file system of its own (tmpfs, as root or in a user namespace) holds a finished job and so much room as a part of
a job needs. The job then runs again with other settings. It must end with exit code 7 (0 where the room sufficed), all
files must be whole, and be the earlier ones or the new ones. Prints a line a place; Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.kill_anywhere import damaged, in_child, job, load, looked_at, make_small, prepare, run_once

#: parts of what a job needs, left free
ROOM = (0.0, 0.1, 0.3, 0.6, 0.9)
#: what the second run does otherwise, so that its results differ from the earlier ones
OTHERWISE: dict[str, dict[str, Any]] = {
    "search": {"seed": 1}, "train": {"seed": 1}, "register": {"refine": 5}, "evaluate": {"refine": 2},
}
DISK_FULL = 7


def used(folder: Path) -> int:
    """Bytes of blocks that the files in a folder take on a tmpfs."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


def fill(disk: Path, free: int) -> None:
    """Leave so many bytes."""
    with open(disk / "filler", "wb") as stream:
        room = shutil.disk_usage(disk).free - free
        while room > 0:
            room -= stream.write(b"\0" * min(room, 1 << 20))


def change(folder: Path, verb: str, arguments: dict[str, Any]) -> None:
    """The same job with another request."""
    (folder / "job.json").unlink()
    job(folder, verb, arguments)


def try_place(work: Path, disk: Path, verb: str, arguments: dict[str, Any], room: float) -> tuple[int, list[str]]:
    """Run the job again on a disk with room for a part of its results; its exit code and what was wrong."""
    whole, other = work / f"earlier-{verb}", work / f"other-{verb}"
    for folder, more in ((whole, {}), (other, OTHERWISE[verb])):
        if not folder.exists():
            job(folder, verb, {**arguments, **more})
            if in_child(lambda: run_once(folder))[0] != 0:  # noqa: B023
                raise SystemExit(f"{verb} alone failed, see {folder / 'log.txt'}")
    need = used(other)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={4 * (need + used(whole)) + 2**23}", "tmpfs", str(disk)],
                   check=True)
    try:
        folder = disk / "job"
        shutil.copytree(whole, folder)
        change(folder, verb, {**arguments, **OTHERWISE[verb]})
        fill(disk, int(room * need))
        code, _ = in_child(lambda: run_once(folder))
        (disk / "filler").unlink()
        wrong = [] if code in (0, DISK_FULL) else [f"exit {code}: {(folder / 'log.txt').read_text()[-300:]}"]
        wrong += damaged(folder, work)
        earlier, new, found = looked_at(whole, work), looked_at(other, work), looked_at(folder, work)
        wrong += [f"{name} is lost" for name in earlier if name not in found]
        wrong += [f"{name} is neither the earlier nor the new one" for name, text in found.items()
                  if text not in (earlier.get(name), new.get(name)) and name != "checkpoint.pt"]
        wrong += ["exit 0, and not the new results"] if code == 0 and found != new else []
        wrong += ["the lock stayed"] if (folder / "lock").exists() else []
        again, _ = in_child(lambda: run_once(folder))
        wrong += [f"exit {again} with room: {(folder / 'log.txt').read_text()[-300:]}"] if again else []
        wrong += ["another end with room"] if looked_at(folder, work) != new else []
        return code, wrong
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--verbs", nargs="+", choices=OTHERWISE, default=[*OTHERWISE])
    given = parser.parse_args()
    if os.environ.get("AUTOREG_OWN_MOUNTS") != "1":  # mounts that end with this process
        os.environ["AUTOREG_OWN_MOUNTS"] = "1"
        os.execvp("unshare", ["unshare", "-rm", sys.executable, "-m", "benchmarks.full_disk", *sys.argv[1:]])
    load()
    work = given.work.resolve()
    disk = work / "disk"
    disk.mkdir(parents=True, exist_ok=True)
    make_small()

    def first() -> int:
        (work / "arguments.json").write_text(json.dumps(prepare(work / "data")))
        return 0

    if not (work / "arguments.json").exists() and in_child(first)[0] != 0:
        raise SystemExit("the data could not be made")
    arguments = json.loads((work / "arguments.json").read_text())
    codes, faults = [], 0
    for verb in given.verbs:
        for room in ROOM:
            code, wrong = try_place(work, disk, verb, arguments[verb], room)
            codes.append(code)
            faults += len(wrong)
            print(f"{verb}, room for {room:.0%}: exit {code} {'; '.join(wrong)}", flush=True)
    print(f"{len(codes)} places, {codes.count(DISK_FULL)} ended with exit {DISK_FULL}, {faults} things wrong")


if __name__ == "__main__":
    main()
