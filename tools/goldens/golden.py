"""Makes one folder `<case>/model.onnx` with `test_data_set_0/{input,output}_<i>.pb` from a single operator, its outputs
computed by ONNX Runtime's CPU provider. Needs the pip packages onnx, onnxruntime and numpy."""

import zlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OPSETS = {"": 21, "com.microsoft": 1}


def rng(name):
    """Random numbers that depend on the case's name alone."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def floats(name, *shapes, dtype=np.float32, low=-1.0, high=1.0):
    """One array of uniformly distributed numbers for each shape."""
    r = rng(name)
    return [r.uniform(low, high, s).astype(dtype) for s in shapes]


def _proto(name, value):
    """An array as a TensorProto; one that is a TensorProto already (types that numpy lacks) under its new name."""
    if isinstance(value, TensorProto):
        out = TensorProto()
        out.CopyFrom(value)
        out.name = name
        return out
    return numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name)


def _info(proto):
    return helper.make_tensor_value_info(proto.name, proto.data_type, list(proto.dims))


def write(out_dir, case_name, op_type, inputs, attributes=None, outputs=1, domain="com.microsoft", initializers=(),
          opsets=None, unoptimised=True):
    """Writes the case and returns its outputs as arrays.

    inputs: arrays, or TensorProtos for types that numpy lacks, or None for an input that is left out.
    outputs: how many, or one bool for each (False: not used).
    initializers: indices of the inputs that are constants of the model.
    """
    used = [True] * outputs if isinstance(outputs, int) else list(outputs)
    protos = [None if x is None else _proto(f"x{i}", x) for i, x in enumerate(inputs)]
    node = helper.make_node(op_type, ["" if p is None else p.name for p in protos],
                            [f"y{i}" if u else "" for i, u in enumerate(used)], domain=domain, **(attributes or {}))
    fed = [p for i, p in enumerate(protos) if p is not None and i not in initializers]
    constants = [p for i, p in enumerate(protos) if p is not None and i in initializers]
    names = [f"y{i}" for i, u in enumerate(used) if u]

    def model(results):
        graph = helper.make_graph([node], case_name, [_info(p) for p in fed], results, constants)
        imports = [helper.make_opsetid(d, v) for d, v in (opsets or OPSETS).items()]
        return helper.make_model(graph, opset_imports=imports, ir_version=10, producer_name="shadernet")

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if unoptimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    draft = model([helper.make_empty_tensor_value_info(n) for n in names]).SerializeToString()
    session = onnxruntime.InferenceSession(draft, options, providers=["CPUExecutionProvider"])
    feeds = {p.name: _feed(p) for p in fed}
    values = session.run_with_ort_values(names, feeds)
    results = [_fetch(n, v) for n, v in zip(names, values)]

    folder = Path(out_dir) / case_name
    data = folder / "test_data_set_0"
    data.mkdir(parents=True, exist_ok=True)
    onnx.save(model([_info(p) for p in results]), folder / "model.onnx")
    for kind, tensors in (("input", fed), ("output", results)):
        for i, t in enumerate(tensors):
            (data / f"{kind}_{i}.pb").write_bytes(t.SerializeToString())
    return [numpy_helper.to_array(t) for t in results]


def _feed(proto):
    """A TensorProto as ONNX Runtime takes it, of whatever element type."""
    array = numpy_helper.to_array(proto)
    if proto.data_type in (TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2):
        raw = array.view(np.uint8 if array.dtype.itemsize == 1 else np.uint16)
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(raw, proto.data_type)
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)


def _fetch(name, value):
    return _proto(name, value.numpy())
