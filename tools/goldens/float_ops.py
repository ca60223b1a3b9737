"""Makes tests/data/contrib/<case>/model.onnx and test_data_set_0/{input,output}_<i>.pb, the float operators of domain
com.microsoft, with ONNX Runtime's CPU provider. Needs the pip packages onnx, onnxruntime and numpy.

    python float_ops.py OUT
"""

import sys

import golden


def skip_norms(out):
    x, skip, scale, shift, bias = golden.floats("skip", (2, 3, 8), (2, 3, 8), 8, 8, 8)
    row = skip[:1]
    for kind, params in (("", [scale, shift]), ("Simplified", [scale])):
        op = f"Skip{kind}LayerNormalization"
        name = f"skip_{kind.lower()}_layer_norm".replace("__", "_")
        weights = range(2, 3 + len(params))
        golden.write(out, name, op, [x, skip, *params], initializers=weights)
        golden.write(out, name + "_bias_sum", op, [x, skip, *params, bias], {"epsilon": 1e-2},
                     [True, False, False, True], initializers=weights)
        golden.write(out, name + "_one_skip", op, [x, row, *params, bias], initializers=weights)


def main():
    out = sys.argv[1]
    skip_norms(out)


if __name__ == "__main__":
    main()
