"""Damage that is led by what it reaches in the readers written here, where atheris (libFuzzer) is installed.

    PYTHONPATH=Testing:AutoRegSlicer python -m trust.guided [p.csv ...] [--seconds 60]

The targets of :mod:`trust.seeds`, all without names, each in a process of its own for so many seconds, from its seeds
on. A reader that raises anything but an error of ours, or an error of many lines, ends its run and leaves the input
(``crash-...``) where this was called. Prints how many inputs each took.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["AutoRegLib"]):
    from trust.seeds import Target, targets

    from AutoRegLib.core.errors import MOST_CHARACTERS, AutoRegError


def lead(target: Target, folder: Path, seconds: int) -> None:
    """Ends the process."""
    corpus, path = folder / "corpus", folder / target.name
    corpus.mkdir(parents=True)
    for number, seed in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(seed)
    for name, data in target.beside.items():
        (folder / name).write_bytes(data)

    def one(data: bytes) -> None:
        path.write_bytes(data)
        try:
            target.read(path)
        except AutoRegError as problem:
            text = str(problem)
            assert len(text) < 8 * MOST_CHARACTERS and "\n" not in text and "\x1b" not in text, text

    atheris.Setup([sys.argv[0], str(corpus), f"-max_total_time={seconds}", "-rss_limit_mb=2048", "-max_len=4096",
                   "-verbosity=0", "-print_final_stats=1"], one)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seconds", type=int, default=60)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        known = targets()
        for each in given.names or known:
            child = os.fork()
            if child == 0:
                lead(known[each], Path(name) / f"led-{each}", given.seconds)
            _, status = os.waitpid(child, 0)
            print(f"{each}: {'ended well' if status == 0 else f'status {status}'}", flush=True)


if __name__ == "__main__":
    main()
