"""What there is to compute with: threads, devices, and what is installed. Importing this loads no torch."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from AutoRegLib.core.errors import EnvironmentProblem


def use_threads(count: int | None) -> None:
    """Limit the threads of torch and of SimpleITK."""
    if count is None:
        return
    # read when SimpleITK is first loaded, which is after this
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(count)
    import torch

    torch.set_num_threads(count)


def decide_device(wish: str) -> str:
    """``cpu`` or ``cuda`` for ``auto``, ``cpu`` or ``cuda``. Raises EnvironmentProblem."""
    import torch

    if wish == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if wish == "cuda":
        raise EnvironmentProblem(
            "a GPU was asked for but torch sees none",
            expected="a CUDA device",
            got=f"torch {torch.__version__}",
            remedy="use --device cpu, or install the CUDA build of torch and a driver",
        )
    return "cpu"


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
    from AutoRegLib.core.genotype import OPERATORS

    facts: dict[str, Any] = {
        "version": __version__,
        "torch": None,
        "devices": [],
        "networks": [],
        "operators": list(OPERATORS),
        "models": [],
    }
    try:
        import torch

        from AutoRegLib.bundle import list_bundles
        from AutoRegLib.networks.registry import NETWORKS
    except ImportError:
        return facts
    cuda = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    models = [model["name"] for model in list_bundles()]
    return {
        **facts,
        "torch": torch.__version__,
        "devices": ["cpu", *cuda],
        "networks": list(NETWORKS),
        "models": models,
    }
