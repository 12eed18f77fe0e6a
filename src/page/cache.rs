//! Parts that are looked up once for everybody who looks at them, and only while somebody does.

use std::time::{Duration, Instant};

use anyhow::Result;
use maud::html;
use tokio::sync::{Mutex, watch};

use super::Parts;

/// The place that says why the page is not up to date.
pub(super) const TROUBLE: &str = "trouble";

/// Some parts of the page.
#[derive(Debug)]
pub(super) struct Cache {
    /// For how long they are fresh.
    every: Duration,
    parts: watch::Sender<Parts>,
    /// When they were looked up. Whoever looks them up holds it, so the others wait and find them fresh.
    looked_up: Mutex<Option<Instant>>,
}

impl Cache {
    pub fn new(every: Duration) -> Self {
        Self { every, parts: watch::Sender::new(Parts::new()), looked_up: Mutex::new(None) }
    }

    /// The parts, looked up anew if they are no longer fresh.
    pub async fn fresh(&self, look_up: impl Future<Output = Result<Parts>>) -> Result<Parts> {
        let mut looked_up = self.looked_up.lock().await;
        // Half of it, so that who comes once in that time always looks.
        if looked_up.is_none_or(|at| at.elapsed() > self.every / 2) {
            let mut parts = look_up.await?;
            parts.insert(TROUBLE, String::new());
            self.put(parts);
            *looked_up = Some(Instant::now());
        }
        Ok(self.parts.borrow().clone())
    }

    /// The parts as they change from now on.
    pub fn follow(&self) -> watch::Receiver<Parts> {
        let mut receiver = self.parts.subscribe();
        // Whoever follows may have an older page.
        receiver.mark_changed();
        receiver
    }

    /// Waits until it is time to look them up again, and somebody follows.
    pub async fn time_to_renew(&self) {
        loop {
            tokio::time::sleep(self.every).await;
            if self.parts.receiver_count() > 0 {
                return;
            }
        }
    }

    /// Looks them up again; those who follow are told when that fails.
    pub async fn renew(&self, look_up: impl Future<Output = Result<Parts>>) {
        if let Err(error) = self.fresh(look_up).await {
            tracing::warn!("cannot update the page: {error:#}");
            let mut parts = self.parts.borrow().clone();
            parts.insert(TROUBLE, html! { p { (format!("{error:#}")) } }.into_string());
            self.put(parts);
        }
    }

    fn put(&self, parts: Parts) {
        self.parts.send_if_modified(|shown| {
            let is_new = *shown != parts;
            *shown = parts;
            is_new
        });
    }
}
