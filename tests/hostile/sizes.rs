//! Small nodes with huge results, and indices that lead outside.

use super::*;

const HUGE: i64 = 1 << 40;

fn refused(name: &'static str, constants: Vec<TensorProto>, n: NodeProto) -> Hostile {
    Hostile::new(name, &one(constants, n), &[Limit, InvalidNode, InvalidInput, Unsupported, InvalidModel])
}

/// A number as a constant of rank 0.
fn scalar(name: &str, n: i64) -> TensorProto {
    constant(name, Tensor::scalar(n))
}

/// `x` as `[1, 1, 1, 2]` or so: a node before `n`.
fn shaped(name: &'static str, dims: &[i64], mut constants: Vec<TensorProto>, n: NodeProto) -> Hostile {
    constants.push(longs("dims", dims));
    let m = model(graph(constants, vec![node("Reshape", &["x", "dims"], &["s"]), n]));
    Hostile::new(name, &m, &[Limit, InvalidNode, InvalidInput, Unsupported, InvalidModel])
}

/// A chain of `n` nodes, each of which makes more of what the last made.
fn chain(name: &'static str, n: usize, op: impl Fn(&str, &str) -> NodeProto) -> Hostile {
    let names: Vec<String> = (1..n).map(|i| format!("v{i}")).collect();
    let names: Vec<&str> = std::iter::once("x").chain(names.iter().map(String::as_str)).chain(["y"]).collect();
    let nodes = names.windows(2).map(|w| op(w[0], w[1])).collect();
    Hostile::new(name, &model(graph(vec![longs("two", &[2])], nodes)), &[Limit])
}

fn blow_ups() -> Vec<Hostile> {
    let image = Tensor::new([1, 1, 1, 2], vec![1f32, 2.0]).unwrap();
    let filter = || constant("w", Tensor::new([1, 1, 1, 1], vec![1f32]).unwrap());
    let four = [1, 1, 1, 2];
    vec![
        refused("ConstantOfShape", vec![longs("n", &[HUGE])], node("ConstantOfShape", &["n"], &["y"])),
        refused(
            "ConstantOfShape that wraps",
            vec![longs("n", &[1 << 33, 1 << 33])],
            node("ConstantOfShape", &["n"], &["y"]),
        ),
        refused("ConstantOfShape below zero", vec![longs("n", &[-1])], node("ConstantOfShape", &["n"], &["y"])),
        refused(
            "ConstantOfShape of rank 100,000",
            vec![longs("n", &vec![1; 100_000])],
            node("ConstantOfShape", &["n"], &["y"]),
        )
        .allow(Allowed::Success),
        refused("Tile", vec![longs("n", &[HUGE])], node("Tile", &["x", "n"], &["y"])),
        refused("Tile that wraps", vec![longs("n", &[i64::MAX])], node("Tile", &["x", "n"], &["y"])),
        refused("Tile below zero", vec![longs("n", &[-1])], node("Tile", &["x", "n"], &["y"])),
        refused("Expand", vec![longs("n", &[HUGE, 2])], node("Expand", &["x", "n"], &["y"])),
        refused("Expand below zero", vec![longs("n", &[-5, 2])], node("Expand", &["x", "n"], &["y"])),
        refused(
            "Range",
            ["a", "b", "c"].iter().zip([0, HUGE, 1]).map(|(n, v)| scalar(n, v)).collect(),
            node("Range", &["a", "b", "c"], &["y"]),
        ),
        refused(
            "Range without a step",
            ["a", "b", "c"].iter().zip([0, 9, 0]).map(|(n, v)| scalar(n, v)).collect(),
            node("Range", &["a", "b", "c"], &["y"]),
        ),
        refused(
            "Range over all numbers",
            ["a", "b", "c"].iter().zip([i64::MIN, i64::MAX, 1]).map(|(n, v)| scalar(n, v)).collect(),
            node("Range", &["a", "b", "c"], &["y"]),
        ),
        refused(
            "Range to infinity",
            [0f32, f32::INFINITY, 1.0]
                .iter()
                .zip(["a", "b", "c"])
                .map(|(v, n)| constant(n, Tensor::scalar(*v)))
                .collect(),
            node("Range", &["a", "b", "c"], &["y"]),
        ),
        refused(
            "OneHot",
            vec![scalar("n", HUGE), constant("v", Tensor::vector(&[0f32, 1.0]))],
            node("OneHot", &["x", "n", "v"], &["y"]),
        ),
        refused(
            "empty rows without end",
            vec![constant("w", Tensor::zeros(shadernet::DType::F32, [1 << 62, 0]))],
            node("LogSoftmax", &["w"], &["y"]),
        ),
        refused(
            "Unique of nothing without end",
            vec![constant("w", Tensor::zeros(shadernet::DType::F32, [0, 1 << 62]))],
            with("Unique", &["w"], &["y"], vec![int("axis", 1)]),
        ),
        {
            let w = constant("w", Tensor::zeros(shadernet::DType::F32, [1 << 31, 0]));
            let nodes = vec![
                node("SplitToSequence", &["w"], &["s"]),
                with("ConcatFromSequence", &["s"], &["y"], vec![int("axis", 0)]),
            ];
            Hostile::new("empty parts without end", &model(graph(vec![w], nodes)), &[Limit])
        },
        refused("Pad", vec![longs("n", &[0, HUGE])], node("Pad", &["x", "n"], &["y"])),
        refused("Pad that wraps", vec![longs("n", &[i64::MAX, i64::MAX])], node("Pad", &["x", "n"], &["y"])),
        refused("Pad of less than all", vec![longs("n", &[i64::MIN, 0])], node("Pad", &["x", "n"], &["y"])),
        refused("CenterCropPad", vec![longs("n", &[HUGE])], node("CenterCropPad", &["x", "n"], &["y"])),
        refused("HannWindow", vec![scalar("n", HUGE)], node("HannWindow", &["n"], &["y"])),
        refused("BlackmanWindow below zero", vec![scalar("n", -7)], node("BlackmanWindow", &["n"], &["y"])),
        refused(
            "MelWeightMatrix",
            vec![
                scalar("a", HUGE),
                scalar("b", HUGE),
                scalar("c", 8000),
                constant("l", Tensor::scalar(0f32)),
                constant("h", Tensor::scalar(4000f32)),
            ],
            node("MelWeightMatrix", &["a", "b", "c", "l", "h"], &["y"]),
        ),
        refused("RandomNormal", vec![], with("RandomNormal", &[], &["y"], vec![ints("shape", &[HUGE])])),
        refused("RandomUniform below zero", vec![], with("RandomUniform", &[], &["y"], vec![ints("shape", &[-4])])),
        refused(
            "Unsqueeze of ten thousand axes",
            vec![longs("n", &(1..10_001).collect::<Vec<i64>>())],
            node("Unsqueeze", &["x", "n"], &["y"]),
        )
        .allow(Allowed::Success),
        refused("Split in 2^40", vec![], with("Split", &["x"], &["y"], vec![int("num_outputs", HUGE)])),
        refused("Split in none", vec![], with("Split", &["x"], &["y"], vec![int("num_outputs", 0)])),
        refused(
            "Split that wraps",
            vec![longs("n", &[i64::MAX, i64::MAX, 4])],
            node("Split", &["x", "n"], &["y", "z", "u"]),
        ),
        refused("Split below zero", vec![longs("n", &[-1, 3])], node("Split", &["x", "n"], &["y", "z"])),
        refused("TopK of more than there is", vec![longs("n", &[HUGE])], node("TopK", &["x", "n"], &["y", "i"])),
        refused("TopK below zero", vec![longs("n", &[-1])], node("TopK", &["x", "n"], &["y", "i"])),
        refused("Reshape to more", vec![longs("n", &[HUGE])], node("Reshape", &["x", "n"], &["y"])),
        refused(
            "Reshape that wraps to as many",
            vec![longs("n", &[(1 << 62) + 1, 4, -1])],
            node("Reshape", &["x", "n"], &["y"]),
        ),
        shaped(
            "Resize to sizes",
            &four,
            vec![longs("n", &[1, 1, 1 << 20, 1 << 20])],
            node("Resize", &["s", "", "", "n"], &["y"]),
        ),
        shaped(
            "Resize by scales",
            &four,
            vec![constant("n", Tensor::vector(&[1f32, 1.0, 1e20, 1e20]))],
            node("Resize", &["s", "", "n"], &["y"]),
        ),
        shaped(
            "Resize by no number",
            &four,
            vec![constant("n", Tensor::vector(&[1f32, 1.0, f32::NAN, f32::NAN]))],
            node("Resize", &["s", "", "n"], &["y"]),
        ),
        shaped(
            "Resize below zero",
            &four,
            vec![longs("n", &[1, 1, -3, -3])],
            node("Resize", &["s", "", "", "n"], &["y"]),
        ),
        shaped(
            "AffineGrid",
            &[1, 1, 2],
            vec![longs("n", &[1, 1, 1 << 20, 1 << 20]), constant("t", Tensor::new([1, 2, 3], vec![0f32; 6]).unwrap())],
            node("AffineGrid", &["t", "n"], &["y"]),
        ),
        shaped(
            "Col2Im",
            &[1, 1, 2],
            vec![longs("n", &[1 << 20, 1 << 20]), longs("k", &[1, 1])],
            node("Col2Im", &["s", "n", "k"], &["y"]),
        ),
        shaped(
            "MaxUnpool",
            &four,
            vec![constant("i", Tensor::new([1, 1, 1, 2], vec![0i64, HUGE]).unwrap())],
            with("MaxUnpool", &["s", "i"], &["y"], vec![ints("kernel_shape", &[1, 1])]),
        )
        .allow(Allowed::OwnData),
        shaped(
            "ConvTranspose with strides",
            &four,
            vec![filter()],
            with("ConvTranspose", &["s", "w"], &["y"], vec![ints("strides", &[1, HUGE])]),
        ),
        shaped(
            "ConvTranspose to a shape",
            &four,
            vec![filter()],
            with("ConvTranspose", &["s", "w"], &["y"], vec![ints("output_shape", &[1 << 20, 1 << 20])]),
        ),
        shaped(
            "Conv with pads",
            &four,
            vec![filter()],
            with("Conv", &["s", "w"], &["y"], vec![ints("pads", &[1 << 20, 1 << 20, 1 << 20, 1 << 20])]),
        ),
        shaped(
            "Conv with pads that wrap",
            &four,
            vec![filter()],
            with("Conv", &["s", "w"], &["y"], vec![ints("pads", &[i64::MAX, i64::MAX, i64::MAX, i64::MAX])]),
        ),
        shaped("Conv in no groups", &four, vec![filter()], with("Conv", &["s", "w"], &["y"], vec![int("group", 0)])),
        shaped(
            "Conv without steps",
            &four,
            vec![filter()],
            with("Conv", &["s", "w"], &["y"], vec![ints("strides", &[0, 0])]),
        ),
        shaped(
            "Conv with dilations that wrap",
            &four,
            vec![constant("w", Tensor::new([1, 1, 3, 3], vec![1f32; 9]).unwrap())],
            with("Conv", &["s", "w"], &["y"], vec![ints("dilations", &[1 << 62, 1 << 62])]),
        ),
        shaped(
            "MaxPool of a huge window",
            &four,
            vec![],
            with(
                "MaxPool",
                &["s"],
                &["y"],
                vec![ints("kernel_shape", &[HUGE, HUGE]), ints("pads", &[1 << 39, 1 << 39, 1 << 39, 1 << 39])],
            ),
        ),
        shaped(
            "AveragePool without a window",
            &four,
            vec![],
            with("AveragePool", &["s"], &["y"], vec![ints("kernel_shape", &[0, 0])]),
        ),
        shaped(
            "DepthToSpace of no blocks",
            &four,
            vec![],
            with("DepthToSpace", &["s"], &["y"], vec![int("blocksize", 0)]),
        ),
        shaped(
            "SpaceToDepth of huge blocks",
            &four,
            vec![],
            with("SpaceToDepth", &["s"], &["y"], vec![int("blocksize", i64::MAX)]),
        ),
        shaped(
            "RoiAlign of huge results",
            &four,
            vec![constant("r", Tensor::new([1, 4], vec![0f32, 0.0, 1.0, 1.0]).unwrap()), longs("b", &[0])],
            with(
                "RoiAlign",
                &["s", "r", "b"],
                &["y"],
                vec![int("output_height", 1 << 20), int("output_width", 1 << 20)],
            ),
        ),
        shaped(
            "RoiAlign of many samples",
            &four,
            vec![constant("r", Tensor::new([1, 4], vec![0f32, 0.0, 1.0, 1.0]).unwrap()), longs("b", &[0])],
            with("RoiAlign", &["s", "r", "b"], &["y"], vec![int("sampling_ratio", 1 << 40)]),
        ),
        shaped("LRN of a huge size", &four, vec![], with("LRN", &["s"], &["y"], vec![int("size", i64::MAX)]))
            .allow(Allowed::Success),
        shaped(
            "GroupNormalization of no groups",
            &four,
            vec![constant("g", Tensor::vector(&[1f32])), constant("b", Tensor::vector(&[0f32]))],
            with("GroupNormalization", &["s", "g", "b"], &["y"], vec![int("num_groups", 0)]),
        ),
        shaped("DFT of a huge length", &[1, 2, 1], vec![scalar("n", HUGE)], node("DFT", &["s", "n"], &["y"])),
        shaped(
            "STFT without steps",
            &[1, 2, 1],
            vec![scalar("n", 0), constant("w", Tensor::vector(&[1f32]))],
            node("STFT", &["s", "n", "w"], &["y"]),
        ),
        shaped("Multinomial", &[1, 2], vec![], with("Multinomial", &["s"], &["y"], vec![int("sample_size", HUGE)])),
        shaped(
            "an outer product",
            &[2, 1],
            vec![longs("n", &[1 << 25, 1]), longs("m", &[1, 1 << 25])],
            node("Expand", &["s", "n"], &["y"]),
        ),
        chain("doubling by Concat", 60, |a, b| with("Concat", &[a, a], &[b], vec![int("axis", 0)])),
        chain("doubling by Tile", 60, |a, b| node("Tile", &[a, "two"], &[b])),
        {
            // a letter for each axis: 2^52 elements, and as many terms where none is left
            let letters: Vec<char> = ('a'..='z').chain('A'..='Z').collect();
            let all: String = letters.iter().collect();
            let terms: Vec<String> = letters.iter().map(char::to_string).collect();
            let equation = format!("{}->{all}", terms.join(","));
            refused(
                "Einsum of 52 axes",
                vec![],
                with("Einsum", &["x"; 52], &["y"], vec![text("equation", equation.as_bytes())]),
            )
        },
        {
            let letters: Vec<String> = ('a'..='z').chain('A'..='Z').map(|c| c.to_string()).collect();
            let equation = format!("{}->", letters.join(","));
            refused(
                "Einsum over 52 axes",
                vec![],
                with("Einsum", &["x"; 52], &["y"], vec![text("equation", equation.as_bytes())]),
            )
            .allow(Allowed::Success)
        },
        shaped("Conv of an image of another rank", &[2], vec![constant("w", image)], node("Conv", &["s", "w"], &["y"])),
    ]
}

fn indices() -> Vec<Hostile> {
    let data = || constant("d", Tensor::new([2, 2], vec![1f32, 2.0, 3.0, 0.0]).unwrap());
    let outside = |name, op: &str, index: Tensor, more: Vec<AttributeProto>| {
        refused(name, vec![data(), constant("i", index)], with(op, &["d", "i"], &["y"], more)).allow(Allowed::OwnData)
    };
    let pair = |a: i64, b: i64| Tensor::new([2, 1], vec![a, b]).unwrap();
    let updates = || constant("u", Tensor::new([1, 2], vec![3f32, 3.0]).unwrap());
    let row = |i: i64| constant("i", Tensor::new([1, 2], vec![i, i]).unwrap());
    vec![
        outside("Gather past the end", "Gather", Tensor::vector(&[2i64, 1 << 30]), vec![]),
        outside("Gather before the start", "Gather", Tensor::vector(&[-3i64, i64::MIN]), vec![]),
        outside("Gather far outside", "Gather", Tensor::vector(&[i64::MAX, 1 << 32]), vec![]),
        outside("GatherElements outside", "GatherElements", pair(5, -9), vec![]),
        outside("GatherND outside", "GatherND", pair(7, i64::MIN), vec![]),
        refused(
            "ScatterElements outside",
            vec![data(), row(9), updates()],
            node("ScatterElements", &["d", "i", "u"], &["y"]),
        )
        .allow(Allowed::OwnData),
        refused(
            "ScatterElements before the start",
            vec![data(), row(i64::MIN), updates()],
            node("ScatterElements", &["d", "i", "u"], &["y"]),
        )
        .allow(Allowed::OwnData),
        refused(
            "ScatterND outside",
            vec![data(), constant("i", Tensor::new([1, 1], vec![1i64 << 30]).unwrap()), updates()],
            node("ScatterND", &["d", "i", "u"], &["y"]),
        )
        .allow(Allowed::OwnData),
        refused(
            "TensorScatter outside",
            vec![
                constant("d", Tensor::new([1, 2, 2], vec![1f32; 4]).unwrap()),
                constant("u", Tensor::new([1, 1, 2], vec![3f32; 2]).unwrap()),
                longs("i", &[99]),
            ],
            node("TensorScatter", &["d", "u", "i"], &["y"]),
        )
        .allow(Allowed::OwnData),
        refused(
            "ArrayFeatureExtractor before the start",
            vec![longs("i", &[-10])],
            NodeProto { domain: s("ai.onnx.ml"), ..node("ArrayFeatureExtractor", &["x", "i"], &["y"]) },
        )
        .allow(Allowed::OwnData),
        refused(
            "Slice without a step",
            vec![longs("a", &[0]), longs("b", &[2]), longs("t", &[0]), longs("e", &[0])],
            node("Slice", &["x", "a", "b", "e", "t"], &["y"]),
        ),
        refused(
            "Slice by the least step",
            vec![longs("a", &[i64::MAX]), longs("b", &[i64::MIN]), longs("t", &[i64::MIN]), longs("e", &[0])],
            node("Slice", &["x", "a", "b", "e", "t"], &["y"]),
        )
        .allow(Allowed::Success),
        refused(
            "ReverseSequence of more than there is",
            vec![data(), longs("i", &[9, -1])],
            with("ReverseSequence", &["d", "i"], &["y"], vec![int("batch_axis", 1), int("time_axis", 0)]),
        )
        .allow(Allowed::OwnData),
        refused(
            "Compress of more than there is",
            vec![constant("i", Tensor::vector(&[true, true, true, true]))],
            node("Compress", &["x", "i"], &["y"]),
        )
        .allow(Allowed::Success),
        refused("SequenceAt outside", vec![scalar("i", 7)], node("SequenceAt", &["q", "i"], &["y"])),
        refused(
            "Transpose by axes that repeat",
            vec![data()],
            with("Transpose", &["d"], &["y"], vec![ints("perm", &[0, 0])]),
        ),
        refused(
            "Transpose by a million axes",
            vec![data()],
            with("Transpose", &["d"], &["y"], vec![ints("perm", &vec![0; 1 << 22])]),
        ),
        refused("Concat along a far axis", vec![], with("Concat", &["x", "x"], &["y"], vec![int("axis", i64::MIN)])),
        refused("Softmax along a far axis", vec![], with("Softmax", &["x"], &["y"], vec![int("axis", i64::MIN)])),
        refused(
            "ReduceSum along the least axis",
            vec![longs("n", &[i64::MIN])],
            node("ReduceSum", &["x", "n"], &["y"]),
        ),
    ]
}

pub fn all() -> Vec<Hostile> {
    let mut all = blow_ups();
    all.extend(indices());
    // SequenceAt reads what is a sequence in truth
    if let Some(at) = all.iter().position(|c| c.name == "SequenceAt outside") {
        let nodes = vec![node("SequenceConstruct", &["x"], &["q"]), node("SequenceAt", &["q", "i"], &["y"])];
        all[at] = Hostile::new(
            "SequenceAt outside",
            &model(graph(vec![scalar("i", 7)], nodes)),
            &[InvalidNode, InvalidInput],
        );
    }
    all
}
