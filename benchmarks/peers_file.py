"""The file of other programs that ``autoreg study --peers`` takes: those that are installed, at the papers' settings.

``python -m benchmarks.peers_file --environments CACHE --output peers.json`` makes the environments that are missing
(``--no-install``: none), and says which programs it could not have.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from AutoRegLib.core.records import write_json
from AutoRegLib.evaluation.peers import SCHEMA, Peer
from benchmarks.environments import NotInstalledError, environment
from benchmarks.methods import METHODS

#: the row of a study -> who is asked: the deformable stage alone, since a study aligns affinely itself
ROWS = {"ants-syn": "ants-synonly", "elastix": "elastix-bspline", "convexadam": "convexadam", "fireants": "fireants",
        "greedy": "greedy-ncc"}
PEERS = Path(__file__).resolve().parent / "peers"


def main(argv: Sequence[str] | None = None) -> dict[str, list[str]]:
    """Write the file and return the commands by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=Path, required=True, help="folder of the peers' virtual environments")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--no-install", action="store_true", help="make no environments")
    parser.add_argument("--quick", action="store_true", help="few iterations: do they run?")
    given = parser.parse_args(argv)
    peers: dict[str, Peer] = {}
    for row, name in ROWS.items():
        method = METHODS[name]
        try:
            python = environment(method.environment, method.needs, cache=given.environments,
                                 install=not given.no_install)
        except NotInstalledError as problem:
            print(f"{row}: {problem}", flush=True)
            continue
        peers[row] = Peer((str(python), str(PEERS / method.script), "--paper", *(["--quick"] if given.quick else [])),
                          method.dimensions)
    write_json(given.output, {"peers": peers}, schema=SCHEMA)
    print(f"{given.output}: {', '.join(peers) or 'nobody'}", flush=True)
    return {row: list(peer.command) for row, peer in peers.items()}


if __name__ == "__main__":
    main()
