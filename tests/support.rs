//! What the integration tests need around them.

/// The MongoDB to test against, a replica set on this machine.
pub fn mongodb_uri() -> String {
    std::env::var("STREAMPULSE_TEST_MONGODB_URI")
        .expect("set STREAMPULSE_TEST_MONGODB_URI to a mongodb replica set that tests may write to")
}
