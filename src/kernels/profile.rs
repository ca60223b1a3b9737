//! What a device can do, as far as the choice of kernels depends on it.

use super::tiles::TILES;
use super::{Choices, DeviceType};
use crate::dtype::DType;
use crate::{Result, err};

/// Where a way of computing is taken that not all devices and sizes gain from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum When {
    /// Nowhere.
    Never,
    /// Where it gains, as measured.
    Gains,
    /// Wherever it can be, to test it.
    Always,
}

/// The limits and features that kernels are chosen by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Profile {
    /// `base`, or what it has beyond it; for people.
    pub name: String,
    /// `f16` in shaders and buffers. Without it float16 values are held as f32.
    pub f16: bool,
    /// Subgroup operations.
    pub subgroups: bool,
    /// Products of cooperative matrices of 16 by 16: float16, summed in float32, by subgroups of 32.
    pub coop: bool,
    /// A software adapter: big register tiles, no workgroup memory.
    pub cpu: bool,
    /// On a software adapter the invocations of a subgroup, where one hands its value to the others for less than a load.
    pub broadcasts: Option<u32>,
    /// Whether a write to one element of a vector in workgroup memory leaves the others alone. Vulkan says so; WGSL does
    /// not, and Metal's compiler writes whole vectors.
    pub components: bool,
    /// Products of four bytes and four bytes in one instruction, or at least in WGSL: not every browser has them.
    pub bytes: bool,
    /// Multiprocessors, about: workgroups that run side by side at their full rate.
    pub units: usize,
    /// The number of the tile that products take (`tiles::TILES`) and the parts of their sums, whatever their sizes: for
    /// tests and measurements.
    pub forced: Option<(usize, usize)>,
    /// Tiles that were measured to be the best.
    pub choices: Choices,
    /// Instead of the best tile the one of this rank by the model of costs: to measure it.
    pub rank: Option<usize>,
    /// Which convolutions go by Winograd's algorithm.
    pub winograd: When,
    /// Which inputs are read as texels of textures instead of from storage buffers.
    pub texels: When,
    /// Storage buffers that one dispatch may bind.
    pub max_storage_buffers: u32,
    /// Invocations of one workgroup.
    pub max_invocations: u32,
    /// Bytes of workgroup memory.
    pub max_workgroup_memory: u32,
    /// Bytes that one storage binding may span.
    pub max_binding: u64,
    /// Bytes that one buffer may hold.
    pub max_buffer: u64,
    /// Offsets of bindings are multiples of this many bytes.
    pub offset_align: u64,
}

impl Profile {
    /// What every WebGPU device has, the browser included.
    pub fn base() -> Profile {
        Profile {
            name: "base".into(),
            f16: false,
            subgroups: false,
            coop: false,
            cpu: false,
            broadcasts: None,
            components: false,
            bytes: false,
            units: 32,
            forced: None,
            choices: Choices::default(),
            rank: None,
            winograd: When::Never,
            texels: When::Never,
            max_storage_buffers: 8,
            max_invocations: 256,
            max_workgroup_memory: 16 << 10,
            max_binding: 128 << 20,
            max_buffer: 256 << 20,
            offset_align: 256,
        }
    }

    /// The profiles that shaders are tested for.
    pub fn all() -> Vec<Profile> {
        let base = Profile::base();
        let f16 = Profile { name: "f16".into(), f16: true, subgroups: true, bytes: true, ..base.clone() };
        let tiles = (0..TILES.len()).map(|t| {
            let (name, coop) = (format!("f16 tile {t}"), true);
            Profile {
                name,
                coop,
                components: t % 2 == 0,
                forced: Some((t, 1 + t % 2)),
                max_workgroup_memory: 48 << 10,
                ..f16.clone()
            }
        });
        let tiles: Vec<Profile> = tiles.collect();
        let mut all = vec![
            Profile {
                name: "cpu broadcasting".into(),
                cpu: true,
                f16: true,
                subgroups: true,
                broadcasts: Some(8),
                ..base.clone()
            },
            Profile {
                name: "cpu texels".into(),
                cpu: true,
                subgroups: true,
                broadcasts: Some(8),
                texels: When::Always,
                ..base.clone()
            },
            Profile { name: "cpu".into(), cpu: true, f16: true, ..base.clone() },
            Profile { name: "cpu base".into(), cpu: true, ..base.clone() },
            Profile {
                name: "cpu winograd".into(),
                cpu: true,
                winograd: When::Always,
                texels: When::Always,
                ..base.clone()
            },
            Profile { name: "winograd".into(), winograd: When::Always, ..base.clone() },
            f16,
            base,
        ];
        all.extend(tiles);
        all
    }

    /// Whether much code in a kernel takes the driver's compiler minutes and gigabytes, as SwiftShader's does.
    pub fn compiles_slowly(&self) -> bool {
        self.cpu && self.broadcasts.is_none()
    }

    /// The type that stands for `dtype` on this device.
    ///
    /// # Errors
    /// `Unsupported` for types that only the host can hold.
    pub fn device_type(&self, dtype: DType) -> Result<DeviceType> {
        match dtype.device() {
            Some(DeviceType::F16) if !self.f16 => Ok(DeviceType::F32),
            Some(d) => Ok(d),
            None => Err(err!(Unsupported, "{dtype} has no form on the GPU")),
        }
    }
}
