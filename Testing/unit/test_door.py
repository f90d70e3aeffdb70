"""What scripts import from the package itself: there when asked for, and nothing is loaded before."""

from __future__ import annotations

import subprocess
import sys

import pytest


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys; import AutoRegLib; from AutoRegLib import read_scenario; " \
        "assert not {'torch', 'numpy', 'SimpleITK'} & set(sys.modules), sorted(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_names_are_those_of_their_modules() -> None:
    import AutoRegLib
    from AutoRegLib import load_bundle, read_scenario, register
    from AutoRegLib.bundle import load_bundle as own
    from AutoRegLib.core.scenario import read_scenario as reader

    assert load_bundle is own and read_scenario is reader and callable(register)
    with pytest.raises(AttributeError, match="no attribute 'fly'"):
        AutoRegLib.fly  # noqa: B018
