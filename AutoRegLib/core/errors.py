"""The one exception family: every expected failure carries an exit code and says what to do next."""

from __future__ import annotations

import unicodedata

#: characters of one part of a message: it is to be read at a glance
MOST_CHARACTERS = 600


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
        self.what = visible(what)
        self.expected = expected
        self.got = got
        self.remedy = visible(remedy)
        parts = [self.what.rstrip(".") + "."]
        if expected is not None:
            parts.append(f"Expected: {visible(expected)}.")
        if got is not None:
            parts.append(f"Got: {visible(got)}.")
        if remedy:
            parts.append(f"Remedy: {self.remedy.rstrip('.')}.")
        super().__init__(" ".join(parts))


def visible(value: object) -> str:
    """Text for a message, from whatever stood in a file or a name: escape sequences, line breaks and marks that turn
    the writing around are written out, and of a long text its two ends remain.
    """
    text = str(value)
    if len(text) > MOST_CHARACTERS:
        half = MOST_CHARACTERS // 2
        text = f"{text[:half]} ... {text[-half:]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else ascii(c)[1:-1] for c in text)


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
