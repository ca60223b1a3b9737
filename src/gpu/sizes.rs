//! Sizes that a graph's inputs may have besides those at hand. What they need is compiled with the first plan, so that a
//! new size compiles nothing.

use std::collections::{HashMap, HashSet};
use std::iter;

use crate::ir::{Dim, Graph, TensorType};

/// Sizes that are looked at, at most: each takes a plan.
const MOST: usize = 128;

/// The types of the graph's inputs, which are `types` at hand, with other extents where the model leaves them open: one
/// at a time, as choices depend on products of extents, also where another one is 1, of which kernels make something.
pub(super) fn others(graph: &Graph, types: &[TensorType]) -> Vec<Vec<TensorType>> {
    let open = open(graph, types);
    let set = |types: &[TensorType], places: &[(usize, usize)], extent: usize| {
        let mut types = types.to_vec();
        places.iter().for_each(|(input, dim)| types[*input].shape[*dim] = extent);
        types
    };
    let single = open.iter().filter(|(_, extent)| *extent > 1).map(|(places, _)| set(types, places, 1));
    let bases: Vec<_> = iter::once(types.to_vec()).chain(single).collect();
    let climb = |base: &Vec<TensorType>| {
        let of = |(places, extent): &(Vec<_>, usize)| {
            let all = ladder(*extent).into_iter().map(|other| set(base, places, other));
            all.collect::<Vec<_>>()
        };
        open.iter().flat_map(of).collect::<Vec<_>>()
    };
    let mut seen = HashSet::from([types.to_vec()]);
    let all = bases.iter().flat_map(climb);
    all.filter(|types| seen.insert(types.clone())).take(MOST).collect()
}

/// Where each open extent stands, as input and dim, and what it is at hand. Those without a name are one where they are
/// equal.
fn open(graph: &Graph, types: &[TensorType]) -> Vec<(Vec<(usize, usize)>, usize)> {
    let mut found: Vec<(Vec<(usize, usize)>, usize)> = vec![];
    let mut named: HashMap<(Option<&str>, usize), usize> = HashMap::new();
    for (i, (v, t)) in graph.inputs.iter().zip(types).enumerate() {
        let dims = graph.value(*v).declared.as_ref().and_then(|d| d.dims()).unwrap_or_default();
        for (d, (dim, extent)) in dims.iter().zip(&t.shape).enumerate() {
            let name = match dim {
                Dim::Known(_) => continue,
                Dim::Symbol(name) => Some(name.as_str()),
                Dim::Unknown => None,
            };
            let at = *named.entry((name, *extent)).or_insert(found.len());
            match found.get_mut(at) {
                Some((places, _)) => places.push((i, d)),
                None => found.push((vec![(i, d)], *extent)),
            }
        }
    }
    found
}

/// Extents at which other kernels may be chosen: few, powers of two of the one at hand, between which the choice is among
/// those of both ends, and some that vectors do not divide.
fn ladder(extent: usize) -> Vec<usize> {
    let extent = extent.clamp(1, usize::MAX / 16);
    let most = extent.saturating_mul(4).max(64);
    let up = (1..usize::BITS).map(|i| extent.saturating_mul(1 << i)).take_while(|n| *n <= most);
    let down = (1..usize::BITS).map(|i| extent >> i).take_while(|n| *n > 3);
    let odd = [(extent - 1) | 1, 2 * extent + 1, 4 * extent + 1].into_iter().filter(|_| extent > 4);
    let mut all: Vec<usize> = [1, 2, 3].into_iter().chain(down).chain(odd).chain(up).collect();
    all.sort_unstable();
    all.dedup();
    all.retain(|n| *n != extent);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Result, ir};

    #[test]
    fn ladders_go_both_ways() {
        assert_eq!(ladder(1), [2, 3, 4, 8, 16, 32, 64]);
        assert_eq!(ladder(100), [1, 2, 3, 6, 12, 25, 50, 99, 200, 201, 400, 401]);
        assert_eq!(ladder(0), ladder(1));
    }

    #[test]
    fn equal_names_change_together_and_fixed_extents_stay() -> Result<()> {
        let graph = ir::parse("graph g(%a: float[N, 3], %b: float[N, ?], %c) -> (%y) { %y = MatMul@13(%a, %b) }")?;
        let types = [[2, 3], [2, 5], [7, 7]].map(|s| TensorType::new(DType::F32, s));
        let shapes = |t: &Vec<TensorType>| t.iter().map(|t| t.shape.clone()).collect::<Vec<_>>();
        let all: Vec<_> = others(&graph, &types).iter().map(shapes).collect();
        assert!(!all.contains(&vec![vec![2, 3], vec![2, 5], vec![7, 7]]));
        assert!(all.iter().enumerate().all(|(i, s)| !all[..i].contains(s)));
        assert!(all.contains(&vec![vec![1, 3], vec![1, 1], vec![7, 7]]));
        assert!(all.contains(&vec![vec![8, 3], vec![8, 5], vec![7, 7]]));
        assert!(all.contains(&vec![vec![2, 3], vec![2, 10], vec![7, 7]]));
        assert!(all.iter().all(|s| s[0][0] == s[1][0] && s[0][1] == 3 && s[2] == [7, 7]));
        Ok(())
    }
}
