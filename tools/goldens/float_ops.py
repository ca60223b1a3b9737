"""Makes tests/data/contrib/<case>/model.onnx and test_data_set_0/{input,output}_<i>.pb, the float operators of domain
com.microsoft, with ONNX Runtime's CPU provider. Needs the pip packages onnx, onnxruntime and numpy.

    python float_ops.py OUT
"""

import sys

import golden
import numpy as np

HALF = np.float16


def ints(values):
    return np.array(values, np.int32)


def skip_norms(out):
    for dtype in (np.float32, HALF):
        x, skip, scale, shift, bias = golden.floats("skip", (2, 3, 8), (2, 3, 8), 8, 8, 8, dtype=dtype)
        end = "_f16" if dtype == HALF else ""
        for kind, params in (("", [scale, shift]), ("Simplified", [scale])):
            op = f"Skip{kind}LayerNormalization"
            name = "skip_simplified_layer_norm" if kind else "skip_layer_norm"
            weights = range(2, 3 + len(params))
            golden.write(out, name + "_sum" + end, op, [x, skip, *params, bias], {"epsilon": 1e-2},
                         [True, False, False, True], initializers=weights)
            if dtype == HALF:
                continue
            golden.write(out, name, op, [x, skip, *params], outputs=4, initializers=weights)
            golden.write(out, name + "_one_skip", op, [x, skip[:1], *params], initializers=weights)
            golden.write(out, name + "_flat", op, [x[0], skip[0], *params], initializers=weights)


def embeddings(out):
    op = "EmbedLayerNormalization"
    words, places, kinds, scale, shift = golden.floats("embed", (7, 8), (6, 8), (2, 8), 8, 8)
    ids, segments = ints([[1, 2, 6], [4, 0, 2]]), ints([[0, 1, 0], [1, 1, 0]])
    mask, positions = ints([[1, 1, 0], [1, 0, 0]]), ints([[2, 0, 5]])
    golden.write(out, "embed_layer_norm", op, [ids, segments, words, places, kinds, scale, shift], outputs=2)
    golden.write(out, "embed_layer_norm_mask", op, [ids, segments, words, places, kinds, scale, shift, mask],
                 {"mask_index_type": 1, "epsilon": 1e-3}, 3, initializers=range(2, 7))
    golden.write(out, "embed_layer_norm_positions", op,
                 [ids, None, words, places, None, scale, shift, mask, positions], outputs=3)
    narrow = [t.astype(HALF) for t in (words, places, kinds, scale, shift)]
    golden.write(out, "embed_layer_norm_f16", op, [ids, segments, *narrow, mask], outputs=2)


def products(out):
    op = "FusedMatMul"
    for flags in range(16):
        turn_a, turn_b, first_a, first_b = (flags >> i & 1 for i in range(4))
        shapes = []
        for rows, columns, turn, first in ((4, 5, turn_a, first_a), (5, 3, turn_b, first_b)):
            if turn:
                rows, columns = columns, rows
            shapes.append((rows, 2, columns) if first else (2, rows, columns))
        a, b = golden.floats(f"product {flags}", *shapes)
        golden.write(out, f"fused_matmul_{flags:04b}", op, [a, b],
                     {"transA": turn_a, "transB": turn_b, "transBatchA": first_a, "transBatchB": first_b, "alpha": 0.5})
    a, b, v = golden.floats("product", (3, 4), (5, 4), 4)
    golden.write(out, "fused_matmul_weights", op, [a, b], {"transB": 1, "alpha": 2.0}, initializers={1})
    golden.write(out, "fused_matmul_vector", op, [v, b], {"transA": 1, "transB": 1})
    golden.write(out, "fused_matmul_by_vector", op, [a, v], {"transB": 1})
    golden.write(out, "transpose_matmul", "TransposeMatMul", [a, b], {"transB": 1, "alpha": 3.0})
    wide = [t.astype(np.float64) for t in (a, b)]
    golden.write(out, "fused_matmul_f64", op, wide, {"transB": 1})
    c, = golden.floats("product c", 5)
    for name in ("Relu", "LeakyRelu", "Elu", "HardSigmoid", "ParametricSoftplus", "ScaledTanh", "Selu", "Sigmoid",
                 "Softplus", "Softsign", "Tanh", "ThresholdedRelu"):
        golden.write(out, f"fused_gemm_{name.lower()}", "FusedGemm", [a, b, c],
                     {"activation": name, "activation_alpha": 0.3, "activation_beta": 0.7, "activation_gamma": 0.4,
                      "transB": 1, "alpha": 1.5, "beta": 0.5}, initializers={1})


def convolutions(out):
    op = "FusedConv"
    x, w, b, z = golden.floats("conv", (1, 2, 5, 6), (3, 2, 3, 3), 3, (1, 3, 5, 6))
    pads = {"pads": [1, 1, 1, 1]}
    for name, numbers in (("Relu", None), ("Tanh", None), ("Sigmoid", None), ("HardSwish", None),
                          ("LeakyRelu", [0.2]), ("Clip", [-0.5, 0.5]), ("HardSigmoid", [0.3, 0.6])):
        more = {} if numbers is None else {"activation_params": numbers}
        golden.write(out, f"fused_conv_{name.lower()}", op, [x, w, b], {"activation": name, **pads, **more},
                     initializers={1, 2})
    golden.write(out, "fused_conv_sum", op, [x, w, None, z], {"activation": "Relu", **pads})
    golden.write(out, "fused_conv_group", op, [x, w[:2, :1], b[:2]],
                 {"activation": "Relu", "group": 2, "strides": [2, 1], "auto_pad": "SAME_UPPER"})


def rotary(out):
    op = "RotaryEmbedding"
    x, cos, sin = golden.floats("rotary", (2, 3, 16), (10, 4), (10, 4))
    at = np.array([[0, 1, 2], [5, 9, 7]], np.int64)
    tall = np.ascontiguousarray(x.reshape(2, 3, 2, 8).transpose(0, 2, 1, 3))
    for interleaved in (0, 1):
        name = "rotary_interleaved" if interleaved else "rotary"
        turned = {"interleaved": interleaved}
        golden.write(out, name, op, [x, at, cos, sin], turned, initializers={2, 3})
        golden.write(out, name + "_heads_first", op, [tall, at, cos, sin], turned)
        golden.write(out, name + "_offset", op, [x, np.array([4], np.int64), cos, sin], turned)
        golden.write(out, name + "_part", op, [x, at, cos[:, :2], sin[:, :2]],
                     {"num_heads": 2, "rotary_embedding_dim": 4, **turned})
    golden.write(out, "rotary_f16", op, [x.astype(HALF), at, cos.astype(HALF), sin.astype(HALF)])


def attention(out):
    op = "Attention"
    x, w, b, past, each = golden.floats("attention", (2, 3, 5), (5, 24), 24, (2, 2, 2, 2, 4), (2, 1, 3, 3))
    heads = {"num_heads": 2}
    soft = {"num_heads": 2, "mask_filter_value": -2.0}
    weights = {1, 2}
    golden.write(out, "attention", op, [x, w, b], heads, 2, initializers=weights)
    golden.write(out, "attention_no_bias", op, [x, w], {"scale": 0.3, **heads})
    golden.write(out, "attention_unidirectional", op, [x, w, b], {"unidirectional": 1, **heads}, initializers=weights)
    masks = {"ends": [2, 1], "ends_starts": [3, 2, 1, 1], "keys": [[1, 1, 0], [0, 1, 1]], "one": [[1], [1]],
             "square": [[[1, 1, 0], [0, 1, 1], [1, 1, 1]], [[1, 0, 0], [0, 1, 1], [0, 0, 1]]]}
    for name, mask in masks.items():
        golden.write(out, f"attention_mask_{name}", op, [x, w, b, ints(mask)], soft, initializers=weights)
    golden.write(out, "attention_mask_default", op, [x, w, b, ints([3, 2])], {"unidirectional": 1, **heads},
                 initializers=weights)
    golden.write(out, "attention_mask_bias", op, [x, w, b, ints(masks["keys"]), None, each], soft)
    golden.write(out, "attention_past", op, [x, w, b, None, past], {"unidirectional": 1, **heads}, 2)
    golden.write(out, "attention_past_mask", op, [x, w, b, ints([[1, 1, 0, 1, 1], [0, 1, 1, 1, 1]]), past], soft, 2)
    golden.write(out, "attention_past_ends", op, [x, w, b, ints([3, 5]), past], soft, 2)
    uneven, = golden.floats("uneven", (5, 28))
    golden.write(out, "attention_sizes", op, [x, uneven], {"qkv_hidden_sizes": [8, 8, 12], **heads}, initializers={1})
    golden.write(out, "attention_f16", op, [t.astype(HALF) for t in (x, w, b)], heads, initializers=weights)


def multi_head(out):
    op = "MultiHeadAttention"
    q, k, v, b = golden.floats("heads", (2, 3, 8), (2, 5, 8), (2, 5, 12), 28)
    heads = {"num_heads": 2}
    soft = {"num_heads": 2, "mask_filter_value": -2.0}
    golden.write(out, "multi_head", op, [q, k, v, b], heads, 3)
    golden.write(out, "multi_head_scale", op, [q, k, v], {"scale": 0.3, **heads})
    keys = ints([[1, 1, 0, 1, 1], [0, 1, 1, 0, 1]])
    square = np.stack([keys, keys[::-1], 1 - keys], 1)
    each, = golden.floats("heads bias", (1, 2, 3, 5))
    golden.write(out, "multi_head_mask_ends", op, [q, k, v, None, ints([2, 4])], soft)
    golden.write(out, "multi_head_mask_keys", op, [q, k, v, b, keys], soft)
    golden.write(out, "multi_head_mask_square", op, [q, k, v, None, square], soft)
    golden.write(out, "multi_head_bias", op, [q, k, v, None, None, each], heads)
    golden.write(out, "multi_head_mask_bias", op, [q, k, v, None, keys, each], soft)
    tall = [np.ascontiguousarray(t.reshape(2, 5, 2, -1).transpose(0, 2, 1, 3)) for t in (k, v[:, :, :8])]
    golden.write(out, "multi_head_projected", op, [q, *tall, b[:24]], heads)
    q, k, v, key, value = golden.floats("heads past", *3 * [(2, 3, 8)], *2 * [(2, 2, 2, 4)])
    golden.write(out, "multi_head_unidirectional", op, [q, k, v], {"unidirectional": 1, **heads})
    golden.write(out, "multi_head_past", op, [q, k, v, None, None, None, key, value], {"unidirectional": 1, **heads}, 3)
    golden.write(out, "multi_head_past_mask", op, [q, k, v, None, keys, each[:, :1], key, value], soft, 3)
    golden.write(out, "multi_head_f16", op, [t.astype(HALF) for t in (q, k, v)], heads)


def group_query(out):
    op = "GroupQueryAttention"

    def write(name, length, past, lengths, attributes=None, total=None, packed=False, rotary=False, more=(),
              dtype=np.float32):
        batch = len(lengths)
        q, k, v, key, value, cos, sin = golden.floats(
            name, (batch, length, 64), *2 * [(batch, length, 32)], *2 * [(batch, 2, past or 0, 16)], *2 * [(12, 8)],
            dtype=dtype)
        parts = [np.concatenate([q, k, v], 2), None, None] if packed else [q, k, v]
        inputs = [*parts, *([None, None] if past is None else [key, value]), ints(lengths) - 1,
                  ints(max(lengths) if total is None else total), *([cos, sin] if rotary else [None, None]), *more]
        while inputs[-1] is None:
            inputs.pop()
        golden.write(out, "group_query_" + name, op, inputs,
                     {"num_heads": 4, "kv_num_heads": 2, "do_rotary": int(rotary), **(attributes or {})}, 3)

    write("prompt", 3, None, [3, 3])
    write("prompt_rotary", 3, 0, [3, 3], rotary=True)
    write("decode", 1, 4, [5, 3], rotary=True)
    write("decode_packed", 1, 4, [5, 5], {"rotary_interleaved": 1}, packed=True, rotary=True)
    write("decode_room", 1, 8, [5, 3])
    write("decode_total", 1, 4, [4, 3], total=[5])
    write("chunk", 3, 4, [7], rotary=True)
    write("chunk_interleaved", 3, 4, [7], {"rotary_interleaved": 1}, rotary=True)
    write("positions", 3, 4, [7], rotary=True, more=[np.array([[1, 9, 3]], np.int64)])
    write("window", 3, 4, [7], {"local_window_size": 3})
    write("window_decode", 1, 4, [5, 3], {"local_window_size": 2})
    write("softcap", 3, 4, [7], {"softcap": 0.5, "scale": 0.7})
    each, sink = golden.floats("group query", (1, 4, 3, 7), 4)
    write("bias", 3, 4, [7], {"softcap": 0.5}, more=[None, each])
    write("sink", 3, 4, [7], {"softcap": 0.5}, more=[None, None, sink])
    write("smooth", 3, 4, [7], {"smooth_softmax": 1})
    write("not_causal", 3, 4, [7], {"causal": 0})
    write("f16", 1, 4, [5, 5], rotary=True, dtype=HALF)


def activations(out):
    x, b = golden.floats("gelu", (2, 3, 8), 8, low=-4.0, high=4.0)
    golden.write(out, "gelu", "Gelu", [x])
    golden.write(out, "bias_gelu", "BiasGelu", [x, b])
    golden.write(out, "fast_gelu", "FastGelu", [x])
    golden.write(out, "fast_gelu_bias", "FastGelu", [x, b])
    golden.write(out, "quick_gelu", "QuickGelu", [x])
    golden.write(out, "quick_gelu_alpha", "QuickGelu", [x], {"alpha": 0.7})
    golden.write(out, "simplified_layer_norm", "SimplifiedLayerNormalization", [x, b], {"epsilon": 1e-3}, domain="")


def main():
    for make in (skip_norms, embeddings, products, convolutions, rotary, attention, multi_head, group_query,
                 activations):
        make(sys.argv[1])


if __name__ == "__main__":
    main()
