"""What all tests share: few threads, no traces in the user's folders, and the optional image data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def few_threads() -> None:
    """Small volumes gain nothing from threads, and on a busy machine waiting for them costs a lot."""
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Models and caches of the tests live in a folder of their own, not in the user's."""
    base = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOREG_MODELS", str(base / "models"))
        patch.setenv("AUTOREG_CACHE", str(base / "cache"))
        patch.delenv("AUTOREG_TRACEBACK", raising=False)
        yield base


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real volumes beside the checkout, where somebody has put them; the tests that need them skip otherwise."""
    if not DATA.is_dir():
        pytest.skip(f"no image data: the folder {DATA.parent.name}/{DATA.name} beside the checkout is absent")
    return DATA
