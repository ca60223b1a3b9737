"""ONNX Runtime's Python API over shadernet, which runs ONNX models on any GPU that Vulkan, Metal or DX12 reach.

import shadernet as ort

session = ort.InferenceSession("model.onnx")
name = session.get_inputs()[0].name
outputs = session.run(None, {name: array})
"""

from __future__ import annotations

from ._io_binding import IOBinding
from ._options import (
    ExecutionMode,
    ExecutionOrder,
    GraphOptimizationLevel,
    OrtAllocatorType,
    OrtMemType,
    RunOptions,
    SessionOptions,
    set_default_logger_severity,
    set_default_logger_verbosity,
)
from ._ort_value import OrtValue
from ._providers import get_all_providers, get_available_providers, get_device
from ._session import InferenceSession, check
from ._shadernet import __version__, adapters
from ._types import ModelMetadata, NodeArg

__all__ = [
    "ExecutionMode",
    "ExecutionOrder",
    "GraphOptimizationLevel",
    "IOBinding",
    "InferenceSession",
    "ModelMetadata",
    "NodeArg",
    "OrtAllocatorType",
    "OrtMemType",
    "OrtValue",
    "RunOptions",
    "SessionOptions",
    "__version__",
    "adapters",
    "check",
    "get_all_providers",
    "get_available_providers",
    "get_device",
    "get_version_string",
    "set_default_logger_severity",
    "set_default_logger_verbosity",
]


def get_version_string() -> str:
    """The version of this package."""
    return __version__
