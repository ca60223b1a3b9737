//! Graph to text.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::is_plain;
use crate::dtype::DType;
use crate::ir::{Attr, Declared, Dim, Graph, Node, ValueId};
use crate::tensor::Tensor;

/// Tensors beyond this many elements are written as bytes.
const LITERALS: usize = 64;
/// Tensors beyond this many elements are elided by [`print_elided`].
const SHOWN: usize = 16;

/// The whole graph, tensors included; [`parse`](super::parse) reads it back.
pub fn print(graph: &Graph) -> String {
    let mut p = Printer { out: String::new(), indent: 0, elide: false };
    p.graph(graph);
    p.out + "\n"
}

/// The same to look at: tensors of more than a few elements show as type and hash.
pub fn print_elided(graph: &Graph) -> String {
    let mut p = Printer { out: String::new(), indent: 0, elide: true };
    p.graph(graph);
    p.out + "\n"
}

struct Printer {
    out: String,
    indent: usize,
    elide: bool,
}

/// Names of a graph's values as they are printed: where a name comes twice, the later ones are numbered.
fn names(graph: &Graph) -> HashMap<ValueId, String> {
    let mut taken = HashSet::new();
    let mut out = HashMap::new();
    for (id, v) in graph.values() {
        let mut name = v.name.clone();
        if !taken.insert(name.clone()) {
            name = format!("{}#{}", v.name, id.index());
            taken.insert(name.clone());
        }
        out.insert(id, format!("%{}", quoted(&name)));
    }
    out
}

fn quoted(name: &str) -> String {
    if is_plain(name) { name.into() } else { format!("{name:?}") }
}

fn list<T>(items: impl IntoIterator<Item = T>, show: impl Fn(T) -> String) -> String {
    items.into_iter().map(show).collect::<Vec<_>>().join(", ")
}

impl Printer {
    fn line(&mut self) {
        let _ = write!(self.out, "\n{:width$}", "", width = self.indent * 2);
    }

    fn graph(&mut self, graph: &Graph) {
        let names = names(graph);
        let typed = |id: &ValueId| match &graph.value(*id).declared {
            Some(t) => format!("{}: {}", names[id], declared(t)),
            None => names[id].clone(),
        };
        let formal = graph.inputs.len().saturating_sub(graph.captures);
        let mut inputs = list(&graph.inputs[..formal], typed);
        if graph.captures > 0 {
            inputs += &format!("; {}", list(&graph.inputs[formal..], typed));
        }
        let outputs = list(&graph.outputs, |id| names[id].clone());
        let _ = write!(self.out, "graph {}({inputs}) -> ({outputs}) {{", quoted(&graph.name));
        self.indent += 1;
        let used: HashSet<ValueId> =
            graph.nodes.iter().flat_map(Node::used_inputs).chain(graph.outputs.iter().copied()).collect();
        for (id, v) in graph.values().filter(|(id, _)| used.contains(id)) {
            if let Some(t) = &v.constant {
                self.line();
                let _ = write!(self.out, "{} = {}", typed(&id), self.tensor(t));
            }
        }
        for node in &graph.nodes {
            self.line();
            let outputs = list(&node.outputs, |o| o.as_ref().map_or("_".into(), typed));
            let inputs = list(&node.inputs, |i| i.as_ref().map_or("_".into(), |i| names[i].clone()));
            let op = &node.operator;
            let domain = if op.domain.is_empty() { String::new() } else { quoted(&op.domain) + "::" };
            let op_type = quoted(&op.op_type);
            let outputs = if outputs.is_empty() { "()".into() } else { outputs };
            let _ = write!(self.out, "{outputs} = {domain}{op_type}@{}({inputs})", op.opset);
            self.attrs(node);
            let first = node.used_outputs().next().map_or("", |id| &graph.value(id).name);
            if node.name != first {
                let _ = write!(self.out, " {:?}", node.name);
            }
        }
        self.indent -= 1;
        self.line();
        self.out.push('}');
    }

    fn attrs(&mut self, node: &Node) {
        for (i, (name, value)) in node.operator.attrs.iter().enumerate() {
            let _ = write!(self.out, "{}{} = ", if i == 0 { " {" } else { ", " }, quoted(name));
            let text = match value {
                Attr::Int(v) => v.to_string(),
                Attr::Float(v) => float(*v),
                Attr::Str(v) => format!("{v:?}"),
                Attr::Ints(v) if v.is_empty() => "ints[]".into(),
                Attr::Floats(v) if v.is_empty() => "floats[]".into(),
                Attr::Strs(v) if v.is_empty() => "strings[]".into(),
                Attr::Ints(v) => format!("[{}]", list(v, i64::to_string)),
                Attr::Floats(v) => format!("[{}]", list(v, |x| float(*x))),
                Attr::Strs(v) => format!("[{}]", list(v, |s| format!("{s:?}"))),
                Attr::Tensor(t) => format!("tensor {}", self.tensor(t)),
                Attr::Tensors(v) => format!("tensors[{}]", list(v, |t| self.tensor(t))),
                Attr::Type(t) => format!("type {}", declared(t)),
                Attr::Graph(g) => {
                    self.graph(g);
                    continue;
                }
            };
            self.out += &text;
        }
        if !node.operator.attrs.is_empty() {
            self.out.push('}');
        }
    }

    fn tensor(&self, t: &Tensor) -> String {
        let head = format!("{}{:?}", t.dtype(), t.shape());
        if self.elide && t.len() > SHOWN {
            let mut hasher = DefaultHasher::new();
            t.bytes().hash(&mut hasher);
            t.strings().ok().hash(&mut hasher);
            return format!("{head} #{:016x}", hasher.finish());
        }
        match literals(t) {
            Some(items) => format!("{head} {{{}}}", items.join(", ")),
            None => format!("{head} x{}", list(t.bytes(), |b| format!("{b:02x}")).replace(", ", "")),
        }
    }
}

/// The elements as text that reads back to the same bits.
fn literals(t: &Tensor) -> Option<Vec<String>> {
    if let Ok(s) = t.strings() {
        return Some(s.iter().map(|s| format!("{s:?}")).collect());
    }
    if t.len() > LITERALS {
        return None;
    }
    if t.dtype() == DType::Bool {
        return Some(t.bytes().iter().map(|b| (*b != 0).to_string()).collect());
    }
    if let Ok(v) = t.to_i128s() {
        return Some(v.iter().map(i128::to_string).collect());
    }
    let finite = |v: &[f64]| !v.iter().any(|x| x.is_nan());
    match t.dtype() {
        DType::F32 if finite(&t.to_f64s().ok()?) => Some(t.to_slice::<f32>().ok()?.iter().map(|x| float(*x)).collect()),
        DType::F64 | DType::F16 | DType::BF16 => {
            let v = t.to_f64s().ok().filter(|v| finite(v))?;
            Some(v.iter().map(|x| format!("{x:?}")).collect())
        }
        _ => None,
    }
}

/// The shortest text that reads back as this number, with a mark that tells it from an integer.
fn float(x: f32) -> String {
    if x.is_nan() { "nan".into() } else { format!("{x:?}") }
}

fn declared(t: &Declared) -> String {
    match t {
        Declared::Tensor { dtype, dims: None } => dtype.to_string(),
        Declared::Tensor { dtype, dims: Some(d) } => format!("{dtype}[{}]", list(d, dim)),
        Declared::Sequence(t) => format!("seq({})", declared(t)),
        Declared::Optional(t) => format!("optional({})", declared(t)),
        Declared::Map(k, v) => format!("map({k}, {})", declared(v)),
        Declared::Sparse(d) => format!("sparse({d})"),
    }
}

fn dim(d: &Dim) -> String {
    match d {
        Dim::Known(n) => n.to_string(),
        // a symbol that looks like a number must not become one
        Dim::Symbol(s) if s.starts_with(|c: char| c.is_ascii_digit()) => format!("{s:?}"),
        Dim::Symbol(s) => quoted(s),
        Dim::Unknown => "?".into(),
    }
}
