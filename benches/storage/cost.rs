//! What work costs the server, and what lies on its disk.

use std::time::Instant;

use anyhow::Result;
use mongodb::bson::{RawDocumentBuf, doc};

use super::server::{Server, check, number};

/// What a piece of work cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Until the server had answered.
    pub wall_us: f64,
    /// The server's CPU, until the checkpoint after it.
    pub cpu_us: f64,
}

/// What lies on disk, in bytes.
pub struct Sizes {
    pub documents: f64,
    pub indexes: f64,
}

impl Server {
    pub async fn cost(&self, work: impl Future<Output = Result<()>>) -> Result<Cost> {
        let (cpu_us, began) = (self.cpu_us()?, Instant::now());
        work.await?;
        let wall_us = began.elapsed().as_secs_f64() * 1e6;
        self.checkpoint().await?;
        Ok(Cost { wall_us, cpu_us: self.cpu_us()? - cpu_us })
    }

    pub async fn sizes(&self, collection: &str) -> Result<Sizes> {
        let stats = self.database.run_command(doc! { "collStats": collection }).await?;
        Ok(Sizes { documents: number(&stats, "storageSize")?, indexes: number(&stats, "totalIndexSize")? })
    }

    pub async fn insert(&self, commands: Vec<RawDocumentBuf>) -> Result<()> {
        for command in commands {
            check(&self.database.run_raw_command(command).await?)?;
        }
        Ok(())
    }
}
