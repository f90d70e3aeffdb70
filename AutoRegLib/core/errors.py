"""The one exception family: every expected failure carries an exit code and says what to do next."""

from __future__ import annotations


class AutoRegError(Exception):
    """A failure the user can act on: what was wrong, what was expected, what was found, what to do.

    ``code`` is a short stable word for programs; ``exit_code`` is the process exit status of the
    command line contract.
    """

    code = "error"
    exit_code = 70

    def __init__(
        self, what: str, *, expected: object = None, got: object = None, remedy: str = ""
    ) -> None:
        self.what = what
        self.expected = expected
        self.got = got
        self.remedy = remedy
        parts = [what.rstrip(".") + "."]
        if expected is not None:
            parts.append(f"Expected: {expected}.")
        if got is not None:
            parts.append(f"Got: {got}.")
        if remedy:
            parts.append(f"Remedy: {remedy.rstrip('.')}.")
        super().__init__(" ".join(parts))


class InputError(AutoRegError):
    """Bad input from the user: a file, a value, a scenario (exit code 2)."""

    code = "input"
    exit_code = 2


class CancelledError(AutoRegError):
    """The user asked to stop (exit code 3); what was finished is kept."""

    code = "cancelled"
    exit_code = 3


class EnvironmentProblem(AutoRegError):
    """Something needed is not installed or does not load: torch, safetensors (exit code 4)."""

    code = "environment"
    exit_code = 4


class DeviceProblem(EnvironmentProblem):
    """The device that was asked for is not there, or computes wrong (exit code 4)."""

    code = "device"


class OutOfMemoryProblem(AutoRegError):
    """The computation did not fit (exit code 5)."""

    code = "memory"
    exit_code = 5


class DivergedError(AutoRegError):
    """Training produced non-finite numbers (exit code 6); the last good checkpoint is kept."""

    code = "diverged"
    exit_code = 6


class DiskError(AutoRegError):
    """A result could not be written (exit code 7)."""

    code = "disk"
    exit_code = 7
