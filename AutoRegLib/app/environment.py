"""What there is to compute with: threads, devices, and what is installed. Importing this loads no torch."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from AutoRegLib.core.errors import DeviceProblem


def use_threads(count: int | None) -> None:
    """Limit the threads of torch and of SimpleITK."""
    if count is None:
        return
    # read when SimpleITK is first loaded, which is after this
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(count)
    import torch

    torch.set_num_threads(count)


def decide_device(wish: str) -> str:
    """``cpu``, ``cuda`` or ``mps`` for ``auto`` or one of them. Raises DeviceProblem.

    An Apple GPU is taken only when it is asked for, and only after it computed one step as the CPU does: AutoReg has
    not been run on one.
    """
    if wish == "mps":
        return _apple_gpu()
    import torch

    if wish == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if wish == "cuda":
        raise DeviceProblem(
            "a GPU was asked for but torch sees none",
            expected="a CUDA device",
            got=f"torch {torch.__version__}",
            remedy="use --device cpu, or install the CUDA build of torch and a driver",
        )
    return "cpu"


def _apple_gpu() -> str:
    """``mps`` where there is one that computes as the CPU does. Raises DeviceProblem."""
    # read when torch is loaded, which is after this: operations that are missing run on the CPU
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    import torch

    if not torch.backends.mps.is_available():
        raise DeviceProblem(
            "an Apple GPU was asked for but torch sees none",
            expected="an MPS device",
            got=f"torch {torch.__version__}",
            remedy="use --device cpu, or an arm64 Python with torch 2.4 or newer on a Mac with Apple silicon",
        )
    from AutoRegLib.app.apple_gpu import disagreement

    if wrong := disagreement("mps"):
        raise DeviceProblem(
            "the Apple GPU does not compute what the CPU computes", got=wrong,
            remedy="use --device cpu, or another version of torch or macOS",
        )
    return "mps"


def memory_in_use() -> tuple[int, int] | None:
    """Bytes used and there: of the GPU once one is used, else of the process and the machine; None where unknown.

    Loads nothing: what was not imported by the computation itself is not asked.
    """
    torch = sys.modules.get("torch")
    # torch is in the table of modules before it is complete
    if torch is not None and getattr(torch, "cuda", None) is not None and torch.cuda.is_initialized():
        free, total = torch.cuda.mem_get_info()
        return int(total - free), int(total)
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return resident * page, page * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def describe() -> dict[str, Any]:
    """``autoreg info``: version, devices, networks, operators, models; answers without torch, too."""
    from AutoRegLib import __version__
    from AutoRegLib.core.bundle_folder import list_bundles
    from AutoRegLib.core.genotype import OPERATORS
    from AutoRegLib.core.networks import NETWORKS

    models, problems = list_bundles()
    facts: dict[str, Any] = {
        "version": __version__,
        "torch": None,
        "devices": [],
        "networks": list(NETWORKS),
        "operators": list(OPERATORS),
        "models": [model.name for model in models],
        "problems": problems,
    }
    try:
        import torch
    except ImportError:
        return facts
    apple = ["mps"] if torch.backends.mps.is_available() else []
    cuda = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    return {
        **facts,
        "torch": torch.__version__,
        "devices": ["cpu", *cuda, *apple],
    }
