//! The files in which a driver's compiled pipelines, and the tiles that were measured to be the best, are kept between
//! processes: one of each for each adapter and driver. A file that is damaged or another's is as good as none.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where compiled pipelines are kept between processes, for drivers that can, and what [`Session::tune`](crate::Session::tune)
/// found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PipelineCache {
    /// In `shadernet` in the user's folder for caches (`XDG_CACHE_HOME` where it is set).
    #[default]
    User,
    /// In this folder.
    Folder(PathBuf),
    /// Nowhere.
    Off,
}

impl PipelineCache {
    /// `off`, or a folder.
    pub fn parse(text: &str) -> PipelineCache {
        if text == "off" { PipelineCache::Off } else { PipelineCache::Folder(text.into()) }
    }

    fn folder(&self) -> Option<PathBuf> {
        match self {
            PipelineCache::Off => None,
            PipelineCache::Folder(folder) => Some(folder.clone()),
            PipelineCache::User => user_folder().map(|f| f.join("shadernet")),
        }
    }

    /// The file of a kind for a key.
    pub(super) fn file(&self, key: &str, kind: &str) -> Option<CacheFile> {
        let plain: String = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(80).collect();
        let name = format!("{plain}-{:016x}.{kind}", sum(key.as_bytes()));
        Some(CacheFile { path: self.folder()?.join(name), key: key.into() })
    }
}

/// The folder that the system gives a user for caches.
fn user_folder() -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let own = match std::env::consts::OS {
        "windows" => var("LOCALAPPDATA"),
        "macos" | "ios" => var("HOME").map(|h| h.join("Library/Caches")),
        _ => var("HOME").map(|h| h.join(".cache")),
    };
    var("XDG_CACHE_HOME").or(own)
}

/// A file and what its data must have been made for.
#[derive(Debug)]
pub(super) struct CacheFile {
    path: PathBuf,
    key: String,
}

/// The first bytes of a file; the last is the version of the form.
const MAGIC: &[u8; 8] = b"shadnet\x01";

impl CacheFile {
    /// The data, if the file is there and whole.
    pub fn read(&self) -> Option<Vec<u8>> {
        let file = std::fs::read(&self.path).ok()?;
        let data = open(&file, &self.key);
        if data.is_none() {
            log::warn!("the cache {} is damaged or of another kind: it is not used", self.path.display());
        }
        data.map(<[u8]>::to_vec)
    }

    /// Writes the file, whole or not at all.
    pub fn write(&self, data: &[u8]) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let part = self.path.with_extension(format!("{}-{number}.part", std::process::id()));
        let write = || {
            self.path.parent().map(std::fs::create_dir_all).transpose()?;
            std::fs::write(&part, seal(data, &self.key))?;
            std::fs::rename(&part, &self.path)
        };
        if let Err(e) = write() {
            let _ = std::fs::remove_file(&part);
            log::warn!("the cache {} was not written: {e}", self.path.display());
        }
    }
}

/// Magic, then key and data, each by its sum and its length.
fn seal(data: &[u8], key: &str) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    for part in [key.as_bytes(), data] {
        out.extend(sum(part).to_le_bytes());
        out.extend((part.len() as u64).to_le_bytes());
    }
    out.extend(key.as_bytes());
    out.extend(data);
    out
}

/// The data of a file that was sealed for `key`.
fn open<'a>(file: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let head = seal(&[], key);
    let (magic_and_key, at) = (MAGIC.len() + 16, head.len());
    let number = |from: usize| Some(u64::from_le_bytes(file.get(from..from + 8)?.try_into().ok()?));
    let fits =
        file.get(..magic_and_key)? == &head[..magic_and_key] && file.get(magic_and_key + 16..at)? == key.as_bytes();
    let data = file.get(at..).filter(|_| fits)?;
    (number(magic_and_key)? == sum(data) && number(magic_and_key + 8)? == data.len() as u64).then_some(data)
}

/// FNV-1a over words of eight bytes, and the rest.
fn sum(bytes: &[u8]) -> u64 {
    let word = |part: &[u8]| part.iter().rev().fold(0u64, |w, b| w << 8 | *b as u64);
    let step = |h: u64, w: u64| (h ^ w).wrapping_mul(0x100_0000_01b3).rotate_left(23);
    bytes.chunks(8).map(word).fold(0xcbf2_9ce4_8422_2325 ^ bytes.len() as u64, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_whole_is_not_used() {
        let data: Vec<u8> = (0..1003u32).map(|i| (i * 7) as u8).collect();
        let file = seal(&data, "adapter 1");
        assert_eq!(open(&file, "adapter 1"), Some(&data[..]));
        assert_eq!(open(&file, "adapter 2"), None);
        for end in 0..file.len() {
            assert_eq!(open(&file[..end], "adapter 1"), None, "cut at {end}");
        }
        for at in 0..file.len() {
            let mut bad = file.clone();
            bad[at] ^= 0x10;
            assert_eq!(open(&bad, "adapter 1"), None, "damaged at {at}");
        }
    }

    #[test]
    fn files_are_written_whole_and_read_again() {
        let folder = std::env::temp_dir().join(format!("shadernet-cache-{}", std::process::id()));
        let file = PipelineCache::Folder(folder.clone()).file("an adapter / driver 1.2", "pipelines").unwrap();
        assert_eq!(file.read(), None);
        file.write(b"some data");
        assert_eq!(file.read().as_deref(), Some(&b"some data"[..]));
        let left = std::fs::read_dir(&folder).unwrap().count();
        assert_eq!(left, 1, "parts are left");
        std::fs::write(&file.path, b"damaged").unwrap();
        assert_eq!(file.read(), None);
        let other = PipelineCache::Folder(folder.clone()).file("an adapter / driver 1.3", "pipelines").unwrap();
        assert_ne!(other.path, file.path);
        std::fs::remove_dir_all(folder).unwrap();
        assert!(PipelineCache::Off.file("x", "pipelines").is_none());
    }
}
