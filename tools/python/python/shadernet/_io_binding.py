"""Inputs and outputs that stay bound from run to run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from . import _shadernet
from ._memory import array_at, on_host
from ._ort_value import OrtValue
from ._types import element_type as element

if TYPE_CHECKING:
    from ._session import InferenceSession


class IOBinding:
    """What a run takes and where its outputs go; made by :meth:`InferenceSession.io_binding`.

    An output that is bound to memory is copied there, one bound without is the run's own array.
    """

    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        self._inputs: dict[str, OrtValue] = {}
        self._targets: dict[str, Optional[OrtValue]] = {}
        self._made: list[OrtValue] = []

    def bind_cpu_input(self, name: str, arr_on_cpu: np.ndarray) -> None:
        """Binds an array."""
        self._known(name, "input")
        self._inputs[name] = OrtValue(arr_on_cpu)

    def bind_input(
        self, name: str, device_type: str, device_id: int, element_type: Any, shape: Sequence[int], buffer_ptr: int
    ) -> None:
        """Binds memory, which the caller keeps while it is bound."""
        on_host(device_type)
        self.bind_cpu_input(name, array_at(buffer_ptr, element(element_type), shape))

    def bind_ortvalue_input(self, name: str, ortvalue: OrtValue) -> None:
        """Binds a value."""
        self._known(name, "input")
        self._inputs[name] = ortvalue

    def bind_output(
        self,
        name: str,
        device_type: str = "cpu",
        device_id: int = 0,
        element_type: Any = None,
        shape: Optional[Sequence[int]] = None,
        buffer_ptr: Optional[int] = None,
    ) -> None:
        """Asks for an output, in the caller's memory where ``buffer_ptr`` says so."""
        on_host(device_type)
        self._known(name, "output")
        if buffer_ptr is None:
            self._targets[name] = None
            return
        if element_type is None or shape is None:
            raise ValueError("`element_type` and `shape` are to be provided if pre-allocated memory is provided")
        self._targets[name] = OrtValue(array_at(buffer_ptr, element(element_type), shape))

    def bind_ortvalue_output(self, name: str, ortvalue: OrtValue) -> None:
        """Asks for an output in a value's memory."""
        self._known(name, "output")
        self._targets[name] = ortvalue

    def synchronize_inputs(self) -> None:
        """Changes nothing: inputs lie in host memory."""

    def synchronize_outputs(self) -> None:
        """Changes nothing: a run returns when its outputs are there."""

    def get_outputs(self) -> list[OrtValue]:
        """The outputs of the last run, in the order in which they were bound."""
        return list(self._made)

    def copy_outputs_to_cpu(self) -> list[Any]:
        """The outputs of the last run as arrays."""
        return [value._value for value in self._made]

    def clear_binding_inputs(self) -> None:
        """Forgets all inputs."""
        self._inputs.clear()

    def clear_binding_outputs(self) -> None:
        """Forgets all outputs."""
        self._targets.clear()
        self._made.clear()

    def _known(self, name: str, kind: str) -> None:
        session = self._session
        args = session._inputs + session.get_overridable_initializers() if kind == "input" else session._outputs
        if all(arg.name != name for arg in args):
            raise RuntimeError(f"Failed to find {kind} name in the model: {name}")

    def _names(self) -> list[str]:
        return list(self._targets)

    def _feed(self) -> dict[str, Any]:
        return {name: value._value for name, value in self._inputs.items()}

    def _fill(self, outputs: list[Any]) -> None:
        types = {o.name: o.type for o in self._session._outputs}
        made = []
        for (name, target), value in zip(self._targets.items(), outputs):
            if target is None:
                target = OrtValue(value, types[name])
            else:
                there = target.numpy()
                if (there.shape, there.dtype) != (value.shape, value.dtype):
                    got, want = f"{there.dtype}{list(there.shape)}", f"{value.dtype}{list(value.shape)}"
                    text = f"output {name} is bound to memory of {got}, the run gives {want}"
                    raise _shadernet.InvalidArgument(f"[ShadernetError] : 2 : INVALID_ARGUMENT : {text}")
                there[...] = value
            made.append(target)
        self._made = made
