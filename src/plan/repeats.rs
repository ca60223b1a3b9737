//! Dispatches that make again what an earlier one has made, as bodies of operators do layer after layer: what they would have
//! made is read where it lies already.

use std::collections::{HashMap, HashSet};

use super::program::{BufId, BufKind, Program, Span};

/// Where two dispatches with the same shader, params and grid are the same: what they read, and what ranges they write.
type Key<'a> = (&'a crate::kernels::Spec, &'a [u8], [u32; 3], Vec<(Option<BufId>, u64, u64)>);

/// Drops repeated dispatches. Buffers in `kept` stay apart.
pub fn drop_repeats(program: &mut Program, kept: &HashSet<BufId>) {
    let mut writes: HashMap<BufId, (usize, usize)> = HashMap::new();
    for (at, d) in program.dispatches.iter().enumerate() {
        for s in d.spans.iter().filter(|s| s.write) {
            let (count, last) = writes.entry(s.buf).or_default();
            (*count, *last) = (*count + 1, at);
        }
    }
    // a temporary of one writer may be another's
    let own = |s: &Span| {
        writes.get(&s.buf).is_some_and(|(count, _)| *count == 1)
            && matches!(program.buffer(s.buf).kind, BufKind::Temp)
            && !kept.contains(&s.buf)
    };
    let mut first: HashMap<Key<'_>, usize> = HashMap::new();
    let (mut instead, mut gone) = (HashMap::new(), HashSet::new());
    for (at, d) in program.dispatches.iter().enumerate() {
        if !d.spans.iter().filter(|s| s.write).all(own) {
            continue;
        }
        let place = |s: &Span| match s.write {
            true => (None, s.offset, s.bytes),
            false => (Some(*instead.get(&s.buf).unwrap_or(&s.buf)), s.offset, s.bytes),
        };
        let key = (d.spec.as_ref(), d.params.as_slice(), d.grid, d.spans.iter().map(place).collect::<Vec<_>>());
        let Some(&earlier) = first.get(&key) else {
            first.insert(key, at);
            continue;
        };
        let settled = |(buf, ..): &(Option<BufId>, u64, u64)| {
            buf.is_none_or(|b| writes.get(&b).is_none_or(|(_, last)| *last < earlier))
        };
        let pairs = || d.spans.iter().zip(&program.dispatches[earlier].spans).filter(|(s, _)| s.write);
        let alike = pairs().all(|(s, e)| program.buffer(s.buf).bytes == program.buffer(e.buf).bytes);
        if alike && key.3.iter().all(settled) {
            instead.extend(pairs().map(|(s, e)| (s.buf, e.buf)));
            gone.insert(at);
        }
    }
    let mut at = 0..;
    program.dispatches.retain(|_| !at.next().is_some_and(|i| gone.contains(&i)));
    for s in program.dispatches.iter_mut().flat_map(|d| &mut d.spans) {
        s.buf = *instead.get(&s.buf).unwrap_or(&s.buf);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::kernels::Spec;
    use crate::plan::{Buffer, Dispatch};

    fn program(dispatches: &[(u8, &[u32], &[u32])]) -> Program {
        let span = |write: bool| move |b: &u32| Span { buf: BufId(*b), offset: 0, bytes: 16, write };
        let buffer = |i: u32| Buffer { bytes: 16, elements: 4, kind: BufKind::Temp, name: i.to_string() };
        let dispatch = |(what, reads, writes): &(u8, &[u32], &[u32])| Dispatch {
            node: 0,
            label: String::new(),
            spec: Arc::new(Spec::new("copy.wgsl")),
            params: vec![*what],
            spans: reads.iter().map(span(false)).chain(writes.iter().map(span(true))).collect(),
            grid: [1, 1, 1],
            flops: 0,
            chosen: None,
        };
        Program { buffers: (0..9).map(buffer).collect(), dispatches: dispatches.iter().map(dispatch).collect() }
    }

    fn left(dispatches: &[(u8, &[u32], &[u32])], kept: &[u32]) -> Vec<(u8, Vec<u32>)> {
        let mut p = program(dispatches);
        drop_repeats(&mut p, &kept.iter().map(|b| BufId(*b)).collect());
        p.dispatches.iter().map(|d| (d.params[0], d.spans.iter().map(|s| s.buf.0).collect())).collect()
    }

    #[test]
    fn what_is_made_twice_of_the_same_is_made_once() {
        // 0 and 1 are there; what follows from a repeated one is repeated too
        let all: &[(u8, &[u32], &[u32])] =
            &[(7, &[0], &[2]), (8, &[2], &[3]), (7, &[0], &[4]), (8, &[4], &[5]), (9, &[3, 5], &[6])];
        assert_eq!(left(all, &[6]), [(7, vec![0, 2]), (8, vec![2, 3]), (9, vec![3, 3, 6])]);
        // other params, other operands, a result that is wanted
        assert_eq!(left(&[(7, &[0], &[2]), (8, &[0], &[3]), (7, &[1], &[4]), (7, &[0], &[5])], &[5]).len(), 4);
    }

    #[test]
    fn what_changes_between_is_made_again() {
        let all: &[(u8, &[u32], &[u32])] =
            &[(1, &[], &[0]), (7, &[0], &[2]), (2, &[], &[0]), (7, &[0], &[3]), (9, &[2, 3], &[4])];
        assert_eq!(left(all, &[4]).len(), 5);
        // a result that two dispatches make stays theirs
        let all: &[(u8, &[u32], &[u32])] = &[(7, &[0], &[2]), (7, &[0], &[3]), (8, &[1], &[3]), (9, &[2, 3], &[4])];
        assert_eq!(left(all, &[4]).len(), 4);
    }
}
