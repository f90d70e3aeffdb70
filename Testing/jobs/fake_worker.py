"""Stands in for the interpreter of a job: behaves as the request's ``behaviour`` says, in milliseconds.

Called as the module calls an interpreter: ``-c CODE ROOT run FOLDER``.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


class Worker:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seq = 0
        self.arguments = json.loads((folder / "job.json").read_text())["arguments"]

    def event(self, type: str, **payload: object) -> None:
        line = json.dumps({"v": 1, "seq": self.seq, "t": time.time(), "type": type, **payload})
        self.seq += 1
        with open(self.folder / "events.jsonl", "a") as stream:
            stream.write(line + "\n")

    def hello(self) -> None:
        holder = {"pid": os.getpid(), "started": time.time(), "host": os.uname().nodename}
        (self.folder / "lock").write_text(json.dumps(holder))
        self.event("hello", pid=os.getpid(), versions={"autoreg": "0"})
        self.event("device", name=self.arguments.get("device", "cpu"))

    def wait_for(self, word: str) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            control = self.folder / "control"
            if control.is_file() and control.read_text() == word:
                return
            time.sleep(0.02)

    def done(self, **summary: object) -> None:
        self.event("done", summary=summary)
        (self.folder / "lock").unlink()

    # behaviours

    def quick(self) -> None:
        self.hello()
        self.event("stage", name="prepare data", index=0, count=1)
        self.event("progress", done=1, total=1)
        for index in range(2):
            self.event("stage", name=f"stage {index}", index=index, count=2)
            for step in range(1, 4):
                self.event("metric", name="loss", value=1.0 / (step + 3 * index), step=step)
                self.event("progress", done=step, total=3, eta_s=3 - step)
        self.event("memory", used=5, total=10)
        self.event("warning", code="no-labels", text="no labels")
        (self.folder / "out" / "recipe.json").write_text("{}")
        self.event("artifact", role="recipe", path=str(self.folder / "out" / "recipe.json"))
        self.done(answer=42)

    def lost(self) -> None:
        self.hello()
        self.event("artifact", role="transform", path=str(self.folder / "out" / "transform.nrrd"))
        self.done()

    def obedient(self) -> None:
        """Runs until told to finish or cancel."""
        self.hello()
        self.event("progress", done=1, total=4)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            control = self.folder / "control"
            word = control.read_text() if control.is_file() else ""
            if word == "finish":
                return self.done(early=True)
            if word == "cancel":
                self.event("error", code="cancelled", text="stopped by the user", hint="")
                return (self.folder / "lock").unlink()
            time.sleep(0.02)
        return None

    def stubborn(self) -> None:
        """Hears nothing, and has a child of its own."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(90)"])
        self.hello()
        (self.folder / "out" / "child").write_text(str(child.pid))
        time.sleep(90)

    def crash(self) -> None:
        print("ModuleNotFoundError: No module named 'torch'", file=sys.stderr)
        sys.exit(1)

    def mute(self) -> None:
        time.sleep(60)

    def pausing(self) -> None:
        """Silent, until told to go on."""
        self.hello()
        while not (self.folder / "out" / "go").exists():
            time.sleep(0.02)
        self.event("heartbeat")
        self.wait_for("cancel")
        self.event("error", code="cancelled", text="", hint="")

    def failing(self) -> None:
        self.hello()
        self.event("error", code=self.arguments["code"], text="what went wrong", hint="what to do", exit_code=5)

    def lingering(self) -> None:
        """Fails, and is slow to go; the second time it is quick."""
        gone = self.folder / "out" / "go"
        if gone.exists():
            return self.quick()
        self.failing()
        while not gone.exists():
            time.sleep(0.02)
        return None

    def environment(self) -> None:
        (self.folder / "out" / "environment.json").write_text(json.dumps(dict(os.environ)))
        self.hello()
        self.done()


if __name__ == "__main__":
    worker = Worker(Path(sys.argv[-1]))
    getattr(worker, worker.arguments["behaviour"])()
