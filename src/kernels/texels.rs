//! Inputs that a shader reads as texels of a texture instead of from a storage buffer, four words a texel.
//!
//! llvmpipe reads a storage buffer lane by lane, each with a check of its own, and a texture in whole vectors: 8 lanes' loads
//! of a `vec4` take 230 ns there from a buffer and 33 from a texture (benches/RESULTS.md).

use super::ComposeError;
use super::wgsl::{Kind, Lexer, Token};

/// Bytes of a texel: `rgba32uint`.
pub const TEXEL: u64 = 16;

/// Texels of a row. Textures hold the words of a buffer row by row.
pub const ROW: u32 = 1 << ROW_LOG;
const ROW_LOG: u32 = 10;

/// Bytes of a row.
pub const ROW_BYTES: u64 = ROW as u64 * TEXEL;

/// Textures that every device binds at once.
pub const MOST_BOUND: usize = 16;

/// Rows of a texture at most, which WebGPU's devices take.
pub const MOST_ROWS: u32 = 8192;

/// Bytes that a texture holds at most.
pub const MOST: u64 = MOST_ROWS as u64 * ROW_BYTES;

/// Makes the storage buffers with these binding numbers textures, and each read of an element of theirs a load of a texel.
///
/// # Errors
/// Where one is written, its elements are not one, two or four words, or it is used but by its elements.
pub(super) fn rewrite(file: &str, text: &str, bindings: &[u32]) -> Result<String, ComposeError> {
    let wrong = |message: String| ComposeError { file: file.to_string(), line: 0, message };
    let mut out = text.to_string();
    for binding in bindings {
        // what the shader does not use is not declared
        let Some(line) = out.lines().find(|line| declares(&out, line, *binding)) else { continue };
        let declared = line.split_once(READ).map_or("", |(_, declared)| declared);
        if declared.is_empty() {
            return Err(wrong(format!("binding {binding} is no buffer that is read")));
        }
        let parts = declared.split_once(": array<").and_then(|(name, ty)| Some((name, ty.strip_suffix(">;")?)));
        let (name, ty) = parts.ok_or_else(|| wrong(format!("binding {binding} is no array")))?;
        let ty = aliased(&out, ty);
        let load = load(&ty, name).ok_or_else(|| wrong(format!("{name}: no texels of {ty}")))?;
        let texture = format!("@group(0) @binding({binding}) var {name}: texture_2d<u32>;\n{load}");
        let (before, after) = out.split_once(line).unwrap_or_default();
        let reads = |text: &str| reads(text, name).map_err(|m| wrong(format!("{name}: {m}")));
        out = format!("{}{texture}{}", reads(before)?, reads(after.strip_prefix('\n').unwrap_or(after))?);
    }
    Ok(out)
}

const READ: &str = ") var<storage, read> ";

/// Whether a line declares a variable with this binding number, or a constant's in its place.
fn declares(text: &str, line: &str, binding: u32) -> bool {
    let of = |line: &str| Some(line.strip_prefix("@group(0) @binding(")?.split_once(')')?.0.to_string());
    of(line).is_some_and(|at| at.parse() == Ok(binding) || text.contains(&format!("const {at}: u32 = {binding}u;")))
}

/// What a name of a type stands for in the text.
fn aliased(text: &str, ty: &str) -> String {
    let of = |name: &str| {
        let start = format!("alias {name} = ");
        let from = text.find(&start)? + start.len();
        Some(text[from..].split_once(';')?.0.trim().to_string())
    };
    let mut ty = ty.to_string();
    while let Some(next) = of(&ty) {
        ty = next;
    }
    // vectors of an alias
    match ty.split_once('<').and_then(|(head, rest)| Some((head, of(rest.strip_suffix('>')?)?))) {
        Some((head, inner)) => format!("{head}<{inner}>"),
        None => ty,
    }
}

/// The function that loads an element of this type.
fn load(ty: &str, name: &str) -> Option<String> {
    let (words, bits) = match ty.split_once('<') {
        None => (1, "u32"),
        Some(("vec2", _)) => (2, "vec2<u32>"),
        Some(("vec4", _)) => (4, "vec4<u32>"),
        _ => return None,
    };
    let element = ty.trim_end_matches('>').rsplit('<').next()?;
    if !["f32", "i32", "u32"].contains(&element) {
        return None;
    }
    let (places, log) = (ROW - 1, ROW_LOG);
    let texel = |at: &str| format!("textureLoad({name}, vec2<u32>({at} & {places}u, {at} >> {log}u), 0)");
    let (before, value) = match words {
        4 => (String::new(), texel("at")),
        2 => (format!("    let four = {};\n", texel("(at / 2u)")), "select(four.xy, four.zw, (at & 1u) == 1u)".into()),
        _ => (format!("    let four = {};\n", texel("(at / 4u)")), "four[at & 3u]".into()),
    };
    let value = if ty == bits { value } else { format!("bitcast<{ty}>({value})") };
    Some(format!("fn texel_of_{name}(at: u32) -> {ty} {{\n{before}    return {value};\n}}\n"))
}

/// The text with each element of `name` loaded as a texel.
fn reads(text: &str, name: &str) -> Result<String, String> {
    let tokens: Vec<Token<'_>> = Lexer::new(text).collect();
    let mut out = String::with_capacity(text.len() + 256);
    // brackets that are open, and whether each is one of `name`'s
    let (mut copied, mut open, mut hidden) = (0, vec![], 0);
    for (i, t) in tokens.iter().enumerate() {
        if t.text == "fn" {
            hidden = hidden.max(hides(&tokens, i, name));
        }
        if i < hidden {
            continue;
        }
        let next = tokens.get(i + 1).map(|t| t.text);
        match t.text {
            _ if t.kind == Kind::Ident && t.text == name => {
                let before = i.checked_sub(1).map(|b| tokens[b].text);
                // a member of a struct
                if before == Some(".") || next == Some(":") && matches!(before, Some("{" | ",")) {
                    continue;
                }
                if next != Some("[") {
                    return Err("used but by its elements".into());
                }
                out.push_str(&text[copied..t.start]);
                out.push_str(&format!("texel_of_{name}(u32("));
                copied = tokens[i + 1].start + 1;
            }
            "[" => open.push(i > 0 && tokens[i - 1].text == name && (i < 2 || tokens[i - 2].text != ".")),
            "]" if open.pop() == Some(true) => {
                out.push_str(&text[copied..t.start]);
                out.push_str("))");
                copied = t.start + 1;
            }
            _ => {}
        }
    }
    out.push_str(&text[copied..]);
    Ok(out)
}

/// Where the function that begins at token `at` ends, if a parameter or a variable of it has this name; else 0.
fn hides(tokens: &[Token<'_>], at: usize, name: &str) -> usize {
    let rest = &tokens[at..];
    let mut depth = 0usize;
    let ends = rest.iter().position(|t| {
        match t.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => return false,
        }
        depth == 0
    });
    let end = ends.unwrap_or(rest.len());
    let named = |pair: &[Token<'_>]| match pair {
        [a, b] => a.text == name && b.text == ":" || b.text == name && matches!(a.text, "let" | "var" | "const"),
        _ => false,
    };
    if rest[..end].windows(2).any(named) { at + end } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "alias T = f32;\nconst AT: u32 = 1u;\n@group(0) @binding(AT) var<storage, read> a: array<vec4<T>>;\n\
        @group(0) @binding(2) var<storage, read> b: array<u32>;\n\
        @group(0) @binding(3) var<storage, read> c: array<vec2<u32>>;\n\
        @group(0) @binding(4) var<storage, read_write> y: array<T>;\n\
        struct At { a: u32 }\nfn one(a: array<u32, 2>) -> u32 { let b = a; if a[0] > 1u { return b[1]; } return 1u; }\n\
        @compute @workgroup_size(1) fn main() {\n    let at = At(one(array<u32, 2>(1u, 2u)));\n\
        \x20   y[b[at.a + b[2]]] = a[i32(c[b[0] + 1u].y)].x + f32(at.a);\n}\n";

    #[test]
    fn elements_become_texels() {
        let text = rewrite("x", TEXT, &[1, 2, 3]).unwrap();
        let expected = "y[texel_of_b(u32(at.a + texel_of_b(u32(2))))] = \
            texel_of_a(u32(i32(texel_of_c(u32(texel_of_b(u32(0)) + 1u)).y))).x + f32(at.a);";
        assert!(text.contains(expected), "{text}");
        let module = naga::front::wgsl::parse_str(&text).map_err(|e| e.emit_to_string(&text)).unwrap();
        let flags = naga::valid::ValidationFlags::all();
        naga::valid::Validator::new(flags, naga::valid::Capabilities::all()).validate(&module).unwrap();
        assert_eq!(text.matches("texture_2d<u32>").count(), 3);
        assert_eq!(rewrite("x", TEXT, &[9]).unwrap(), TEXT);
    }

    #[test]
    fn what_cannot_be_texels_is_refused() {
        let because = |text: &str, binding| rewrite("x", text, &[binding]).unwrap_err().to_string();
        assert!(because(TEXT, 4).contains("binding 4 is no buffer that is read"));
        assert!(because(&TEXT.replace("= f32;", "= f16;"), 1).contains("no texels of vec4<f16>"));
        assert!(because(&TEXT.replace("= At(", "= arrayLength(&a) + At("), 1).contains("used but by its elements"));
    }
}
