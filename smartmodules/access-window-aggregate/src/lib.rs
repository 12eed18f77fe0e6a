//! SmartModule `access-window-aggregate`: adds to each frame of `access-filter-map` the counts of its events.

use std::collections::BTreeMap;

use batch_abi::{Batch, BatchModule, Output};
use domain::params::WindowSettings;
use domain::{window, wire};

batch_abi::export_filter_map!(AccessWindowAggregate, domain::CODE_HASH);

struct AccessWindowAggregate {
    settings: WindowSettings,
    delta: Vec<u8>,
    frame: Vec<u8>,
}

impl BatchModule for AccessWindowAggregate {
    fn new(params: BTreeMap<String, String>) -> Result<Self, String> {
        Ok(Self { settings: WindowSettings::parse(&params)?, delta: Vec::new(), frame: Vec::new() })
    }

    fn run(&mut self, batch: &Batch, _: &[u8], output: &mut Output) -> Result<(), String> {
        for record in batch.records() {
            let delta = window::aggregate(self.settings, record.value).map_err(|error| error.to_string())?;
            self.delta.clear();
            delta.encode(&mut self.delta);
            self.frame.clear();
            wire::append_delta(record.value, &self.delta, &mut self.frame)
                .map_err(|error| error.to_string())?;
            output.push_batch(record.key, &self.frame);
        }
        Ok(())
    }
}
