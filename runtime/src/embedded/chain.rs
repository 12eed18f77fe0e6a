//! A chain of SmartModules in Fluvio's engine, and how a stored batch goes through it.

use anyhow::{Context, Result, anyhow};
use fluvio_protocol::record::{Batch, RawRecords};
use fluvio_smartengine::{
    SmartEngine, SmartModuleChainBuilder, SmartModuleChainInstance, SmartModuleConfig, SmartModuleInitialData,
};
use fluvio_smartmodule::dataplane::smartmodule::SmartModuleInput;

use crate::{Module, Output, memory_bytes};

/// Most memory of each module of a chain, in bytes; far above what a batch needs.
pub const MODULE_MEMORY_BYTES_MAX: usize = 512 << 20;

/// The modules of one stream; without any, records pass as they are.
#[derive(Debug)]
pub struct Chain {
    instance: Option<SmartModuleChainInstance>,
}

impl Chain {
    /// Compiles and initialises the modules.
    ///
    /// # Errors
    /// When a module is not valid, or refuses its parameters.
    pub fn new(engine: &SmartEngine, modules: Vec<Module>) -> Result<Self> {
        if modules.is_empty() {
            return Ok(Self { instance: None });
        }
        let names: Vec<_> = modules.iter().map(|module| module.name.clone()).collect();
        let mut builder = SmartModuleChainBuilder::default();
        builder.set_store_memory_limit(MODULE_MEMORY_BYTES_MAX);
        for module in modules {
            let mut config = SmartModuleConfig::builder();
            config.smartmodule_names([module.name].as_slice()).params(module.params.into());
            if let Some(accumulator) = module.accumulator {
                config.initial_data(SmartModuleInitialData::with_aggregate(accumulator));
            }
            builder.add_smart_module(
                config.build().context("incomplete SmartModule config")?,
                module.wasm.to_vec(),
            );
        }
        let instance = builder
            .initialize(engine)
            .with_context(|| format!("cannot start the SmartModules {}", names.join(", ")))?;
        Ok(Self { instance: Some(instance) })
    }

    /// Runs one stored batch.
    ///
    /// # Errors
    /// When a module fails; it does so only for a wrong parameter or a bug, since bad lines are rejects.
    pub fn run(&mut self, batch: Batch<RawRecords>) -> Result<Output> {
        let (base_offset, last_offset) =
            (batch.base_offset.cast_unsigned(), batch.get_last_offset().cast_unsigned());
        let has_modules = self.instance.is_some();
        let records = match &mut self.instance {
            None => batch.memory_records()?,
            Some(instance) => {
                let (offset, timestamp) = (batch.base_offset, batch.get_base_timestamp());
                let input = SmartModuleInput::new(batch.own_records().0.into(), offset, timestamp);
                let output = instance.process(input)?;
                match output.error {
                    None => output.successes,
                    Some(error) => {
                        return Err(anyhow!("a SmartModule failed at offset {offset}: {}", error.hint));
                    }
                }
            }
        };
        let memory_bytes = records.last().filter(|_| has_modules).and_then(memory_bytes);
        let values = records.into_iter().map(|record| record.into_value().into_vec()).collect();
        Ok(Output { base_offset, last_offset, values, memory_bytes })
    }
}
