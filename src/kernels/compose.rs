//! Composes a kernel's WGSL text from the crate's shader files.
//!
//! A shader file is WGSL that parses as it stands. What varies is marked by directives, comments that begin with `//#`:
//!
//! | directive | meaning |
//! | --- | --- |
//! | `//#include common/x.wgsl` | adds that file, once |
//! | `const N: u32 = 4u; //#param` | the value comes from the spec; also for `i32`, `f32` and `bool` |
//! | `alias A = f32; //#param` | the aliased type comes from the spec as WGSL |
//! | `alias T = f32; //#type` | the aliased type is a device type's storage type, and each identifier `T_x` names that type's function `x` |
//! | `//#if F`, `//#if !F`, `//#else`, `//#endif` | keeps the lines between if the flag `F` is true, or false |
//! | `//#insert N` | replaced by the spec's code, which may hold directives too |
//! | `for (var j = 0u; j < N; j++) { //#unroll` | the body N times, as blocks in which `j` is a constant: array elements that are counted by it stay in registers on every driver. N is a `u32` parameter; the body has no `break` or `continue`, and the loop's brace closes at its own indentation |
//!
//! Each of these gets a line of its own, but `param`, `type` and `unroll`, which end a line. The same parameter may
//! be declared in several files of one composition; its first declaration stays.
//!
//! A type's module, `types/<type>.wgsl`, is added where an identifier that begins with the type's name and `_` is used.
//! Of the files that were added, only the declarations that the main file reaches stay in the text.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

use super::device_type::DeviceType;
use super::texels;
use super::tiles;
use super::wgsl::{Item, Kind, Lexer, finite_literal, identifiers, split_items};

include!(concat!(env!("OUT_DIR"), "/shaders.rs"));

/// A request for one composed shader; two equal specs compose to the same text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Spec {
    /// The main file.
    pub file: &'static str,
    /// What its directives name. Each must be there, and no other.
    pub params: BTreeMap<&'static str, Param>,
    /// The binding numbers of buffers that the shader reads as textures' texels.
    pub texels: Vec<u32>,
}

/// The value of one parameter of a [`Spec`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Param {
    /// For `const N: u32 = ..; //#param`
    U32(u32),
    /// For `const N: i32 = ..; //#param`
    I32(i32),
    /// The bits of the value, for `const N: f32 = ..; //#param`
    F32(u32),
    /// For `const N: bool = ..; //#param` and `//#if N`
    Flag(bool),
    /// For `alias N = ..; //#type`
    Type(DeviceType),
    /// The aliased type, for `alias N = ..; //#param`
    Wgsl(String),
    /// For `//#insert N`
    Code(String),
}

impl Spec {
    /// A spec of this file without parameters.
    pub fn new(file: &'static str) -> Spec {
        Spec { file, params: BTreeMap::new(), texels: vec![] }
    }

    /// Sets a parameter.
    pub fn with(mut self, name: &'static str, value: Param) -> Spec {
        self.params.insert(name, value);
        self
    }

    /// Sets a `u32` constant.
    pub fn u32(self, name: &'static str, value: u32) -> Spec {
        self.with(name, Param::U32(value))
    }

    /// Sets an `i32` constant.
    pub fn i32(self, name: &'static str, value: i32) -> Spec {
        self.with(name, Param::I32(value))
    }

    /// Sets an `f32` constant, which must be finite.
    pub fn f32(self, name: &'static str, value: f32) -> Spec {
        self.with(name, Param::F32(value.to_bits()))
    }

    /// Sets a flag or a `bool` constant.
    pub fn flag(self, name: &'static str, value: bool) -> Spec {
        self.with(name, Param::Flag(value))
    }

    /// Sets a device type.
    pub fn ty(self, name: &'static str, value: DeviceType) -> Spec {
        self.with(name, Param::Type(value))
    }

    /// Sets an alias.
    pub fn wgsl(self, name: &'static str, value: impl Into<String>) -> Spec {
        self.with(name, Param::Wgsl(value.into()))
    }

    /// Sets code to insert.
    pub fn code(self, name: &'static str, value: impl Into<String>) -> Spec {
        self.with(name, Param::Code(value.into()))
    }
}

/// Why a spec could not be composed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComposeError {
    /// The shader file, or the code that was inserted into it.
    pub file: String,
    /// The line in it, from 1; 0 where the fault is not in one line.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl ComposeError {
    fn new(file: &str, line: usize, message: impl Into<String>) -> ComposeError {
        ComposeError { file: file.to_string(), line, message: message.into() }
    }
}

impl fmt::Display for ComposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for ComposeError {}

/// Composes the text of `spec` from the crate's shaders.
pub fn compose(spec: &Spec) -> Result<String, ComposeError> {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    let text = LIBRARY.get_or_init(|| Library::new(SHADERS)).compose(spec)?;
    if spec.texels.is_empty() { Ok(text) } else { texels::rewrite(spec.file, &text, &spec.texels) }
}

/// A number that tells the shaders and tiles of this build from those of others.
pub fn version() -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    (SHADERS, tiles::TILES, tiles::COOP_TILES, tiles::CONV_COOP_TILES).hash(&mut hasher);
    hasher.finish()
}

/// The shader files, sorted by name, and what was parsed of them.
struct Library {
    files: &'static [(&'static str, &'static str)],
    /// For each file, its declarations; None inside for one that holds directives other than `include`.
    parsed: Vec<OnceLock<Option<FixedFile>>>,
}

/// A file whose text does not depend on the spec.
struct FixedFile {
    includes: Vec<&'static str>,
    items: Vec<Item<'static>>,
}

impl Library {
    fn new(files: &'static [(&'static str, &'static str)]) -> Library {
        Library { files, parsed: files.iter().map(|_| OnceLock::new()).collect() }
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.files.binary_search_by(|(n, _)| (*n).cmp(name)).ok()
    }

    fn fixed(&self, index: usize) -> Option<&FixedFile> {
        self.parsed[index].get_or_init(|| parse_fixed(self.files[index].1)).as_ref()
    }

    fn compose(&self, spec: &Spec) -> Result<String, ComposeError> {
        let main = self.find(spec.file).ok_or_else(|| ComposeError::new(spec.file, 0, "no such shader file"))?;
        let mut expander = Expander::new(self, spec);
        let main_text = expander.expand_file(main)?;
        let mut texts = Vec::new();
        let mut fixed = Vec::new();
        let mut next = 0;
        while let Some(&file) = expander.files.get(next) {
            next += 1;
            if file == main {
                continue;
            }
            match self.fixed(file) {
                Some(f) => {
                    for include in &f.includes {
                        expander.include(self.files[file].0, 0, include)?;
                    }
                    fixed.push(file);
                }
                None => texts.push(expander.expand_file(file)?),
            }
        }
        expander.check_all_declared()?;

        let main_idents = identifiers(&main_text);
        let mut linker = Linker::new(self);
        for file in fixed {
            linker.add_file(file)?;
        }
        for text in &texts {
            linker.add_items(Cow::Owned(split_items(text)));
        }
        linker.reach(&main_idents)?;
        Ok(linker.text(&main_text))
    }
}

/// Parses a file that holds no directive but `include`.
fn parse_fixed(text: &'static str) -> Option<FixedFile> {
    let mut includes = Vec::new();
    for line in text.lines() {
        let Some((_, directive)) = line.split_once("//#") else {
            continue;
        };
        includes.push(directive.strip_prefix("include ")?.trim());
    }
    Some(FixedFile { includes, items: split_items(text) })
}

/// Carries out the directives of a composition's files.
struct Expander<'a> {
    library: &'a Library,
    spec: &'a Spec,
    /// Every file of the composition, in the order of their inclusion.
    files: Vec<usize>,
    /// The parameters that directives name, in use or not.
    declared: BTreeSet<String>,
    /// The parameters whose declarations are in the text.
    emitted: HashSet<String>,
    /// The inserted parameters whose text is being expanded.
    inserting: Vec<String>,
}

/// Ends the first line of a loop that is written out turn by turn.
const UNROLL: &str = "//#unroll";

/// Where a line comes from, for errors.
#[derive(Clone, Copy)]
struct Place<'a> {
    file: &'a str,
    line: usize,
}

impl Place<'_> {
    fn error(self, message: impl Into<String>) -> ComposeError {
        ComposeError::new(self.file, self.line, message)
    }
}

/// One `//#if` around the current line.
struct Branch {
    line: usize,
    /// Whether the lines around the `//#if` are kept.
    outer: bool,
    /// Whether the lines at hand are.
    kept: bool,
    has_else: bool,
}

impl<'a> Expander<'a> {
    fn new(library: &'a Library, spec: &'a Spec) -> Self {
        Expander {
            library,
            spec,
            files: Vec::new(),
            declared: BTreeSet::new(),
            emitted: HashSet::new(),
            inserting: Vec::new(),
        }
    }

    fn expand_file(&mut self, index: usize) -> Result<String, ComposeError> {
        let (name, text) = self.library.files[index];
        if !self.files.contains(&index) {
            self.files.push(index);
        }
        let mut out = String::with_capacity(text.len());
        self.expand(name, text, &mut out)?;
        if out.contains(UNROLL) {
            let lines: Vec<&str> = out.lines().collect();
            let mut unrolled = String::with_capacity(4 * out.len());
            self.unroll(name, &lines, &mut unrolled)?;
            out = unrolled;
        }
        Ok(rename_types(&out, self.spec))
    }

    /// Writes `lines` with each marked loop replaced by its turns.
    fn unroll(&self, file: &str, lines: &[&str], out: &mut String) -> Result<(), ComposeError> {
        let mut rest = lines;
        while let Some((line, after)) = rest.split_first() {
            rest = after;
            let Some(header) = line.trim_end().strip_suffix(UNROLL) else {
                out.push_str(line);
                out.push('\n');
                continue;
            };
            let wrong = |what: &str| ComposeError::new(file, 0, format!("{}: {what}", header.trim()));
            let tokens: Vec<&str> = Lexer::new(header).map(|t| t.text).collect();
            let ["for", "(", "var", name, "=", "0u", ";", _, "<", bound, ";", ..] = tokens[..] else {
                return Err(wrong("//#unroll takes for (var j = 0u; j < N; j++) {"));
            };
            let Some(Param::U32(turns)) = self.spec.params.get(bound) else {
                return Err(wrong("the bound is to be a u32 parameter"));
            };
            let indent = &header[..header.len() - header.trim_start().len()];
            let close = |l: &&str| l.strip_prefix(indent) == Some("}");
            let end = rest.iter().position(close).ok_or_else(|| wrong("the loop is not closed"))?;
            for turn in 0..*turns {
                out.push_str(&format!("{indent}{{\n{indent}    const {name} = {turn}u;\n"));
                self.unroll(file, &rest[..end], out)?;
                out.push_str(&format!("{indent}}}\n"));
            }
            rest = &rest[end + 1..];
        }
        Ok(())
    }

    fn include(&mut self, file: &str, line: usize, name: &str) -> Result<(), ComposeError> {
        let index = self
            .library
            .find(name)
            .ok_or_else(|| ComposeError::new(file, line, format!("includes {name}, which does not exist")))?;
        if !self.files.contains(&index) {
            self.files.push(index);
        }
        Ok(())
    }

    fn expand(&mut self, file: &str, text: &str, out: &mut String) -> Result<(), ComposeError> {
        let mut branches: Vec<Branch> = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let place = Place { file, line: i + 1 };
            let kept = branches.last().is_none_or(|b| b.kept);
            let Some((before, directive)) = line.split_once("//#") else {
                // `enable f16;` is a file's own way to parse as it stands; the whole text's is set at the end.
                if kept && !line.starts_with("enable ") {
                    out.push_str(line);
                    out.push('\n');
                }
                continue;
            };
            let before = before.trim();
            let mut words = directive.split_whitespace();
            let word = words.next().unwrap_or("");
            if word == "unroll" {
                if kept {
                    out.push_str(line);
                    out.push('\n');
                }
                continue;
            }
            if matches!(word, "param" | "type") {
                self.declaration(place, word, before, kept, out)?;
                continue;
            }
            if !before.is_empty() {
                return Err(place.error(format!("//#{word} needs a line of its own")));
            }
            let argument = words.next();
            if words.next().is_some() {
                return Err(place.error(format!("//#{word} takes one argument at most")));
            }
            let expects =
                |name: &str| argument.ok_or_else(|| place.error(format!("//#{word} takes the name of a {name}")));
            match word {
                "if" => {
                    let argument = expects("flag")?;
                    let (name, wanted) = match argument.strip_prefix('!') {
                        Some(name) => (name, false),
                        None => (argument, true),
                    };
                    self.declared.insert(name.to_string());
                    branches.push(Branch {
                        line: place.line,
                        outer: kept,
                        kept: kept && self.flag(place, name)? == wanted,
                        has_else: false,
                    });
                }
                "else" => match branches.last_mut() {
                    Some(b) if !b.has_else => {
                        b.has_else = true;
                        b.kept = b.outer && !b.kept;
                    }
                    _ => return Err(place.error("//#else without an //#if")),
                },
                "endif" => {
                    if branches.pop().is_none() {
                        return Err(place.error("//#endif without an //#if"));
                    }
                }
                "include" => {
                    let name = expects("file")?;
                    if kept {
                        self.include(file, place.line, name)?;
                    }
                }
                "insert" => {
                    let name = expects("parameter")?;
                    self.declared.insert(name.to_string());
                    if kept {
                        self.insert(place, name, out)?;
                    }
                }
                _ => return Err(place.error(format!("//#{word} is not a directive"))),
            }
        }
        match branches.last() {
            Some(b) => Err(ComposeError::new(file, b.line, "//#if without its //#endif")),
            None => Ok(()),
        }
    }

    fn param(&self, place: Place, name: &str) -> Result<&'a Param, ComposeError> {
        self.spec.params.get(name).ok_or_else(|| place.error(format!("the spec lacks the parameter {name}")))
    }

    fn flag(&self, place: Place, name: &str) -> Result<bool, ComposeError> {
        match self.param(place, name)? {
            Param::Flag(value) => Ok(*value),
            other => Err(place.error(format!("{name} is to be a flag, not {other:?}"))),
        }
    }

    fn insert(&mut self, place: Place, name: &str, out: &mut String) -> Result<(), ComposeError> {
        let Param::Code(code) = self.param(place, name)? else {
            return Err(place.error(format!("{name} is to be code")));
        };
        if self.inserting.iter().any(|n| n == name) {
            return Err(place.error(format!("the code {name} inserts itself")));
        }
        self.inserting.push(name.to_string());
        let file = format!("{}, code {name}", place.file);
        self.expand(&file, code, out)?;
        self.inserting.pop();
        Ok(())
    }

    /// Writes a declaration that ends in `//#param` or `//#type`, with the spec's value.
    fn declaration(
        &mut self,
        place: Place,
        word: &str,
        text: &str,
        kept: bool,
        out: &mut String,
    ) -> Result<(), ComposeError> {
        let tokens: Vec<&str> = Lexer::new(text).map(|t| t.text).collect();
        let (name, ty) = match tokens[..] {
            ["const", name, ":", ty, "=", ..] if word == "param" => (name, Some(ty)),
            ["alias", name, "=", ..] => (name, None),
            _ => {
                return Err(place.error(format!(
                    "//#{word} ends a line with {}",
                    match word {
                        "type" => "alias NAME = TYPE;",
                        _ => "const NAME: TYPE = VALUE; or alias NAME = TYPE;",
                    }
                )));
            }
        };
        self.declared.insert(name.to_string());
        if !kept || self.emitted.contains(name) {
            return Ok(());
        }
        let param = self.param(place, name)?;
        let line = match (ty, word, param) {
            (Some("u32"), _, Param::U32(v)) => format!("const {name}: u32 = {v}u;\n"),
            // The least value has no literal.
            (Some("i32"), _, Param::I32(v)) => format!("const {name}: i32 = i32({v});\n"),
            (Some("f32"), _, Param::F32(bits)) => {
                let value = f32::from_bits(*bits);
                if !value.is_finite() {
                    return Err(place.error(format!(
                        "{name} is {value}, but a constant of WGSL is finite; pass its bits as a u32"
                    )));
                }
                format!("const {name}: f32 = {};\n", finite_literal(value))
            }
            (Some("bool"), _, Param::Flag(v)) => format!("const {name}: bool = {v};\n"),
            (None, "param", Param::Wgsl(v)) => format!("alias {name} = {v};\n"),
            (None, "type", Param::Type(v)) => format!("alias {name} = {};\n", v.wgsl()),
            _ => {
                let wanted = match (ty, word) {
                    (Some(ty), _) => ty,
                    (None, "type") => "a device type",
                    (None, _) => "WGSL",
                };
                return Err(place.error(format!("{name} is to be {wanted}, not {param:?}")));
            }
        };
        self.emitted.insert(name.to_string());
        out.push_str(&line);
        Ok(())
    }

    fn check_all_declared(&self) -> Result<(), ComposeError> {
        match self.spec.params.keys().find(|n| !self.declared.contains(**n)) {
            Some(name) => {
                Err(ComposeError::new(self.spec.file, 0, format!("the spec's parameter {name} is not declared")))
            }
            None => Ok(()),
        }
    }
}

/// Replaces the prefix of each identifier `T_x`, for a type parameter T, by the name of its device type.
fn rename_types(text: &str, spec: &Spec) -> String {
    let types: Vec<(&str, &str)> = spec
        .params
        .iter()
        .filter_map(|(name, param)| match param {
            Param::Type(t) => Some((*name, t.name())),
            _ => None,
        })
        .collect();
    if types.is_empty() {
        return text.to_string();
    }
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for token in Lexer::new(text).filter(|t| t.kind == Kind::Ident) {
        let Some((prefix, _)) = token.text.split_once('_') else {
            continue;
        };
        if let Some((_, name)) = types.iter().find(|(param, _)| *param == prefix) {
            out.push_str(&text[done..token.start]);
            out.push_str(name);
            done = token.start + prefix.len();
        }
    }
    out.push_str(&text[done..]);
    out
}

/// Picks the declarations that a main text reaches, of those that were added to it.
struct Linker<'a> {
    library: &'a Library,
    groups: Vec<(Cow<'a, [Item<'a>]>, Vec<bool>)>,
    /// A declaration's group and place in it, by name.
    index: HashMap<&'a str, (usize, usize)>,
    /// The fixed files among the groups.
    added: HashSet<usize>,
    seen: HashSet<&'a str>,
}

impl<'a> Linker<'a> {
    fn new(library: &'a Library) -> Self {
        Linker { library, groups: Vec::new(), index: HashMap::new(), added: HashSet::new(), seen: HashSet::new() }
    }

    fn add_items(&mut self, items: Cow<'a, [Item<'a>]>) {
        let group = self.groups.len();
        for (i, item) in items.iter().enumerate() {
            self.index.insert(item.name, (group, i));
        }
        let reached = vec![false; items.len()];
        self.groups.push((items, reached));
    }

    /// Adds a fixed file and those that it includes.
    fn add_file(&mut self, file: usize) -> Result<(), ComposeError> {
        if !self.added.insert(file) {
            return Ok(());
        }
        let name = self.library.files[file].0;
        let fixed = self
            .library
            .fixed(file)
            .ok_or_else(|| ComposeError::new(name, 0, "a type's module and what it includes take no parameters"))?;
        for include in &fixed.includes {
            let index = self
                .library
                .find(include)
                .ok_or_else(|| ComposeError::new(name, 0, format!("includes {include}, which does not exist")))?;
            self.add_file(index)?;
        }
        self.add_items(Cow::Borrowed(&fixed.items));
        Ok(())
    }

    /// Marks what these identifiers name and what that uses in turn.
    fn reach(&mut self, from: &[&'a str]) -> Result<(), ComposeError> {
        let mut pending = from.to_vec();
        for (items, reached) in &mut self.groups {
            for (item, reached) in items.iter().zip(reached) {
                if item.is_entry {
                    *reached = true;
                    pending.extend(&item.idents);
                }
            }
        }
        while let Some(ident) = pending.pop() {
            if !self.seen.insert(ident) {
                continue;
            }
            if let Some((prefix, _)) = ident.split_once('_')
                && let Some(t) = DeviceType::from_name(prefix)
                && let Some(file) = self.library.find(t.module())
            {
                self.add_file(file)?;
            }
            if let Some(&(group, i)) = self.index.get(ident) {
                let (items, reached) = &mut self.groups[group];
                if !reached[i] {
                    reached[i] = true;
                    pending.extend(&items[i].idents);
                }
            }
        }
        Ok(())
    }

    /// The main text followed by the declarations that were reached.
    fn text(&self, main: &str) -> String {
        let mut out = String::with_capacity(2 * main.len());
        if self.seen.iter().any(|ident| is_half(ident)) {
            out.push_str("enable f16;\n");
        }
        if self.seen.contains("coop_mat16x16") {
            out.push_str("enable wgpu_cooperative_matrix;\n");
        }
        out.push_str(main);
        for (items, reached) in &self.groups {
            for (item, _) in items.iter().zip(reached).filter(|(_, reached)| **reached) {
                out.push_str(item.text);
                out.push('\n');
            }
        }
        out
    }
}

/// Whether an identifier names a type of half-precision floats.
fn is_half(ident: &str) -> bool {
    ident == "f16"
        || matches!(
            ident,
            "vec2h"
                | "vec3h"
                | "vec4h"
                | "mat2x2h"
                | "mat2x3h"
                | "mat2x4h"
                | "mat3x2h"
                | "mat3x3h"
                | "mat3x4h"
                | "mat4x2h"
                | "mat4x3h"
                | "mat4x4h"
        )
}

#[cfg(test)]
mod tests;
