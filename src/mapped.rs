//! Files in memory: mapped, not read, so that what is not used is never loaded and what was used can go again.

use std::fs::{File, Metadata};
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

use memmap2::Mmap;

/// All that are alive, so that a part of one can be told by its address alone.
static ALIVE: Mutex<Vec<Weak<Mmap>>> = Mutex::new(vec![]);

/// A regular file's bytes, mapped.
#[derive(Debug, Clone)]
pub struct Mapped(Arc<Mmap>);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Maps a regular file, which must not be truncated or rewritten while its bytes are in use.
///
/// # Errors
/// Those of opening the file; also for what is no regular file, such as a folder.
pub fn map(path: &Path) -> std::io::Result<Mapped> {
    // before it is opened, because a pipe's opening waits for a writer, and after, because it may be another by then
    let regular = |m: Metadata| match m.is_file() {
        true => Ok(()),
        false => Err(std::io::Error::other("not a regular file")),
    };
    regular(std::fs::metadata(path)?)?;
    let file = File::open(path)?;
    regular(file.metadata()?)?;
    // SAFETY: the mapping is private to this process and only read. That nobody truncates or rewrites the file while
    // a model made from it lives cannot be enforced here; `Model::load` states it as the caller's duty.
    let mapped = Arc::new(unsafe { Mmap::map(&file) }?);
    if let Ok(mut alive) = ALIVE.lock() {
        alive.retain(|m| m.strong_count() > 0);
        alive.push(Arc::downgrade(&mapped));
    }
    Ok(Mapped(mapped))
}

/// Lets the memory go that holds `bytes`, where they are a part of a mapped file: whoever reads them again has them
/// loaded again.
pub(crate) fn release(bytes: &[u8]) {
    let Ok(alive) = ALIVE.lock() else { return };
    let start = bytes.as_ptr() as usize;
    for mapped in alive.iter().filter_map(Weak::upgrade) {
        let offset = start.checked_sub(mapped.as_ptr() as usize);
        let Some(offset) = offset.filter(|o| o.checked_add(bytes.len()).is_some_and(|end| end <= mapped.len())) else {
            continue;
        };
        #[cfg(unix)]
        // SAFETY: the pages are those of a file, mapped to be read alone, and so have nothing that the file has not:
        // whoever reads them, also at this moment, finds the same bytes.
        let _ = unsafe { mapped.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, bytes.len()) };
        #[cfg(not(unix))]
        let _ = offset;
        return;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_let_go_is_there_again() -> std::io::Result<()> {
        let path = std::env::temp_dir().join(format!("shadernet-mapped-{}", std::process::id()));
        let data: Vec<u8> = (0..100_000u32).map(|i| (i * 7 % 251) as u8).collect();
        std::fs::write(&path, &data)?;
        let mapped = map(&path)?;
        assert_eq!(mapped.as_ref(), data);
        release(&mapped.as_ref()[10_000..90_001]);
        // what is no part of a file stays
        release(&data);
        assert_eq!(mapped.as_ref(), data);
        assert!(map(&std::env::temp_dir()).is_err());
        std::fs::remove_file(path)
    }
}
