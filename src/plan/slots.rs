//! Which temporaries share memory: slots, each one buffer, given out by lifetime and size.
//!
//! Greedy by size (Pisarchyk, Lee: "Efficient memory management for deep neural net inference", 2020): the largest
//! temporary first, to where its slot grows least: between the tenants that live at the same time, or behind them.
//! A dispatch must not write a slot that it also reads, so two temporaries that meet in such a dispatch never share one.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::{BufKind, Program};

/// The slots of a program.
#[derive(Debug, Clone, Default)]
pub struct Slots {
    /// Bytes of each slot.
    pub sizes: Vec<u64>,
    /// Where each buffer of the program lies; `None` for constants and externals.
    pub of: Vec<Option<Place>>,
    /// The most bytes of temporaries that live at once: no assignment can need less.
    pub lower_bound: u64,
}

/// A place in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The slot.
    pub slot: usize,
    /// Bytes from its start.
    pub offset: u64,
}

/// Every device binds at multiples of this.
const ALIGN: u64 = 256;

impl Slots {
    /// Bytes of all slots.
    pub fn total(&self) -> u64 {
        self.sizes.iter().sum()
    }
}

/// First and last dispatch that touches each buffer.
fn lifetimes(program: &Program, kept: &[bool]) -> Vec<Option<(usize, usize)>> {
    let mut life: Vec<Option<(usize, usize)>> = vec![None; program.buffers.len()];
    for (at, d) in program.dispatches.iter().enumerate() {
        for s in &d.spans {
            let entry = life[s.buf.0 as usize].get_or_insert((at, at));
            entry.1 = at;
        }
    }
    let end = program.dispatches.len();
    for (l, k) in life.iter_mut().zip(kept) {
        if *k {
            *l = Some((l.map_or(0, |l| l.0), end));
        }
    }
    life
}

/// A temporary in a slot.
struct Tenant {
    buffer: usize,
    life: (usize, usize),
    /// Its bytes in the slot.
    range: (u64, u64),
}

/// The first place among `others` (by start) that holds `bytes`, the smallest such gap first; behind them all if none.
fn fit(others: &[(u64, u64)], bytes: u64) -> u64 {
    let (mut end, mut best) = (0u64, None);
    for (start, stop) in others {
        let gap = start.saturating_sub(end);
        if gap >= bytes && best.is_none_or(|(g, _)| gap < g) {
            best = Some((gap, end));
        }
        end = end.max(stop.next_multiple_of(ALIGN));
    }
    best.map_or(end, |(_, at)| at)
}

/// Gives every temporary a place. `kept[b]` says that buffer `b` is read after the program has run: it then lies at the
/// start of its slot. No slot grows beyond `limit` bytes, unless one temporary alone is larger.
pub fn assign(program: &Program, kept: &[bool], limit: u64) -> Slots {
    let life = lifetimes(program, kept);
    let is_temp = |b: usize| matches!(program.buffers[b].kind, BufKind::Temp) && life[b].is_some();
    let temps: Vec<usize> = (0..program.buffers.len()).filter(|b| is_temp(*b)).collect();
    let clashes: Clashes = (program.dispatches.iter())
        .flat_map(|d| {
            d.spans.iter().flat_map(|a| d.spans.iter().filter(|b| a.write || b.write).map(|b| (a.buf.0, b.buf.0)))
        })
        .collect();
    let bytes = |b: &usize| Reverse(program.buffers[*b].bytes);
    let (mut by_size, mut by_time) = (temps.clone(), temps.clone());
    by_size.sort_by_key(|b| (bytes(b), life[*b]));
    by_time.sort_by_key(|b| (life[*b], bytes(b)));
    let least = least(program, &temps, &life);
    // no order and no rule is best for all graphs, and each is quick to try
    let rules = [(&by_size, limit), (&by_time, limit), (&by_size, 0), (&by_time, 0)];
    let mut slots: Option<Slots> = None;
    for (order, limit, large_first) in [false, true].into_iter().flat_map(|l| rules.map(|(o, limit)| (o, limit, l))) {
        let tried = place_all(program, kept, Rule { limit, large_first }, order, &life, &clashes);
        if slots.as_ref().is_none_or(|s| tried.total() < s.total()) {
            slots = Some(tried);
        }
        if slots.as_ref().is_some_and(|s| s.total() <= least) {
            break;
        }
    }
    Slots { lower_bound: least, ..slots.unwrap_or_default() }
}

/// The most bytes of temporaries that live at once.
fn least(program: &Program, temps: &[usize], life: &[Option<(usize, usize)>]) -> u64 {
    let mut change = vec![0i64; program.dispatches.len() + 2];
    for b in temps {
        if let Some((from, to)) = life[*b] {
            change[from] += program.buffers[*b].bytes as i64;
            change[to + 1] -= program.buffers[*b].bytes as i64;
        }
    }
    let running = change.iter().scan(0i64, |live, c| {
        *live += c;
        Some(*live)
    });
    running.max().unwrap_or(0) as u64
}

/// How a slot is chosen among those that grow least.
#[derive(Debug, Clone, Copy)]
struct Rule {
    /// No slot grows beyond, unless one temporary alone is larger.
    limit: u64,
    /// The largest slot rather than the smallest: leaves small ones to what must lie apart from the large.
    large_first: bool,
}

/// Pairs of buffers that a dispatch binds together, one of them to write.
type Clashes = HashSet<(u32, u32)>;

/// Places the temporaries in this order.
fn place_all(
    program: &Program,
    kept: &[bool],
    rule: Rule,
    order: &[usize],
    life: &[Option<(usize, usize)>],
    clashes: &Clashes,
) -> Slots {
    let mut slots = Slots { of: vec![None; program.buffers.len()], ..Slots::default() };
    let mut tenants: Vec<Vec<Tenant>> = vec![];
    for &b in order {
        let (Some((from, to)), bytes) = (life[b], program.buffers[b].bytes) else { continue };
        let mut best: Option<(u64, u64, Place)> = None;
        for (slot, all) in tenants.iter().enumerate() {
            let together: Vec<&Tenant> = all.iter().filter(|t| t.life.0 <= to && from <= t.life.1).collect();
            if together.iter().any(|t| clashes.contains(&(b as u32, t.buffer as u32))) {
                continue;
            }
            let mut ranges: Vec<(u64, u64)> = together.iter().map(|t| t.range).collect();
            ranges.sort_unstable();
            let offset = fit(&ranges, bytes);
            let growth = (offset + bytes).saturating_sub(slots.sizes[slot]);
            let allowed =
                (offset == 0 || !kept[b]) && offset + bytes <= rule.limit.max(slots.sizes[slot]) && growth < bytes;
            let size = slots.sizes[slot];
            let rank = (growth, if rule.large_first { u64::MAX - size } else { size });
            if allowed && best.is_none_or(|(g, s, _)| rank < (g, s)) {
                best = Some((rank.0, rank.1, Place { slot, offset }));
            }
        }
        let place = best.map_or(Place { slot: slots.sizes.len(), offset: 0 }, |(_, _, place)| place);
        if place.slot == slots.sizes.len() {
            slots.sizes.push(0);
            tenants.push(vec![]);
        }
        let end = place.offset + bytes;
        slots.sizes[place.slot] = slots.sizes[place.slot].max(end);
        tenants[place.slot].push(Tenant { buffer: b, life: (from, to), range: (place.offset, end) });
        slots.of[b] = Some(place);
    }
    slots
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::kernels::Spec;
    use crate::plan::{BufId, Buffer, Dispatch, Span};

    fn program(sizes: &[u64], uses: &[(usize, Vec<usize>)]) -> Program {
        let buffer = |bytes: &u64| Buffer { bytes: *bytes, elements: 0, kind: BufKind::Temp, name: String::new() };
        let span = |b: usize, write| Span { buf: BufId(b as u32), offset: 0, bytes: sizes[b], write };
        let dispatch = |(y, xs): &(usize, Vec<usize>)| Dispatch {
            node: 0,
            label: String::new(),
            spec: Arc::new(Spec::new("")),
            params: vec![],
            spans: xs.iter().filter(|x| *x != y).map(|x| span(*x, false)).chain([span(*y, true)]).collect(),
            grid: [1; 3],
            flops: 0,
            chosen: None,
        };
        Program { buffers: sizes.iter().map(buffer).collect(), dispatches: uses.iter().map(dispatch).collect() }
    }

    proptest! {
        /// What lives at the same time lies apart, what a dispatch writes shares no slot with what it reads, and a slot
        /// holds its tenants.
        #[test]
        fn places_never_collide(sizes in prop::collection::vec(1u64..40, 2..20),
                                uses in prop::collection::vec((0usize..20, prop::collection::vec(0usize..20, 0..4)), 1..30),
                                kept in prop::collection::vec(any::<bool>(), 20)) {
            let n = sizes.len();
            let sizes: Vec<u64> = sizes.iter().map(|s| s * 64).collect();
            let uses: Vec<_> = uses.into_iter().map(|(y, xs)| (y % n, xs.iter().map(|x| x % n).collect())).collect();
            let program = program(&sizes, &uses);
            let (slots, life) = (assign(&program, &kept[..n], 1 << 20), lifetimes(&program, &kept[..n]));
            prop_assert!(slots.total() >= slots.lower_bound);
            for a in 0..n {
                let (Some(p), Some(l)) = (slots.of[a], life[a]) else {
                    prop_assert!(life[a].is_none());
                    continue;
                };
                prop_assert!(p.offset % ALIGN == 0 && p.offset + sizes[a] <= slots.sizes[p.slot]);
                prop_assert!(!kept[a] || p.offset == 0);
                for b in a + 1..n {
                    let (Some(q), Some(m)) = (slots.of[b], life[b]) else { continue };
                    let apart = p.slot != q.slot || p.offset + sizes[a] <= q.offset || q.offset + sizes[b] <= p.offset;
                    prop_assert!(apart || l.1 < m.0 || m.1 < l.0, "{a} and {b} lie at one place");
                }
            }
            for d in &program.dispatches {
                let slot = |s: &Span| slots.of[s.buf.0 as usize].map(|p| p.slot);
                for w in d.spans.iter().filter(|s| s.write) {
                    prop_assert!(d.spans.iter().filter(|s| s.buf != w.buf).all(|s| slot(s) != slot(w)));
                }
            }
        }
    }
}
