"""Writes ONNX's backend test suite to a folder, for `shadernet test`.

    python make_suite.py OUT [KIND…]

Needs the packages onnx (its wheels generate the node cases in memory) and ml_dtypes. Makes, for each case,
OUT/<kind>/<case>/model.onnx and test_data_set_<n>/{input,output}_<i>.pb, and OUT/manifest.jsonl with each case's name,
path, category, tolerances, and whether its outputs can be compared (those of random operators cannot).
Kinds: node, simple, pytorch-converted, pytorch-operator, light.
"""

import json
import pathlib
import shutil
import sys
import warnings

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import onnx  # noqa: E402
from onnx import TensorProto, numpy_helper  # noqa: E402
from onnx.backend.test.loader import load_model_tests  # noqa: E402

KINDS = ["node", "simple", "pytorch-converted", "pytorch-operator", "light"]
RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}


def nodes_of(graph):
    """All nodes, those of subgraphs included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in [attribute.g, *attribute.graphs]:
                yield from nodes_of(body)


def is_random(model):
    nodes = [n for g in [model.graph, *model.functions] for n in nodes_of(g)]
    training_dropout = "zero_ratio" not in model.graph.name and any(
        n.op_type == "Dropout" and len(n.input) > 2 and n.input[2] for n in nodes
    )
    return training_dropout or any(n.op_type in RANDOM for n in nodes)


def as_proto(value, info):
    """A value of a case as the message that its declared type asks for."""
    if isinstance(value, (TensorProto, onnx.SequenceProto, onnx.OptionalProto, onnx.MapProto)):
        return value
    kind = info.type.WhichOneof("value")
    if kind == "sequence_type":
        return numpy_helper.from_list(value, info.name)
    if kind == "optional_type":
        return numpy_helper.from_optional(value, info.name)
    if kind == "map_type":
        return numpy_helper.from_dict(value, info.name)
    return numpy_helper.from_array(np.asarray(value), info.name)


def write_light(case, folder):
    """A real network whose weights are made by ConstantOfShape: the wheel has its output for a ramp, not the ramp."""
    package = pathlib.Path(onnx.__file__).parent.parent
    source = package / case.url
    model = onnx.load(source)
    data = folder / "test_data_set_0"
    data.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [info for info in model.graph.input if info.name not in weights]
    for k, info in enumerate(inputs):
        shape = [dim.dim_value or 1 for dim in info.type.tensor_type.shape.dim]
        ramp = (np.arange(np.prod(shape)) / np.prod(shape)).astype(np.float32).reshape(shape)
        (data / f"input_{k}.pb").write_bytes(numpy_helper.from_array(ramp, info.name).SerializeToString())
    shutil.copy(source.with_name(source.stem + "_output_0.pb"), data / "output_0.pb")
    return model


def write_case(case, kind, out):
    """Writes one case and gives its line of the manifest."""
    path = pathlib.Path(kind) / case.name
    folder = out / path
    if kind == "light":
        model = write_light(case, folder)
    elif case.model is not None:
        model = case.model
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
        for i, data_set in enumerate(case.data_sets):
            place = folder / f"test_data_set_{i}"
            place.mkdir()
            for side, values, infos in zip(("input", "output"), data_set, (model.graph.input, model.graph.output)):
                for k, (value, info) in enumerate(zip(values, infos)):
                    (place / f"{side}_{k}.pb").write_bytes(as_proto(value, info).SerializeToString(deterministic=True))
    else:
        shutil.copytree(case.model_dir, folder)
        model = onnx.load(folder / "model.onnx")
    entry = {"name": case.name, "path": path.as_posix(), "category": kind, "rtol": case.rtol, "atol": case.atol}
    return {**entry, "comparable": not is_random(model)}


def main(out, kinds):
    out = pathlib.Path(out)
    shutil.rmtree(out, ignore_errors=True)
    lines = [json.dumps({"onnx": onnx.__version__, "opset": onnx.defs.onnx_opset_version()})]
    for kind in kinds or KINDS:
        for case in sorted(load_model_tests(kind="real" if kind == "light" else kind), key=lambda case: case.name):
            lines.append(json.dumps(write_case(case, kind, out)))
    (out / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    print(f"{len(lines) - 1} cases")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
