//! The dashboards: their files are what is made of the queries, each panel shows what the plugin makes of a
//! database that the pipeline has filled, and the numbers are those of the events.

use expect_test::expect_file;
use streampulse::grafana;

const RULES_HEAD: &str = "# Made from src/grafana/rules.rs; a change here is refused by a test.\n";

#[test]
fn the_files_are_made_from_here() {
    for (name, dashboard) in grafana::dashboards() {
        let file = format!("{}/grafana/dashboards/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = serde_json::to_string_pretty(&dashboard).expect("JSON");
        expect_file![file].assert_eq(&format!("{text}\n"));
    }
    let rules = yaml_serde::to_string(&grafana::rules()).expect("YAML");
    let file = format!("{}/grafana/provisioning/alerting/rules.yaml", env!("CARGO_MANIFEST_DIR"));
    expect_file![file].assert_eq(&format!("{RULES_HEAD}{rules}"));
}
