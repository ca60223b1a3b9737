"""ONNX's backend interface: ``CPU`` is the reference interpreter, ``CUDA`` (or ``GPU``) the device.

import shadernet.backend

outputs = shadernet.backend.run_model(model, [array], device="CUDA")
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Optional, Union

import numpy as np
import onnx
from onnx import helper
from onnx.backend.base import Backend, BackendRep, Device, DeviceType, namedtupledict

from .._providers import CPU, DEVICE, get_device
from .._session import InferenceSession
from .._types import element_number

Model = Union[onnx.ModelProto, bytes, str, "os.PathLike[str]", InferenceSession]


class ShadernetBackendRep(BackendRep):
    """A model made ready to run."""

    def __init__(self, session: InferenceSession) -> None:
        self.session = session

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Runs on a list of the model's inputs in order, on one input alone, or on a dict of inputs by name."""
        names = [i.name for i in self.session.get_inputs()]
        if not isinstance(inputs, dict):
            inputs = dict(zip(names, inputs if isinstance(inputs, (list, tuple)) else [inputs]))
        feed = {name: np.asarray(v) if isinstance(v, np.generic) else v for name, v in inputs.items()}
        outputs = self.session.run(None, feed)
        return namedtupledict("Outputs", [o.name for o in self.session.get_outputs()])(*outputs)


class ShadernetBackend(Backend):
    """ONNX's backend interface over :class:`shadernet.InferenceSession`."""

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether the model can be made ready for the device."""
        try:
            cls.prepare(model, device, **kwargs)
        except Exception:
            return False
        return True

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """``CPU`` always, ``CUDA`` and ``GPU`` where this machine has a device that compute shaders run on."""
        return device == "CPU" or (device.split(":")[0] in ("CUDA", "GPU") and get_device() == "GPU")

    @classmethod
    def prepare(cls, model: Model, device: str = "CPU", **kwargs: Any) -> ShadernetBackendRep:
        """Makes a model ready to run.

        ``kwargs`` are the device's provider options, as in :class:`shadernet.InferenceSession`.
        """
        if isinstance(model, InferenceSession):
            return ShadernetBackendRep(model)
        source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else model
        return ShadernetBackendRep(InferenceSession(source, providers=[_provider(device, kwargs)]))

    @classmethod
    def run_model(cls, model: Model, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
        """Makes a model ready and runs it."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Optional[Sequence[tuple[np.dtype, tuple[int, ...]]]] = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Runs one node on arrays, of the newest opset or of ``opset_version``."""
        opset = kwargs.pop("opset_version", onnx.defs.onnx_opset_version())
        names = [name for name in node.input if name]
        given = [np.asarray(v) for v in (inputs.values() if isinstance(inputs, dict) else inputs)]
        infos = [helper.make_tensor_value_info(n, element_number(v.dtype), v.shape) for n, v in zip(names, given)]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        opsets = [helper.make_opsetid(node.domain, opset if not node.domain else 1)]
        model = helper.make_model(helper.make_graph([node], "node", infos, outputs), opset_imports=opsets)
        return cls.prepare(model, device, **kwargs).run(given)


def _provider(device: str, options: dict[str, Any]) -> Any:
    where = Device("CUDA" + device[3:] if device.startswith("GPU") else device)
    if where.type == DeviceType.CPU:
        return CPU
    return (DEVICE, {"device_id": where.device_id, **options} if where.device_id else dict(options))


is_compatible = ShadernetBackend.is_compatible
prepare = ShadernetBackend.prepare
run_model = ShadernetBackend.run_model
run_node = ShadernetBackend.run_node
supports_device = ShadernetBackend.supports_device
