//! Commands as mongosh takes them: what is shown must be what would be done, so numbers keep their types.

use ::mongodb::bson::{Bson, Document};

/// A command without a password.
pub(super) fn shown(command: &Document) -> String {
    let fields = command.iter().map(|(key, value)| match key.as_str() {
        "pwd" => (key.as_str(), "\"***\"".to_owned()),
        _ => (key.as_str(), value_text(value)),
    });
    object(fields)
}

fn value_text(value: &Bson) -> String {
    match value {
        Bson::Document(fields) => object(fields.iter().map(|(key, value)| (key.as_str(), value_text(value)))),
        Bson::Array(values) => {
            format!("[{}]", values.iter().map(value_text).collect::<Vec<_>>().join(", "))
        }
        Bson::String(text) => serde_json::Value::from(text.as_str()).to_string(),
        Bson::Int64(number) => format!("Long(\"{number}\")"),
        Bson::MinKey => "MinKey()".to_owned(),
        Bson::MaxKey => "MaxKey()".to_owned(),
        other => other.to_string(),
    }
}

fn object<'k>(fields: impl Iterator<Item = (&'k str, String)>) -> String {
    let fields: Vec<String> = fields.map(|(key, value)| format!("\"{key}\": {value}")).collect();
    if fields.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", fields.join(", ")) }
}

#[cfg(test)]
mod tests {
    use ::mongodb::bson::doc;

    use super::*;

    #[test]
    fn numbers_keep_their_types_and_passwords_stay_away() {
        let move_range = doc! {
            "moveRange": "p.access_events", "min": { "_id": 9_007_199_254_740_993_i64 }, "max": { "_id": Bson::MaxKey },
            "roles": [{}, true, "a\"b"], "n": 1,
        };
        assert_eq!(
            shown(&move_range),
            r#"{ "moveRange": "p.access_events", "min": { "_id": Long("9007199254740993") }, "max": { "_id": MaxKey() }, "roles": [{}, true, "a\"b"], "n": 1 }"#
        );
        assert_eq!(shown(&doc! { "pwd": "secret" }), r#"{ "pwd": "***" }"#);
    }
}
