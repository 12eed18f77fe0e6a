//! One stream from a partition's leader: a request, and responses that are acknowledged one by one. Each has
//! a connection of its own, which ends the stream at the SPU when it is dropped.

use std::sync::Arc;

use anyhow::{anyhow, ensure};
use fluvio_protocol::link::ErrorCode;
use fluvio_protocol::record::{Batch, MemoryRecords, RawRecords};
use fluvio_socket::{AsyncResponse, VersionedSerialSocket};
use fluvio_spu_schema::Isolation;
use fluvio_spu_schema::server::smartmodule::{
    SmartModuleContextData, SmartModuleInvocation, SmartModuleInvocationWasm, SmartModuleKind,
};
use fluvio_spu_schema::server::stream_fetch::{DefaultStreamFetchRequest, DefaultStreamFetchResponse};
use fluvio_spu_schema::server::update_offset::{OffsetUpdate, UpdateOffsetsRequest};
use futures_util::StreamExt;

use super::connection::{Connection, Failure};
use crate::Module;

/// Responses that may wait unread; the SPU sends the next only when the one before is acknowledged.
const RESPONSES_WAITING_MAX: usize = 10;

/// What to read.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition.
    pub partition: u32,
}

/// An open stream.
pub struct Fetch {
    socket: Arc<VersionedSerialSocket>,
    responses: AsyncResponse<DefaultStreamFetchRequest>,
    what: String,
}

impl Fetch {
    /// Asks for everything from `offset` on, run through `modules` by the SPU, `bytes_max` a response.
    ///
    /// # Errors
    /// When the leader does not answer. What it thinks of the request comes with the first response.
    pub async fn open(
        connection: &Connection,
        Place { topic, partition }: Place<'_>,
        offset: u64,
        isolation: Isolation,
        bytes_max: u32,
        modules: &[Module],
    ) -> Result<Self, Failure> {
        let socket = connection.connect(topic, partition).await?;
        let what = format!("reading partition {partition} of {topic} from {offset}");
        let request = DefaultStreamFetchRequest::builder()
            .topic(topic)
            .partition(partition)
            .fetch_offset(i64::try_from(offset).unwrap_or(i64::MAX))
            .isolation(isolation)
            .max_bytes(i32::try_from(bytes_max).unwrap_or(i32::MAX))
            .smartmodules(modules.iter().map(invocation).collect::<Vec<_>>())
            .build();
        let request = request.map_err(|error| Failure::Fatal(anyhow!("{what}: {error}")))?;
        let version = socket.lookup_version::<DefaultStreamFetchRequest>();
        let message = socket.new_request(request, version);
        let opened = socket.new_socket().create_stream(message, RESPONSES_WAITING_MAX).await;
        let responses = opened.map_err(|error| Failure::Away(anyhow!("{what}: {error}")))?;
        Ok(Self { socket: Arc::new(socket), responses, what })
    }

    /// The next response's batches, in order. It is acknowledged at once, so the SPU works on the next one.
    /// Whoever stops waiting for it loses nothing.
    ///
    /// # Errors
    /// When the connection breaks, or with what the SPU answers.
    pub async fn next(&mut self) -> Result<Vec<Batch<RawRecords>>, Failure> {
        let away = |text: String| Failure::Away(anyhow!("{}: {text}", self.what));
        let response: DefaultStreamFetchResponse = match self.responses.next().await {
            Some(Ok(response)) => response,
            Some(Err(error)) => return Err(away(error.to_string())),
            None => return Err(away("the connection is closed".to_owned())),
        };
        match response.partition.error_code.clone() {
            ErrorCode::None => {}
            code => return Err(Failure::of(code, &self.what)),
        }
        if let Some(offset) = response.partition.next_offset_for_fetch() {
            let update = OffsetUpdate { offset, session_id: response.stream_id };
            let socket = self.socket.clone();
            tokio::spawn(async move {
                let acknowledged = socket.send_receive(UpdateOffsetsRequest { offsets: vec![update] }).await;
                if let Err(error) = acknowledged {
                    // The stream itself breaks with the connection.
                    tracing::debug!(%error, "cannot acknowledge a response");
                }
            });
        }
        Ok(response.partition.records.batches)
    }
}

fn invocation(module: &Module) -> SmartModuleInvocation {
    let context = match &module.accumulator {
        Some(accumulator) => SmartModuleContextData::Aggregate { accumulator: accumulator.clone() },
        None => SmartModuleContextData::None,
    };
    SmartModuleInvocation {
        wasm: SmartModuleInvocationWasm::Predefined(module.name.clone()),
        kind: SmartModuleKind::Generic(context),
        params: module.params.clone().into(),
        name: Some(module.name.clone()),
    }
}

/// A batch's records, or an error when it does not hold all that its header speaks of: the SPU cuts a
/// response at its size limit, wherever that falls, and the protocol's decoder gives what came before.
///
/// # Errors
/// See above, and when they cannot be decompressed.
pub fn records(batch: &Batch<RawRecords>) -> anyhow::Result<MemoryRecords> {
    let records = batch.memory_records()?;
    ensure!(records.len() == batch.records_len(), "a batch was cut");
    Ok(records)
}
