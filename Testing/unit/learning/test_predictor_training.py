"""Training of the predictor: it learns what can be learnt, goes on where it stopped, and refuses what is no data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from AutoRegLib.core.errors import CancelledError, InputError
from AutoRegLib.core.jobs import Monitor, Wish
from AutoRegLib.geodesic.predictor import PredictorSettings
from AutoRegLib.learning.predictor_training import KnownPairs, PredictorTraining, predict, train_predictor

SETTINGS = PredictorSettings(streams=(4, 6, 6, 6), fusion=(6, 6, 6), kernel=3)


def waves(count: int, *, seed: int) -> KnownPairs:
    """The fixed image is the moving one and a wave, whose length is the regularity: what a stream must compare."""
    maker = torch.Generator().manual_seed(seed)
    moving = torch.nn.functional.interpolate(torch.randn(count, 1, 6, 6, generator=maker), size=(24, 24))
    regularities = 1.0 + 9.0 * torch.rand(count, generator=maker)
    x = torch.arange(24.0)
    wave = torch.sin(2 * torch.pi * x[None] / (2.5 + regularities[:, None]) + 6.0 * torch.rand(
        count, 1, generator=maker))
    return KnownPairs(moving, moving + wave[:, None, None, :].expand_as(moving), regularities)


class Stopping(Monitor):
    """Wants to stop after so many questions."""

    def __init__(self, after: int, wish: Wish) -> None:
        self.left, self.wanted = after, wish

    def wish(self) -> Wish:
        self.left -= 1
        return self.wanted if self.left < 0 else ""


def test_learns_what_is_to_be_seen(tmp_path: Path) -> None:
    held_out = waves(60, seed=2)
    found = train_predictor(waves(96, seed=0), waves(24, seed=1), output=tmp_path, settings=SETTINGS,
                            course=PredictorTraining(epochs=12, learning_rate=5e-3))
    error = (predict(found.network, held_out) - held_out.regularities).abs().mean()
    by_mean = (held_out.regularities - held_out.regularities.mean()).abs().mean()
    assert error < 0.5 * by_mean
    assert found.spacing == 1.0 and found.facts["training_pairs"] == 96
    assert not (tmp_path / "checkpoint.pt").exists()
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 13


def test_what_is_delivered_did_best_on_validation(tmp_path: Path) -> None:
    validation = waves(24, seed=1)
    found = train_predictor(waves(32, seed=0), validation, output=tmp_path, settings=SETTINGS,
                            course=PredictorTraining(epochs=6, learning_rate=2e-2))
    rows = [dict(zip(("epoch", "step", "seconds", "loss", "val_loss", "val_error"), map(float, line.split(",")),
                     strict=True)) for line in (tmp_path / "history.csv").read_text().splitlines()[1:]]
    loss = float((predict(found.network, validation) - validation.regularities).square().mean())
    assert loss == pytest.approx(min(row["val_loss"] for row in rows), rel=1e-4)


def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path: Path) -> None:
    given: dict[str, Any] = {"settings": SETTINGS, "course": PredictorTraining(epochs=4)}
    whole = train_predictor(waves(20, seed=0), waves(8, seed=1), output=tmp_path / "whole", **given)
    with pytest.raises(CancelledError):
        train_predictor(waves(20, seed=0), waves(8, seed=1), output=tmp_path / "part", monitor=Stopping(3, "cancel"),
                        **given)
    assert not (tmp_path / "part" / "predictor.json").exists()
    with pytest.raises(InputError, match="other settings"):
        train_predictor(waves(20, seed=3), waves(8, seed=1), output=tmp_path / "part", resume=True, **given)
    part = train_predictor(waves(20, seed=0), waves(8, seed=1), output=tmp_path / "part", resume=True, **given)
    assert all(torch.equal(value, part.network.state_dict()[name])
               for name, value in whole.network.state_dict().items())
    assert part.facts["steps"] == whole.facts["steps"] == 8


def test_asked_to_finish_it_keeps_what_there_is(tmp_path: Path) -> None:
    found = train_predictor(waves(20, seed=0), waves(8, seed=1), output=tmp_path, settings=SETTINGS,
                            course=PredictorTraining(epochs=50), monitor=Stopping(2, "finish"))
    assert 0 < found.facts["steps"] < 10


@pytest.mark.parametrize(("spoil", "words"), [
    (lambda pairs: pairs.chosen([0]), "too few"),
    (lambda pairs: KnownPairs(pairs.moving, pairs.fixed, pairs.regularities * 0.0), "no regularity"),
    (lambda pairs: KnownPairs(pairs.moving, pairs.fixed, pairs.regularities * float("nan")), "no regularity"),
])
def test_what_is_no_data_is_refused(tmp_path: Path, spoil: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        train_predictor(spoil(waves(4, seed=0)), waves(4, seed=1), output=tmp_path, settings=SETTINGS)
