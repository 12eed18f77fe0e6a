//! SmartModule `access-anomaly`: watches `access-rollups` and gives one frame of alerts a stored batch. Its
//! state is one static over `domain`'s detector, loaded from the stream's initial accumulator, and handed out
//! in the frames.

use std::collections::BTreeMap;

use batch_abi::{Batch, BatchModule, Output};
use domain::anomaly::Detector;
use domain::params::AnomalySettings;

batch_abi::export_aggregate!(AccessAnomaly, domain::CODE_HASH);

struct AccessAnomaly {
    settings: AnomalySettings,
    detector: Option<Detector>,
}

impl BatchModule for AccessAnomaly {
    fn new(params: BTreeMap<String, String>) -> Result<Self, String> {
        Ok(Self { settings: AnomalySettings::parse(&params)?, detector: None })
    }

    fn run(&mut self, batch: &Batch, accumulator: &[u8], output: &mut Output) -> Result<(), String> {
        let detector = match &mut self.detector {
            Some(detector) => detector,
            None => self.detector.insert(Detector::new(self.settings.clone(), accumulator)?),
        };
        let frames = batch.records().map(|record| record.value);
        output.push_batch(None, detector.run(batch.base_offset.cast_unsigned(), frames));
        Ok(())
    }
}
