//! Tensor data in files beside the model.
//!
//! A location is relative to the model's folder and must stay inside it, symbolic links resolved. Each file is mapped
//! once and shared by all tensors that lie in it. What the caller has in memory goes before the folder.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;

use onnx_proto::StringStringEntryProto;

use crate::bytes::Bytes;
use crate::{Result, ensure, err};

/// The files that are in memory, the folder of a model and the files of it opened so far.
#[derive(Default)]
pub(super) struct External {
    given: HashMap<String, Bytes>,
    folder: Option<PathBuf>,
    #[cfg_attr(target_arch = "wasm32", allow(dead_code))]
    files: RefCell<HashMap<PathBuf, Bytes>>,
}

impl External {
    /// Without a folder, data that is not `given` is an error.
    pub(super) fn new(folder: Option<PathBuf>, given: HashMap<String, Bytes>) -> External {
        External { given, folder, files: RefCell::default() }
    }

    /// The bytes that `entries` (location, offset, length) name, `want` of them.
    ///
    /// # Errors
    /// `InvalidModel` for a location that leaves the folder or a range beyond the file, `Io` when the file cannot
    /// be read.
    pub(super) fn bytes(&self, entries: &[StringStringEntryProto], want: usize) -> Result<Bytes> {
        let get = |key: &str| entries.iter().find(|e| e.key() == key).map(|e| e.value());
        let number = |key: &str| {
            let parse = |s: &str| s.parse().map_err(|_| err!(InvalidModel, "external data: {key} {s:?}"));
            get(key).map(parse).transpose()
        };
        let location = get("location").ok_or_else(|| err!(InvalidModel, "external data without a location"))?;
        let offset: usize = number("offset")?.unwrap_or(0);
        let length = number("length")?.unwrap_or(want);
        ensure!(length == want, InvalidModel, "external data {location:?}: {want} bytes expected, length is {length}");
        let file = match self.given.get(location) {
            Some(file) => file.clone(),
            None => self.open(location)?,
        };
        let size = file.as_slice().len();
        let range = offset.checked_add(length).and_then(|end| file.slice(offset..end));
        range.ok_or_else(|| {
            err!(InvalidModel, "external data {location:?}: {length} bytes from {offset} lie beyond its {size} bytes")
        })
    }

    #[cfg(target_arch = "wasm32")]
    fn open(&self, location: &str) -> Result<Bytes> {
        ensure!(self.folder.is_none(), Unsupported, "external data {location:?}: this platform has no files");
        Err(err!(Io, "external data {location:?} was not given, and this platform has no files"))
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn open(&self, location: &str) -> Result<Bytes> {
        use std::path::{Component, Path};
        let folder = self.folder.as_ref();
        let folder =
            folder.ok_or_else(|| err!(Io, "external data {location:?}: the model was not loaded from a file"))?;
        let relative = Path::new(location);
        let stays = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        ensure!(stays && !location.is_empty(), InvalidModel, "external data {location:?} leaves the model's folder");
        let real = |p: &Path| p.canonicalize().map_err(|e| err!(Io, "external data {location:?}: {e}"));
        // `parent()` of a bare file name is the empty path
        let folder = real(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?;
        let path = real(&folder.join(relative))?;
        ensure!(path.starts_with(&folder), InvalidModel, "external data {location:?} leaves the model's folder");
        if let Some(known) = self.files.borrow().get(&path) {
            return Ok(known.clone());
        }
        let bytes = crate::mapped::map(&path).map_err(|e| err!(Io, "external data {location:?}: {e}"))?;
        let bytes = Bytes::new(std::sync::Arc::new(bytes));
        self.files.borrow_mut().insert(path, bytes.clone());
        Ok(bytes)
    }
}
