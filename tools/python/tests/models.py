"""Small models for the tests."""

from onnx import TensorProto as T
from onnx import helper as h

value = h.make_tensor_value_info
sequence = h.make_tensor_sequence_value_info


def model(nodes, inputs, outputs, initializers=(), opset=17, domains=(), **fields):
    """The bytes of a model; `fields` are those of ModelProto."""
    graph = h.make_graph(nodes, "graph", inputs, outputs, list(initializers), doc_string="a graph")
    opsets = [h.make_opsetid("", opset), *(h.make_opsetid(d, v) for d, v in domains)]
    made = h.make_model(graph, opset_imports=opsets, ir_version=10 if opset < 23 else 13)
    for name, given in fields.items():
        setattr(made, name, given)
    h.set_model_props(made, {"key": "value"})
    return made.SerializeToString()


def one(op, inputs, outputs, opset=17, domains=(), **attributes):
    """A model of one node."""
    names = [i.name for i in inputs], [o.name for o in outputs]
    domain = domains[0][0] if domains else ""
    return model([h.make_node(op, *names, domain=domain, **attributes)], inputs, outputs, opset=opset, domains=domains)


def typed(name, type_proto):
    """A value of a type that is no tensor."""
    return h.make_value_info(name, type_proto)


ADD = model(
    [h.make_node("Add", ["x", "y"], ["z"])],
    [value("x", T.FLOAT, ["N", 3]), value("y", T.FLOAT, [None, 3])],
    [value("z", T.FLOAT, ["N", 3])],
    producer_name="a producer",
    producer_version="1.2",
    domain="org.example",
    model_version=7,
    doc_string="a model",
)

NET = model(
    [
        h.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        h.make_node("Relu", ["c"], ["r"]),
        h.make_node("GlobalAveragePool", ["r"], ["p"]),
        h.make_node("Flatten", ["p"], ["f"]),
        h.make_node("Softmax", ["f"], ["y"], axis=1),
    ],
    [value("x", T.FLOAT, ["batch", 3, 16, 16])],
    [value("y", T.FLOAT, ["batch", 4]), value("r", T.FLOAT, ["batch", 4, 16, 16])],
    [h.make_tensor("w", T.FLOAT, [4, 3, 3, 3], [((7 * i) % 11 - 5) / 10 for i in range(108)])],
)

DEFAULT = model(
    [h.make_node("Add", ["x", "b"], ["z"])],
    [value("x", T.FLOAT, [2]), value("b", T.FLOAT, [2])],
    [value("z", T.FLOAT, [2])],
    [h.make_tensor("b", T.FLOAT, [2], [1, 2])],
)

STRINGS = one("Identity", [value("x", T.STRING, ["n"])], [value("y", T.STRING, ["n"])])

PAIR = one(
    "SequenceConstruct",
    [value("x", T.FLOAT, ["n"]), value("y", T.FLOAT, ["m"])],
    [sequence("z", T.FLOAT, None)],
)

AT = one("SequenceAt", [sequence("s", T.FLOAT, None), value("i", T.INT64, [])], [value("y", T.FLOAT, None)])

_FLOATS = h.make_tensor_type_proto(T.FLOAT, [2])

HAS = one("OptionalHasElement", [typed("o", h.make_optional_type_proto(_FLOATS))], [value("y", T.BOOL, [])], opset=18)

NOTHING = one("Optional", [], [typed("y", h.make_optional_type_proto(_FLOATS))], opset=18, type=_FLOATS)


def zip_map(key, **labels):
    """Rows of two probabilities as dicts, as classifiers of scikit-learn give them."""
    number = h.make_tensor_type_proto(T.FLOAT, None)
    made = typed("y", h.make_sequence_type_proto(h.make_map_type_proto(key, number)))
    return one("ZipMap", [value("x", T.FLOAT, ["n", 2])], [made], domains=[("ai.onnx.ml", 3)], **labels)


LABELLED = zip_map(T.STRING, classlabels_strings=["cat", "dog"])
NUMBERED = zip_map(T.INT64, classlabels_int64s=[4, 9])

VECTORISED = one(
    "DictVectorizer",
    [typed("x", h.make_map_type_proto(T.STRING, h.make_tensor_type_proto(T.FLOAT, None)))],
    [value("y", T.FLOAT, None)],
    domains=[("ai.onnx.ml", 3)],
    string_vocabulary=["a", "b"],
)
