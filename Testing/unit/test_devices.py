"""Which device is taken, and the comparison with the CPU that an Apple GPU has to pass first."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from torch import Tensor

from AutoRegLib.app import apple_gpu
from AutoRegLib.app.environment import decide_device, describe
from AutoRegLib.core.errors import DeviceProblem
from AutoRegLib.networks import operators


def test_an_apple_gpu_is_taken_only_when_asked_for_and_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "")  # so that it is put back in the end
    monkeypatch.delenv("PYTORCH_ENABLE_MPS_FALLBACK")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(DeviceProblem, match="torch sees none"):
        decide_device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert decide_device("auto") == "cpu" and "mps" in describe()["devices"]
    asked: list[str] = []
    monkeypatch.setattr(apple_gpu, "disagreement", lambda device: asked.append(device) or "")
    assert decide_device("mps") == "mps" and asked == ["mps"] and os.environ["PYTORCH_ENABLE_MPS_FALLBACK"] == "1"
    monkeypatch.setattr(apple_gpu, "disagreement", lambda device: "its gradients differ")
    with pytest.raises(DeviceProblem, match="its gradients differ"):
        decide_device("mps")


def test_a_device_that_computes_right_agrees() -> None:
    assert apple_gpu.disagreement("cpu") == ""


@pytest.mark.parametrize("fault", ["scaled", "not a number", "missing"])
def test_a_device_that_computes_wrong_is_found_out(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """The second pass stands for the other device: its 3-D convolutions are wrong by a thousandth part or more."""
    real, step, passes = operators.Single._conv_forward, apple_gpu._step, [0]

    def counted(*arguments: Any) -> dict[str, Tensor]:
        passes[0] += 1
        return step(*arguments)

    def convolution(self: Any, input: Tensor, *rest: Any) -> Tensor:
        if passes[0] < 2:
            return real(self, input, *rest)
        if fault == "missing":
            raise NotImplementedError("The operator 'aten::conv3d' is not currently implemented")
        return real(self, input, *rest) * (1.01 if fault == "scaled" else float("nan"))

    monkeypatch.setattr(apple_gpu, "_step", counted)
    monkeypatch.setattr(operators.Single, "_conv_forward", convolution)
    told = apple_gpu.disagreement("cpu")
    assert ("cannot do" in told) if fault == "missing" else "differ" in told


@pytest.mark.skipif(not torch.backends.mps.is_available(), reason="there is no Apple GPU here")
def test_this_apple_gpu_computes_as_the_cpu_does() -> None:
    assert apple_gpu.disagreement("mps") == ""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_cuda_device_passes_the_same_comparison() -> None:
    assert apple_gpu.disagreement("cuda") == ""
