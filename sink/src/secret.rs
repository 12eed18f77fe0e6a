//! Text that is not for logs, and errors that quote what somebody wrote without showing the secrets in it.

use std::fmt;

use serde::Deserialize;

/// Text that `Debug` does not show.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself; not for logs.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// `text` without what stands between `://` and `@`, for errors that quote a flag, a line or a value.
pub fn without_credentials(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown.push_str("://");
        match part.rfind('@') {
            Some(at) => shown.extend(["...", &part[at..]]),
            None => shown.push_str(part),
        }
    }
    shown
}

/// What a parser says, without the values that it quotes: `invalid type: string "x"`, `unknown variant `x``.
pub fn without_values(message: &str) -> String {
    let mut shown = without_credentials(message);
    for (before, after) in [("string \"", "\", expected"), ("unknown variant `", "`, expected")] {
        let value = shown.find(before).zip(shown.rfind(after));
        if let Some((start, end)) = value.map(|(at, end)| (at + before.len(), end)).filter(|(a, b)| a <= b) {
            shown.replace_range(start..end, "...");
        }
    }
    shown
}

/// Whether a connection string holds a password.
pub fn has_password(uri: &str) -> bool {
    let credentials = uri.split_once("://").and_then(|(_, rest)| Some(rest.rsplit_once('@')?.0));
    credentials.is_some_and(|credentials| credentials.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret::from("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(secret.reveal(), "hunter2");
    }

    #[test]
    fn what_is_quoted_has_no_credentials() {
        let shown = without_credentials("no `mongodb://u:p@ss@h/` and no https://k@i, but http://a/b");
        assert_eq!(shown, "no `mongodb://...@h/` and no https://...@i, but http://a/b");
    }

    #[test]
    fn a_parser_shows_no_value() {
        for (message, expected) in [
            ("invalid type: string \"s3cret\", expected u32", "invalid type: string \"...\", expected u32"),
            ("invalid value: string \"a\\\"b\", expected x", "invalid value: string \"...\", expected x"),
            ("unknown variant `s3cret`, expected `a` or `b`", "unknown variant `...`, expected `a` or `b`"),
            ("unknown field `url`, expected `uri`", "unknown field `url`, expected `uri`"),
        ] {
            assert_eq!(without_values(message), expected);
        }
    }

    #[test]
    fn a_user_alone_is_no_password() {
        for (uri, expected) in [
            ("mongodb://u:p@h/", true),
            ("mongodb+srv://u:p@h/?x=a:b", true),
            ("mongodb://u@h:27017/", false),
            ("mongodb://h:27017,i:27018/", false),
            ("u:p@h", false),
        ] {
            assert_eq!(has_password(uri), expected, "{uri}");
        }
    }
}
