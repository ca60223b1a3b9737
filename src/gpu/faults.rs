//! What a device reports besides results: errors that no call returns, and its loss.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::{Error, ErrorKind, Result, err};

/// The faults of one device. Whoever works on it takes a [`Faults::mark`] first and asks [`Faults::since`] afterwards: a
/// fault that another thread's work has caused counts too, so that no result of a device in trouble is taken for good.
#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Log>>);

/// Faults whose words are kept.
const RECENT: usize = 64;

#[derive(Default)]
struct Log {
    count: u64,
    /// The latest ones.
    recent: VecDeque<String>,
    lost: Option<String>,
}

impl Faults {
    /// Notes an error that no call has returned.
    pub fn note(&self, message: String) {
        log::error!("{message}");
        if let Ok(mut log) = self.0.lock() {
            log.count += 1;
            log.recent.push_back(message);
            if log.recent.len() > RECENT {
                log.recent.pop_front();
            }
        }
    }

    /// Notes that the device is gone, which it stays.
    pub fn lose(&self, message: String) {
        log::error!("device lost: {message}");
        if let Ok(mut log) = self.0.lock() {
            log.lost.get_or_insert(message);
        }
    }

    /// How many there were so far.
    pub fn mark(&self) -> u64 {
        self.0.lock().map_or(0, |log| log.count)
    }

    /// Nothing, unless the device is lost.
    ///
    /// # Errors
    /// `Device` when it is.
    pub fn alive(&self) -> Result<()> {
        self.since(u64::MAX)
    }

    /// Nothing, if there was no fault since `mark`.
    ///
    /// # Errors
    /// `Device` with the first of them, or where the device is lost.
    pub fn since(&self, mark: u64) -> Result<()> {
        let log = self.0.lock().map_err(|_| err!(Internal, "a thread failed while it noted a fault"))?;
        if let Some(message) = &log.lost {
            let message = if message.is_empty() { "destroyed" } else { message };
            return Err(fault(&format!("the device is lost ({message}): open another")));
        }
        // the first has caused the others
        let new = log.count.saturating_sub(mark).min(log.recent.len() as u64) as usize;
        let first = log.recent.get(log.recent.len() - new);
        first.map_or(Ok(()), |message| Err(fault(message)))
    }
}

fn fault(message: &str) -> Error {
    let lines: Vec<&str> = message.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    Error::new(ErrorKind::Device, lines.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_count_from_the_mark_and_loss_stays() {
        let faults = Faults::default();
        faults.note("old".into());
        let mark = faults.mark();
        assert!(faults.since(mark).is_ok());
        faults.note("new\n  in two lines".into());
        faults.note("what follows from it".into());
        assert_eq!(faults.since(mark).unwrap_err().message(), "new in two lines");
        assert!(faults.since(faults.mark()).is_ok());
        faults.lose(String::new());
        for _ in 0..2 {
            assert_eq!(faults.alive().unwrap_err().kind(), ErrorKind::Device);
        }
    }
}
