//! How reports read: snapshots of the text in both languages, for no data, one minute, and months of it.

use chrono::DateTime;
use expect_test::{Expect, ExpectFile, expect, expect_file};

use super::answers::{CellCount, Cities, CityCount, Collected, report};
use super::peaks::MinuteCount;
use super::period::{Span, instant_of};
use super::{Alert, Lang, Report, ReportSpec, UsersEstimate, render_json, render_text};

/// Of the terminal, in columns.
const WIDTH: usize = 90;

#[track_caller]
fn check(report: &Report, lang: Lang, expected: Expect) {
    expected.assert_eq(&rendered(report, lang));
}

#[track_caller]
fn check_file(report: &Report, lang: Lang, expected: ExpectFile) {
    expected.assert_eq(&rendered(report, lang));
}

/// The text without colors, after a look at whether it is the same with them.
fn rendered(report: &Report, lang: Lang) -> String {
    let text = render_text(report, lang, false, WIDTH);
    let colored = render_text(report, lang, true, WIDTH);
    let mut plain = String::new();
    let mut rest = colored.as_str();
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain += before;
        rest = after.split_once('m').expect("a color code ends with m").1;
    }
    let lines = |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    assert_eq!(lines(&(plain + rest)), lines(&text), "colors change nothing else");
    text
}

fn minute(ts: &str) -> i64 {
    ts.parse::<DateTime<chrono::Utc>>().unwrap().timestamp() / 60
}

fn cell(country: &str, device: &str, content_type: &str, n: u64) -> CellCount {
    let [country, device, content_type] = [country, device, content_type].map(str::to_owned);
    CellCount { country, device, content_type, n }
}

fn alert(incident: &str, ts: i64, severity: &str, observed: u64, status: &str) -> Alert {
    Alert {
        id: format!("limit|{ts}"),
        kind: "limit".to_owned(),
        severity: severity.to_owned(),
        ts: instant_of(ts),
        observed: Some(observed.into()),
        expected: None,
        minutes: 1,
        limit: Some(40_000.into()),
        status: status.to_owned(),
        incident: incident.to_owned(),
        text: "more accesses in a minute than the limit".to_owned(),
    }
}

pub(super) fn one_minute() -> Report {
    let at = minute("2026-11-22T10:00:00Z");
    let collected = Collected {
        span: Some(Span { from: at, to: at + 1 }),
        minutes: vec![MinuteCount { minute: at, n: 1 }],
        rejected: Some(0),
        late: Some(0),
        users_estimate: Some(UsersEstimate { at_least: 1, at_most: 1 }),
        cells: vec![cell("BR", "tv", "movie", 1)],
        ..Collected::default()
    };
    report(&ReportSpec::default(), collected)
}

/// Three months of a day curve with an evening peak, one viral minute, and cities whose names are hard to
/// align.
pub(super) fn rich() -> Report {
    let (from, to) = (minute("2026-09-01T03:00:00Z"), minute("2026-12-01T03:00:00Z"));
    let viral = minute("2026-11-23T00:14:00Z");
    let curve = |t: i64| {
        let hour = (t - 180).rem_euclid(1440) / 60;
        let weekend = if (t - 180).div_euclid(1440).rem_euclid(7) == 3 { 300 } else { 0 };
        (2_000 + 800 * (12 - (hour - 20).abs()).max(0) + weekend) as u64 + (t.unsigned_abs() * 7919) % 50
    };
    let minutes: Vec<MinuteCount> = (from..to)
        .map(|t| MinuteCount { minute: t, n: if t == viral { 48_210 } else { curve(t) } })
        .collect();
    let mut cells = Vec::new();
    for (i, country) in ["BR", "US", "AR", "JP", "DE"].into_iter().enumerate() {
        for (j, device) in
            ["smartphone", "tv", "desktop", "tablet", "console", "other"].into_iter().enumerate()
        {
            for (k, content) in
                ["series", "movie", "live", "documentary", "short", "other"].into_iter().enumerate()
            {
                let n = 9_000_000 / (1 + i + j + (k + i % 3) % 6) as u64;
                cells.push(cell(country, device, content, n));
            }
        }
    }
    let city = |country: &str, city: &str, n: u64| CityCount {
        country: country.to_owned(),
        city: city.to_owned(),
        n,
        contents: vec![("series".to_owned(), n - n / 3), ("movie".to_owned(), n / 3)],
    };
    let cities = vec![
        city("BR", "São Paulo", 12_000_000),
        city("JP", "東京", 5_400_000),
        city("GB", "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch", 12),
        city("DE", "bad\x1b[31m\nname", 3),
    ];
    let collected = Collected {
        span: Some(Span { from, to }),
        minutes,
        rejected: Some(1_234),
        late: Some(1),
        users_estimate: Some(UsersEstimate { at_least: 81_000, at_most: 6_912_345 }),
        cells,
        cities: Some(Cities { listed: cities, total: 16 }),
        alerts: vec![
            alert("i1", viral - 5_000, "warning", 41_000, "closed"),
            alert("i2", viral, "critical", 48_210, "open"),
            alert("i2", viral + 1, "warning", 40_500, "open"),
        ],
        alerts_total: 3,
        ..Collected::default()
    };
    let spec =
        ReportSpec { timezone: chrono_tz::America::Sao_Paulo, top: 3, cities: true, ..ReportSpec::default() };
    report(&spec, collected)
}

#[test]
fn no_data_in_english() {
    let asked = ReportSpec {
        from: Some("2026-11-22T00:00:00Z".parse().unwrap()),
        timezone: chrono_tz::Asia::Kolkata,
        country: Some("BR".to_owned()),
        ..ReportSpec::default()
    };
    check(
        &report(&asked, Collected::default()),
        Lang::En,
        expect![[r#"
            Accesses from Sun 2026-11-22 05:30 (Asia/Kolkata), only BR
              No accesses in this period.
        "#]],
    );
    let rejected = Collected { rejected: Some(12), late: Some(0), ..Collected::default() };
    check(
        &report(&ReportSpec::default(), rejected),
        Lang::En,
        expect![[r#"
            Accesses (UTC)
              No accesses in this period.
              12 lines were rejected, 0 accesses came late.
        "#]],
    );
}

#[test]
fn no_data_in_portuguese_but_an_alert() {
    let alerts = vec![alert("i1", 29_000_000, "warning", 0, "open")];
    let collected = Collected { alerts, alerts_total: 1, ..Collected::default() };
    check(
        &report(&ReportSpec::default(), collected),
        Lang::Pt,
        expect![[r#"
            Acessos (UTC)
              Nenhum acesso neste período.

            Alertas
              1 alerta em 1 incidente.

              gravidade  tipo    de                    até    minutos  pico  contra  situação
              aviso      limite  qua 19/02/2025 21:20  21:20        1     0  40.000  aberto
        "#]],
    );
}

#[test]
fn one_minute_in_english() {
    check(
        &one_minute(),
        Lang::En,
        expect![[r#"
        Accesses from Sun 2026-11-22 10:00 to Sun 2026-11-22 10:01 (UTC)
          1 access in 1 minute.
          Distinct users: about 1.

        When are the peaks?
          The busiest minute was Sun 2026-11-22 10:00 (UTC) with 1 access.

        Which devices are used most?
          Most used: TV, with 100.0% of the accesses.

        What is watched where?
          Most watched: movie, with 100.0% of the accesses.
          In first place: movie in 1 country (BR).

          country  accesses   share  movie
          BR              1  100.0%   100%

        Alerts
          No alerts in this period.
    "#]],
    );
}

#[test]
fn one_minute_in_portuguese() {
    check(
        &one_minute(),
        Lang::Pt,
        expect![[r#"
        Acessos de dom 22/11/2026 10:00 até dom 22/11/2026 10:01 (UTC)
          1 acesso em 1 minuto.
          Usuários distintos: cerca de 1.

        Quando são os picos?
          O minuto mais movimentado foi dom 22/11/2026 10:00 (UTC), com 1 acesso.

        Quais dispositivos são mais usados?
          Mais usado: TV, com 100,0% dos acessos.

        O que se assiste e onde?
          Mais assistido: filme, com 100,0% dos acessos.
          Em primeiro lugar: filme em 1 país (BR).

          país  acessos  parcela  filme
          BR          1   100,0%   100%

        Alertas
          Nenhum alerta neste período.
    "#]],
    );
}

#[test]
fn months_in_english() {
    check_file(&rich(), Lang::En, expect_file!["snapshots/months.en.txt"]);
}

#[test]
fn months_in_portuguese() {
    check_file(&rich(), Lang::Pt, expect_file!["snapshots/months.pt.txt"]);
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    use unicode_width::UnicodeWidthStr;
    for lang in [Lang::En, Lang::Pt] {
        for width in [0, 60, 72, 80, 100, 132] {
            let text = render_text(&rich(), lang, false, width);
            let widest = text.lines().max_by_key(|line| line.width()).unwrap();
            assert!(widest.width() <= width.max(60), "{width} {widest}");
        }
    }
}

#[test]
fn json_has_stable_names() {
    expect_file!["snapshots/one_minute.json"].assert_eq(&render_json(&one_minute()));
}
