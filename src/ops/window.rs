//! Sliding windows over spatial dims, as Conv and the pools have them: attributes in, extents and pads out.

use crate::ir::AttrReader;
use crate::shape;
use crate::{Result, bail, ensure};

/// The attribute `auto_pad`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AutoPad {
    /// The attribute `pads` says.
    NotSet,
    /// No padding.
    Valid,
    /// As much as makes the output `⌈input / stride⌉` long; an odd element goes to the end.
    SameUpper,
    /// The same; an odd element goes to the beginning.
    SameLower,
}

/// The attributes of a window, as they stand in the model: left-out ones get their default with the number of dims.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub kernel: Option<Vec<usize>>,
    pub strides: Option<Vec<usize>>,
    pub dilations: Option<Vec<usize>>,
    /// Begins, then ends.
    pub pads: Option<Vec<usize>>,
    pub auto_pad: AutoPad,
    /// Whether a last window that is only partly inside counts.
    pub ceil: bool,
}

/// Elements of the largest window.
const TAPS: usize = 1 << 20;

/// Which attributes an operator has at some version.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Has {
    pub dilations: bool,
    pub ceil: bool,
    pub auto_pad: bool,
}

/// A list of integers of at least `least`.
///
/// # Errors
/// `InvalidNode` when one is smaller.
pub(super) fn sizes(a: &AttrReader<'_>, name: &str, least: i64) -> Result<Option<Vec<usize>>> {
    let Some(list) = a.ints(name)? else { return Ok(None) };
    if let Some(bad) = list.iter().find(|x| **x < least || **x > u32::MAX as i64) {
        bail!(InvalidNode, "attribute {name}: expected integers from {least}, got {bad}");
    }
    Ok(Some(list.into_iter().map(|x| x as usize).collect()))
}

/// Refuses a window without elements and one of too many.
///
/// # Errors
/// `InvalidNode` for the former, `Limit` for the latter.
pub(super) fn check_taps(kernel: &[usize]) -> Result<()> {
    let taps = shape::numel(kernel);
    ensure!(taps > 0, InvalidNode, "an empty window {kernel:?}");
    ensure!(taps <= TAPS, Limit, "a window of {taps} elements, more than {TAPS}");
    Ok(())
}

impl Window {
    pub fn parse(a: &AttrReader<'_>, has: Has) -> Result<Window> {
        let auto_pad = if has.auto_pad { a.string_or("auto_pad", "NOTSET".into())? } else { "NOTSET".into() };
        Ok(Window {
            kernel: sizes(a, "kernel_shape", 1)?,
            strides: sizes(a, "strides", 1)?,
            dilations: if has.dilations { sizes(a, "dilations", 1)? } else { None },
            pads: sizes(a, "pads", 0)?,
            auto_pad: match auto_pad.as_str() {
                "NOTSET" | "" => AutoPad::NotSet,
                "VALID" => AutoPad::Valid,
                "SAME_UPPER" => AutoPad::SameUpper,
                "SAME_LOWER" => AutoPad::SameLower,
                other => bail!(InvalidNode, "attribute auto_pad: unknown value {other:?}"),
            },
            ceil: has.ceil && a.flag_or("ceil_mode", false)?,
        })
    }

    /// An attribute with one entry for each of `count`, or `default` for each.
    ///
    /// # Errors
    /// `InvalidNode` when the number of entries is another.
    pub fn list(name: &str, given: &Option<Vec<usize>>, count: usize, default: usize) -> Result<Vec<usize>> {
        let list = given.clone().unwrap_or_else(|| vec![default; count]);
        ensure!(list.len() == count, InvalidNode, "attribute {name}: expected {count} entries, got {}", list.len());
        Ok(list)
    }

    /// The windows of `kernel` over spatial extents `input`.
    ///
    /// # Errors
    /// `InvalidNode` when an attribute has the wrong number of entries or a window does not fit the padded input, `Limit`
    /// for windows of more than [`TAPS`] elements, which padding would make room for.
    pub fn geometry(&self, input: &[usize], kernel: &[usize]) -> Result<Geometry> {
        let rank = input.len();
        check_taps(kernel)?;
        let strides = Window::list("strides", &self.strides, rank, 1)?;
        let dilations = Window::list("dilations", &self.dilations, rank, 1)?;
        let mut pads = match self.auto_pad {
            AutoPad::NotSet => Window::list("pads", &self.pads, 2 * rank, 0)?,
            _ => vec![0; 2 * rank],
        };
        let mut output = vec![0; rank];
        for d in 0..rank {
            let span = (kernel[d] - 1) * dilations[d] + 1;
            if matches!(self.auto_pad, AutoPad::SameUpper | AutoPad::SameLower) {
                output[d] = input[d].div_ceil(strides[d]);
                let total = (output[d].saturating_sub(1) * strides[d] + span).saturating_sub(input[d]);
                let (less, more) = (total / 2, total - total / 2);
                (pads[d], pads[rank + d]) =
                    if self.auto_pad == AutoPad::SameUpper { (less, more) } else { (more, less) };
                continue;
            }
            let padded = input[d] + pads[d] + pads[rank + d];
            if padded < span {
                ensure!(input[d] == 0, InvalidNode, "a window of {span} does not fit {padded} along spatial axis {d}");
                continue;
            }
            let room = padded - span;
            output[d] = room / strides[d] + 1;
            // a partial window counts when it does not lie in the padding at the end alone
            let partial = self.ceil && self.auto_pad == AutoPad::NotSet && !room.is_multiple_of(strides[d]);
            if partial && output[d] * strides[d] < input[d] + pads[d] {
                output[d] += 1;
            }
        }
        let end = pads.split_off(rank);
        Ok(Geometry { input: input.to_vec(), output, kernel: kernel.to_vec(), strides, dilations, begin: pads, end })
    }
}

/// Windows over spatial dims, all extents known. One entry for each spatial dim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Geometry {
    pub input: Vec<usize>,
    pub output: Vec<usize>,
    pub kernel: Vec<usize>,
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    /// Padding before the first element.
    pub begin: Vec<usize>,
    /// Padding after the last.
    pub end: Vec<usize>,
}

impl Geometry {
    /// For each window, in order, the element of the input under the kernel's element `tap`; `None` in the padding.
    pub fn sources(&self, tap: &[usize]) -> Vec<Option<usize>> {
        let mut all = vec![Some(0)];
        for (d, tap) in tap.iter().enumerate() {
            let at = |o: usize| (o * self.strides[d] + tap * self.dilations[d]).checked_sub(self.begin[d]);
            let axis: Vec<Option<usize>> = (0..self.output[d]).map(|o| at(o).filter(|i| *i < self.input[d])).collect();
            let step = |base: Option<usize>, i: Option<usize>| Some(base? * self.input[d] + i?);
            all = all.iter().flat_map(|base| axis.iter().map(move |i| step(*base, *i))).collect();
        }
        all
    }

    /// [`Geometry::sources`] for each element of the kernel, in order.
    pub fn all_sources(&self) -> Vec<Vec<Option<usize>>> {
        shape::coords(&self.kernel).map(|tap| self.sources(&tap)).collect()
    }

    /// Whether no window reaches into padding.
    pub fn inside(&self) -> bool {
        (0..self.input.len()).all(|d| {
            let last = self.output[d].saturating_sub(1) * self.strides[d] + (self.kernel[d] - 1) * self.dilations[d];
            self.begin[d] == 0 && last < self.input[d].max(1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(auto_pad: AutoPad, strides: usize, pads: &[usize], ceil: bool) -> Window {
        Window {
            kernel: None,
            strides: Some(vec![strides]),
            dilations: None,
            pads: Some(pads.to_vec()),
            auto_pad,
            ceil,
        }
    }

    fn padded(w: &Window, input: usize, kernel: usize) -> (usize, usize, usize) {
        let g = w.geometry(&[input], &[kernel]).unwrap();
        (g.output[0], g.begin[0], g.end[0])
    }

    #[test]
    fn extents_and_pads() {
        assert_eq!(padded(&window(AutoPad::NotSet, 2, &[1, 1], false), 5, 3), (3, 1, 1));
        assert_eq!(padded(&window(AutoPad::NotSet, 2, &[0, 0], true), 4, 3), (2, 0, 0));
        // the second window would start in the padding at the end
        assert_eq!(padded(&window(AutoPad::NotSet, 2, &[0, 1], true), 2, 2), (1, 0, 1));
        assert_eq!(padded(&window(AutoPad::SameUpper, 2, &[], false), 5, 2), (3, 0, 1));
        assert_eq!(padded(&window(AutoPad::SameLower, 2, &[], false), 5, 2), (3, 1, 0));
        assert_eq!(padded(&window(AutoPad::Valid, 2, &[], false), 6, 3), (2, 0, 0));
        assert!(window(AutoPad::NotSet, 1, &[0, 0], false).geometry(&[2], &[3]).is_err());
    }

    #[test]
    fn sources_leave_the_padding_out() {
        let g = window(AutoPad::NotSet, 2, &[1, 1], false).geometry(&[4], &[3]).unwrap();
        assert_eq!(g.all_sources(), [[None, Some(1)], [Some(0), Some(2)], [Some(1), Some(3)]]);
        assert!(!g.inside());
    }
}
