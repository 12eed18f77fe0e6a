//! What connectors tell of themselves.

use std::time::Instant;

use super::{Case, PATIENCE, terminate};
use crate::metrics::{get, scrape};
use crate::processes::free_port;
use crate::sample::Sample;

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_of_connectors_are_those_of_the_log() {
    let Some(case) = Case::new("connectormetrics", 1).await else { return };
    case.deploy();
    let mut sample = Sample::valid(5_000, 14);
    (0..20).for_each(|_| sample.push_bad("not_json", "}"));
    let lines = sample.lines.len() as f64;
    case.write("log", sample.file());
    let connectors = ["events", "rollups", "alerts"].map(|job| {
        let address = format!("127.0.0.1:{}", free_port());
        let child = case.connector_with(job, 0, &format!(" --metrics {address}"));
        (job, address, child)
    });
    let mut produce = case.start(&format!("produce --file log {}", case.flags()));
    assert!(produce.wait().expect("it ends").success(), "{}", case.errors());
    case.counted(sample.accepted + 20).await;
    for (job, address, _) in &connectors {
        let (began, jobs) = (Instant::now(), if *job == "events" { 2.0 } else { 1.0 });
        let found = loop {
            let found = scrape(address);
            if found.sum("streampulse_job_lag_records") == 0.0 && found.sum("streampulse_job_running") == jobs
            {
                break found;
            }
            assert!(began.elapsed() < PATIENCE, "job {job} does not come to its end");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        };
        assert_eq!(found.sum("streampulse_mongodb_up"), 1.0, "{job}");
        assert_eq!(get(address, "/readyz"), (200, r#"{"ok":true,"problems":[]}"#.to_owned()), "{job}");
        // Of the modules in the SPU; job rollups has none.
        let memory = "streampulse_job_smartmodule_memory_bytes";
        let bytes = found.families().any(|name| name == memory).then(|| found.sum(memory));
        assert_eq!(bytes.map(|bytes| bytes >= 1e6), (*job != "rollups").then_some(true), "{job}: {bytes:?}");
        if *job == "events" {
            assert_eq!(found.sum("streampulse_lines_read_total"), lines);
            assert_eq!(found.value("streampulse_lines_rejected_total{reason=\"not_json\"}"), 20.0);
            assert_eq!(found.sum("streampulse_events_stored_total"), sample.accepted as f64);
        }
    }
    connectors.into_iter().for_each(|(job, _, child)| terminate(&case, (job, 0), child));
    sample.check(&case.database).await;
}
