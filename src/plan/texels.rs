//! Which inputs of dispatches are read as texels of textures (`kernels/texels.rs`), where the device gains from it: constants
//! lie in a texture instead of a buffer, activations are copied to one before the dispatch that reads them.

use std::collections::HashSet;

use super::program::{BufId, BufKind, Dispatch, Program, Span};
use crate::kernels::When;
use crate::kernels::texels::{MOST, ROW_BYTES};

/// Bytes from which on an activation gains more than the copy costs, which ends a pass.
const LEAST: u64 = 16 << 10;
/// Bytes from which on a constant is worth the memory that a texture takes besides.
const LEAST_CONSTANT: u64 = 8 << 10;
/// Words whose copy costs less than what one operation gains that reads its words as texels.
const WORDS_AN_OPERATION: u64 = 8;

/// A texture that a dispatch reads an activation from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Which of the dispatch's spans it stands for.
    pub span: usize,
    /// The texture.
    pub texture: usize,
    /// Whether it does not hold the bytes yet.
    pub fill: bool,
}

/// The textures of a program's activations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Textures {
    /// The rows of each.
    pub rows: Vec<u64>,
    /// Those that each dispatch reads.
    pub of: Vec<Vec<Copied>>,
}

impl Textures {
    /// Bytes of all of them.
    pub fn total(&self) -> u64 {
        self.rows.iter().sum::<u64>() * ROW_BYTES
    }

    /// Whether bytes are copied before this dispatch.
    pub fn fills(&self, dispatch: usize) -> bool {
        self.of[dispatch].iter().any(|c| c.fill)
    }
}

impl Dispatch {
    /// The binding number of a span.
    pub fn binding(&self, span: usize) -> u32 {
        (span + usize::from(!self.params.is_empty())) as u32
    }

    /// Whether a span is read as texels.
    pub fn reads_texels(&self, span: usize) -> bool {
        self.spec.texels.contains(&self.binding(span))
    }
}

/// Keeps of the inputs that may be texels those that gain, or all that can. Buffers in `kept` are read back, as buffers.
pub fn choose(program: &mut Program, when: When, kept: &HashSet<BufId>) {
    let whole = |s: &Span| s.offset == 0 && s.bytes == program.buffer(s.buf).bytes;
    // a constant lies in one place
    let mut buffers = kept.clone();
    for d in &program.dispatches {
        let others = d.spans.iter().enumerate().filter(|(i, s)| s.write || !d.reads_texels(*i) || !whole(s));
        buffers.extend(others.map(|(_, s)| s.buf));
    }
    let takes = |d: &Dispatch, s: &Span| {
        let gains = match program.buffer(s.buf).kind {
            BufKind::Constant(_) if buffers.contains(&s.buf) => return false,
            BufKind::Constant(_) => s.bytes >= LEAST_CONSTANT,
            _ => s.bytes >= LEAST && s.bytes / 4 <= WORDS_AN_OPERATION * d.flops,
        };
        s.bytes <= MOST && (gains || when == When::Always)
    };
    let taken = |d: &Dispatch| -> Vec<u32> {
        let all = d.spans.iter().enumerate().filter(|(i, s)| d.reads_texels(*i) && takes(d, s));
        all.map(|(i, _)| d.binding(i)).collect()
    };
    let texels: Vec<Vec<u32>> = program.dispatches.iter().map(taken).collect();
    for (d, texels) in program.dispatches.iter_mut().zip(texels) {
        if d.spec.texels != texels {
            d.spec = std::sync::Arc::new(crate::kernels::Spec { texels, ..d.spec.as_ref().clone() });
        }
    }
}

/// The constants that dispatches read as texels.
pub fn constants(program: &Program) -> HashSet<BufId> {
    let all = program.dispatches.iter().flat_map(|d| d.spans.iter().enumerate().filter(|(i, _)| d.reads_texels(*i)));
    all.map(|(_, s)| s.buf).filter(|b| matches!(program.buffer(*b).kind, BufKind::Constant(_))).collect()
}

/// Gives every activation that is read as texels a texture: one that holds its bytes already, else the one whose bytes
/// were read the longest ago of those that the dispatch does not read besides.
pub fn assign(program: &Program) -> Textures {
    let mut all = Textures::default();
    let mut held: Vec<(Option<Span>, usize)> = vec![];
    for (at, d) in program.dispatches.iter().enumerate() {
        let mut copied: Vec<Copied> = vec![];
        for (span, s) in d.spans.iter().enumerate().filter(|(i, _)| d.reads_texels(*i)) {
            if matches!(program.buffer(s.buf).kind, BufKind::Constant(_)) {
                continue;
            }
            let there = held.iter().position(|(h, _)| h.as_ref() == Some(s));
            let texture = there.unwrap_or_else(|| {
                let free = (0..held.len()).filter(|t| copied.iter().all(|c| c.texture != *t));
                free.min_by_key(|t| held[*t].1).unwrap_or_else(|| {
                    held.push((None, at));
                    all.rows.push(0);
                    held.len() - 1
                })
            });
            held[texture] = (Some(*s), at);
            all.rows[texture] = all.rows[texture].max(s.bytes.div_ceil(ROW_BYTES));
            copied.push(Copied { span, texture, fill: there.is_none() });
        }
        for (h, _) in &mut held {
            if h.is_some_and(|h| d.spans.iter().any(|s| s.write && s.buf == h.buf)) {
                *h = None;
            }
        }
        all.of.push(copied);
    }
    all
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::kernels::Spec;
    use crate::plan::Buffer;

    /// Dispatches without params, which may read all of their inputs as texels: buffers read, and the one written.
    fn program(bytes: &[u64], dispatches: &[(&[u32], u32)]) -> Program {
        let span = |b: u32, write| Span { buf: BufId(b), offset: 0, bytes: bytes[b as usize], write };
        let buffer = |b: &u64| Buffer { bytes: *b, elements: 4, kind: BufKind::Temp, name: String::new() };
        let dispatch = |(reads, to): &(&[u32], u32)| Dispatch {
            node: 0,
            label: String::new(),
            spec: Arc::new(Spec { texels: (0..reads.len() as u32).collect(), ..Spec::new("copy.wgsl") }),
            params: vec![],
            spans: reads.iter().map(|b| span(*b, false)).chain([span(*to, true)]).collect(),
            grid: [1, 1, 1],
            flops: bytes[*to as usize] / 4,
            chosen: None,
        };
        Program { buffers: bytes.iter().map(buffer).collect(), dispatches: dispatches.iter().map(dispatch).collect() }
    }

    fn texels(p: &Program) -> Vec<Vec<u32>> {
        p.dispatches.iter().map(|d| d.spec.texels.clone()).collect()
    }

    #[test]
    fn what_gains_is_read_as_texels() {
        let bytes = [LEAST, LEAST - 16, LEAST, 64 * LEAST, MOST + 16];
        let reads: &[(&[u32], u32)] = &[(&[0, 1], 2), (&[3, 0], 2), (&[4], 3)];
        let mut p = program(&bytes, reads);
        choose(&mut p, When::Gains, &HashSet::new());
        // too small; read by too few operations; too large
        assert_eq!(texels(&p), [vec![0], vec![1], vec![]]);
        let mut p = program(&bytes, reads);
        choose(&mut p, When::Always, &HashSet::new());
        assert_eq!(texels(&p), [vec![0, 1], vec![0, 1], vec![]]);
    }

    #[test]
    fn a_texture_is_filled_once_for_the_readers_of_one_content() {
        let n = 2 * ROW_BYTES + 16;
        // 0 is read twice, then made anew
        let p = program(&[n; 5], &[(&[0], 1), (&[0, 1], 2), (&[2], 0), (&[0], 3), (&[3, 3], 4)]);
        let t = assign(&p);
        let fills: Vec<Vec<bool>> = t.of.iter().map(|d| d.iter().map(|c| c.fill).collect()).collect();
        assert_eq!(fills, [vec![true], vec![false, true], vec![true], vec![true], vec![true, false]]);
        assert_eq!((t.rows.as_slice(), t.total()), ([3, 3].as_slice(), 6 * ROW_BYTES));
        let of = |d: usize| t.of[d].iter().map(|c| (c.span, c.texture)).collect::<Vec<_>>();
        assert_eq!((of(0), of(1)), (vec![(0, 0)], vec![(0, 0), (1, 1)]));
    }
}
