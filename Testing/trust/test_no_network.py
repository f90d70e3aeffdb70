"""Nothing is sent, nothing is fetched: search, training, registrations and evaluation with sockets that refuse."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: whatever reaches the network from Python asks one of these first; a refused one ends the process with what it wanted
CODE = """
import os, socket, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
refused = []
def refuse(event, arguments):
    if event.startswith(("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto",
                         "socket.sendmsg", "socket.bind", "urllib.", "http.", "ftplib.", "smtplib.")):
        refused.append((event, str(arguments)))
        raise PermissionError("no network: " + event)
sys.addaudithook(refuse)
try:
    socket.create_connection(("127.0.0.1", 9))
except PermissionError:
    refused.clear()
else:
    raise SystemExit("the network is not refused")
from benchmarks.kill_anywhere import make_small, prepare, run_verb
make_small()
work = Path(sys.argv[2])
arguments = prepare(work)
for verb in ("register", "evaluate"):
    run_verb(verb, {**arguments[verb], "output": str(work / verb)})
run_verb("register", {**arguments["register"], "output": str(work / "auto"), "model": "auto", "refine": 1})
assert (work / "auto" / "report.json").is_file() and (work / "evaluate" / "summary.json").is_file()
assert not refused, refused
print("done")
"""


def test_without_a_network(tmp_path: Path) -> None:
    told = subprocess.run([sys.executable, "-c", CODE, str(ROOT), str(tmp_path)], capture_output=True, text=True,
                          check=False)
    assert told.stdout.split()[-1:] == ["done"], told.stderr[-2000:]
