//! WGSL's text cut into declarations and tokens, as far as composing needs it.

/// One declaration at the top level of a file.
#[derive(Clone)]
pub(super) struct Item<'t> {
    pub name: &'t str,
    pub text: &'t str,
    /// The identifiers in it, each once.
    pub idents: Vec<&'t str>,
    /// Whether it is a pipeline's entry point.
    pub is_entry: bool,
}

/// Splits a text into its declarations; directives of WGSL and assertions are left out.
pub(super) fn split_items(text: &str) -> Vec<Item<'_>> {
    let mut items = Vec::new();
    let mut tokens: Vec<Token> = Vec::new();
    let mut depth = 0usize;
    for token in Lexer::new(text) {
        tokens.push(token);
        let ends = match token.text {
            "{" | "(" | "[" => {
                depth += 1;
                false
            }
            "}" | ")" | "]" => {
                depth = depth.saturating_sub(1);
                depth == 0 && token.text == "}"
            }
            ";" => depth == 0,
            _ => false,
        };
        if ends {
            items.extend(item(text, &tokens));
            tokens.clear();
        }
    }
    items
}

/// The declaration that these tokens make, if they make one.
fn item<'t>(text: &'t str, tokens: &[Token<'t>]) -> Option<Item<'t>> {
    let first = tokens.first()?;
    let last = tokens.last()?;
    let (keyword, is_entry) = keyword(tokens);
    let keyword = keyword?;
    let mut rest = tokens[keyword + 1..].iter().peekable();
    if tokens[keyword].text == "var" && rest.peek().is_some_and(|t| t.text == "<") {
        rest.find(|t| t.text == ">");
    }
    let name = rest.next().filter(|t| t.kind == Kind::Ident)?.text;
    Some(Item {
        name,
        text: &text[first.start..last.start + last.text.len()],
        idents: unique_idents(tokens.iter().copied()),
        is_entry,
    })
}

/// The place of a declaration's keyword, after its attributes, and whether these make an entry point.
fn keyword(tokens: &[Token]) -> (Option<usize>, bool) {
    let mut is_entry = false;
    let mut depth = 0usize;
    for (i, token) in tokens.iter().enumerate() {
        match token.text {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            "fn" | "const" | "override" | "alias" | "struct" | "var" if depth == 0 => {
                return (Some(i), is_entry);
            }
            "compute" | "vertex" | "fragment" if i > 0 && tokens[i - 1].text == "@" => {
                is_entry = true;
            }
            _ => {}
        }
    }
    (None, is_entry)
}

pub(super) fn identifiers(text: &str) -> Vec<&str> {
    unique_idents(Lexer::new(text))
}

/// The identifiers among tokens, each once, with `f16` where a literal has that type.
fn unique_idents<'t>(tokens: impl Iterator<Item = Token<'t>>) -> Vec<&'t str> {
    let mut idents: Vec<&str> = tokens
        .filter_map(|t| match t.kind {
            Kind::Ident => Some(t.text),
            Kind::Number => t.text.ends_with('h').then_some("f16"),
            Kind::Punct => None,
        })
        .collect();
    idents.sort_unstable();
    idents.dedup();
    idents
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Ident,
    Number,
    Punct,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'t> {
    pub kind: Kind,
    pub start: usize,
    pub text: &'t str,
}

/// Cuts WGSL into identifiers, numbers and single characters, and skips its comments.
pub(super) struct Lexer<'t> {
    pub text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    pub fn new(text: &'t str) -> Self {
        Lexer { text, at: 0 }
    }

    fn skip_blank(&mut self) {
        let bytes = self.text.as_bytes();
        while let Some(&b) = bytes.get(self.at) {
            match (b, bytes.get(self.at + 1)) {
                (b'/', Some(b'/')) => {
                    self.at += bytes[self.at..].iter().position(|b| *b == b'\n').unwrap_or(bytes.len() - self.at);
                }
                (b'/', Some(b'*')) => self.skip_block_comment(),
                _ if b.is_ascii_whitespace() => self.at += 1,
                _ => return,
            }
        }
    }

    /// Skips a comment between slashes and asterisks, which may hold others.
    fn skip_block_comment(&mut self) {
        let bytes = self.text.as_bytes();
        let mut depth = 0usize;
        while self.at < bytes.len() {
            match &bytes[self.at..] {
                [b'/', b'*', ..] => {
                    depth += 1;
                    self.at += 2;
                }
                [b'*', b'/', ..] => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.at += 1,
            }
        }
    }
}

impl<'t> Iterator for Lexer<'t> {
    type Item = Token<'t>;

    fn next(&mut self) -> Option<Token<'t>> {
        self.skip_blank();
        let rest = &self.text[self.at..];
        let first = rest.bytes().next()?;
        // Every character beyond ASCII counts as part of an identifier.
        let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80;
        let (kind, length) = if first.is_ascii_digit() {
            let length = rest.bytes().position(|b| !is_word(b) && b != b'.');
            (Kind::Number, length.unwrap_or(rest.len()))
        } else if is_word(first) {
            let length = rest.bytes().position(|b| !is_word(b));
            (Kind::Ident, length.unwrap_or(rest.len()))
        } else {
            (Kind::Punct, 1)
        };
        let token = Token { kind, start: self.at, text: &rest[..length] };
        self.at += length;
        Some(token)
    }
}

/// A literal of a finite value: the digits that tell it from its neighbours, and all of them of the greatest, which fewer
/// would round up to what browsers refuse.
pub fn finite_literal(v: f32) -> String {
    if v.abs() == f32::MAX { format!("{:?}f", v as f64) } else { format!("{v:?}f") }
}
