//! Text to graph.

use std::collections::HashMap;
use std::sync::Arc;

use super::{is_plain, is_plain_byte};
use crate::dtype::DType;
use crate::ir::{Attr, Attrs, Declared, Dim, Graph, Node, Operator, ValueId};
use crate::ops::NodeInfo;
use crate::tensor::Tensor;
use crate::{Error, Result, bail, ensure, err, shape};

/// Bodies within bodies, and types within types.
const DEPTH: usize = 32;

/// Reads what [`print`](super::print) writes. `//` begins a comment.
///
/// # Errors
/// `InvalidModel` naming the line for text that is not of this form; those of the operators' parsers.
pub fn parse(text: &str) -> Result<Graph> {
    let mut p = Parser { text, at: 0, depth: 0 };
    let graph = p.expect("graph").and_then(|()| p.graph()).map_err(|e| p.located(e))?;
    p.space();
    ensure!(p.at == text.len(), InvalidModel, "line {}: text after the graph", p.line());
    Ok(graph)
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

type Names = HashMap<String, ValueId>;

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn line(&self) -> usize {
        1 + self.text[..self.at].matches('\n').count()
    }

    fn located(&self, e: Error) -> Error {
        let located = Error::new(e.kind(), format!("line {}: {}", self.line(), e.message()));
        e.node().map_or(located.clone(), |n| located.in_node(n))
    }

    fn space(&mut self) {
        loop {
            self.at += self.rest().len() - self.rest().trim_start().len();
            if !self.rest().starts_with("//") {
                return;
            }
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
        }
    }

    fn peek(&mut self, token: &str) -> bool {
        self.space();
        self.rest().starts_with(token)
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.peek(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn expect(&mut self, token: &str) -> Result<()> {
        if self.eat(token) {
            return Ok(());
        }
        let got: String = self.rest().chars().take(12).collect();
        bail!(InvalidModel, "expected {token:?}, got {got:?}")
    }

    /// Items up to `end`, with commas between them.
    fn list<T>(&mut self, end: &str, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut out = vec![];
        while !self.eat(end) {
            if !out.is_empty() {
                self.expect(",")?;
            }
            out.push(item(self)?);
        }
        Ok(out)
    }

    fn word_while(&mut self, keep: impl Fn(u8) -> bool) -> &'t str {
        self.space();
        let rest = self.rest();
        let len = rest.bytes().position(|b| !keep(b)).unwrap_or(rest.len());
        // only ASCII is kept, so this is a character boundary
        self.at += len;
        &rest[..len]
    }

    fn word(&mut self) -> Result<&'t str> {
        let w = self.word_while(is_plain_byte);
        if w.is_empty() {
            let got: String = self.rest().chars().take(12).collect();
            bail!(InvalidModel, "expected a name, got {got:?}");
        }
        Ok(w)
    }

    /// A plain or quoted name.
    fn name(&mut self) -> Result<String> {
        if self.peek("\"") { self.string() } else { Ok(self.word()?.into()) }
    }

    fn string(&mut self) -> Result<String> {
        self.expect("\"")?;
        let mut out = String::new();
        let mut chars = self.rest().char_indices();
        while let Some((i, c)) = chars.next() {
            match c {
                '"' => {
                    self.at += i + 1;
                    return Ok(out);
                }
                '\\' => out.push(escape(&mut chars).ok_or_else(|| err!(InvalidModel, "an unknown escape"))?),
                c => out.push(c),
            }
        }
        bail!(InvalidModel, "a string that does not end")
    }

    fn number(&mut self) -> Result<&'t str> {
        let n = self.word_while(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        ensure!(!n.is_empty(), InvalidModel, "expected a number");
        Ok(n)
    }

    fn parsed<T: std::str::FromStr>(&mut self) -> Result<T> {
        let n = self.number()?;
        n.parse().map_err(|_| err!(InvalidModel, "expected a number, got {n:?}"))
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        ensure!(self.depth < DEPTH, Limit, "nested deeper than {DEPTH}");
        self.depth += 1;
        let out = inner(self);
        self.depth -= 1;
        out
    }

    fn graph(&mut self) -> Result<Graph> {
        self.deeper(Self::graph_here)
    }

    fn graph_here(&mut self) -> Result<Graph> {
        let mut graph = Graph::new(self.name()?);
        let mut names = Names::new();
        self.expect("(")?;
        let mut captures = None;
        while !self.eat(")") {
            if self.eat(";") {
                captures = Some(graph.inputs.len());
            } else if !graph.inputs.is_empty() {
                self.expect(",")?;
            }
            let id = self.define(&mut graph, &mut names)?;
            graph.inputs.push(id);
        }
        graph.captures = captures.map_or(0, |formal| graph.inputs.len() - formal);
        self.expect("->")?;
        self.expect("(")?;
        let outputs = self.list(")", Self::value_name)?;
        self.expect("{")?;
        while !self.eat("}") {
            self.statement(&mut graph, &mut names)?;
        }
        for name in outputs {
            graph.outputs.push(lookup(&names, &name)?);
        }
        Ok(graph)
    }

    fn value_name(&mut self) -> Result<String> {
        self.expect("%")?;
        self.name()
    }

    /// `%name` or `%name: type`, which must be new.
    fn define(&mut self, graph: &mut Graph, names: &mut Names) -> Result<ValueId> {
        let name = self.value_name()?;
        let declared = if self.eat(":") { Some(self.declared()?) } else { None };
        let id = graph.add_value(name.clone(), declared);
        ensure!(names.insert(name.clone(), id).is_none(), InvalidModel, "value {name:?} is defined twice");
        Ok(id)
    }

    fn statement(&mut self, graph: &mut Graph, names: &mut Names) -> Result<()> {
        let mut outputs = vec![];
        if self.eat("()") {
            self.expect("=")?;
        } else {
            while !self.eat("=") {
                if !outputs.is_empty() {
                    self.expect(",")?;
                }
                outputs.push(if self.eat("_") { None } else { Some(self.define(graph, names)?) });
            }
        }
        let start = self.at;
        let word = self.name()?;
        match (DType::from_name(&word), outputs.as_slice()) {
            (Some(_), [Some(id)]) if self.peek("[") => {
                self.at = start;
                graph.value_mut(*id).constant = Some(self.tensor()?);
                Ok(())
            }
            _ => self.node(graph, names, word, outputs),
        }
    }

    fn node(&mut self, graph: &mut Graph, names: &Names, word: String, outputs: Vec<Option<ValueId>>) -> Result<()> {
        let (domain, op_type) = if self.eat("::") { (word, self.name()?) } else { (String::new(), word) };
        self.expect("@")?;
        let opset = self.parsed()?;
        self.expect("(")?;
        let input = |p: &mut Self| if p.eat("_") { Ok(None) } else { lookup(names, &p.value_name()?).map(Some) };
        let inputs = self.list(")", input)?;
        let attrs: Attrs = if self.eat("{") {
            let pairs = self.list("}", |p| {
                let name = p.name()?;
                p.expect("=")?;
                Ok((name, p.attr()?))
            })?;
            pairs.into_iter().collect()
        } else {
            Attrs::new()
        };
        let first = outputs.iter().flatten().next().map_or("", |id| &graph.value(*id).name);
        let name = if self.peek("\"") { self.string()? } else { first.to_string() };
        let captured = |a: &Attr| if let Attr::Graph(g) = a { g.captures } else { 0 };
        let captured = attrs.values().map(captured).max().unwrap_or(0);
        let explicit = inputs.len().saturating_sub(captured);
        let info = NodeInfo {
            opset,
            version: opset,
            inputs: inputs[..explicit].iter().map(Option::is_some).collect(),
            outputs: outputs.iter().map(Option::is_some).collect(),
        };
        let operator = Operator::new(&domain, &op_type, attrs, &info).map_err(|e| e.in_node(&name))?;
        graph.nodes.push(Node { name, operator, inputs, outputs });
        Ok(())
    }

    fn attr(&mut self) -> Result<Attr> {
        if self.peek("\"") {
            return Ok(Attr::Str(self.string()?));
        }
        if self.eat("[") {
            if self.peek("\"") {
                return Ok(Attr::Strs(self.list("]", Self::string)?));
            }
            let items = self.list("]", Self::number)?;
            if let Ok(ints) = items.iter().map(|n| n.parse()).collect() {
                return Ok(Attr::Ints(ints));
            }
            return Ok(Attr::Floats(items.into_iter().map(float).collect::<Result<_>>()?));
        }
        let start = self.at;
        let word = self.word_while(|b| b.is_ascii_alphabetic());
        Ok(match word {
            "graph" => Attr::Graph(Arc::new(self.graph()?)),
            "tensor" => Attr::Tensor(self.tensor()?),
            "type" => Attr::Type(self.declared()?),
            "tensors" => {
                self.expect("[")?;
                Attr::Tensors(self.list("]", Self::tensor)?)
            }
            "ints" | "floats" | "strings" => {
                self.expect("[")?;
                self.expect("]")?;
                match word {
                    "ints" => Attr::Ints(vec![]),
                    "floats" => Attr::Floats(vec![]),
                    _ => Attr::Strs(vec![]),
                }
            }
            _ => {
                self.at = start;
                let n = self.number()?;
                n.parse().map(Attr::Int).or_else(|_| float(n).map(Attr::Float))?
            }
        })
    }

    fn dtype(&mut self) -> Result<DType> {
        let word = self.word()?;
        DType::from_name(word).ok_or_else(|| err!(InvalidModel, "unknown element type {word:?}"))
    }

    fn tensor(&mut self) -> Result<Tensor> {
        let dtype = self.dtype()?;
        self.expect("[")?;
        let shape: Vec<usize> = self.list("]", Self::parsed)?;
        ensure!(!self.peek("#"), InvalidModel, "the elements are left out here, so the text cannot be read back");
        if self.eat("x") {
            let digits = self.word_while(|b| b.is_ascii_hexdigit());
            ensure!(digits.len().is_multiple_of(2), InvalidModel, "half a byte");
            let bytes: Result<Vec<u8>, _> =
                (0..digits.len() / 2).map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16)).collect();
            return Tensor::from_bytes(dtype, shape, bytes.map_err(|e| err!(InvalidModel, "{e}"))?);
        }
        self.expect("{")?;
        if dtype == DType::String {
            return Tensor::from_strings(shape, self.list("}", Self::string)?);
        }
        let items = self.list("}", Self::number)?;
        let count = shape::checked_numel(&shape)?;
        ensure!(count == items.len(), InvalidModel, "{dtype}{shape:?} takes {count} elements, got {}", items.len());
        let all = |f: &dyn Fn(&str) -> Option<i128>| -> Result<Vec<i128>> {
            let one = |n: &&str| f(n).ok_or_else(|| err!(InvalidModel, "{n:?} is not a {dtype}"));
            items.iter().map(one).collect()
        };
        let (low, high) = dtype.int_range().unwrap_or((0, 0));
        match dtype {
            DType::Bool => Tensor::from_i128s(dtype, shape, all(&|n| n.parse::<bool>().ok().map(i128::from))?),
            d if d.is_int() => {
                let within = |n: &str| n.parse().ok().filter(|x| (low..=high).contains(x));
                Tensor::from_i128s(d, shape, all(&within)?)
            }
            DType::F32 => Tensor::new(shape, items.into_iter().map(float).collect::<Result<Vec<f32>>>()?),
            d => Tensor::from_f64s(d, shape, items.into_iter().map(float).collect::<Result<_>>()?),
        }
    }

    fn declared(&mut self) -> Result<Declared> {
        self.deeper(Self::declared_here)
    }

    fn declared_here(&mut self) -> Result<Declared> {
        let start = self.at;
        let word = self.word()?;
        let container = matches!(word, "seq" | "optional" | "map" | "sparse");
        if !container {
            self.at = start;
            let dtype = self.dtype()?;
            let dims = if self.eat("[") { Some(self.list("]", Self::dim)?) } else { None };
            return Ok(Declared::Tensor { dtype, dims });
        }
        self.expect("(")?;
        let t = match word {
            "seq" => Declared::Sequence(Box::new(self.declared()?)),
            "optional" => Declared::Optional(Box::new(self.declared()?)),
            "map" => {
                let key = self.dtype()?;
                self.expect(",")?;
                Declared::Map(key, Box::new(self.declared()?))
            }
            _ => Declared::Sparse(self.dtype()?),
        };
        self.expect(")")?;
        Ok(t)
    }

    fn dim(&mut self) -> Result<Dim> {
        if self.eat("?") {
            return Ok(Dim::Unknown);
        }
        if self.peek("\"") {
            return Ok(Dim::Symbol(self.string()?));
        }
        let word = self.word()?;
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(Dim::Known(word.parse().map_err(|_| err!(InvalidModel, "extent {word:?}"))?));
        }
        ensure!(is_plain(word), InvalidModel, "extent {word:?}");
        Ok(Dim::Symbol(word.into()))
    }
}

fn lookup(names: &Names, name: &str) -> Result<ValueId> {
    names.get(name).copied().ok_or_else(|| err!(InvalidModel, "nothing named {name:?} has been defined"))
}

fn float<T: std::str::FromStr>(n: &str) -> Result<T> {
    n.parse().map_err(|_| err!(InvalidModel, "expected a number, got {n:?}"))
}

/// The character that Rust's debug escape behind a backslash stands for.
fn escape(chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    Some(match chars.next()?.1 {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        '0' => '\0',
        'u' => {
            let hex: String = chars.by_ref().map(|(_, c)| c).skip(1).take_while(|c| *c != '}').collect();
            char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?
        }
        c @ ('"' | '\'' | '\\') => c,
        _ => return None,
    })
}
