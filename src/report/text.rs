//! The report as text for a terminal: each of the three questions is answered in words first, then in small
//! tables with bars, a heat map of the week, and the alerts.

use chrono::{DateTime, FixedOffset, Offset, TimeZone, Utc};

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
/// In the sentence of first places, at most this many countries are named per content type.
const COUNTRIES_NAMED_MAX: usize = 5;
/// From one day on, the hours of the week say something.
const WEEK_SHOWN_MINUTES_MIN: u64 = 24 * 60;

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

/// An instant on the clock of the report's time zone.
pub(crate) fn local(at: DateTime<Utc>, report: &Report) -> DateTime<FixedOffset> {
    let timezone: chrono_tz::Tz = report.period.timezone.parse().unwrap_or(chrono_tz::UTC);
    at.with_timezone(&timezone.offset_from_utc_datetime(&at.naive_utc()).fix())
}

fn header(page: &mut Page, report: &Report, words: Words) {
    let period = &report.period;
    let end = |at: Option<DateTime<Utc>>| at.map(|at| words.moment(local(at, report)));
    let country = report.country.as_deref().map(printable);
    let (from, to) = (end(period.from), end(period.to));
    let title = words.title(from.as_deref(), to.as_deref(), &period.timezone, country.as_deref());
    page.title(&title);
    let totals = &report.totals;
    if totals.accesses > 0 {
        page.sentence(&words.total(totals.accesses, period.minutes));
    } else {
        page.sentence(words.labels().nothing);
    }
    if let (Some(rejected), Some(late)) = (totals.rejected, totals.late)
        && rejected + late > 0
    {
        page.sentence(&words.arrivals(rejected, late));
    }
    if let Some(users) = totals.users_estimate {
        page.sentence(&words.users(users.at_least, users.at_most));
    }
}

fn peaks(page: &mut Page, report: &Report, words: Words) {
    let peaks = &report.peaks;
    let labels = words.labels();
    // Against an average of itself, a single minute says nothing.
    let several = report.period.minutes > 1;
    let week = report.period.minutes >= WEEK_SHOWN_MINUTES_MIN;
    page.heading(labels.peaks);
    if let Some(BusyTime { local, n, times_average, .. }) = peaks.busiest_minutes.first() {
        let times = several.then_some(*times_average);
        page.sentence(&words.busiest_minute(&words.moment(*local), &report.period.timezone, *n, times));
    }
    if let Some(BusyTime { local, n, times_average, .. }) = peaks.busiest_hours.first().filter(|_| several) {
        let times = (peaks.busiest_hours.len() > 1).then_some(*times_average);
        page.sentence(&words.busiest_hour(*local, *n, times));
    }
    if let (true, Some(busiest)) = (week, &peaks.busiest_weekday_hour) {
        page.sentence(&words.busiest_weekday_hour(busiest.weekday, busiest.hour, busiest.n));
    }
    if let (true, Some(average), Some(median)) = (several, peaks.average_per_minute, peaks.median_per_minute)
    {
        page.sentence(&words.usual_minute(average, median));
        let sharpest = peaks.sharp.first().map(|sharp| (words.moment(sharp.local), sharp.ratio));
        let sharpest = sharpest.as_ref().map(|(at, ratio)| (at.as_str(), *ratio));
        page.sentence(&words.sharp(peaks.sharp_total, sharpest));
    }
    busy_times(page, labels.busiest_minutes, &peaks.busiest_minutes, words);
    busy_times(page, labels.busiest_hours, &peaks.busiest_hours, words);
    sharp_peaks(page, peaks, words);
    if week {
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
    let second = devices.get(1).map(|device| (device.device.as_str(), device.share));
    page.sentence(&words.most_used((&first.device, first.share), second));
    if second.is_none() {
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
    let Some(first) = report.content_types.first() else {
        return;
    };
    page.heading(labels.contents);
    page.sentence(&words.most_watched(&first.content_type, first.share));
    page.sentence(&words.first_by_country(&first_places(report)));
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

/// The content types that come first somewhere, by the number of countries, with some of those.
fn first_places(report: &Report) -> Vec<(&str, usize, String)> {
    let mut firsts: Vec<(&str, Vec<&str>)> = Vec::new();
    for country in &report.content_by_country {
        let Some(top) = country.top_content_type.as_deref() else {
            continue;
        };
        match firsts.iter_mut().find(|(name, _)| *name == top) {
            Some((_, countries)) => countries.push(&country.country),
            None => firsts.push((top, vec![&country.country])),
        }
    }
    firsts.sort_by_key(|(_, countries)| std::cmp::Reverse(countries.len()));
    firsts
        .into_iter()
        .map(|(name, countries)| {
            let mut named = countries[..countries.len().min(COUNTRIES_NAMED_MAX)].join(", ");
            if countries.len() > COUNTRIES_NAMED_MAX {
                named.push_str(", …");
            }
            (name, countries.len(), printable(&named))
        })
        .collect()
}

/// Says how many of `total` rows are not in the table, which shows the first of the `listed`.
fn note_more(page: &mut Page, total: u64, listed: usize, words: Words) {
    let more = total.saturating_sub(listed.min(ROWS_MAX) as u64);
    if more > 0 {
        page.note(&words.more(more));
    }
}
