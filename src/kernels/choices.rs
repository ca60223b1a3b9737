//! What products and convolutions run best by on one device, as measured: tiles that are taken instead of what the model of
//! costs would choose.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, RwLock};

/// A product or a convolution, as far as its choice depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Problem {
    /// What is computed: the operator, its element types, what follows it.
    pub kernel: String,
    /// Rows, columns and products in a sum.
    pub size: [usize; 3],
    /// Matrices.
    pub count: usize,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [m, n, k] = self.size;
        write!(f, "{}, {} of {m} x {n} x {k}", self.kernel, self.count)
    }
}

/// What a dispatch was chosen for, and by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Chosen {
    /// The problem.
    pub problem: Problem,
    /// The number of its tile in the table, and the parts of its sums.
    pub choice: [usize; 2],
}

type Table = HashMap<Problem, [usize; 2]>;

/// The choices of a device, which all its sessions share. All are equal to each other, as they are no part of what kernels
/// are made of.
#[derive(Debug, Clone, Default)]
pub struct Choices(Arc<RwLock<Table>>);

impl PartialEq for Choices {
    fn eq(&self, _: &Choices) -> bool {
        true
    }
}

impl Eq for Choices {}

impl Hash for Choices {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Choices {
    /// The number of the tile that was found best for a problem, and the parts.
    pub fn get(&self, problem: &Problem) -> Option<[usize; 2]> {
        self.0.read().ok().and_then(|t| t.get(problem).copied())
    }

    /// Keeps what was found.
    pub fn put(&self, found: impl IntoIterator<Item = Chosen>) {
        if let Ok(mut table) = self.0.write() {
            table.extend(found.into_iter().map(|c| (c.problem, c.choice)));
        }
    }

    /// A line for each, in order.
    pub fn to_text(&self) -> String {
        let Ok(table) = self.0.read() else { return String::new() };
        let mut all: Vec<_> = table.iter().collect();
        all.sort();
        let line = |(p, [tile, parts]): &(&Problem, &[usize; 2])| {
            let [m, n, k] = p.size;
            format!("{tile} {parts} {m} {n} {k} {} {}\n", p.count, p.kernel)
        };
        all.iter().map(line).collect()
    }

    /// Keeps what [`Choices::to_text`] wrote; lines that are none are left out.
    pub fn read_text(&self, text: &str) {
        let of = |line: &str| {
            let mut words = line.splitn(7, ' ');
            let mut number = || words.next()?.parse::<usize>().ok();
            let [tile, parts, m, n, k, count] = [number()?, number()?, number()?, number()?, number()?, number()?];
            let problem = Problem { kernel: words.next()?.into(), size: [m, n, k], count };
            Some(Chosen { problem, choice: [tile, parts] })
        };
        self.put(text.lines().filter_map(of));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let problem = |m| Problem { kernel: "product f32xf32>f32+bias of Add".into(), size: [m, 2, 3], count: 4 };
        let choices = Choices::default();
        choices.put([7, 5].map(|m| Chosen { problem: problem(m), choice: [m, 1] }));
        let text = choices.to_text();
        assert_eq!(text.lines().next(), Some("5 1 5 2 3 4 product f32xf32>f32+bias of Add"));
        let again = Choices::default();
        again.read_text(&format!("damaged\n{text}1 2 3"));
        assert_eq!(
            (again.get(&problem(7)), again.get(&problem(5)), again.get(&problem(6))),
            (Some([7, 1]), Some([5, 1]), None)
        );
        assert_eq!(again.to_text(), text);
    }
}
