"""Inputs and outputs that stay bound from run to run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional, Union

import numpy as np

from . import _shadernet
from ._memory import array_at, on_device, on_host
from ._ort_value import OrtValue
from ._types import element_type as element

if TYPE_CHECKING:
    from ._session import InferenceSession


class IOBinding:
    """What a run takes and where its outputs go; made by :meth:`InferenceSession.io_binding`.

    An output that is bound to memory is written there, one bound without is the run's own: an array, or, on device type
    ``gpu``, memory of the session's device. Values that lie on that device do not leave it.
    """

    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        self._inputs: dict[str, OrtValue] = {}
        # a value to write to, or whether the run's own lies on the device
        self._targets: dict[str, Union[OrtValue, bool]] = {}
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
        """Asks for an output, in the caller's memory where ``buffer_ptr`` says so, else on ``cpu`` or ``gpu``."""
        self._known(name, "output")
        if buffer_ptr is None:
            self._targets[name] = self._reachable(on_device(device_type))
            return
        on_host(device_type)
        if element_type is None or shape is None:
            raise ValueError("`element_type` and `shape` are to be provided if pre-allocated memory is provided")
        self._targets[name] = OrtValue(array_at(buffer_ptr, element(element_type), shape))

    def bind_ortvalue_output(self, name: str, ortvalue: OrtValue) -> None:
        """Asks for an output in a value's memory."""
        self._known(name, "output")
        self._reachable(ortvalue._on_device)
        self._targets[name] = ortvalue

    def synchronize_inputs(self) -> None:
        """Waits until inputs that were written to the device are there. Runs come after them anyway."""
        self._session._sess.wait()

    def synchronize_outputs(self) -> None:
        """Waits until outputs that stay on the device are there. What reads them comes after them anyway."""
        self._session._sess.wait()

    def get_outputs(self) -> list[OrtValue]:
        """The outputs of the last run, in the order in which they were bound."""
        return list(self._made)

    def copy_outputs_to_cpu(self) -> list[Any]:
        """The outputs of the last run as arrays."""
        return [value.numpy() if value._on_device else value._value for value in self._made]

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

    def _reachable(self, device: bool) -> bool:
        if device and self._session._sess.adapter is None:
            raise RuntimeError("This session runs on the interpreter, which has no device memory.")
        return device

    def _names(self) -> list[str]:
        return list(self._targets)

    def _feed(self) -> dict[str, Any]:
        return {name: value._value for name, value in self._inputs.items()}

    def _places(self) -> list[Any]:
        """Where the run leaves each output, as ``_shadernet.Session.run`` takes it: what goes to host memory is an array."""

        def place(target: Union[OrtValue, bool]) -> Any:
            if isinstance(target, bool):
                return target or None
            return target._value if target._on_device else None

        return [place(target) for target in self._targets.values()]

    def _fill(self, outputs: list[Any]) -> None:
        types = {o.name: o.type for o in self._session._outputs}
        made = []
        for (name, target), value in zip(self._targets.items(), outputs):
            if isinstance(target, bool):
                target = OrtValue(value, types[name])
            elif not target._on_device:
                there = target.numpy()
                if (there.shape, there.dtype) != (value.shape, value.dtype):
                    got, want = f"{there.dtype}{list(there.shape)}", f"{value.dtype}{list(value.shape)}"
                    text = f"output {name} is bound to memory of {got}, the run gives {want}"
                    raise _shadernet.InvalidArgument(f"[ShadernetError] : 2 : INVALID_ARGUMENT : {text}")
                there[...] = value
            made.append(target)
        self._made = made
