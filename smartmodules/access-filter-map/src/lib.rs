//! SmartModule `access-filter-map`: log lines become events and rejects. With `output=records` (the default)
//! a person reads JSON; with `output=frame` a connector gets one frame a stored batch.

use std::collections::BTreeMap;

use batch_abi::{Batch, BatchModule, Output, Record};
use domain::filter_map::{self, Line};
use domain::params::{FilterMapSettings, Output as Wanted};
use domain::wire::EventsFrameWriter;

batch_abi::export_filter_map!(AccessFilterMap, domain::CODE_HASH);

struct AccessFilterMap {
    settings: FilterMapSettings,
    writer: EventsFrameWriter,
    frame: Vec<u8>,
}

impl BatchModule for AccessFilterMap {
    fn new(params: BTreeMap<String, String>) -> Result<Self, String> {
        let settings = FilterMapSettings::parse(&params)?;
        Ok(Self { settings, writer: EventsFrameWriter::default(), frame: Vec::new() })
    }

    fn run(&mut self, batch: &Batch, _: &[u8], output: &mut Output) -> Result<(), String> {
        let line = |record: &Record<'_>| record.offset.cast_unsigned();
        match self.settings.output {
            Wanted::Records => {
                for record in batch.records() {
                    let json = filter_map::to_json(
                        &self.settings,
                        Line { offset: line(&record), value: record.value },
                    );
                    output.push(&Record { value: json.as_bytes(), ..record });
                }
            }
            Wanted::Frame => {
                let lines = batch.records().map(|record| Line { offset: line(&record), value: record.value });
                let stored = filter_map::Batch {
                    base_offset: batch.base_offset.cast_unsigned(),
                    stored_at_ms: batch.base_timestamp,
                };
                self.frame.clear();
                filter_map::write_frame(&self.settings, stored, lines, &mut self.writer, &mut self.frame);
                output.push_batch(&self.frame);
            }
        }
        Ok(())
    }
}
