"""Every reader, given files that are damaged at random: a value, or an error of ours; within seconds and memory.

    PYTHONPATH=Testing python -m trust.fuzz --minutes 10 [--seed 0] [--only x.nrrd t.tfm] [--keep FOLDER]

Each reader runs in a process of its own, so that one that is ended, hangs or swells is seen and the input kept.
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import re
import resource
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from trust.seeds import Target, targets

from AutoRegLib.core.errors import MOST_CHARACTERS, AutoRegError, InputError

SECONDS, MEGABYTES = 8.0, 700  # of the processor for one execution, and that the process may hold
ASLEEP = 180.0  # seconds without a new execution, however busy the machine
LONGEST = 2_000_000  # bytes of a damaged file
NUMBER = rb"-?[0-9][0-9.]*(?:e[-+]?[0-9]+)?"
NUMBERS = [b"-1", b"0", b"1e308", b"nan", b"inf", b"4294967296", b"9" * 20, b"1e-320", b"-2147483648", b"65536", b"2",
           b"16", b"3.5", b"x", b"", b"1e400", b"1" * 5000]
LINES = [b"data file: x%d.raw 1 9 1", b"data file: LIST", b"ElementDataFile = LIST", b"byte skip: -1", b"NDims = 12",
         b"line skip: 99999999", b"ObjectType = Tube", b"dimension: 17", b"kinds: domain domain domain",
         b"encoding: hex", b"encoding: ascii", b"encoding: bzip2", b"BinaryData = False", b"CompressedData = True",
         b"ElementNumberOfChannels = 70000", b"HeaderSize = -1", b"HeaderSize = 99999999", b"type: block",
         b"block size: 999999999", b"space: scanner-xyz-time", b"CompressedDataSize = 99999999999", b"Parameters: 1",
         b"FixedParameters: 1 1 1", b"Transform: BSplineTransform_double_3_3",
         b"Transform: CompositeTransform_double_3_3",
         b"a,b,c,d,e,f", b"# columns = id,x,y,z", b'{"a": ' * 50, b"[" * 3000, b'"', b"\0", b"\x1b[2J"]
BYTES = [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\x80\x7f", b"\0\0\xc0\x7f"]


def damaged(rng: random.Random, data: bytes, lines: bool) -> bytes:
    """One to three damages; the first half kilobyte, where headers are, is hit most."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        data = (_lines(rng, data) if lines and rng.random() < 0.7 else _bytes(rng, data))[:LONGEST]
    return data


def _lines(rng: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    count = min(len(lines), 25)
    i, j = rng.randrange(count), rng.randrange(count)
    way = rng.randrange(8)
    if way == 0:
        del lines[i]
    elif way == 1:
        lines.insert(i, lines[j])
    elif way == 2:
        lines[i] = lines[i][:500] * rng.choice([2, 50, 3000])
    elif way == 3 and (numbers := list(re.finditer(NUMBER, lines[i][:5000]))):
        spot = rng.choice(numbers)
        lines[i] = lines[i][:spot.start()] + rng.choice(NUMBERS) + lines[i][spot.end():]
    elif way == 4:
        lines[i] = lines[i][:rng.randrange(len(lines[i]) + 1)]
    elif way == 5:
        lines[i] += rng.choice([b" 1", b" (1,2,3)", b" none", b"\0", b'"', b"\x7f" * 300, b" %s%n"])
    elif way == 6:
        lines.insert(i, rng.choice(LINES))
    else:
        lines[i], lines[j] = lines[j], lines[i]
    return b"\n".join(lines)


def _bytes(rng: random.Random, data: bytes) -> bytes:
    new = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        if not new:
            break
        i = rng.randrange(len(new) if rng.random() < 0.3 else min(len(new), 420))
        way = rng.randrange(6)
        if way == 0:
            new[i] = rng.randrange(256)
        elif way == 1:
            new[i] ^= 1 << rng.randrange(8)
        elif way == 2:
            new[i:i + 4] = rng.choice(BYTES)
        elif way == 3:
            del new[i:i + rng.randrange(1, 20)]
        elif way == 4:
            new[i:i] = rng.randbytes(rng.randrange(1, 20))
        else:
            del new[i:]
    return bytes(new)


def execute(target: Target, path: Path, seed: str, state: mmap.mmap, start: int) -> None:
    """Damage and read for ever, the number of each execution written down before it; another error of ours ends it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    read = refused = 0
    for number in range(start, sys.maxsize):
        struct.pack_into("qd", state, 0, number, time.monotonic())
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # ends the process
        rng = random.Random(f"{seed} {target.name} {number}")
        path.write_bytes(damaged(rng, rng.choice(target.seeds), target.lines))
        try:
            target.read(path)
            read += 1
        except AutoRegError as problem:
            text = str(problem)
            assert len(text) < 8 * MOST_CHARACTERS and "\n" not in text and "\x1b" not in text, text
            refused += 1
        struct.pack_into("qq", state, 16, read, refused)
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > MEGABYTES * 1024:
            return


def fuzz(target: Target, seconds: float, seed: str, folder: Path, keep: Path) -> tuple[int, int, list[str]]:
    """How many were read, how many refused, and what went wrong."""
    path, state = folder / target.name, mmap.mmap(-1, 64)
    for name, data in target.beside.items():
        (folder / name).write_bytes(data)
    read = refused = start = 0
    wrong: list[str] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        struct.pack_into("qdqq", state, 0, start, time.monotonic(), 0, 0)
        child = os.fork()
        if child == 0:
            _child(target, path, seed, state, start)
        ended, why = 0, ""
        while not why:
            ended, status = os.waitpid(child, os.WNOHANG)
            number, began = struct.unpack_from("qd", state, 0)
            # what is read while it is written is 0
            why = (_reason(status) if ended else "sleeps" if began and time.monotonic() - began > ASLEEP else
                   "time" if time.monotonic() > until else "")
            time.sleep(0.02)
        done = struct.unpack_from("qq", state, 16)
        if not ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        read, refused, start = read + done[0], refused + done[1], number + 1
        if why != "time":
            wrong.append(f"{target.name} {why} at {number}")
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{number}-{why.replace(' ', '_')}-{target.name}").write_bytes(path.read_bytes())
    return read, refused, wrong


def _reason(status: int) -> str:
    """Why a reading process is no more."""
    if os.WIFSIGNALED(status):
        return "hangs" if os.WTERMSIG(status) == signal.SIGPROF else f"ended by signal {os.WTERMSIG(status)}"
    return "swells" if os.WEXITSTATUS(status) == 0 else "raises"


def _child(target: Target, path: Path, seed: str, state: mmap.mmap, start: int) -> None:
    """The reading process: quiet but for errors that are not ours."""
    import SimpleITK as sitk

    from AutoRegLib.imaging import files, transforms

    files.check_readable = transforms.check_readable = _apart  # type: ignore[attr-defined]
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries in C write to it what they think of a file
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    status = 1
    try:
        execute(target, path, seed, state, start)
        status = 0
    except BaseException:  # whatever it is, it is not ours
        import traceback

        Path(f"{path}.traceback").write_text(traceback.format_exc(), encoding="utf-8")
    finally:
        os._exit(status)


def _apart(path: Path, function: str) -> None:
    """Formats that are tried in a process of their own are not tried here: a second each, and safe by that."""
    raise InputError(f"{path} is of a format that only ITK reads", got=function)


def main() -> int:
    """Fuzz all readers for a time; the exit status says whether all held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"))
    given = parser.parse_args()
    known = targets()
    chosen = [known[name] for name in given.only] or list(known.values())
    total: Counter[str] = Counter()
    wrong: list[str] = []
    shared = "/dev/shm" if os.path.isdir("/dev/shm") else None
    for target in chosen:
        with tempfile.TemporaryDirectory(dir=shared) as folder:
            os.environ["AUTOREG_MODELS"] = folder
            read, refused, found = fuzz(target, 60 * given.minutes / len(chosen), given.seed, Path(folder), given.keep)
            for text in Path(folder).glob("*.traceback"):
                print(text.read_text(encoding="utf-8"))
        print(f"{target.name:20} {read + refused:9} executions  {read:8} read  {refused:8} refused  {len(found)} wrong",
              flush=True)
        total.update(executions=read + refused)
        wrong += found
    print(f"{total['executions']} executions, {len(wrong)} wrong", *wrong[:20], sep="\n  ")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
