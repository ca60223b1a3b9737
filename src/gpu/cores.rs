//! Work on all cores.

use crate::Result;

/// Calls `make` for every item and gives the results in order.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn on_all<I: Sync, T: Send>(items: &[I], make: impl Fn(&I) -> Result<T> + Sync) -> Result<Vec<T>> {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crate::err;

    let workers = std::thread::available_parallelism().map_or(1, |n| n.get()).min(items.len());
    if workers <= 1 {
        return items.iter().map(make).collect();
    }
    let next = AtomicUsize::new(0);
    let slots: Vec<Mutex<Option<Result<T>>>> = items.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(i) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|i| *i < items.len()) {
                    if let Ok(mut slot) = slots[i].lock() {
                        *slot = Some(make(&items[i]));
                    }
                }
            });
        }
    });
    let take = |m: Mutex<Option<Result<T>>>| m.into_inner().ok().flatten();
    slots.into_iter().map(|m| take(m).unwrap_or_else(|| Err(err!(Internal, "a thread failed")))).collect()
}

/// Calls `make` for every item: the browser has one thread.
#[cfg(target_arch = "wasm32")]
pub(super) fn on_all<I, T>(items: &[I], make: impl Fn(&I) -> Result<T>) -> Result<Vec<T>> {
    items.iter().map(make).collect()
}
