"""Options of sessions and runs. Every knob of ONNX Runtime is taken; those for CPU threads and arenas do nothing."""

from __future__ import annotations

import enum
import operator
from typing import Any


class GraphOptimizationLevel(enum.Enum):
    """``ORT_DISABLE_ALL`` leaves all graph passes out; every other level runs them all."""

    ORT_DISABLE_ALL = 0
    ORT_ENABLE_BASIC = 1
    ORT_ENABLE_EXTENDED = 2
    ORT_ENABLE_LAYOUT = 3
    ORT_ENABLE_ALL = 99


class ExecutionMode(enum.Enum):
    """Changes nothing: the device decides."""

    ORT_SEQUENTIAL = 0
    ORT_PARALLEL = 1


class ExecutionOrder(enum.Enum):
    """Changes nothing: the planner decides."""

    DEFAULT = 0
    PRIORITY_BASED = 1
    MEMORY_EFFICIENT = 2


class OrtAllocatorType(enum.Enum):
    """Kept for scripts that name it."""

    INVALID = -1
    ORT_DEVICE_ALLOCATOR = 0
    ORT_ARENA_ALLOCATOR = 1


class OrtMemType(enum.Enum):
    """Kept for scripts that name it."""

    CPU_INPUT = -2
    CPU_OUTPUT = -1
    CPU = -1
    DEFAULT = 0


class _Knobs:
    """Attributes are those that the class has, of the types that they have there."""

    _entries: dict[str, str]

    def __init__(self) -> None:
        self.__dict__["_entries"] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        kind = type(self)
        default = getattr(kind, name, None) if not name.startswith("_") else None
        if default is None or callable(default):
            raise AttributeError(f"'{kind.__name__}' object has no attribute '{name}'")
        wanted = type(default)
        if wanted is int:
            value = operator.index(value)
        elif not isinstance(value, wanted):
            raise TypeError(f"{kind.__name__}.{name}: expected {wanted.__name__}, got {value!r}")
        self.__dict__[name] = value

    def _entry(self, key: str) -> str:
        try:
            return self._entries[key]
        except KeyError:
            raise RuntimeError(f"{type(self).__name__} does not have configuration with key: {key}") from None


class SessionOptions(_Knobs):
    """How a session is built.

    What counts: ``graph_optimization_level``, ``enable_profiling``, ``profile_file_prefix``, the extents of
    ``add_free_dimension_override_by_name`` (for which the session plans at once), and the configuration entry
    ``session.model_external_initializers_file_folder_path`` (where the external data of a model in bytes lies).
    """

    enable_cpu_mem_arena: bool = True
    enable_mem_pattern: bool = True
    enable_mem_reuse: bool = True
    enable_profiling: bool = False
    execution_mode: ExecutionMode = ExecutionMode.ORT_SEQUENTIAL
    execution_order: ExecutionOrder = ExecutionOrder.DEFAULT
    graph_optimization_level: GraphOptimizationLevel = GraphOptimizationLevel.ORT_ENABLE_ALL
    inter_op_num_threads: int = 0
    intra_op_num_threads: int = 0
    log_severity_level: int = -1
    log_verbosity_level: int = 0
    logid: str = ""
    optimized_model_filepath: str = ""
    profile_file_prefix: str = "shadernet_profile_"
    use_deterministic_compute: bool = False
    use_per_session_threads: bool = True

    _dims: dict[str, int]

    def __init__(self) -> None:
        super().__init__()
        self.__dict__["_dims"] = {}

    def add_free_dimension_override_by_name(self, name: str, value: int) -> None:
        """The extent that a symbolic dimension will have: the session plans and compiles for it at once."""
        self._dims[name] = operator.index(value)

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Sets a configuration entry."""
        self._entries[key] = value

    def get_session_config_entry(self, key: str) -> str:
        """A configuration entry; a ``RuntimeError`` where it was not set."""
        return self._entry(key)


class RunOptions(_Knobs):
    """How a run goes. ``terminate`` makes a run that begins an error of class ``Fail``; the rest changes nothing."""

    log_severity_level: int = -1
    log_verbosity_level: int = 0
    logid: str = ""
    only_execute_path_to_fetches: bool = False
    terminate: bool = False

    def add_run_config_entry(self, key: str, value: str) -> None:
        """Sets a configuration entry."""
        self._entries[key] = value

    def get_run_config_entry(self, key: str) -> str:
        """A configuration entry; a ``RuntimeError`` where it was not set."""
        return self._entry(key)


def set_default_logger_severity(severity: int) -> None:
    """Taken for scripts that set it: this package logs nothing by itself."""
    operator.index(severity)


def set_default_logger_verbosity(verbosity: int) -> None:
    """Taken for scripts that set it: this package logs nothing by itself."""
    operator.index(verbosity)
