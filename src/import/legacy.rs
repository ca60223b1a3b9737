//! Nodes of ai.onnx opsets below 7 brought to opset 7, where broadcasting became NumPy's. What has no rule here is
//! parsed at its own opset, and refused when the registry knows no such version.

use super::opsets::OLDEST;
use crate::ir::{Attr, Attrs};
use crate::{Result, ensure};

/// What a node of an old opset turns into.
#[derive(Debug, PartialEq)]
pub(super) struct Upgrade {
    /// The opset at which the node is parsed.
    pub(super) opset: i64,
    /// The second input's first dimension meets this one of the first input.
    pub(super) align: Option<i64>,
}

/// Takes the attributes that only old opsets have out of `attrs`.
///
/// # Errors
/// `Unsupported` for a form that later opsets do not have.
pub(super) fn upgrade(op_type: &str, opset: i64, attrs: &mut Attrs) -> Result<Upgrade> {
    if opset >= OLDEST {
        return Ok(Upgrade { opset, align: None });
    }
    // in which buffers a result may be written has no effect on it
    attrs.remove("consumed_inputs");
    let newer = |align| Ok(Upgrade { opset: OLDEST, align });
    match op_type {
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "And" | "Or" | "Xor" | "Equal" | "Greater" | "Less" => {
            // without `broadcast` both shapes are equal, which broadcasts too
            let broadcast = matches!(attrs.remove("broadcast"), Some(Attr::Int(1)));
            match attrs.remove("axis") {
                Some(Attr::Int(axis)) if broadcast => newer(Some(axis)),
                _ => newer(None),
            }
        }
        "PRelu" => newer(Some(1)),
        "Gemm" => {
            attrs.remove("broadcast");
            newer(None)
        }
        "BatchNormalization" | "Dropout" => {
            let test = attrs.remove("is_test");
            ensure!(matches!(test, Some(Attr::Int(1))), Unsupported, "{op_type} of opset {opset} outside test mode");
            newer(None)
        }
        _ => Ok(Upgrade { opset, align: None }),
    }
}

/// How many dims of extent 1 are to follow the second input's own so that its first meets dim `axis` of the first
/// input. `None` when it does not fit at all.
pub(super) fn trailing(axis: i64, rank: usize, other: usize) -> Option<usize> {
    let axis = if axis < 0 { axis + rank as i64 } else { axis };
    rank.checked_sub(usize::try_from(axis).ok()?.checked_add(other)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_broadcasts_align_at_an_axis() {
        let mut attrs = Attrs::from([("broadcast".into(), Attr::Int(1)), ("axis".into(), Attr::Int(1))]);
        assert_eq!(upgrade("Add", 6, &mut attrs).unwrap(), Upgrade { opset: 7, align: Some(1) });
        assert!(attrs.is_empty());
        assert_eq!(trailing(1, 4, 1), Some(2));
        assert_eq!(trailing(-1, 4, 1), Some(0));
        assert_eq!(trailing(3, 4, 2), None);
        assert_eq!(trailing(-9, 4, 2), None);
        assert!(upgrade("Dropout", 6, &mut Attrs::new()).is_err());
        assert_eq!(upgrade("Conv", 6, &mut Attrs::new()).unwrap(), Upgrade { opset: 6, align: None });
        let mut attrs = Attrs::from([("broadcast".into(), Attr::Int(1))]);
        assert_eq!(upgrade("Add", 13, &mut attrs).unwrap().opset, 13);
        assert_eq!(attrs.len(), 1);
    }
}
