//! What is worth trying again, and when.

use mongodb::error::{Error, ErrorKind, RETRYABLE_WRITE_ERROR, TRANSIENT_TRANSACTION_ERROR};

/// Longest pause between two tries.
const BACKOFF_MS_MAX: u64 = 2_000;
/// Codes of a server that goes, comes or is busy: HostUnreachable, HostNotFound, NoSuchTransaction's cousins,
/// and the ways to say "not primary".
const TRANSIENT_CODES: [i32; 18] =
    [6, 7, 43, 50, 64, 89, 91, 112, 189, 251, 262, 9_001, 10_058, 10_107, 11_600, 11_602, 13_435, 13_436];

/// How long to wait before try number `attempt` (from 0), in milliseconds: 50, doubled each time, up to
/// two seconds.
pub fn backoff_ms(attempt: u32) -> u64 {
    (50_u64 << attempt.min(10)).min(BACKOFF_MS_MAX)
}

/// Waits before try number `attempt`.
pub async fn backoff(attempt: u32) {
    tokio::time::sleep(std::time::Duration::from_millis(backoff_ms(attempt))).await;
}

/// Whether a code of MongoDB's tells of a server that goes, comes or is busy.
pub fn is_transient_code(code: i32) -> bool {
    TRANSIENT_CODES.contains(&code)
}

/// Whether trying again can help against an error of MongoDB's.
pub fn is_transient(error: &Error) -> bool {
    if error.contains_label(RETRYABLE_WRITE_ERROR) || error.contains_label(TRANSIENT_TRANSACTION_ERROR) {
        return true;
    }
    match error.kind.as_ref() {
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::ServerSelection { .. } => {
            true
        }
        ErrorKind::DnsResolve { .. } => true,
        ErrorKind::Command(command) => is_transient_code(command.code),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        assert_eq!([0, 1, 2, 5, 6, 100].map(backoff_ms), [50, 100, 200, 1_600, 2_000, 2_000]);
    }
}
