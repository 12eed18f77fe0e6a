//! Secrets of the configuration: where their values come from, how the file uses them, and how an error is
//! told without showing one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior};
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer};

/// Most steps that a template may take; Fluvio's own limit.
const TEMPLATE_STEPS_MAX: u64 = 500;

/// Values by name.
pub(super) type Values = BTreeMap<String, String>;

/// The name of a secret: `{name: NAME}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `name`")]
pub(super) struct SecretRef {
    #[serde(deserialize_with = "secret_name")]
    pub(super) name: String,
}

/// The names that `meta.secrets` declares, read before the file is rendered, as Fluvio does.
///
/// # Errors
/// When the text is no YAML, or a name no name.
pub(super) fn declared(text: &str) -> Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct File {
        meta: Option<Meta>,
    }
    #[derive(Deserialize)]
    struct Meta {
        secrets: Option<Vec<SecretRef>>,
    }
    let file: Option<File> = yaml_serde::from_str(text)?;
    let secrets = file.and_then(|file| file.meta?.secrets).unwrap_or_default();
    Ok(secrets.into_iter().map(|secret| secret.name).collect())
}

/// Reads a file of `NAME=value` lines as Fluvio's `FileSecretStore` does: blanks around name and value do not
/// count, a line without `=` says nothing, and the first line of a name holds.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn from_file(path: &Path) -> Result<Values> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the secrets file {}", path.display()))?;
    let mut values = Values::new();
    for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
        values.entry(name.trim().to_owned()).or_insert_with(|| value.trim().to_owned());
    }
    Ok(values)
}

/// The environment variables of these names.
pub(super) fn from_environment(names: BTreeSet<String>) -> Values {
    names.into_iter().filter_map(|name| std::env::var(&name).ok().map(|value| (name, value))).collect()
}

/// The values of the declared secrets, and no others.
///
/// # Errors
/// Names the secret that has no value.
pub(super) fn visible(declared: BTreeSet<String>, all: &Values) -> Result<Values> {
    let value = |name: String| match all.get(&name) {
        Some(value) => Ok((name, value.clone())),
        None => Err(anyhow!(
            "the secret {name} has no value: write the line {name}=... into the file given with --secrets, \
             or without --secrets set the environment variable {name}"
        )),
    };
    declared.into_iter().map(value).collect()
}

/// Puts the values in, with the template engine and the settings of Fluvio's own renderer.
///
/// # Errors
/// Says which line is wrong, as it stands in the file.
pub(super) fn render(text: &str, secrets: &Values) -> Result<String> {
    let syntax = SyntaxConfig::builder()
        .block_delimiters("${%", "%}")
        .variable_delimiters("${{", "}}")
        .comment_delimiters("${#", "#}")
        .build()
        .expect("the delimiters differ");
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(syntax);
    environment.set_fuel(Some(TEMPLATE_STEPS_MAX));
    let context = BTreeMap::from([("secrets", secrets)]);
    // The engine's own text could quote a value, its kind cannot.
    environment.render_str(text, context).map_err(|error| {
        let number = error.line().unwrap_or(1).max(1);
        let line = text.lines().nth(number - 1).unwrap_or_default().trim();
        anyhow!(
            "{} at line {number}: `{line}`; write ${{{{ secrets.NAME }}}} for a NAME in meta.secrets",
            error.kind()
        )
    })
}

/// Reads with the values. When that fails it is told as it fails with the names in place of the values, so
/// that no error can hold a value, nor a part of one.
///
/// # Errors
/// Those of `read`, or which secret has a value that does not fit.
pub(super) fn read_hiding<T>(values: &Values, read: impl Fn(&Values) -> Result<T>) -> Result<T> {
    if let Ok(done) = read(values) {
        return Ok(done);
    }
    let hidden: Values = values.iter().map(|(name, value)| (name.clone(), stand_in(name, value))).collect();
    read(&hidden)?;
    let at_fault = |name: &&String| {
        let mut values = values.clone();
        values.insert((*name).clone(), hidden[*name].clone());
        read(&values).is_ok()
    };
    let alone: Vec<&String> = values.keys().filter(at_fault).collect();
    let names = if alone.is_empty() { values.keys().collect() } else { alone };
    let names = names.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    bail!(
        "the value of the secret {names} does not fit where the file uses it (values are not shown); correct \
         it, or put it in quotes there: \"${{{{ secrets.NAME }}}}\""
    )
}

/// What is put in place of a value: of the same type in YAML, and valid wherever a name is.
fn stand_in(name: &str, value: &str) -> String {
    if value.parse::<u64>().is_ok() { "1".to_owned() } else { format!("<{name}>") }
}

fn secret_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    const EXPECTED: &str = "letters, digits and underscores, not beginning with a digit";
    let name = String::deserialize(deserializer)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(allowed) {
        return Err(D::Error::invalid_value(Unexpected::Str(&name), &EXPECTED));
    }
    Ok(name)
}
