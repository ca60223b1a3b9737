//! Constants of one element. Kernels find them among their params: they take no binding, and code stays the same for
//! whatever they are.

use super::Params;
use super::device_type::{DeviceType, StorageClass};
use crate::plan::{LowerCx, View};

/// A constant of one element, as 32-bit words.
#[derive(Debug, Clone)]
pub struct Number {
    device: DeviceType,
    words: Vec<u32>,
}

impl Number {
    /// What all elements of a view are, if it lies in a constant of one element.
    pub fn of(cx: &LowerCx<'_>, v: &View) -> Option<Number> {
        let t = cx.number(v)?;
        let f32 = || t.to_f32s().ok()?.first().map(|x| x.to_bits());
        let int = || t.to_i128s().ok()?.first().copied();
        let words = match v.device.class() {
            StorageClass::F32 | StorageClass::F16 => vec![f32()?],
            StorageClass::I32 | StorageClass::U32 => vec![int()? as u32],
            StorageClass::I64 | StorageClass::U64 => vec![int()? as u32, (int()? >> 32) as u32],
            StorageClass::F64 => {
                let bits = t.to_f64s().ok()?.first()?.to_bits();
                vec![bits as u32, (bits >> 32) as u32]
            }
        };
        Some(Number { device: v.device, words })
    }

    /// The fields of a struct of params that hold it.
    pub fn fields(&self, name: &str) -> String {
        let ty = match self.device.class() {
            StorageClass::F32 | StorageClass::F16 => "f32",
            StorageClass::I32 => "i32",
            _ => "u32",
        };
        match self.words.len() {
            1 => format!("    {name}: {ty},\n"),
            _ => format!("    {name}_low: u32,\n    {name}_high: u32,\n"),
        }
    }

    /// The expression of those fields that has the device's type.
    pub fn read(&self, name: &str) -> String {
        match (self.device.class(), self.words.len()) {
            (StorageClass::F16, _) => format!("f16(params.{name})"),
            (_, 1) => format!("params.{name}"),
            _ => format!("vec2<u32>(params.{name}_low, params.{name}_high)"),
        }
    }

    /// The values of those fields, added to others.
    pub fn params(&self, params: Params) -> Params {
        self.words.iter().fold(params, |p, w| p.u32(*w))
    }
}
