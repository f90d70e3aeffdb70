"""A script, not a module of Slicer: what has this Python to compute with? Answers with one line of JSON.

A file and not an argument, since launchers and Windows disagree about quotes and line breaks in arguments. Any
Python 3 must be able to read it, so it uses the standard library alone before it tries torch.
"""

import importlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys

#: the line of the answer among whatever an interpreter prints when it starts
MARK = "AUTOREG-PROBE "
NAMES = ("torch", "numpy", "SimpleITK", "safetensors", "nibabel")


def said(*command):
    """What a program prints, line by line; nothing where there is no such program."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return []


def memory():
    """Bytes free and bytes there."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        there = [page * os.sysconf("SC_AVPHYS_PAGES"), page * os.sysconf("SC_PHYS_PAGES")]
        with open("/proc/meminfo") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    there[0] = int(line.split()[1]) * 1024
        return there
    except (AttributeError, OSError, ValueError):
        return [0, 0]


def devices(torch):
    """Name, bytes free, bytes there and whether this build has code for it, of each CUDA device."""
    found, codes = [], torch.cuda.get_arch_list() if torch.cuda.is_available() else []
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(i)
        major, minor = torch.cuda.get_device_capability(i)
        same = [c for c in codes if c.startswith(f"sm_{major}")]
        older = [c for c in codes if c.startswith("compute_") and int(c[8:].rstrip("af")) <= 10 * major + minor]
        found.append([torch.cuda.get_device_name(i), free, total, bool(same or older)])
    return found


def answer():
    """Everything that is asked."""
    told = {"python": platform.python_version(), "platform": sys.platform, "machine": platform.machine(),
            "torch": "", "cuda": "", "mps": False, "devices": [], "torch_error": "", "numpy": "",
            "threads": os.cpu_count() or 1, "memory": memory()}
    told["missing"] = [name for name in NAMES if importlib.util.find_spec(name) is None]
    rows = said(shutil.which("nvidia-smi") or "nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    told["gpus"] = [row.strip() for row in rows if "," in row]
    # an Intel program on Apple silicon
    told["translated"] = told["machine"] == "x86_64" and sys.platform == "darwin" and any(
        said("sysctl", "-n", name) == ["1"] for name in ("sysctl.proc_translated", "hw.optional.arm64"))
    if "torch" not in told["missing"]:
        try:
            torch = importlib.import_module("torch")  # here alone, in the Python that is asked

            told["torch"], told["cuda"] = torch.__version__, torch.version.cuda or ""
            try:
                told["numpy"] = "" if torch.zeros(1).numpy().size == 1 else "?"
            except Exception as problem:
                told["numpy"] = str(problem)
            told["mps"] = bool(torch.backends.mps.is_available())
            told["devices"] = devices(torch)
        except Exception as problem:
            told["torch_error"] = f"{type(problem).__name__}: {problem}"
    return told


if __name__ == "__main__":
    # an old Python puts the script's folder first: its modules must not pass for packages
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    print(MARK + json.dumps(answer()))
