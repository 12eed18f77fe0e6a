//! The report as text for a terminal: each of the three questions is answered in words first, then in small
//! tables with bars, a heat map of the week, and the alerts.

use super::sentences;
use super::table::{Align, Page, Table, Tone, bar, cut, printable, shade};
use super::text_alerts::alerts;
use super::words::Words;
use super::{BusyTime, ContentShare, Lang, Peaks, Report};

/// Narrower than this nothing is laid out well; a smaller width is taken as this.
const WIDTH_MIN: usize = 60;
/// Lists that may be long (countries, cities, sharp peaks, incidents) show this many rows.
pub(crate) const ROWS_MAX: usize = 15;
const BAR_CELLS: usize = 24;
const CITY_COLUMNS_MAX: usize = 28;

/// Renders the report in `lang`, with ANSI colors if `color`, for a terminal `width` columns wide.
pub fn render_text(report: &Report, lang: Lang, color: bool, width: usize) -> String {
    let mut page = Page { text: String::new(), color, width: width.max(WIDTH_MIN) };
    let words = Words(lang);
    header(&mut page, report, words);
    if report.totals.accesses > 0 {
        peaks(&mut page, report, words);
        devices(&mut page, report, words);
        contents(&mut page, report, words);
        alerts(&mut page, report, words);
    } else if report.alerts_total > 0 {
        alerts(&mut page, report, words);
    }
    page.text
}

fn header(page: &mut Page, report: &Report, words: Words) {
    page.title(&sentences::title(report, words));
    say(page, &sentences::totals(report, words));
}

fn say(page: &mut Page, said: &[String]) {
    said.iter().for_each(|sentence| page.sentence(sentence));
}

fn peaks(page: &mut Page, report: &Report, words: Words) {
    let peaks = &report.peaks;
    let labels = words.labels();
    page.heading(labels.peaks);
    say(page, &sentences::peaks(report, words));
    busy_times(page, labels.busiest_minutes, &peaks.busiest_minutes, words);
    busy_times(page, labels.busiest_hours, &peaks.busiest_hours, words);
    sharp_peaks(page, peaks, words);
    if sentences::shows_week(report) {
        hours_of_the_week(page, &peaks.hours_by_weekday, words);
    }
}

/// One line is no list: the sentence above has said it.
fn busy_times(page: &mut Page, title: &str, times: &[BusyTime], words: Words) {
    if times.len() < 2 {
        return;
    }
    let labels = words.labels();
    let mut table = Table::new([
        (title, Align::Left),
        (labels.accesses, Align::Right),
        (labels.times_average, Align::Right),
        ("", Align::Bar),
    ]);
    for time in times {
        let bar = bar(time.n, times[0].n, BAR_CELLS);
        table
            .row([words.moment(time.local), words.int(time.n), words.decimal(time.times_average), bar], None);
    }
    page.table(&table);
}

fn sharp_peaks(page: &mut Page, peaks: &Peaks, words: Words) {
    if peaks.sharp.len() < 2 {
        return;
    }
    let labels = words.labels();
    let mut table = Table::new([
        (labels.sharp_peaks, Align::Left),
        (labels.accesses, Align::Right),
        (labels.median_of_hour, Align::Right),
        (labels.times_median, Align::Right),
    ]);
    for sharp in peaks.sharp.iter().take(ROWS_MAX) {
        let ratio = sharp.ratio.map_or("–".to_owned(), |ratio| words.decimal(ratio));
        let median = words.short(sharp.median_of_hour);
        table.row([words.moment(sharp.local), words.int(sharp.n), median, ratio], None);
    }
    page.table(&table);
    note_more(page, peaks.sharp_total, peaks.sharp.len(), words);
}

fn hours_of_the_week(page: &mut Page, hours_by_weekday: &[[u64; 24]; 7], words: Words) {
    let max = hours_by_weekday.iter().flatten().copied().max().unwrap_or(0);
    page.line("");
    page.note(words.labels().week);
    let hours: String = (0..24).step_by(2).map(|hour| format!("{hour:02}  ")).collect();
    page.note(&format!("     {}", hours.trim_end()));
    for (weekday, hours) in hours_by_weekday.iter().enumerate() {
        let cells: String = hours.iter().map(|&n| shade(n, max)).collect();
        let cells = page.paint(Tone::Bar, cells.trim_end());
        page.line(&format!("  {}  {cells}", words.weekday(weekday)));
    }
}

fn devices(page: &mut Page, report: &Report, words: Words) {
    let labels = words.labels();
    let devices = &report.devices;
    let Some(first) = devices.first() else { return };
    page.heading(labels.devices);
    say(page, &sentences::devices(report, words));
    if devices.len() < 2 {
        return;
    }
    let mut table = Table::new([
        (labels.device, Align::Left),
        (labels.accesses, Align::Right),
        (labels.share, Align::Right),
        ("", Align::Bar),
    ]);
    for device in devices {
        let name = words.device(&device.device).to_owned();
        let bar = bar(device.n, first.n, BAR_CELLS);
        table.row([name, words.int(device.n), words.percent(device.share), bar], None);
    }
    page.table(&table);
}

fn contents(page: &mut Page, report: &Report, words: Words) {
    let labels = words.labels();
    if report.content_types.is_empty() {
        return;
    }
    page.heading(labels.contents);
    say(page, &sentences::contents(report, words));
    let names: Vec<&str> = report.content_types.iter().map(|c| c.content_type.as_str()).collect();
    let heads = |place: &[(&'static str, Align)]| {
        let contents = names.iter().map(|name| (words.content_type(name), Align::Right));
        Table::new(place.iter().copied().chain(contents))
    };
    let mut table = heads(&[
        (labels.country, Align::Left),
        (labels.accesses, Align::Right),
        (labels.share, Align::Right),
    ]);
    for (country, share) in report.content_by_country.iter().zip(&report.countries).take(ROWS_MAX) {
        let place = [country.country.clone(), words.int(country.n), words.percent(share.share)];
        table.row(place.into_iter().chain(percents(&country.contents, &names)), None);
    }
    page.table(&table);
    let countries = report.content_by_country.len();
    note_more(page, countries as u64, countries, words);
    let Some(cities) = report.content_by_city.as_ref().filter(|cities| !cities.is_empty()) else {
        return;
    };
    let mut table =
        heads(&[(labels.city, Align::Left), (labels.country, Align::Left), (labels.accesses, Align::Right)]);
    for city in cities.iter().take(ROWS_MAX) {
        let place = [cut(&printable(&city.city), CITY_COLUMNS_MAX), city.country.clone(), words.int(city.n)];
        table.row(place.into_iter().chain(percents(&city.contents, &names)), None);
    }
    page.table(&table);
    note_more(page, report.cities_total.unwrap_or_default(), cities.len(), words);
}

/// The shares of the content types in the order of `names`, in whole percent.
fn percents(contents: &[ContentShare], names: &[&str]) -> Vec<String> {
    let share_of = |name: &str| contents.iter().find(|c| c.content_type == name).map(|c| c.share);
    names.iter().map(|name| share_of(name).map_or("–".to_owned(), |s| format!("{:.0}%", s * 100.0))).collect()
}

/// Says how many of `total` rows are not in the table, which shows the first of the `listed`.
fn note_more(page: &mut Page, total: u64, listed: usize, words: Words) {
    let more = total.saturating_sub(listed.min(ROWS_MAX) as u64);
    if more > 0 {
        page.note(&words.more(more));
    }
}
