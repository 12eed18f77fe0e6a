//! What Grafana and its free MongoDB plugin make of dashboards and alert rules, without running either: the browser
//! replaces variables, the plugin turns documents into a frame, a panel draws it. The traps are tests of the checks.

pub mod alerting;
pub mod frames;
pub mod interpolate;
pub mod linter;
pub mod panels;
mod provisioning;
mod traps;
