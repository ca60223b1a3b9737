"""The same script under ONNX Runtime and under shadernet."""

import importlib
from types import SimpleNamespace

import models
import numpy as np
import pytest
from onnx import TensorProto as T

pytest.importorskip("onnxruntime", minversion="1.32")

X = np.arange(6, dtype=np.float32).reshape(2, 3)
ONE = np.ones((2, 3), np.float32)
IMAGES = np.random.default_rng(1).standard_normal((2, 3, 16, 16), np.float32)


def runtime(name, providers=("CPUExecutionProvider",)):
    """A runtime's module, and the providers that sessions are built with."""
    return SimpleNamespace(**vars(importlib.import_module(name)), providers=list(providers))


def session(ort, model, **kwargs):
    return ort.InferenceSession(model, providers=ort.providers, **kwargs)


def node_args(ort):
    """Names, types and shapes of everything that goes in and out."""
    for model in [models.ADD, models.NET, models.DEFAULT, models.STRINGS, models.PAIR, models.AT, models.HAS]:
        s = session(ort, model)
        args = [*s.get_inputs(), *s.get_overridable_initializers(), *(s.get_outputs() if model != models.AT else [])]
        yield [(a.name, a.type, a.shape, str(a)) for a in args]
    for model in [models.NOTHING, models.LABELLED, models.NUMBERED]:
        yield [(o.name, o.type) for o in session(ort, model).get_outputs()]


def element_types(ort):
    """What a value of each element type is called, and the arrays that come back."""
    for number, dtype in [(1, "f4"), (2, "u1"), (3, "i1"), (4, "u2"), (5, "i2"), (6, "i4"), (7, "i8"), (9, "?")]:
        s = session(ort, models.one("Identity", [models.value("x", number, [2])], [models.value("y", number, [2])]))
        yield s.get_inputs()[0].type, s.run(None, {"x": np.array([0, 1]).astype(dtype)})
    for number, dtype in [(10, "f2"), (11, "f8"), (12, "u4"), (13, "u8")]:
        s = session(ort, models.one("Identity", [models.value("x", number, [2])], [models.value("y", number, [2])]))
        yield s.get_inputs()[0].type, s.run(None, {"x": np.array([0, 1]).astype(dtype)})


def metadata(ort):
    names = [
        "custom_metadata_map",
        "description",
        "domain",
        "graph_description",
        "graph_name",
        "producer_name",
        "version",
    ]
    for model in [models.ADD, models.NET]:
        meta = session(ort, model).get_modelmeta()
        yield [getattr(meta, name) for name in names]


def runs(ort):
    """Outputs in every form in which they can be asked for, from every form of input."""
    s = session(ort, models.NET)
    for names in [None, [], ["y"], ["r", "y"], ["y", "y"]]:
        yield s.run(names, {"x": IMAGES})
    s = session(ort, models.ADD)
    yield s.run(None, {"x": X, "y": ONE})
    yield s.run(None, {"x": X.tolist(), "y": ONE})
    yield s.run(None, {"x": X.T.copy().T, "y": ONE[::-1]})
    yield s.run(None, {"x": X[:, ::-1], "y": np.broadcast_to(ONE[:1, :1], (1, 3))})
    yield s.run(None, {"x": X[:0], "y": ONE[:0]})
    s = session(ort, models.DEFAULT)
    yield s.run(None, {"x": X[0, :2]})
    yield s.run(None, {"x": X[0, :2], "b": X[1, :2]})


def strings(ort):
    s = session(ort, models.STRINGS)
    for given in [np.array(["a", "é"], object), np.array(["a", "bcd"]), ["a", ""], np.array([], object)]:
        yield s.run(None, {"x": given})


def containers(ort):
    """Sequences, optionals and maps."""
    yield session(ort, models.PAIR).run(None, {"x": X[0], "y": X[1, :2]})
    yield session(ort, models.AT).run(None, {"s": [X, X[0]], "i": np.array(1)})
    for feed in [{"o": None}, {}, {"o": X[0, :2]}]:
        yield session(ort, models.HAS).run(None, feed)
    yield session(ort, models.NOTHING).run(None, {})
    for model in [models.LABELLED, models.NUMBERED]:
        yield session(ort, model).run(None, {"x": X[:, :2]})
    yield session(ort, models.VECTORISED).run(None, {"x": {"b": 2.0, "a": 1.0}})


def ort_values(ort):
    s = session(ort, models.ADD)
    feed = {name: ort.OrtValue.ortvalue_from_numpy(a) for name, a in [("x", X), ("y", ONE)]}
    for v in [feed["x"], *s.run_with_ort_values(["z"], feed), *s.run_with_ort_values(None, feed)]:
        yield v.shape(), v.data_type(), v.element_type(), v.device_name(), v.has_value(), v.is_tensor(), v.numpy()
        yield v.is_sparse_tensor(), v.is_tensor_sequence(), v.tensor_size_in_bytes(), np.asarray(v)
    v = ort.OrtValue.ortvalue_from_shape_and_type([2, 3], np.float32)
    v.update_inplace(X)
    yield v.numpy()
    yield ort.OrtValue.ortvalue_from_numpy_with_onnx_type(np.ones(2, np.uint16), T.BFLOAT16).data_type()
    yield ort.OrtValue.ortvalue_from_shape_and_type([2], T.BFLOAT16).data_type()


def bindings(ort):
    s = session(ort, models.NET)
    binding = s.io_binding()
    binding.bind_cpu_input("x", IMAGES)
    binding.bind_output("y")
    target = ort.OrtValue.ortvalue_from_shape_and_type([2, 4, 16, 16], np.float32)
    binding.bind_ortvalue_output("r", target)
    s.run_with_iobinding(binding)
    yield binding.copy_outputs_to_cpu(), target.numpy(), [v.data_type() for v in binding.get_outputs()]
    other = np.zeros((2, 4), np.float32)
    binding.clear_binding_outputs()
    binding.bind_input("x", "cpu", 0, np.float32, IMAGES.shape, IMAGES.ctypes.data)
    binding.bind_output("y", "cpu", 0, np.float32, other.shape, other.ctypes.data)
    s.run_with_iobinding(binding)
    yield other


def options(ort):
    so = ort.SessionOptions()
    so.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    so.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    so.intra_op_num_threads = 1
    so.enable_mem_pattern = False
    so.add_session_config_entry("session.disable_prepacking", "1")
    so.add_free_dimension_override_by_name("batch", 2)
    ro = ort.RunOptions()
    ro.log_severity_level = 3
    yield session(ort, models.NET, sess_options=so).run(None, {"x": IMAGES}, ro)
    names = [n for n in dir(ort.SessionOptions()) if n.startswith(("enable", "exec", "graph", "int", "log", "use"))]
    yield [(n, str(getattr(ort.SessionOptions(), n))) for n in names]
    yield so.get_session_config_entry("session.disable_prepacking")
    cpu = ort.InferenceSession(models.ADD, providers=["CPUExecutionProvider"])
    yield cpu.get_providers(), cpu.get_provider_options()


SCRIPTS = [node_args, element_types, metadata, runs, strings, containers, ort_values, bindings, options]


def same(a, b):
    """Arrays must agree in type and shape, and in values but for rounding; anything else must be equal."""
    assert type(a) is type(b)
    if isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            same(x, y)
    elif isinstance(a, np.ndarray):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(a, b)
        assert a.flags.writeable == b.flags.writeable
    else:
        assert a == b


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.__name__)
def test_scripts_give_the_same(script, providers):
    same(list(script(runtime("shadernet", providers))), list(script(runtime("onnxruntime"))))


def broken(ort, tmp_path, what):
    (tmp_path / "broken.onnx").write_bytes(what)
    return ort.InferenceSession(str(tmp_path / "broken.onnx"))


RELU = [models.value("x", T.FLOAT, [2])], [models.value("y", T.FLOAT, [2])]

# what fails, and whether the words are the same too
FAILURES = {
    "missing input": (lambda o, t: session(o, models.ADD).run(None, {"x": X}), True),
    "unknown input": (lambda o, t: session(o, models.ADD).run(None, {"x": X, "y": X, "q": X}), True),
    "rank": (lambda o, t: session(o, models.ADD).run(None, {"x": X[0], "y": X}), True),
    "extent": (lambda o, t: session(o, models.ADD).run(None, {"x": X[:, :2], "y": X}), True),
    "extents": (lambda o, t: session(o, models.NET).run(None, {"x": IMAGES[:, :1, 1:]}), True),
    "element type": (lambda o, t: session(o, models.ADD).run(None, {"x": X.astype("f8"), "y": X}), True),
    "integers for floats": (lambda o, t: session(o, models.ADD).run(None, {"x": X.astype("i8"), "y": X}), True),
    "strings for floats": (lambda o, t: session(o, models.ADD).run(None, {"x": np.array([["a"] * 3]), "y": X}), True),
    "a number": (lambda o, t: session(o, models.ADD).run(None, {"x": 1.0, "y": X}), True),
    "one string": (lambda o, t: session(o, models.ADD).run(None, {"x": "abc", "y": X}), True),
    "nothing": (lambda o, t: session(o, models.ADD).run(None, {"x": None, "y": X}), False),
    "a list of inputs": (lambda o, t: session(o, models.ADD).run(None, [X, X]), True),
    "unknown output": (lambda o, t: session(o, models.ADD).run(["q"], {"x": X, "y": X}), True),
    "one output name": (lambda o, t: session(o, models.ADD).run("z", {"x": X, "y": X}), False),
    "no broadcast": (lambda o, t: session(o, models.ADD).run(None, {"x": X, "y": np.ones((5, 3), "f4")}), False),
    "array for sequence": (lambda o, t: session(o, models.AT).run(None, {"s": X, "i": np.array(0)}), True),
    "no file": (lambda o, t: o.InferenceSession("nowhere.onnx"), True),
    "no model": (lambda o, t: broken(o, t, b"hello, I am not a model"), False),
    "cut short": (lambda o, t: broken(o, t, models.NET[:-5]), False),
    "no model in bytes": (lambda o, t: o.InferenceSession(b"hello, I am not a model"), False),
    "empty": (lambda o, t: o.InferenceSession(b""), True),
    "empty file": (lambda o, t: broken(o, t, b""), True),
    "folder": (lambda o, t: o.InferenceSession(str(t)), False),
    "number for a model": (lambda o, t: o.InferenceSession(5), True),
    "unknown operator": (lambda o, t: o.InferenceSession(models.one("Foo", *RELU)), False),
    "attribute type": (lambda o, t: o.InferenceSession(models.one("Softmax", *RELU, axis="a")), False),
    "unknown option": (lambda o, t: setattr(o.SessionOptions(), "nope", 1), False),
    "option type": (lambda o, t: setattr(o.SessionOptions(), "intra_op_num_threads", "a"), False),
    "no entry": (lambda o, t: o.SessionOptions().get_session_config_entry("a"), True),
    "value of strings": (lambda o, t: o.OrtValue.ortvalue_from_numpy(np.array(["a"])), True),
    "value elsewhere": (lambda o, t: o.OrtValue.ortvalue_from_numpy(X, "cuda"), False),
    "bad update": (lambda o, t: o.OrtValue.ortvalue_from_numpy(X).update_inplace(np.zeros(7, np.float32)), True),
    "other binding": (
        lambda o, t: session(o, models.ADD).run_with_iobinding(session(o, models.ADD).io_binding()),
        True,
    ),
    "unknown to bind": (lambda o, t: session(o, models.ADD).io_binding().bind_cpu_input("q", X), False),
    "options' number": (
        lambda o, t: o.InferenceSession(models.ADD, None, ["CPUExecutionProvider"], [{}, {}], enable_fallback=0),
        True,
    ),
}


@pytest.mark.parametrize("what", FAILURES)
def test_failures_are_the_same(what, tmp_path, providers):
    fails, words = FAILURES[what]
    caught = []
    for ort in [runtime("onnxruntime"), runtime("shadernet", providers)]:
        with pytest.raises(Exception) as info:
            fails(ort, tmp_path)
        caught.append(info.value)
    theirs, ours = caught
    assert type(ours).__name__ == type(theirs).__name__
    assert type(ours).__module__.replace("shadernet", "onnxruntime") == type(theirs).__module__
    if words:
        assert str(ours).replace("[ShadernetError]", "[ONNXRuntimeError]") == str(theirs)


def test_exceptions_have_the_same_names():
    ours, theirs = (
        importlib.import_module(f"{n}.capi.onnxruntime_pybind11_state") for n in ["shadernet", "onnxruntime"]
    )
    names = [
        n for n in dir(theirs) if isinstance(getattr(theirs, n), type) and issubclass(getattr(theirs, n), Exception)
    ]
    assert names and all(issubclass(getattr(ours, n), Exception) for n in names)
