//! The documents beside the code: what they tell to type, to set and to look for is there. Each check makes
//! sure that it found something to check.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::Path;

use clap::{CommandFactory, Parser};
use sink::schema::daily::{Day, OTHER};
use sink::schema::definition::{self, Collection, collections};
use sink::schema::{EVENTS, EventsBy, Retention};
use streampulse::args::Cli;
use streampulse::config::Config;

const MONGODB: &str = include_str!("../docs/mongodb.md");
const OPERATIONS: &str = include_str!("../docs/OPERATIONS.md");
const PAGES: [(&str, &str); 9] = [
    ("README.md", include_str!("../README.md")),
    ("docs/OPERATIONS.md", OPERATIONS),
    ("docs/alerts.md", include_str!("../docs/alerts.md")),
    ("docs/compose.md", include_str!("../docs/compose.md")),
    ("docs/grafana.md", include_str!("../docs/grafana.md")),
    ("docs/fluvio.md", include_str!("../docs/fluvio.md")),
    ("docs/mongodb.md", MONGODB),
    ("docs/RELEASE.md", include_str!("../docs/RELEASE.md")),
    ("docs/SECURITY.md", include_str!("../docs/SECURITY.md")),
];
const XTASK: &str = include_str!("../xtask/src/main.rs");
/// Flags of other programs that stand alone in a text: of mongod, mongodump, smdk and Docker Compose.
const FLAGS_OF_OTHERS: [&str; 8] = [
    "--auth",
    "--nowasi",
    "--oplog",
    "--oplogReplay",
    "--profile",
    "--tlsAllowConnectionsWithoutCertificates",
    "--tlsMode",
    "--zstdDefaultCompressionLevel",
];

/// The fenced blocks of a page that are of one language.
fn blocks<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let fenced = page.split("```").skip(1).step_by(2);
    fenced.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
}

/// What stands between backticks in the text around the blocks, with line ends made spaces.
fn spans(page: &str) -> Vec<String> {
    let text: String = page.split("```").step_by(2).collect();
    let parts: Vec<&str> = text.split('`').collect();
    assert!(parts.len() % 2 == 1, "a backtick is missing");
    let spans = parts.into_iter().skip(1).step_by(2);
    spans.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// The words of a shell line, without quotes and comment.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for char in line.chars().chain([' ']) {
        match (quote, char) {
            (Some(open), _) if open == char => quote = None,
            (None, '\'' | '"') => quote = Some(char),
            (None, '#') if word.is_empty() => break,
            (None, ' ') if word.is_empty() => {}
            (None, ' ') => words.push(std::mem::take(&mut word)),
            _ => word.push(char),
        }
    }
    words
}

/// The command lines of `streampulse` in a shell line, from the program's name on. A `...` in them is a value
/// like any other.
fn command_lines(line: &str) -> Vec<Vec<String>> {
    let words = words(line);
    let lines = words.split(|word| ["&&", "|", ";", ">", ">>"].contains(&word.as_str()));
    let is_program = |word: &String| word == "streampulse" || word == "target/release/streampulse";
    let from_program = |words: &[String]| Some(words[words.iter().position(is_program)?..].to_vec());
    lines.filter_map(from_program).collect()
}

#[test]
fn command_lines_are_ones_that_the_command_takes() {
    let mut seen = 0;
    for (name, page) in PAGES {
        for block in blocks(page, "sh") {
            for line in block.replace("\\\n", " ").lines().flat_map(command_lines) {
                let parsed = Cli::try_parse_from(&line);
                assert!(parsed.is_ok(), "{name}: {}: {}", line.join(" "), parsed.expect_err("checked"));
                seen += 1;
            }
        }
    }
    assert!(seen >= 25, "only {seen} command lines were found");
}

/// A text may leave out what a command needs, so its flags are looked for, and its values are not checked.
#[test]
fn flags_in_the_text_are_ones_of_their_command() {
    let mut cli = Cli::command();
    cli.build();
    let has = |command: &clap::Command, flag: &str| {
        command.get_arguments().any(|argument| argument.get_long() == flag.strip_prefix("--"))
    };
    let mut seen = 0;
    for (name, page) in PAGES {
        for span in spans(page) {
            let words: Vec<&str> = span.split(' ').skip_while(|word| *word == "streampulse").collect();
            let mut command = &cli;
            for word in &words {
                command = command.find_subcommand(word).unwrap_or(command);
            }
            let is_program = span.starts_with("streampulse ");
            assert!(!is_program || command.get_name() != cli.get_name(), "{name}: `{span}`");
            let is_alone = words[0].starts_with("--") && !FLAGS_OF_OTHERS.contains(&words[0]);
            if command.get_name() == cli.get_name() && !is_alone {
                continue;
            }
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                let of_any = || {
                    let nested = cli.get_subcommands().flat_map(|command| command.get_subcommands());
                    cli.get_subcommands().chain(nested).any(|command| has(command, flag))
                };
                assert!(has(command, flag) || is_alone && of_any(), "{name}: `{span}` has no {flag}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 20, "only {seen} flags were found");
}

/// Every duration that can be named is.
fn full() -> Retention {
    let days = NonZeroU32::new(1);
    Retention {
        events_days: days,
        events_by: EventsBy::Drop,
        rejects_days: days,
        minutes_days: days,
        hours_days: days,
        days_days: days,
        alerts_days: days,
    }
}

/// All collections but those of single days.
fn all(retention: &Retention) -> Vec<Collection> {
    let of_events = [EVENTS, OTHER].map(|name| definition::events(name, retention.events_days));
    of_events.into_iter().chain(collections(retention)).collect()
}

/// The part of docs/mongodb.md under a heading.
fn section(heading: &str) -> &'static str {
    let mut sections = MONGODB.split("\n## ");
    let found = sections.find(|section| section.lines().next().is_some_and(|line| line.ends_with(heading)));
    found.unwrap_or_else(|| panic!("docs/mongodb.md has no section {heading}"))
}

#[test]
fn collections_are_the_ones_of_the_schema() {
    let schema = all(&full());
    let schema: BTreeSet<&str> = schema.iter().map(|collection| collection.name.as_str()).collect();
    // In bold, those that differ only at the end as `name_1`, `_2`.
    let mut described = BTreeSet::new();
    let bold = section("Collections").split("**").skip(1).step_by(2).filter(|bold| bold.starts_with('`'));
    for names in bold {
        let mut before = String::new();
        for name in names.split(", ").map(|name| name.trim_matches('`')) {
            let stem = before.rsplit_once('_').map_or("", |(stem, _)| stem);
            before = if name.starts_with('_') { format!("{stem}{name}") } else { name.to_owned() };
            described.insert(before.clone());
        }
    }
    assert_eq!(described.iter().map(String::as_str).collect::<BTreeSet<_>>(), schema);
    let mut seen = 0;
    for (name, page) in PAGES {
        for word in page.split(|char: char| !(char.is_ascii_alphanumeric() || "_*.".contains(char))) {
            let word = word.trim_end_matches('.');
            let is_name = word.starts_with("access_") || word.starts_with("pipeline_");
            if is_name && !word.ends_with(".wasm") {
                let exists = match word.strip_suffix('*') {
                    Some(stem) => schema.iter().any(|collection| collection.starts_with(stem)),
                    None => schema.contains(word) || Day::of_collection(word).is_some(),
                };
                assert!(exists, "{name}: there is no collection {word}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 30, "only {seen} names were found");
}

#[test]
fn indexes_are_the_ones_of_the_schema() {
    let mut documented = BTreeMap::<&str, BTreeSet<String>>::new();
    let mut known: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let schema = [all(&Retention::default()), all(&full())].concat();
    for collection in &schema {
        let names = collection.indexes.iter().map(|index| index.name.clone());
        known.entry(&collection.name).or_default().extend(names);
    }
    let mut row_collections: Vec<&str> = Vec::new();
    for row in section("Indexes").lines().filter(|line| line.starts_with("| ")).skip(1) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let named = spans(cells[0]);
        if !named.is_empty() {
            let stems = named.iter().map(|name| name.trim_end_matches('*'));
            let matching = |stem| known.keys().copied().filter(move |name: &&str| name.starts_with(stem));
            row_collections = stems.flat_map(matching).collect();
        }
        let indexes = cells[1..].iter().flat_map(|cell| spans(cell));
        for index in indexes.filter(|name| name.starts_with("_id") || name.ends_with("_1")) {
            let exists =
                index.starts_with("_id") || row_collections.iter().any(|name| known[name].contains(&index));
            assert!(exists, "{row_collections:?} have no index {index}");
            for collection in &row_collections {
                documented.entry(collection).or_default().insert(index.clone());
            }
        }
    }
    assert!(documented.len() >= 9, "the table of indexes has moved");
    for (collection, indexes) in known {
        for index in indexes {
            let is_there = documented.get(collection).is_some_and(|documented| documented.contains(&index));
            assert!(is_there, "docs/mongodb.md does not name the index {index} of {collection}");
        }
    }
}

#[test]
fn settings_are_ones_that_the_pipeline_file_takes() {
    let mut seen = 0;
    let mut check = |page: &str, text: &str| {
        let parsed = Config::parse(text);
        assert!(parsed.is_ok(), "{page}: {text}: {:#}", parsed.expect_err("checked"));
        seen += 1;
    };
    for (name, page) in PAGES {
        blocks(page, "toml").into_iter().for_each(|block| check(name, block));
        for span in spans(page) {
            let section = span.strip_prefix('[').and_then(|span| span.strip_suffix(']'));
            if section.is_some_and(|section| section.starts_with(|first: char| first.is_ascii_lowercase())) {
                check(name, &span);
            }
            if let Some((key, value)) = span.split_once(" = ") {
                let table = match key {
                    "events_by" => "[mongodb.retention]\nevents_days = 1",
                    "store_events" => "[mongodb]",
                    _ => "[topics.access-logs]",
                };
                check(name, &format!("{table}\n{key} = {value}"));
            }
        }
    }
    // Their names are those that `Debug` shows.
    let retention = format!("{:?}", full());
    let is_days = |word: &&str| word.ends_with("_days");
    let word_end = |char: char| !(char.is_ascii_lowercase() || char == '_');
    let known: BTreeSet<&str> = retention.split(word_end).filter(is_days).collect();
    let told: BTreeSet<&str> = MONGODB.split(word_end).filter(is_days).collect();
    assert_eq!(told, known, "durations of [mongodb.retention]");
    assert!(seen >= 4, "only {seen} settings were found");
}

#[test]
fn what_xtask_is_told_to_do_it_can() {
    let help = XTASK.split("Commands:\n").nth(1).and_then(|help| help.split("\n\n").next());
    let help = help.expect("xtask has a list of commands");
    let is_command = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let first_word = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    let commands: BTreeSet<String> = help.lines().filter(is_command).map(first_word).collect();
    let mut seen = 0;
    for (name, page) in PAGES {
        for typed in page.split("cargo xtask ").skip(1) {
            let typed = typed.split(['`', '\n', '#']).next().unwrap_or_default();
            let words: Vec<&str> = typed.split_whitespace().collect();
            assert!(
                words.first().is_some_and(|word| commands.contains(*word)),
                "{name}: cargo xtask {typed}"
            );
            if let ["bench", bench] = words[..] {
                let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("benches/{bench}.rs"));
                assert!(source.is_file(), "{name}: cargo xtask {typed}");
            }
            let flags = words.iter().filter(|word| word.starts_with("--") && **word != "--");
            flags.for_each(|flag| assert!(help.contains(*flag), "{name}: cargo xtask {typed}"));
            seen += 1;
        }
    }
    assert!(seen >= 5, "only {seen} were found");
}
