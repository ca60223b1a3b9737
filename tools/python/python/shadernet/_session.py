"""Sessions: a model made ready to run."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional, Union

from . import _shadernet
from ._io_binding import IOBinding
from ._options import GraphOptimizationLevel, RunOptions, SessionOptions
from ._ort_value import OrtValue
from ._profile import Profile
from ._providers import CPU, Choice, Providers, choose
from ._types import ModelMetadata, NodeArg

ModelSource = Union[str, bytes, "os.PathLike[str]"]

_FOLDER = "session.model_external_initializers_file_folder_path"


def check(path_or_bytes: ModelSource, **options: Any) -> None:
    """Whether every node of a model runs on this machine's device.

    ``options`` are those of ``ShadernetExecutionProvider``. Raises ``NotImplemented`` naming every node that the device
    cannot run, ``InvalidGraph`` and the like for models that cannot be read, ``EPFail`` where there is no device.
    """
    _shadernet.check(_source(path_or_bytes), {str(k): str(v) for k, v in options.items()})


def _source(given: Any) -> Union[str, bytes]:
    if isinstance(given, (str, os.PathLike)):
        return os.fspath(given)
    if isinstance(given, bytes):
        return given
    raise TypeError(f"Unable to load from type '{type(given)}'")


class InferenceSession:
    """A model made ready to run. Runs may come from several threads at once; each lets other Python threads go on.

    :param path_or_bytes: a file, beside which external data is looked for, or the bytes of one
    :param sess_options: see :class:`SessionOptions`
    :param providers: ``ShadernetExecutionProvider`` (the device), ``CPUExecutionProvider`` (the reference
        interpreter), or both, in order of preference; each a name, or a name and a dict of options. Without: the
        device, or on a machine without one the interpreter, with a warning. With both, the interpreter also takes the
        nodes that the device refuses, which are else an error that names them.
    :param provider_options: the dicts apart from the names

    The device's options: ``adapter`` (part of its name, or its number in :func:`shadernet.adapters`; also
    ``device_id``), ``backend`` (vulkan, metal, dx12 or gl), ``fallback`` (deny or allow), ``profile`` (full, or base:
    nothing beyond what every WebGPU device has), ``pipeline_cache`` (a folder, or off), ``precision`` (model, or float16:
    compute in float16 what the model has in float32, where the device has it), ``sizes`` (open, or fixed: inputs keep the
    sizes of the first run, so that it compiles for no others).

    Raises ``NoSuchFile``, ``InvalidProtobuf`` or ``InvalidGraph`` where the model cannot be read, ``NotImplemented``
    naming the nodes that the device cannot run, ``EPFail`` where the device fails.
    """

    def __init__(
        self,
        path_or_bytes: ModelSource,
        sess_options: Optional[SessionOptions] = None,
        providers: Optional[Providers] = None,
        provider_options: Optional[Sequence[dict[Any, Any]]] = None,
        **kwargs: Any,
    ) -> None:
        self._source = _source(path_or_bytes)
        self._sess_options = sess_options if sess_options is not None else SessionOptions()
        self._build(choose(providers, provider_options))

    def _build(self, choice: Choice) -> None:
        options = self._sess_options
        device, self._provider_options = choice.device, choice.options
        if choice.may_fall_back and not _shadernet.adapters():
            warnings.warn(f"no GPU adapter found: running on {CPU}", stacklevel=3)
            device, self._provider_options = None, {CPU: {}}
        self._sess = _shadernet.Session(
            self._source,
            device,
            options._entries.get(_FOLDER),
            options.graph_optimization_level != GraphOptimizationLevel.ORT_DISABLE_ALL,
            options._dims,
        )
        self._inputs = [NodeArg(*i) for i in self._sess.inputs]
        self._outputs = [NodeArg(*o) for o in self._sess.outputs]
        self._output_names = [o.name for o in self._outputs]
        self._required = [i.name for i in self._inputs if not i.type.startswith("optional")]
        self._profile = Profile(options.profile_file_prefix) if options.enable_profiling else None

    def get_session_options(self) -> SessionOptions:
        """The options that the session was built with."""
        return self._sess_options

    def get_inputs(self) -> list[NodeArg]:
        """Name, type and shape of everything that a run takes."""
        return list(self._inputs)

    def get_outputs(self) -> list[NodeArg]:
        """Name, type and shape of everything that a run gives."""
        return list(self._outputs)

    def get_overridable_initializers(self) -> list[NodeArg]:
        """Weights that are inputs too: a run takes those that are fed, else the model's own."""
        return [NodeArg(*i) for i in self._sess.overridable]

    def get_modelmeta(self) -> ModelMetadata:
        """Who made the model, and what for."""
        return ModelMetadata(**self._sess.metadata)

    def get_providers(self) -> list[str]:
        """The providers of this session, in order."""
        return list(self._provider_options)

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        """The options of each provider."""
        return {name: dict(options) for name, options in self._provider_options.items()}

    def get_host_nodes(self) -> list[str]:
        """Paths of the nodes that the last run on the device left to the interpreter."""
        return self._sess.host_nodes()

    def set_providers(
        self, providers: Optional[Providers] = None, provider_options: Optional[Sequence[dict[Any, Any]]] = None
    ) -> None:
        """Builds the session anew with other providers."""
        self._build(choose(providers, provider_options))

    def disable_fallback(self) -> None:
        """Changes nothing: a session that fails never goes on elsewhere unless the list of providers says so."""

    def enable_fallback(self) -> None:
        """Changes nothing, as :meth:`disable_fallback`."""

    def _missing(self, feed: Mapping[str, Any]) -> None:
        given = feed.keys()
        missing = [name for name in self._required if name not in given]
        if missing:
            raise ValueError(f"Required inputs ({missing}) are missing from input feed ({list(given)}).")

    def _run(
        self,
        names: Sequence[str],
        feed: dict[str, Any],
        run_options: Optional[RunOptions],
        places: Optional[list[Any]] = None,
    ) -> list[Any]:
        if run_options is not None and run_options.terminate:
            raise _shadernet.Fail("[ShadernetError] : 1 : FAIL : Exiting due to terminate flag being set to true.")
        if self._profile is None:
            return self._sess.run(feed, names, places)
        with self._profile.run() as dispatches:
            outputs, made = self._sess.profile(feed, names, places)
            dispatches.extend(made)
        return outputs

    def run(
        self,
        output_names: Optional[Sequence[str]],
        input_feed: Mapping[str, Any],
        run_options: Optional[RunOptions] = None,
    ) -> list[Any]:
        """Runs the model.

        :param output_names: the outputs to give, in this order; ``None`` or empty for all
        :param input_feed: arrays by name (lists for sequences, dicts for maps, ``None`` for optionals without a value;
            also :class:`OrtValue` and objects that speak DLPack). Contiguous arrays are read where they lie.
        :return: arrays that own their memory, lists, dicts, or ``None``

        Raises ``ValueError`` where an input is missing, ``InvalidArgument`` where one is unknown or of another type or
        shape than declared, ``Fail`` where a node cannot run on these values.
        """
        self._missing(input_feed)
        feed = {name: v._value if isinstance(v, OrtValue) else v for name, v in input_feed.items()}
        return self._run(output_names or self._output_names, feed, run_options)

    def run_with_ort_values(
        self,
        output_names: Optional[Sequence[str]],
        input_dict_ort_values: Mapping[str, OrtValue],
        run_options: Optional[RunOptions] = None,
    ) -> list[OrtValue]:
        """As :meth:`run`, with an :class:`OrtValue` for each value."""
        self._missing(input_dict_ort_values)
        names = list(output_names or self._output_names)
        feed = {name: v._value for name, v in input_dict_ort_values.items()}
        outputs = self._run(names, feed, run_options)
        types = {o.name: o.type for o in self._outputs}
        return [OrtValue(value, types[name]) for name, value in zip(names, outputs)]

    def run_with_iobinding(self, iobinding: IOBinding, run_options: Optional[RunOptions] = None) -> None:
        """Runs on what is bound; :meth:`IOBinding.get_outputs` then has the outputs."""
        if iobinding._session is not self:
            raise ValueError("IOBinding must be used with the session that created it.")
        names, places = iobinding._names(), iobinding._places()
        iobinding._fill(self._run(names, iobinding._feed(), run_options, places))

    def run_async(
        self,
        output_names: Optional[Sequence[str]],
        input_feed: Mapping[str, Any],
        callback: Callable[[Optional[list[Any]], Any, str], None],
        user_data: Any,
        run_options: Optional[RunOptions] = None,
    ) -> None:
        """As :meth:`run` on a thread of its own, which calls ``callback(outputs, user_data, error)`` in the end."""
        self._missing(input_feed)

        def work() -> None:
            try:
                outputs = self.run(output_names, input_feed, run_options)
            except Exception as e:
                callback(None, user_data, str(e))
            else:
                callback(outputs, user_data, "")

        threading.Thread(target=work, name="shadernet run").start()

    def tune(self, input_feed: Mapping[str, Any]) -> list[tuple[str, float, float]]:
        """Measures by which tiles the products and convolutions of a run on these arrays take the least time, and keeps them.

        They hold for all sessions of this device and, where there is a ``pipeline_cache``, for later processes on the same
        adapter and driver. Takes some hundred runs. Gives the kernel, the microseconds before and the microseconds by the
        best for each; none on the interpreter and on software adapters, which have nothing to choose.

        Raises ``NotImplemented`` where the adapter has no timestamps, else as :meth:`run`.
        """
        self._missing(input_feed)
        return self._sess.tune({name: v._value if isinstance(v, OrtValue) else v for name, v in input_feed.items()})

    def io_binding(self) -> IOBinding:
        """Something to bind inputs and outputs to, for :meth:`run_with_iobinding`."""
        return IOBinding(self)

    def end_profiling(self) -> str:
        """Writes what was profiled for chrome://tracing or Perfetto and gives the file's name.

        Empty unless :attr:`SessionOptions.enable_profiling` was set.
        """
        return "" if self._profile is None else self._profile.write()

    def get_profiling_start_time_ns(self) -> int:
        """When profiling began, by ``time.monotonic_ns()``; 0 without profiling."""
        return 0 if self._profile is None else self._profile.start
