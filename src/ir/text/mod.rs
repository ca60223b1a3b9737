//! The text form, for tests and for people: [`print`] and its inverse [`parse`].
//!
//! ```text
//! graph g(%x: float[N, 3], %c; %outer: float) -> (%y) {
//!   %w = float[3] {1.0, 2.0, -0.5}
//!   %t: float[N, 3] = Mul@13(%x, %w) "scale"
//!   %y, _ = com.example::Op@1(%t, _, %outer) {axis = -1, eps = 1e-5, body = graph b() -> (%v) {
//!     %v = int64[] {7}
//!   }}
//! }
//! ```
//!
//! Captured inputs stand behind `;`, what is left out is `_`, a node's name is left away where it is that of its first
//! output. Names that are not plain are quoted. Tensors with NaNs, of types without a literal, or of many elements have
//! their bytes in hexadecimal: `float16[1] x003c`. Values that nothing uses do not show.

mod parse;
mod print;

pub use parse::parse;
pub use print::{print, print_elided};

/// Whether a name can stand without quotes.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name != "_" && name.bytes().all(is_plain_byte)
}

fn is_plain_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"_./".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::ir::{Attr, Graph, Node, Operator, verify};
    use crate::ops::{Case, NodeInfo};
    use crate::tensor::Tensor;
    use crate::{ErrorKind, Result, Rng};

    const EXAMPLE: &str = r#"graph g(%x: float[N, 3], %"odd name": seq(map(int64, float["N + 1", ?]))) -> (%y, %k) {
  %k = float[2] {1.0, -inf}
  %n = float[1] x0000c07f
  %s = string[2] {"a\n", "\"b\""}
  %b = bool[] {true}
  %t: float[N, 3] = Relu@13(%x) "first one"
  %y = Exp@13(%t)
}
"#;

    #[test]
    fn example_round_trips() -> Result<()> {
        // constants that nothing uses do not show, so these are made outputs
        let text = EXAMPLE.replace("(%y, %k)", "(%y, %k, %n, %s, %b)");
        let graph = parse(&text)?;
        verify(&graph)?;
        assert_eq!(print(&graph), text);
        assert_eq!(graph.inputs.len(), 2);
        assert_eq!(graph.nodes[0].name, "first one");
        let k = graph.value(graph.outputs[1]).constant.clone().unwrap();
        assert_eq!(k.to_f64s()?, [1.0, f64::NEG_INFINITY]);
        Ok(())
    }

    #[test]
    fn every_case_of_the_registry_round_trips() -> Result<()> {
        let mut rng = Rng::new(1);
        for case in crate::ops::all().flat_map(|d| (d.cases)()) {
            let small = |c: &crate::ops::CaseInput| !matches!(c, crate::ops::CaseInput::Constant(t) if t.len() > 4096);
            // the inputs' data is drawn too, which takes long for the large cases
            let drawn: usize = case
                .inputs
                .iter()
                .map(|i| match i {
                    crate::ops::CaseInput::Random { shape, .. } => shape.iter().product(),
                    _ => 0,
                })
                .sum();
            if drawn > 4096 || !case.inputs.iter().all(small) {
                continue;
            }
            let (graph, _) = case.build(&mut rng)?;
            let text = print(&graph);
            let back = parse(&text).map_err(|e| e.in_node(&text))?;
            assert_eq!(print(&back), text);
            for (a, b) in graph.nodes.iter().zip(&back.nodes) {
                // a graph's values may be numbered in another order
                if a.operator.attrs.values().any(|v| matches!(v, Attr::Graph(_))) {
                    continue;
                }
                assert_eq!(format!("{:?}", a.operator.op), format!("{:?}", b.operator.op), "{text}");
            }
        }
        Ok(())
    }

    #[test]
    fn every_dtype_round_trips() -> Result<()> {
        let mut rng = Rng::new(2);
        for d in crate::dtype::ALL {
            for len in [0usize, 3, 100] {
                let t = match d {
                    DType::C64 | DType::C128 => Tensor::zeros(d, [len]),
                    d => rng.tensor(d, &[len], -2.0, 3.0)?,
                };
                let mut graph = Graph::new("");
                let id = graph.add_constant("c", t.clone());
                graph.outputs.push(id);
                let back = parse(&print(&graph))?;
                let got = back.value(back.outputs[0]).constant.clone().unwrap();
                assert!(got.same_bits(&t), "{d} {len}: {}", print(&graph));
            }
        }
        Ok(())
    }

    #[test]
    fn attributes_of_every_kind_print_and_parse() -> Result<()> {
        // no operator takes such a mixture, so the registry is kept out by comparing the reader's messages
        let mut inner = Graph::new("inner");
        let v = inner.add_constant("v", Tensor::scalar(7i64));
        inner.outputs.push(v);
        let case = Case::new("Relu", 13)
            .int("i", -3)
            .float("f", 1e-5)
            .float("g", f32::INFINITY)
            .string("s", "a\\\"\u{1}")
            .ints("is", &[1, 2])
            .ints("none", &[])
            .attr("fs", Attr::Floats(vec![1.0, -0.5]))
            .attr("no floats", Attr::Floats(vec![]))
            .attr("ss", Attr::Strs(vec!["x".into()]))
            .attr("t", Attr::Tensor(Tensor::vector(&[1u8, 2])))
            .attr("ts", Attr::Tensors(vec![Tensor::scalar(1.5f32), Tensor::scalar(true)]))
            .attr("ty", Attr::Type(crate::ir::Declared::Sparse(DType::F16)))
            .attr("body", Attr::Graph(std::sync::Arc::new(inner)));
        let mut graph = Graph::new("g");
        let x = graph.add_value("x", None);
        graph.inputs.push(x);
        let y = graph.add_value("y", None);
        graph.outputs.push(y);
        let mut operator = Operator::new("", "Relu", Default::default(), &NodeInfo::full(13, 1, 1))?;
        operator.attrs = case.attrs.clone();
        graph.nodes.push(Node { name: "y".into(), operator, inputs: vec![Some(x)], outputs: vec![Some(y)] });
        let text = print(&graph);
        let e = parse(&text).unwrap_err();
        // everything was read, and the reader names each attribute as unknown
        assert_eq!(e.kind(), ErrorKind::Unsupported, "{e}\n{text}");
        for name in case.attrs.keys() {
            assert!(e.to_string().contains(name.as_str()), "{e}\n{text}");
        }
        Ok(())
    }

    #[test]
    fn elided_tensors_do_not_parse() {
        let mut graph = Graph::new("g");
        let c = graph.add_constant("c", Tensor::zeros(DType::F32, [64, 3]));
        graph.outputs.push(c);
        let text = print_elided(&graph);
        assert!(text.contains("%c = float[64, 3] #"), "{text}");
        assert!(parse(&text).unwrap_err().to_string().contains("left out"));
    }

    #[test]
    fn malformed_text_is_an_error_with_its_line() {
        let e = parse("graph g() -> () {\n  %y = Relu@13(%x)\n}").unwrap_err().to_string();
        assert_eq!(e, "invalid model: line 2: nothing named \"x\" has been defined");
        for end in 0..EXAMPLE.len() {
            if EXAMPLE.is_char_boundary(end) {
                let _ = parse(&EXAMPLE[..end]);
            }
        }
        let deep = "graph g() -> () { %y = Relu@13() {a = ".repeat(1000);
        assert!(parse(&deep).is_err());
        assert!(parse(&format!("graph g(%x: {}", "seq(".repeat(100_000))).is_err());
    }
}
