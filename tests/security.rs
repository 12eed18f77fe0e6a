//! Security, against a real MongoDB that demands TLS and a user: who gets in and may do what, what is never
//! shown, and what names from a log can do.

mod page;
mod privileges;
mod secrets;
mod server;
mod tls;

pub use server::Authority;
