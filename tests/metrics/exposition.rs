//! Prometheus' text format, read strictly: what it does not allow panics.

use std::collections::{BTreeMap, BTreeSet};

/// What was told at one time.
pub struct Exposition {
    /// By name, with the type.
    families: BTreeMap<String, String>,
    /// By name and labels, as they stand there.
    series: BTreeMap<String, f64>,
}

impl Exposition {
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line has no end");
        let mut this = Self { families: BTreeMap::new(), series: BTreeMap::new() };
        let (mut helped, mut current) = (BTreeSet::new(), String::new());
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect(line);
                assert!(helped.insert(name.to_owned()) && help.len() > 10, "{line}");
                current = name.to_owned();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect(line);
                assert_eq!(name, current, "TYPE follows HELP");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(name.starts_with("streampulse_") || name.starts_with("process_"), "{line}");
                assert!(this.families.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
            } else {
                this.sample(line, &current);
            }
        }
        this.families
            .iter()
            .filter(|(_, kind)| *kind == "histogram")
            .for_each(|(name, _)| this.histogram(name));
        let has_series =
            |family: &String| this.series.keys().any(|series| series.starts_with(family.as_str()));
        assert!(this.families.keys().all(has_series), "a family is empty");
        this
    }

    fn sample(&mut self, line: &str, current: &str) {
        let (series, value) = line.rsplit_once(' ').expect(line);
        let name = series.split('{').next().expect(line);
        let kind = self.families.get(current).unwrap_or_else(|| panic!("no TYPE before {line}"));
        let is_of = match kind.as_str() {
            "histogram" => {
                ["_bucket", "_sum", "_count"].iter().any(|end| name.strip_suffix(end) == Some(current))
            }
            _ => name == current,
        };
        assert!(is_of, "{line} stands under {current}");
        assert!(
            name.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_'),
            "{line}"
        );
        if let Some(labels) = series.strip_prefix(name).filter(|labels| !labels.is_empty()) {
            let labels = labels.strip_prefix('{').and_then(|labels| labels.strip_suffix('}')).expect(line);
            for label in labels.split("\",") {
                let (name, value) = label.split_once("=\"").expect(line);
                assert!(name.chars().all(|char| char.is_ascii_lowercase() || char == '_'), "{line}");
                assert!(!value.trim_end_matches('"').contains(['"', '\\', '\n']), "{line}");
            }
        }
        let value: f64 = value.parse().expect(line);
        assert!(value.is_finite() && value >= 0.0, "{line}");
        assert!(self.series.insert(series.to_owned(), value).is_none(), "{series} is there twice");
    }

    /// Buckets grow, and the last one has all.
    fn histogram(&self, name: &str) {
        let of = |end: &'static str| {
            let start = format!("{name}{end}{{");
            self.series.iter().filter(move |(series, _)| series.starts_with(&start))
        };
        let mut buckets = BTreeMap::<&str, Vec<(f64, f64)>>::new();
        for (series, n) in of("_bucket") {
            let (labels, bound) = series.rsplit_once("le=\"").expect(series);
            let bound = bound.trim_end_matches("\"}");
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect(series) };
            let labels = labels.split_once('{').expect(series).1.trim_end_matches(',');
            buckets.entry(labels).or_default().push((bound, *n));
        }
        assert_eq!((buckets.len(), buckets.len()), (of("_count").count(), of("_sum").count()), "{name}");
        for (labels, mut buckets) in buckets {
            buckets.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
            assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{name} {labels}: {buckets:?}");
            let last = buckets.last().copied();
            assert_eq!(
                last,
                Some((f64::INFINITY, self.value(&format!("{name}_count{{{labels}}}")))),
                "{name}"
            );
        }
    }

    /// The value of a series, with its labels in the order of their names.
    #[track_caller]
    pub fn value(&self, series: &str) -> f64 {
        let found = self.series.get(series);
        *found.unwrap_or_else(|| panic!("there is no {series} in {:?}", self.series.keys()))
    }

    /// The values of all series of a family together.
    #[track_caller]
    pub fn sum(&self, family: &str) -> f64 {
        assert!(self.families.contains_key(family), "there is no {family}");
        let of_family = |series: &str| series.split('{').next() == Some(family);
        self.series.iter().filter(|(series, _)| of_family(series)).map(|(_, value)| value).sum()
    }

    /// The names of the families.
    pub fn families(&self) -> impl Iterator<Item = &str> {
        self.families.keys().map(String::as_str)
    }
}
