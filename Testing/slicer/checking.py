"""What the checks before a registration say of a pair."""

from __future__ import annotations

from typing import Any

from AutoRegSlicerLib.logic import Message, RegistrationInputs, RegistrationOutputs, checkRegistration


def check(scene: Any, pair: dict[str, Any], **changes: Any) -> list[Message]:
    return checkRegistration(scene, RegistrationInputs(**{"model": "none", "refine": "auto", **pair, **changes}),
                             RegistrationOutputs())


def said(messages: list[Message], *, blocking: bool = True) -> tuple[str, str]:
    """Code and text of the only message."""
    [message] = messages
    assert message.blocking is blocking
    return message.code, message.text
