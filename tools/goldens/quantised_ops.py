"""Makes tests/data/contrib/<case>/model.onnx and test_data_set_0/{input,output}_<i>.pb, the quantised operators of
domain com.microsoft, with ONNX Runtime's CPU provider. Needs the pip packages onnx, onnxruntime and numpy.

    python quantised_ops.py OUT
"""

import sys

import numpy as np
from onnx import TensorProto, helper

import golden

TYPES = {"u8": np.uint8, "i8": np.int8}


def ints(name, dtype, shape, low=None, high=None):
    """Uniformly distributed integers, over the whole range unless told."""
    info = np.iinfo(dtype)
    low, high = info.min if low is None else low, info.max if high is None else high
    return golden.rng(name).integers(low, high, shape, endpoint=True).astype(dtype)


def f32(x):
    return np.array(x, np.float32)


def four_bits(name, kind, shape):
    """4-bit integers as a packed TensorProto."""
    values = golden.rng(name).integers(0, 16, int(np.prod(shape))).astype(np.uint8)
    values = np.append(values, np.zeros(len(values) % 2, np.uint8))
    packed = values[0::2] | values[1::2] << 4
    return helper.make_tensor(name, kind, shape, packed.tobytes(), raw=True)


def scaled(name, dtype, shape, scale, zero):
    """A quantised tensor with its scale and zero point."""
    return [ints(name, dtype, shape), f32(scale), np.array(zero, dtype)]


def lstm(out):
    def case(name, steps, batch, inner, hidden, kinds=("i8", "i8"), directions=1, rows=False, lens=None, states=False,
             peepholes=False, bias=True, **attributes):
        name = "dynamic_quantize_lstm" + name
        d, g = directions, 4 * hidden
        per = (d, g) if rows else (d,)
        x, h, c = golden.floats(name, (steps, batch, inner), (d, batch, hidden), (d, batch, hidden))
        b, p = golden.floats(name + "b", (d, 2 * g), (d, 3 * hidden), low=-0.5, high=0.5)
        inputs = [x]
        for kind, rows_of in zip(kinds, (inner, hidden)):
            inputs.append(ints(f"{name}{rows_of}w", TYPES[kind], (d, rows_of, g)))
        inputs += [b if bias else None, None if lens is None else np.array(lens, np.int32)]
        inputs += [h, c] if states else [None, None]
        inputs.append(p if peepholes else None)
        for i, kind in enumerate(kinds):
            zero = 0 if kind == "i8" else 128 + i
            inputs += [golden.floats(f"{name}s{i}", per, low=0.002, high=0.006)[0], np.full(per, zero, TYPES[kind])]
        direction = {1: "forward", 2: "bidirectional"}[d]
        attributes = {"direction": direction, "hidden_size": hidden, **attributes}
        golden.write(out, name, "DynamicQuantizeLSTM", inputs, attributes, 3, initializers=(1, 2, 3, 7, 8, 9, 10, 11))

    case("", 4, 1, 5, 6)
    case("_reverse", 3, 1, 5, 6, states=True, direction="reverse")
    case("_bidirectional_rows", 3, 1, 4, 5, ("u8", "u8"), 2, True, peepholes=True)
    case("_batch_lens", 4, 2, 3, 5, ("u8", "u8"), lens=[2, 3], states=True, rows=True)
    case("_clip_no_bias", 3, 1, 5, 6, bias=False, clip=0.2, input_forget=1)


def products(out):
    for kind, b in TYPES.items():
        name = f"dynamic_quantize_matmul_{kind}"
        x, bias, per = golden.floats(name, (2, 5, 9), 7, 7)
        w = ints(name, b, (9, 7))
        golden.write(out, name, "DynamicQuantizeMatMul", [x, w, f32(0.02), np.array(3, b)], initializers=(1, 2, 3))
        golden.write(out, name + "_columns", "DynamicQuantizeMatMul",
                     [x, w, abs(per) / 50, ints(name + "z", b, 7), bias], initializers=(1, 2, 3, 4))
        golden.write(out, name + "_no_zero", "DynamicQuantizeMatMul", [x[0], w, f32(0.02), None, bias])
    for ka, kb in (("u8", "i8"), ("u8", "u8"), ("i8", "i8")):
        name = f"matmul_integer_to_float_{ka}_{kb}"
        a, b = TYPES[ka], TYPES[kb]
        bias, per = golden.floats(name, 7, 7)
        x, w = ints(name, a, (2, 5, 9)), ints(name + "w", b, (9, 7))
        zero = np.array(11, a)
        golden.write(out, name, "MatMulIntegerToFloat", [x, w, f32(0.03), f32(0.02), zero, np.array(5, b)])
        golden.write(out, name + "_columns", "MatMulIntegerToFloat",
                     [x, w, f32(0.03), abs(per) / 50, zero, ints(name + "z", b, 7), bias], initializers=(1, 3, 5, 6))
        name = f"qgemm_{ka}_{kb}"
        c = ints(name, np.int32, 7, -9000, 9000)
        parts = [x[0], f32(0.03), zero, w, f32(0.02), np.array(5, b)]
        golden.write(out, name, "QGemm", parts + [c, f32(0.4), np.array(7, a)], {"alpha": 0.7})
        columns = [x[0].T, f32(0.03), zero, w.T, abs(per) / 50, ints(name + "z", b, 7)]
        attributes = {"transA": 1, "transB": 1}
        golden.write(out, name + "_columns", "QGemm", columns + [None, f32(0.3), np.array(7, a)], attributes)
        golden.write(out, name + "_float", "QGemm", columns + [c.reshape(1, 7)], attributes)


def bits(out):
    for n_bits in (2, 4, 8):
        for form in ("", "_packed", "_float", "_groups"):
            name = f"matmul_n{n_bits}bits{form}"
            k, n, block = (72, 9, 32) if form != "_groups" else (64, 8, 16)
            # what ONNX Runtime has not
            if (form, n_bits) in (("_float", 8), ("_groups", 2), ("_groups", 8)):
                continue
            blocks = -(-k // block)
            a, bias = golden.floats(name, (2, 3, k), n)
            scales, zeros = golden.floats(name + "s", (n, blocks), (n, blocks), low=0.01, high=0.1)
            w = ints(name, np.uint8, (n, blocks, block * n_bits // 8))
            inputs = [a, w, scales]
            if form == "_packed":
                inputs += [ints(name + "z", np.uint8, (n, -(-blocks * n_bits // 8))), None, bias]
            if form == "_float":
                inputs += [zeros * 20]
            if form == "_groups":
                inputs += [None, ints(name + "g", np.int32, k, 0, blocks - 1)]
            attributes = {"K": k, "N": n, "bits": n_bits, "block_size": block, "accuracy_level": 1}
            golden.write(out, name, "MatMulNBits", inputs, attributes, initializers=range(1, 6))

    indices = np.array([[3, 0, 4], [2, 2, 1]])
    for n_bits in (2, 4, 8):
        name = f"gather_block_quantized_{n_bits}"
        scales = golden.floats(name, (5, 3))[0]
        table = ints(name, np.uint8, (5, 40 * n_bits // 8))
        zeros = ints(name + "z", np.uint8, (5, -(-3 * n_bits // 8)))
        attributes = {"bits": n_bits, "block_size": 16}
        golden.write(out, name, "GatherBlockQuantized", [table, indices, scales], attributes, initializers=(0, 2))
        golden.write(out, name + "_zeros", "GatherBlockQuantized", [table, indices.astype(np.int32), scales, zeros],
                     attributes, initializers=(0, 2, 3))
    for kind in ("INT4", "UINT4"):
        name = f"gather_block_quantized_{kind.lower()}"
        table = four_bits(name, TensorProto.DataType.Value(kind), [4, 40, 6])
        scales = golden.floats(name, (4, 3, 6), dtype=np.float16)[0]
        zeros = four_bits(name + "z", TensorProto.DataType.Value(kind), [4, 3, 6])
        attributes = {"block_size": 16, "gather_axis": 2, "quantize_axis": 1}
        golden.write(out, name, "GatherBlockQuantized", [table, indices, scales, zeros], attributes,
                     initializers=(0, 2, 3))


def pointwise(out):
    for kind, t in TYPES.items():
        low = np.iinfo(t).min
        for op in ("Add", "Mul"):
            name = f"qlinear_{op.lower()}_{kind}"
            a, b = scaled(name, t, (3, 37), 0.07, 5), scaled(name + "b", t, (3, 1), 0.03, 100)
            golden.write(out, name, f"QLinear{op}", a + b + [f32(0.11), np.array(7, t)])
            # halves, which an odd zero point sends the other way
            a, b = scaled(name, t, (2, 64), 1, 5), scaled(name + "b", t, 64, 0.5, 3)
            golden.write(out, name + "_halves", f"QLinear{op}", a + b + [f32(4), np.array(7, t)])
        name = f"qlinear_where_{kind}"
        inputs = [ints(name, np.uint8, (3, 1), 0, 1).astype(bool)]
        inputs += scaled(name, t, (3, 17), 0.05, 5) + scaled(name + "y", t, 17, 0.02, 9) + [f32(0.04), np.array(7, t)]
        golden.write(out, name, "QLinearWhere", inputs)
        every = np.arange(low, low + 256).astype(t).reshape(2, 128)
        for op, target, attributes in (("Sigmoid", 1 / 256, {}), ("LeakyRelu", 0.04, {"alpha": 0.3})):
            inputs = [every, f32(0.05), np.array(9, t), f32(target), np.array(low, t)]
            golden.write(out, f"qlinear_{op.lower()}_{kind}", f"QLinear{op}", inputs, attributes,
                         initializers=(1, 2, 3, 4))


def pools(out):
    for kind, t in TYPES.items():
        target = [f32(0.043), np.array(7, t)]
        for last, shape in (("", (2, 3, 5, 7)), ("_last", (2, 5, 7, 3))):
            attributes = {"channels_last": 1} if last else {}
            name = f"qlinear_global_average_pool_{kind}{last}"
            golden.write(out, name, "QLinearGlobalAveragePool", scaled(name, t, shape, 0.07, 5) + target, attributes)
            name = f"qlinear_average_pool_{kind}{last}"
            window = {"kernel_shape": [2, 3], "strides": [2, 1], "pads": [1, 1, 0, 2], **attributes}
            golden.write(out, name, "QLinearAveragePool", scaled(name, t, shape, 0.07, 5) + target, window)
            window["count_include_pad"] = 1
            golden.write(out, name + "_pads", "QLinearAveragePool", scaled(name, t, shape, 0.07, 5) + target, window)
        name = f"nhwc_max_pool_{kind}"
        window = {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "strides": [2, 1], "ceil_mode": 1}
        golden.write(out, name, "NhwcMaxPool", [ints(name, t, (2, 8, 6, 5))], window)
        golden.write(out, name + "_dilated", "NhwcMaxPool", [ints(name, t, (2, 8, 6, 5))],
                     {"kernel_shape": [3, 2], "dilations": [2, 1], "pads": [2, 1, 1, 0]})


def joins(out):
    for kind, t in TYPES.items():
        name = f"qlinear_concat_{kind}"
        parts = [scaled(f"{name}{i}", t, (2, n, 3), s, z) for i, (n, s, z) in
                 enumerate(((3, 0.05, 5), (4, 0.02, 90), (1, 0.04, 7)))]
        golden.write(out, name, "QLinearConcat", [f32(0.04), np.array(7, t)] + sum(parts, []), {"axis": 1},
                     initializers=(0, 1, 3, 4, 6, 7, 9, 10))
        low = np.iinfo(t).min
        for opset, axis in ((13, 1), (13, -1), (12, 1)):
            name = f"qlinear_softmax_{kind}_{opset}_{axis}".replace("-", "m")
            golden.write(out, name, "QLinearSoftmax", scaled(name, t, (2, 5, 7), 0.05, 5) + [f32(1 / 256), np.array(low, t)],
                         {"opset": opset, "axis": axis}, initializers=(1, 2, 3, 4))
        for last, shape in (("", (1, 4, 7, 6)), ("_last", (1, 7, 6, 4))):
            name = f"qlinear_conv_{kind}{last}"
            per = golden.floats(name, 6, low=0.01, high=0.02)[0]
            weights = [ints(name + "w", np.int8, (6, 2, 3, 3)), per, np.zeros(6, np.int8)]
            inputs = scaled(name, t, shape, 0.015, 5) + weights + [f32(0.05), np.array(7, t)]
            inputs.append(ints(name + "b", np.int32, 6, -5000, 5000))
            attributes = {"pads": [1, 1, 1, 1], "strides": [2, 1], "group": 2, "channels_last": int(bool(last))}
            golden.write(out, name, "QLinearConv", inputs, attributes, initializers=range(1, 9))


def numbers(out):
    for kind, t in TYPES.items():
        name = f"contrib_quantize_linear_{kind}"
        x = golden.floats(name, (3, 5), low=-200, high=200)[0]
        per, zero = f32([0.9, 1.3, 0.7]), ints(name, t, 3, 0, 9)
        golden.write(out, name, "QuantizeLinear", [x, f32(1.1), np.array(3, t)])
        golden.write(out, name + "_axis", "QuantizeLinear", [x, per, zero], {"axis": 0})
        name = f"contrib_dequantize_linear_{kind}"
        golden.write(out, name, "DequantizeLinear", [ints(name, t, (3, 5)), f32(1.1), np.array(3, t)])
        golden.write(out, name + "_axis", "DequantizeLinear", [ints(name, t, (3, 5)), per, zero], {"axis": 0})
    for kind, t in (("u16", np.uint16), ("i16", np.int16)):
        name = f"contrib_quantize_linear_{kind}"
        x = golden.floats(name, (3, 5), low=-200, high=200)[0]
        golden.write(out, name, "QuantizeLinear", [x, f32(0.01), np.array(300, t)])
        name = f"contrib_dequantize_linear_{kind}"
        golden.write(out, name, "DequantizeLinear", [ints(name, t, (3, 5)), f32(0.01), np.array(300, t)])


def transformers(out):
    def attention(name, kind="i8", rows=False, mask=None, zeros=True, past=False, **attributes):
        name = "qattention" + name
        t, per = TYPES[kind], (24,) if rows else ()
        bias, scale, cache = golden.floats(name, 24, per, (2, 2, 2, 3, 4))
        inputs = [ints(name, np.uint8, (2, 5, 6)), ints(name + "w", t, (6, 24)), bias, f32(0.02), abs(f32(scale)) / 100]
        inputs.append(None if mask is None else np.array(mask, np.int32))
        zero = 128 if kind == "u8" else 0
        inputs += [np.array(120, np.uint8), np.full(per, zero, t)] if zeros else [None, None]
        used = 1
        if past:
            inputs.append(cache)
            used = 2
        golden.write(out, name, "QAttention", inputs, {"num_heads": 2, **attributes}, used,
                     initializers=(1, 2, 3, 4, 6, 7))

    attention("")
    attention("_lengths_columns", "u8", True, [3, 5])
    attention("_raw_mask", mask=[[1, 1, 0, 1, 1], [1, 1, 1, 0, 0]], mask_filter_value=-50.0)
    attention("_causal", unidirectional=1)
    attention("_past", past=True, unidirectional=1)

    for kind, t in TYPES.items():
        for segments in (True, False):
            name = f"qembed_layer_norm_{kind}" + ("" if segments else "_no_segments")
            ids = ints(name, np.int32, (2, 5), 0, 10)
            tables = [ints(f"{name}{i}", t, (rows, 16)) for i, rows in enumerate((11, 9, 2))]
            tables += [ints(f"{name}{i}", t, 16) for i in (3, 4)]
            there = [True, True, segments, True, True]
            pick = lambda values: [v if ok else None for v, ok in zip(values, there)]
            inputs = [ids, ints(name + "s", np.int32, (2, 5), 0, 1) if segments else None] + pick(tables)
            inputs.append(ints(name + "m", np.int32, (2, 5), 0, 1))
            inputs += pick([f32(0.01 + 0.003 * i) for i in range(5)]) + pick([np.array(7 * i, t) for i in range(5)])
            golden.write(out, name, "QEmbedLayerNormalization", inputs, {"epsilon": 1e-6}, 2,
                         initializers=(2, 3, 4, 5, 6, *range(8, 18)))


def main():
    out = sys.argv[1]
    for make in (lstm, products, bits, pointwise, pools, joins, numbers, transformers):
        make(out)


if __name__ == "__main__":
    main()
