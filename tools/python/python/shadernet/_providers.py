"""Which provider runs a model: the device, or the reference interpreter on the CPU."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional, Union

from . import _shadernet

DEVICE = "ShadernetExecutionProvider"
CPU = "CPUExecutionProvider"

Providers = Sequence[Union[str, tuple[str, dict[Any, Any]]]]


def get_all_providers() -> list[str]:
    """Every provider that there is, whether or not this machine has a device."""
    return [DEVICE, CPU]


def get_available_providers() -> list[str]:
    """The providers of this machine, the fastest first."""
    return [DEVICE, CPU] if _shadernet.adapters() else [CPU]


def get_device() -> str:
    """``GPU`` where this machine has a device that compute shaders run on, else ``CPU``."""
    return "GPU" if _shadernet.adapters() else "CPU"


class Choice(NamedTuple):
    """Where a session is to run."""

    options: dict[str, dict[str, str]]
    """Provider names in order, each with its options."""
    device: Optional[dict[str, str]]
    """The device's options, ``None`` for the interpreter."""
    may_fall_back: bool
    """Whether the interpreter may take over where there is no device."""


def choose(providers: Optional[Providers], provider_options: Optional[Sequence[dict[Any, Any]]]) -> Choice:
    """What ``InferenceSession``'s arguments ask for.

    The device alone runs whole models or refuses them, naming the nodes; with the CPU behind it in the list, the
    interpreter takes the nodes that the device refuses. Without a list: the device, or on a machine without one the
    interpreter.
    """
    named = _normalised(providers, provider_options)
    if named is None:
        return Choice({DEVICE: {}}, {}, True)
    known = {name: options for name, options in named.items() if name in (DEVICE, CPU)}
    if not known:
        warnings.warn(f"none of {list(named)} is available: running on {CPU}", stacklevel=4)
        known = {CPU: {}}
    if next(iter(known)) == CPU:
        return Choice({CPU: known[CPU]}, None, False)
    device = dict(known[DEVICE])
    if CPU in known:
        device.setdefault("fallback", "allow")
    return Choice(known, device, CPU in known)


def _normalised(providers: Any, provider_options: Any) -> Optional[dict[str, dict[str, str]]]:
    if not providers:
        return None
    if not isinstance(providers, Sequence):
        raise ValueError("'providers' should be a sequence.")
    if isinstance(providers, str):
        raise ValueError("'providers' should be a sequence of names, not one name.")
    if provider_options is not None:
        if not isinstance(provider_options, Sequence):
            raise ValueError("'provider_options' should be a sequence.")
        if len(providers) != len(provider_options):
            raise ValueError("'providers' and 'provider_options' should be the same length if both are given.")
        if not all(isinstance(name, str) for name in providers):
            raise ValueError("Only string values for 'providers' are supported if 'provider_options' is given.")
        if not all(isinstance(options, dict) for options in provider_options):
            raise ValueError("'provider_options' values must be dicts.")
        pairs = list(zip(providers, provider_options))
    else:
        pairs = [(p, {}) if isinstance(p, str) else p for p in providers]
    named: dict[str, dict[str, str]] = {}
    for pair in pairs:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], dict)):
            raise ValueError("'providers' values must be either strings or (string, dict) tuples.")
        name, options = pair
        if name not in (DEVICE, CPU):
            listed = ", ".join(get_available_providers())
            text = f"Specified provider '{name}' is not in available provider names. Available providers: '{listed}'"
            warnings.warn(text, stacklevel=5)
        if name in named:
            warnings.warn(f"Duplicate provider '{name}' encountered, ignoring.", stacklevel=5)
            continue
        named[name] = {str(k): str(v) for k, v in options.items()}
    return named
