//! Which temporaries share memory: slots, each one buffer, given out by lifetime and size.
//!
//! Greedy by size (Pisarchyk, Lee: "Efficient memory management for deep neural net inference", 2020): the largest
//! temporary first, into the slot that fits it best among those whose tenants live at other times.

use super::{BufKind, Program};

/// The slots of a program.
#[derive(Debug, Clone, Default)]
pub struct Slots {
    /// Bytes of each slot.
    pub sizes: Vec<u64>,
    /// The slot of each buffer of the program; `None` for constants and externals.
    pub of: Vec<Option<usize>>,
    /// The most bytes of temporaries that live at once: no assignment can need less.
    pub lower_bound: u64,
}

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

/// Gives every temporary a slot. `kept[b]` says that buffer `b` is read after the program has run.
pub fn assign(program: &Program, kept: &[bool]) -> Slots {
    let life = lifetimes(program, kept);
    let is_temp = |b: usize| matches!(program.buffers[b].kind, BufKind::Temp) && life[b].is_some();
    let mut order: Vec<usize> = (0..program.buffers.len()).filter(|b| is_temp(*b)).collect();
    order.sort_by_key(|b| (std::cmp::Reverse(program.buffers[*b].bytes), life[*b]));

    let mut slots = Slots { of: vec![None; program.buffers.len()], ..Slots::default() };
    let mut tenants: Vec<Vec<(usize, usize)>> = vec![];
    for b in order {
        let Some((from, to)) = life[b] else { continue };
        let free = |t: &Vec<(usize, usize)>| t.iter().all(|(f, l)| to < *f || *l < from);
        let best = (0..tenants.len()).filter(|s| free(&tenants[*s])).min_by_key(|s| slots.sizes[*s]);
        let slot = best.unwrap_or_else(|| {
            slots.sizes.push(program.buffers[b].bytes);
            tenants.push(vec![]);
            slots.sizes.len() - 1
        });
        tenants[slot].push((from, to));
        slots.of[b] = Some(slot);
    }

    let mut change = vec![0i64; program.dispatches.len() + 2];
    for b in (0..program.buffers.len()).filter(|b| is_temp(*b)) {
        if let Some((from, to)) = life[b] {
            change[from] += program.buffers[b].bytes as i64;
            change[to + 1] -= program.buffers[b].bytes as i64;
        }
    }
    let running = change.iter().scan(0i64, |live, c| {
        *live += c;
        Some(*live)
    });
    slots.lower_bound = running.max().unwrap_or(0) as u64;
    slots
}
