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
        match self.settings.output {
            Wanted::Records => {
                for record in batch.records() {
                    let line = Line { offset: record.offset.cast_unsigned(), value: record.value };
                    let json = filter_map::to_json(&self.settings, line);
                    output.push(&Record { value: json.as_bytes(), ..record });
                }
            }
            Wanted::Frame => {
                // What a record says of its own place comes from whoever produced it.
                let base_offset = batch.base_offset.cast_unsigned();
                let lines = (base_offset..).zip(batch.records());
                let lines = lines.map(|(offset, record)| Line { offset, value: record.value });
                let stored = filter_map::Batch { base_offset, stored_at_ms: batch.base_timestamp };
                self.frame.clear();
                filter_map::write_frame(&self.settings, stored, lines, &mut self.writer, &mut self.frame);
                output.push_batch(None, &self.frame);
            }
        }
        Ok(())
    }
}
