//! What became of notifications, for Prometheus.

use anyhow::Result;
use prometheus::{IntCounterVec, Opts, Registry};

use crate::send::Outcome;
use crate::settings::Receiver;

const RESULTS: [&str; 3] = ["taken", "refused", "failed"];

/// Counters by receiver.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    tries: IntCounterVec,
    given_up: IntCounterVec,
}

impl Counts {
    /// Zero for each receiver.
    ///
    /// # Errors
    /// When `registry` has them already.
    pub fn new(receivers: &[Receiver], registry: &Registry) -> Result<Self> {
        let of = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let this = Self {
            tries: of(
                "streampulse_delivery_tries_total",
                "Notifications sent: taken by the receiver, refused for good, or failed and to be tried again.",
                &["receiver", "result"],
            )?,
            given_up: of(
                "streampulse_deliveries_given_up_total",
                "Notifications that became dead letters.",
                &["receiver"],
            )?,
        };
        for Receiver { name, .. } in receivers {
            RESULTS.iter().for_each(|result| drop(this.tries.with_label_values(&[name.as_str(), result])));
            this.given_up.with_label_values(&[name]);
        }
        Ok(this)
    }

    pub fn tried(&self, receiver: &str, outcome: &Outcome) {
        let result = match outcome {
            Outcome::Taken => RESULTS[0],
            Outcome::Refused(_) => RESULTS[1],
            Outcome::Later { .. } => RESULTS[2],
        };
        self.tries.with_label_values(&[receiver, result]).inc();
    }

    pub fn given_up(&self, receiver: &str) {
        self.given_up.with_label_values(&[receiver]).inc();
    }
}
