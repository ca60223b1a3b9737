//! Shared bytes of tensors: owned, mapped, or made when they are asked for.

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};

use crate::{Result, ensure};

/// A shared, immutable range of bytes: owned, a part of a mapped file, or made when they are first asked for.
#[derive(Clone)]
pub struct Bytes {
    owner: Owner,
    range: Range<usize>,
}

#[derive(Clone)]
enum Owner {
    Vector(Arc<Vec<u8>>),
    Other(Arc<dyn AsRef<[u8]> + Send + Sync>),
    Deferred(Arc<Deferred>),
}

/// Bytes that are made when they are asked for.
struct Deferred {
    /// Made to stay.
    made: OnceLock<Vec<u8>>,
    /// Made before, for the first who asks.
    ready: Mutex<Option<Vec<u8>>>,
    /// How many `make` gives.
    len: usize,
    make: Make,
}

/// Makes bytes, each time the same.
pub(crate) type Make = Box<dyn Fn() -> Result<Vec<u8>> + Send + Sync>;

impl Deferred {
    fn make(&self) -> Result<Vec<u8>> {
        let ready = self.ready.lock().ok().and_then(|mut ready| ready.take());
        let made = ready.map_or_else(|| (self.make)(), Ok)?;
        ensure!(made.len() == self.len, Internal, "{} bytes were to be made, not {}", self.len, made.len());
        Ok(made)
    }

    fn stay(&self) -> &[u8] {
        self.made.get_or_init(|| {
            let failed = |e| log::error!("a constant cannot be made again: {e}");
            self.make().map_err(failed).unwrap_or_default()
        })
    }
}

impl Bytes {
    /// All bytes of `owner`, shared.
    pub fn new(owner: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Bytes {
        let range = 0..(*owner).as_ref().len();
        Bytes { owner: Owner::Other(owner), range }
    }

    /// A part of these bytes, sharing them; `None` when the range lies outside.
    pub fn slice(&self, range: Range<usize>) -> Option<Bytes> {
        let (start, end) = (self.range.start.checked_add(range.start)?, self.range.start.checked_add(range.end)?);
        (start <= end && end <= self.range.end).then(|| Bytes { owner: self.owner.clone(), range: start..end })
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        let all = match &self.owner {
            Owner::Vector(v) => v.as_slice(),
            Owner::Other(o) => (**o).as_ref(),
            Owner::Deferred(d) => d.stay(),
        };
        all.get(self.range.clone()).unwrap_or(&[])
    }

    /// `len` bytes that `make` gives; for the first who asks, those that are `ready`.
    pub(crate) fn deferred(len: usize, ready: Option<Vec<u8>>, make: Make) -> Bytes {
        let deferred = Deferred { made: OnceLock::new(), ready: Mutex::new(ready), len, make };
        Bytes { owner: Owner::Deferred(Arc::new(deferred)), range: 0..len }
    }

    /// These bytes for one use: what is made when it is asked for is made for this one and not kept.
    ///
    /// # Errors
    /// Those of making them.
    pub(crate) fn passing(&self) -> Result<Bytes> {
        match &self.owner {
            Owner::Deferred(d) if d.made.get().is_none() => Ok(Bytes { range: self.range.clone(), ..d.make()?.into() }),
            _ => Ok(self.clone()),
        }
    }

    /// These bytes for the first who asks, and made again after that; where others share them they stay as they are.
    pub(crate) fn remade(self, make: Make) -> Bytes {
        match &self.owner {
            Owner::Vector(v) if Arc::strong_count(v) == 1 => Bytes::deferred(self.len(), Some(self.into_vec()), make),
            _ => self,
        }
    }

    /// Lets the memory go that can be filled again: that of mapped files.
    pub(crate) fn release(&self) {
        #[cfg(not(target_arch = "wasm32"))]
        if let Owner::Other(_) = self.owner {
            crate::mapped::release(self.as_slice());
        }
    }

    /// Whether they are there, not made when they are asked for.
    pub(crate) fn are_there(&self) -> bool {
        !matches!(self.owner, Owner::Deferred(_))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.range.len()
    }

    /// An address and a length that two ranges have in common when they are the same.
    pub(crate) fn key(&self) -> (usize, usize) {
        let start = match &self.owner {
            Owner::Deferred(d) => Arc::as_ptr(d) as usize + self.range.start,
            _ => self.as_slice().as_ptr() as usize,
        };
        (start, self.range.len())
    }

    /// The bytes as a vector of their own: the one that they were made from where nobody shares it, else a copy.
    pub fn into_vec(self) -> Vec<u8> {
        match self.owner {
            Owner::Vector(v) if self.range == (0..v.len()) => Arc::try_unwrap(v).unwrap_or_else(|v| v.to_vec()),
            _ => self.as_slice().to_vec(),
        }
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.range.len())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        let range = 0..bytes.len();
        Bytes { owner: Owner::Vector(Arc::new(bytes)), range }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Bytes that count how often they are made, and the count.
    fn counted(ready: Option<Vec<u8>>) -> (Bytes, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = count.clone();
        let make = move || {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok(vec![1, 2, 3, 4])
        };
        (Bytes::deferred(4, ready, Box::new(make)), count)
    }

    #[test]
    fn what_is_made_in_passing_is_made_each_time_and_what_stays_once() -> Result<()> {
        let (bytes, count) = counted(None);
        let part = bytes.slice(1..3).unwrap();
        assert_ne!(part.key(), bytes.key());
        assert_eq!(count.load(Ordering::Relaxed), 0);
        assert_eq!(part.passing()?.as_slice(), [2, 3]);
        assert_eq!(bytes.passing()?.into_vec(), [1, 2, 3, 4]);
        assert_eq!(count.load(Ordering::Relaxed), 2);
        assert_eq!((bytes.as_slice(), part.as_slice()), (&[1, 2, 3, 4][..], &[2, 3][..]));
        assert_eq!(bytes.passing()?.as_slice(), [1, 2, 3, 4]);
        assert_eq!(count.load(Ordering::Relaxed), 3);
        Ok(())
    }

    #[test]
    fn what_is_ready_is_given_to_the_first() -> Result<()> {
        let (bytes, count) = counted(Some(vec![4, 3, 2, 1]));
        assert_eq!(bytes.passing()?.as_slice(), [4, 3, 2, 1]);
        assert_eq!((bytes.passing()?.as_slice(), count.load(Ordering::Relaxed)), (&[1, 2, 3, 4][..], 1));
        let owned = Bytes::from(vec![5]);
        let shared = owned.clone();
        let again = || -> Make { Box::new(|| Ok(vec![6])) };
        let same = owned.remade(again());
        drop(shared);
        assert_eq!((same.passing()?.as_slice(), same.passing()?.as_slice()), (&[5][..], &[5][..]));
        let alone = same.remade(again());
        assert_eq!((alone.passing()?.as_slice(), alone.passing()?.as_slice()), (&[5][..], &[6][..]));
        Ok(())
    }

    #[test]
    fn what_cannot_be_made_is_an_error() {
        let failing = Bytes::deferred(4, None, Box::new(|| Err(crate::err!(Internal, "no"))));
        assert!(failing.passing().is_err());
        let short = Bytes::deferred(4, None, Box::new(|| Ok(vec![1])));
        assert!(short.passing().is_err());
    }
}
