//! What the page says is what the text says, whoever named the city, and it asks nobody for anything.

use super::super::sentences;
use super::super::text_tests::{one_minute, rich};
use super::*;

#[test]
fn the_page_says_what_the_text_says_in_both_languages() {
    let report = rich();
    for lang in [Lang::En, Lang::Pt] {
        let (page, words) = (render_html(&report, lang), Words(lang));
        let said = [
            sentences::totals(&report, words),
            sentences::peaks(&report, words),
            sentences::devices(&report, words),
            sentences::contents(&report, words),
        ];
        for sentence in said.concat() {
            assert!(page.contains(&html! { (sentence) }.into_string()), "{sentence}");
        }
        for device in &report.devices {
            assert!(
                page.contains(&format!("<td class=\"n\">{}</td>", words.int(device.n))),
                "{}",
                device.device
            );
        }
        assert!(page.contains(words.labels().alert_columns[0]));
    }
    assert!(render_html(&report, Lang::Pt).starts_with("<!DOCTYPE html><html lang=\"pt\">"));
}

#[test]
fn names_from_a_log_stay_text() {
    let mut report = rich();
    let cities = report.content_by_city.as_mut().expect("cities");
    cities[0].city = "<script>alert('São')</script>\u{202e}".to_owned();
    let page = render_html(&report, Lang::En);
    assert!(page.contains("&lt;script&gt;alert('São')&lt;/script&gt;"), "it is shown");
    assert!(!page.contains("<script") && !page.contains('\u{202e}'));
}

#[test]
fn a_page_needs_nothing_else() {
    for report in [rich(), one_minute()] {
        let page = render_html(&report, Lang::En);
        for reference in ["http:", "https:", "src=", "href=", "url(", "@import"] {
            assert!(!page.contains(reference), "{reference}");
        }
    }
}

#[test]
fn the_timeline_reaches_from_the_first_minute_to_the_highest() {
    let report = rich();
    let highest = report.timeline.iter().map(|stretch| stretch.peak).max();
    assert_eq!(highest, Some(report.peaks.busiest_minutes[0].n));
    let sum: u64 = report.timeline.iter().map(|stretch| stretch.n).sum();
    assert_eq!(sum, report.totals.accesses);
    let page = render_html(&report, Lang::En);
    assert!(page.contains("accesses 0–48,210"), "the picture says its range in words");
}
