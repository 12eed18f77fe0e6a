//! Who is watching now: a viewer who appears tends to appear again within minutes.
//! Sessions are kept in a ring of bounded size and age, so memory does not grow with the rate.

use std::collections::VecDeque;

use crate::viewer::Viewer;

/// The most sessions that are remembered; the oldest one makes room.
pub const SESSIONS_MAX: usize = 65_536;
/// A session ends after this time.
pub const SESSION_MS_MAX: i64 = 20 * 60_000;

/// A viewer in front of a screen.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    pub viewer: Viewer,
    pub id: u32,
    /// Index into [`crate::profile::DEVICES`].
    pub device: u8,
    /// Index into [`crate::profile::CONTENTS`].
    pub content: u8,
    /// Index into the titles of the content type.
    pub title: u8,
    pub opened_ms: i64,
}

/// The sessions that may go on, the oldest first.
#[derive(Default)]
pub struct Sessions {
    ring: VecDeque<Session>,
}

impl Sessions {
    /// The session at `x` (0 to below 1) of those that have not ended at `now_ms`.
    pub fn session_at(&mut self, now_ms: i64, x: f64) -> Option<&mut Session> {
        while self.ring.front().is_some_and(|oldest| now_ms - oldest.opened_ms >= SESSION_MS_MAX) {
            self.ring.pop_front();
        }
        let index = (x * self.ring.len() as f64) as usize;
        self.ring.get_mut(index)
    }

    /// Remembers a new session.
    pub fn open(&mut self, session: Session) {
        if self.ring.len() == SESSIONS_MAX {
            self.ring.pop_front();
        }
        self.ring.push_back(session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: u32, opened_ms: i64) -> Session {
        let viewer = Viewer::new(id, 0, 1);
        Session { viewer, id, device: 0, content: 0, title: 0, opened_ms }
    }

    #[test]
    fn sessions_end_with_age() {
        let mut sessions = Sessions::default();
        assert!(sessions.session_at(0, 0.5).is_none());
        sessions.open(session(1, 0));
        sessions.open(session(2, 10));
        assert_eq!(sessions.session_at(SESSION_MS_MAX - 1, 0.0).unwrap().id, 1);
        assert_eq!(sessions.session_at(SESSION_MS_MAX, 0.0).unwrap().id, 2);
        assert!(sessions.session_at(SESSION_MS_MAX + 10, 0.0).is_none());
    }

    #[test]
    fn the_oldest_session_makes_room() {
        let mut sessions = Sessions::default();
        let most = u32::try_from(SESSIONS_MAX).unwrap();
        (0..most).for_each(|id| sessions.open(session(id, 0)));
        assert_eq!(sessions.session_at(0, 0.0).unwrap().id, 0);
        sessions.open(session(most, 0));
        assert_eq!(sessions.ring.len(), SESSIONS_MAX);
        assert_eq!(sessions.session_at(0, 0.0).unwrap().id, 1);
        assert_eq!(sessions.session_at(0, 0.999_999_999).unwrap().id, most);
    }
}
