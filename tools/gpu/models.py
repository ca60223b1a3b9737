"""Models of one operator, or a few, and networks with seeded weights, for measurements: models.py OUT [PREFIX …]"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OUT, ONLY = Path(sys.argv[1]), sys.argv[2:]
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
rng = np.random.default_rng(0)


def normal(*shape, dtype=np.float32, scale=None):
    scale = scale or 1 / np.sqrt(np.prod(shape[1:]) if len(shape) > 2 else shape[0])
    return (rng.standard_normal(shape, np.float32) * scale).astype(dtype)


def save(name, nodes, inputs, outputs, constants=None, opset=17):
    """`constants` makes a dict of arrays; it is called only for what is wanted."""
    if ONLY and not any(name.startswith(o) for o in ONLY):
        return
    value = lambda v: helper.make_tensor_value_info(*v)
    made = [numpy_helper.from_array(a, n) for n, a in (constants() if constants else {}).items()]
    graph = helper.make_graph(nodes, name, [value(v) for v in inputs], [value(v) for v in outputs], made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)],
                              ir_version=10)
    OUT.mkdir(parents=True, exist_ok=True)
    onnx.save(model, OUT / f"{name}.onnx")


def node(op, inputs, output="y", **attributes):
    return helper.make_node(op, inputs.split(), [output], **attributes)


def product(name, m, k, n, t=FLOAT, transposed=False):
    dtype = np.float16 if t == HALF else np.float32
    shape = (n, k) if transposed else (k, n)
    op = node("Gemm", "x w", transB=1) if transposed else node("MatMul", "x w")
    save(name, [op], [("x", t, [m, k])], [("y", t, [m, n])], lambda: {"w": normal(*shape, dtype=dtype)})


def packed(name, m, k, n, bits, block=32):
    """A product with weights of few bits."""
    op = node("MatMulNBits", "x w s", domain="com.microsoft", K=k, N=n, bits=bits, block_size=block)
    save(name, [op], [("x", FLOAT, [m, k])], [("y", FLOAT, [m, n])],
         lambda: {"w": rng.integers(0, 256, (n, k // block, block * bits // 8), np.uint8),
                  "s": normal(n, k // block, scale=1e-3)})


def bytes_product(name, m, k, n, zero):
    """A product of bytes; a zero point of the weights other than 128 leaves them 32-bit words."""
    save(name, [node("MatMulInteger", "x w xz wz")], [("x", TensorProto.UINT8, [m, k])], [("y", TensorProto.INT32, [m, n])],
         lambda: {"w": rng.integers(0, 256, (k, n), np.uint8), "xz": np.array(120, np.uint8), "wz": np.array(zero, np.uint8)})


def function(name, op, shape, out=None, constants=None, inputs="x", **attributes):
    save(name, [node(op, inputs, **attributes)], [("x", FLOAT, shape)], [("y", FLOAT, out or shape)], constants)


def convolution(name, batch, channels, filters, side, kernel, stride=1, group=1):
    op = node("Conv", "x w", kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4, strides=[stride] * 2, group=group)
    to = (side - 1) // stride + 1
    save(name, [op], [("x", FLOAT, [batch, channels, side, side])], [("y", FLOAT, [batch, filters, to, to])],
         lambda: {"w": normal(filters, channels // group, kernel, kernel)})


def convolution_of_bytes(name, batch, channels, side, kernel, zero=0, floats=False):
    """QLinearConv, or with `floats` Conv between DequantizeLinear and QuantizeLinear. A zero point of the weights other than
    0 leaves them 32-bit words."""
    shape = [batch, channels, side, side]
    window = dict(kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4)
    nodes = [node("QLinearConv", "x xs xz w ws wz ys yz", **window)]
    if floats:
        nodes = [node("DequantizeLinear", "x xs xz", "xf"), node("DequantizeLinear", "w ws wz", "wf"),
                 node("Conv", "xf wf", "yf", **window), node("QuantizeLinear", "yf ys yz")]
    save(name, nodes, [("x", TensorProto.UINT8, shape)], [("y", TensorProto.UINT8, shape)],
         lambda: {"xs": np.float32(0.02), "xz": np.uint8(120), "ws": np.float32(0.01), "wz": np.int8(zero),
                  "ys": np.float32(0.1), "yz": np.uint8(130),
                  "w": rng.integers(-128, 128, (channels, channels, kernel, kernel), np.int8)})


def products():
    for n in (1024, 2048, 4096, 8192):
        product(f"gemm_f32_{n}", n, n, n)
        product(f"gemm_f16_{n}", n, n, n, HALF)
    product("gemm_f16_4096_transposed", 4096, 4096, 4096, HALF, transposed=True)
    for k, n in ((768, 768), (768, 3072), (3072, 768)):
        product(f"gemm_f32_128x{k}x{n}", 128, k, n)
        product(f"gemm_f16_128x{k}x{n}", 128, k, n, HALF)
    product("gemv_4096x16384", 1, 4096, 16384)
    product("gemv_4096x16384_transposed", 1, 4096, 16384, transposed=True)
    for bits in (4, 8):
        for m in (1, 8, 128, 1024):
            packed(f"bits{bits}_{m}x4096x16384", m, 4096, 16384, bits)
    for m in (8, 128, 1024):
        product(f"gemm_f32_{m}x4096x16384", m, 4096, 16384)
    for m in (1, 128, 4096):
        bytes_product(f"bytes_{m}x4096x4096", m, 4096, 4096, 128)
        bytes_product(f"words_{m}x4096x4096", m, 4096, 4096, 100)


def memory():
    function("copy_neg", "Neg", [64 << 20])
    chain = ["x", *(f"c{i}" for i in range(9)), "y"]
    ops = ["Neg", "Abs", "Relu", "Sqrt", "Neg", "Abs", "Floor", "Relu", "Neg", "Abs"]
    save("chain_of_ten", [node(o, chain[i], chain[i + 1]) for i, o in enumerate(ops)],
         [("x", FLOAT, [64 << 20])], [("y", FLOAT, [64 << 20])])
    for rows, n in ((16384, 4096), (65536, 1024)):
        function(f"softmax_{n}", "Softmax", [rows, n], axis=-1)
        scale = lambda n=n: {"s": np.ones(n, np.float32), "b": np.zeros(n, np.float32)}
        function(f"layernorm_{n}", "LayerNormalization", [rows, n], inputs="x s b", constants=scale)
    function("transpose_8192", "Transpose", [8192, 8192], perm=[1, 0])
    function("reduce_rows_8192", "ReduceSum", [8192, 8192], [8192], lambda: {"a": np.array([1])}, "x a", keepdims=0)
    function("reduce_columns_8192", "ReduceSum", [8192, 8192], [8192], lambda: {"a": np.array([0])}, "x a", keepdims=0)
    function("maxpool", "MaxPool", [32, 64, 112, 112], [32, 64, 56, 56], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)


def dispatches(count=100):
    """Dispatches that take the device next to no time: one behind the other, through two buffers, and side by side, each with
    a buffer of its own."""
    number = lambda: {"a": np.array(0)}
    chain = ["x", *(f"c{i}" for i in range(count - 1)), "y"]
    save("dispatches_chained", [node("CumSum", f"{chain[i]} a", chain[i + 1]) for i in range(count)],
         [("x", FLOAT, [256])], [("y", FLOAT, [256])], number)
    outputs = [f"y{i}" for i in range(count)]
    # each of another row, or they would be one
    nodes = [n for i, y in enumerate(outputs) for n in (node("Gather", f"x i{i}", f"r{i}", axis=0), node("CumSum", f"r{i} a", y))]
    save("dispatches_apart", nodes, [("x", FLOAT, [count, 256])], [(y, FLOAT, [256]) for y in outputs],
         lambda: number() | {f"i{i}": np.array(i) for i in range(count)})


def convolutions():
    for name, *sizes in (("conv3x3_64_56", 1, 64, 64, 56, 3), ("conv3x3_64_56_b32", 32, 64, 64, 56, 3),
                         ("conv3x3_256_14", 1, 256, 256, 14, 3), ("conv3x3_512_7", 1, 512, 512, 7, 3),
                         ("conv1x1_2048_512_7", 1, 2048, 512, 7, 1), ("conv1x1_256_1024_14", 1, 256, 1024, 14, 1),
                         ("conv1x1_1024_256_14", 1, 1024, 256, 14, 1), ("conv7x7_3_64_224", 1, 3, 64, 224, 7, 2),
                         ("depthwise_128_56_b32", 32, 128, 128, 56, 3, 1, 128)):
        convolution(name, *sizes)
    for name, *sizes in (("3x3_64_56_b32", 32, 64, 56, 3), ("3x3_256_14", 1, 256, 14, 3), ("3x3_512_7", 1, 512, 7, 3)):
        convolution_of_bytes(f"qconv{name}_bytes", *sizes)
        convolution_of_bytes(f"qconv{name}_words", *sizes, zero=3)
        convolution_of_bytes(f"qconv{name}_between", *sizes, floats=True)


def attention():
    save("attention_32x1024x64", [node("MatMul", "q k", "s"), node("Softmax", "s", "p", axis=-1), node("MatMul", "p v")],
         [("q", FLOAT, [32, 1024, 64]), ("k", FLOAT, [32, 64, 1024]), ("v", FLOAT, [32, 1024, 64])],
         [("y", FLOAT, [32, 1024, 64])])


def decoding():
    """Attention of one token to those of a cache, by groups of four heads."""
    for keys in (1024, 8192):
        for name, t in (("f32", FLOAT), ("f16", HALF)):
            save(f"decode_{name}_{keys}", [node("Attention", "q k v")], [("q", t, [1, 32, 1, 128]), ("k", t, [1, 8, keys, 128]),
                 ("v", t, [1, 8, keys, 128])], [("y", t, [1, 32, 1, 128])], opset=23)


def encoder(name, t, layers=1, width=768, heads=12, inner=3072, tokens=128):
    """Post-norm encoder layers: by default one of BERT-base."""
    dtype, nodes, made = np.float16 if t == HALF else np.float32, [], {}

    def op(kind, inputs, output, **attributes):
        nodes.append(node(kind, inputs, output, **attributes))
        return output

    def linear(x, rows, columns, to):
        made[f"{to}_w"], made[f"{to}_b"] = normal(rows, columns, dtype=dtype), np.zeros(columns, dtype)
        return op("Add", f"{op('MatMul', f'{x} {to}_w', f'{to}_m')} {to}_b", to)

    def norm(x, to):
        made[f"{to}_s"], made[f"{to}_o"] = np.ones(width, dtype), np.zeros(width, dtype)
        return op("LayerNormalization", f"{x} {to}_s {to}_o", to, axis=-1, epsilon=1e-5)

    def split(x, to, perm):
        return op("Transpose", op("Reshape", f"{x} heads", f"{to}_r"), to, perm=perm)

    made["heads"], made["joined"] = np.array([-1, tokens, heads, width // heads]), np.array([-1, tokens, width])
    made["root"] = np.array(np.sqrt(width // heads), dtype)
    made |= {"sqrt2": np.array(np.sqrt(2), dtype), "one": np.array(1, dtype), "half": np.array(0.5, dtype)}

    def layer(x, at, out):
        q, k, v = (linear(x, width, width, f"{at}{n}") for n in "qkv")
        q, k, v = (split(q, f"{at}q4", [0, 2, 1, 3]), split(k, f"{at}k4", [0, 2, 3, 1]), split(v, f"{at}v4", [0, 2, 1, 3]))
        scores = op("Div", f"{op('MatMul', f'{q} {k}', f'{at}qk')} root", f"{at}scores")
        context = op("MatMul", f"{op('Softmax', scores, f'{at}p', axis=-1)} {v}", f"{at}context")
        joined = op("Reshape", f"{op('Transpose', context, f'{at}ct', perm=[0, 2, 1, 3])} joined", f"{at}cj")
        h = norm(op("Add", f"{linear(joined, width, width, f'{at}o')} {x}", f"{at}r1"), f"{at}n1")
        f = linear(h, width, inner, f"{at}f1")
        e = op("Add", f"{op('Erf', op('Div', f'{f} sqrt2', f'{at}gd'), f'{at}ge')} one", f"{at}ga")
        g = op("Mul", f"{op('Mul', f'{f} {e}', f'{at}gm')} half", f"{at}gelu")
        return norm(op("Add", f"{linear(g, inner, width, f'{at}f2')} {h}", f"{at}r2"), out)

    x = "x"
    for i in range(layers):
        x = layer(x, f"l{i}_", "y" if i + 1 == layers else f"h{i}")
    save(name, nodes, [("x", t, ["batch", tokens, width])], [("y", t, ["batch", tokens, width])], lambda: made)


def resnet50(name):
    """Convolutions with their batch normalisations folded in, as exporters leave them."""
    nodes, made, count = [], {}, [0]

    def conv(x, channels, filters, kernel, stride, relu=True):
        to = f"c{count[0]}"
        count[0] += 1
        made[f"{to}_w"] = normal(filters, channels, kernel, kernel, scale=np.sqrt(1.5 / (channels * kernel * kernel)))
        made[f"{to}_b"] = np.zeros(filters, np.float32)
        nodes.append(node("Conv", f"{x} {to}_w {to}_b", to, kernel_shape=[kernel] * 2, strides=[stride] * 2,
                          pads=[kernel // 2] * 4))
        if relu:
            nodes.append(node("Relu", to, f"{to}_r"))
            return f"{to}_r"
        return to

    x, channels = conv("x", 3, 64, 7, 2), 64
    nodes.append(node("MaxPool", x, "p0", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4))
    x = "p0"
    for stage, (inner, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(blocks):
            stride = 2 if block == 0 and stage else 1
            short = conv(x, channels, 4 * inner, 1, stride, relu=False) if block == 0 else x
            y = conv(conv(conv(x, channels, inner, 1, 1), inner, inner, 3, stride), inner, 4 * inner, 1, 1, relu=False)
            channels, x = 4 * inner, f"b{stage}_{block}"
            nodes.append(node("Add", f"{y} {short}", f"{x}_s"))
            nodes.append(node("Relu", f"{x}_s", x))
    nodes.append(node("GlobalAveragePool", x, "pool"))
    nodes.append(node("Flatten", "pool", "flat"))
    made["w"], made["b"] = normal(1000, 2048, scale=0.01), np.zeros(1000, np.float32)
    nodes.append(node("Gemm", "flat w b", transB=1))
    save(name, nodes, [("x", FLOAT, ["batch", 3, 224, 224])], [("y", FLOAT, ["batch", 1000])], lambda: made)


def decoder(name, t, layers=8, width=2048, heads=32, groups=8, inner=8192, past=1023, block=32):
    """Layers of a Llama with weights of 4 bits, and one token after `past` others, whose keys and values are constants."""
    dtype, nodes, made, depth = np.float16 if t == HALF else np.float32, [], {}, width // heads
    contrib = dict(domain="com.microsoft")

    def linear(x, rows, columns, to):
        made[f"{to}_w"] = rng.integers(0, 256, (columns, rows // block, block // 2), np.uint8)
        made[f"{to}_s"] = normal(columns, rows // block, scale=1e-2).astype(dtype)
        nodes.append(node("MatMulNBits", f"{x} {to}_w {to}_s", to, K=rows, N=columns, bits=4, block_size=block, **contrib))
        return to

    def norm(x, skip, to):
        """The sum with `skip`, where there is one, and its norm."""
        made[f"{to}_g"] = np.ones(width, dtype)
        if skip is None:
            nodes.append(node("SimplifiedLayerNormalization", f"{x} {to}_g", to, axis=-1, epsilon=1e-5))
            return x, to
        outputs = [to, "", "", f"{to}_sum"]
        nodes.append(helper.make_node("SkipSimplifiedLayerNormalization", [x, skip, f"{to}_g"], outputs, epsilon=1e-5, **contrib))
        return f"{to}_sum", to

    made["lengths"], made["total"] = np.array([past], np.int32), np.array([past + 1], np.int32)
    angles = np.outer(np.arange(past + 1), 10000.0 ** (-np.arange(depth // 2) / (depth // 2)))
    made["cos"], made["sin"] = np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)
    x, skip = "x", None
    for i in range(layers):
        x, h = norm(x, skip, f"l{i}_n1")
        q, k, v = (linear(h, width, columns, f"l{i}_{n}") for n, columns in
                   (("q", width), ("k", groups * depth), ("v", groups * depth)))
        caches = [f"l{i}_past_k", f"l{i}_past_v", f"l{i}_now_k", f"l{i}_now_v"]
        made |= {n: normal(1, groups, past, depth, dtype=dtype, scale=1) for n in caches[:2]}
        nodes.append(helper.make_node("GroupQueryAttention", [q, k, v, *caches[:2], "lengths", "total", "cos", "sin"],
                                      [f"l{i}_a", *caches[2:]], num_heads=heads, kv_num_heads=groups, do_rotary=1, **contrib))
        x, h = norm(linear(f"l{i}_a", width, width, f"l{i}_o"), x, f"l{i}_n2")
        gate, up = linear(h, width, inner, f"l{i}_gate"), linear(h, width, inner, f"l{i}_up")
        nodes.append(node("Sigmoid", gate, f"{gate}_1"))
        nodes.append(node("Mul", f"{gate} {gate}_1", f"{gate}_2"))
        nodes.append(node("Mul", f"{gate}_2 {up}", f"l{i}_m"))
        skip = linear(f"l{i}_m", inner, width, f"l{i}_d")
    nodes.append(node("Add", f"{x} {skip}"))
    save(name, nodes, [("x", t, [1, 1, width])], [("y", t, [1, 1, width])], lambda: made)


products()
memory()
dispatches()
convolutions()
attention()
decoding()
for name, t in (("f32", FLOAT), ("f16", HALF)):
    encoder(f"net_bert_layer_{name}", t)
    encoder(f"net_minilm_{name}", t, layers=6, width=384, inner=1536)
    decoder(f"decoder_{name}", t)
resnet50("net_resnet50")
