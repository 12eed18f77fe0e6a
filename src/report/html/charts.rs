//! The charts: a line over time as SVG, which stretches while its labels beside it do not; bars and the week
//! as coloured elements. Each says its numbers in words too. No element has a style of its own, so that a
//! reader's browser can refuse all styles but the one sheet.

use maud::{Markup, html};

use crate::report::words::Words;
use crate::report::{ContentShare, Stretch};

/// Height of the timeline in its own units; it is drawn a unit wide for each stretch.
const HEIGHT: f64 = 100.0;
/// Colours of the style sheet.
const COLORS: usize = 8;
/// Shades of the style sheet from no accesses to most.
const SHADES: f64 = 20.0;
/// Instants named below the timeline.
const MARKS: usize = 4;

/// Accesses a minute: the mean of each stretch as an area, its busiest minute as a line, and the limit if
/// there is one.
pub(crate) fn timeline(stretches: &[Stretch], limit: Option<u64>, words: Words) -> Markup {
    let labels = words.labels();
    let highest = stretches.iter().map(|stretch| stretch.peak).max().unwrap_or(0);
    let top = round_up(highest.max(limit.unwrap_or(0)));
    let y = |n: f64| HEIGHT - n / top as f64 * HEIGHT;
    // A stretch is a step, so that one alone is seen too.
    let steps = |value: &dyn Fn(&Stretch) -> f64| -> String {
        let step = |(x, stretch): (usize, &Stretch)| {
            let y = y(value(stretch));
            format!("{} {x} {y:.2}L{} {y:.2}", if x == 0 { "M" } else { "L" }, x + 1)
        };
        stretches.iter().enumerate().map(step).collect()
    };
    let mean = steps(&|stretch| stretch.n as f64 / stretch.minutes.max(1) as f64);
    let peak = steps(&|stretch| stretch.peak as f64);
    let width = stretches.len();
    let area = format!("{mean}L{width} {HEIGHT}L0 {HEIGHT}Z");
    // In stretches of a minute, the mean is all there is.
    let is_by_minute = stretches.iter().all(|stretch| stretch.minutes <= 1);
    let every = width.div_ceil(MARKS).max(1);
    let described = format!("{}: {} 0–{}", labels.timeline, labels.accesses, words.int(highest));
    html! {
        figure.timeline {
            div.plot {
                div.y { @for part in [2, 1, 0] { span { (words.int(top * part / 2)) } } }
                svg viewBox=(format!("0 0 {width} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(described) {
                    @for part in [0, 1, 2] {
                        @let at = HEIGHT / 2.0 * f64::from(part);
                        line.grid x1="0" x2=(width) y1=(at) y2=(at) {}
                    }
                    path.area d=(area) {}
                    path.mean d=(mean) {}
                    @if !is_by_minute { path.peak d=(peak) {} }
                    @if let Some(limit) = limit {
                        line.limit x1="0" x2=(width) y1=(y(limit as f64)) y2=(y(limit as f64)) {}
                    }
                    @for (x, stretch) in stretches.iter().enumerate() {
                        rect x=(x) y="0" width="1" height=(HEIGHT) { title { (words.stretch(stretch)) } }
                    }
                }
            }
            svg.x {
                @for (index, stretch) in stretches.iter().enumerate().step_by(every) {
                    text x=(format!("{:.1}%", percent(index as u64, width as u64))) y="1em" {
                        (words.moment(stretch.local))
                    }
                }
            }
            figcaption {
                span.key.mean {} (if is_by_minute { labels.accesses } else { labels.mean })
                @if !is_by_minute { span.key.peak {} (labels.busiest_minute) }
                @if limit.is_some() { span.key.limit {} (labels.limit) }
            }
        }
    }
}

/// The next number with one or two digits and zeros, even, so that its half is whole.
fn round_up(n: u64) -> u64 {
    let mut unit = 1;
    while n / unit >= 20 {
        unit *= 10;
    }
    (n.max(1).div_ceil(2 * unit)) * 2 * unit
}

/// A bar of `n` against `max`.
pub(super) fn bar(n: u64, max: u64) -> Markup {
    html! { svg.track { rect.fill width=(format!("{:.1}%", percent(n, max))) height="100%" {} } }
}

fn percent(n: u64, max: u64) -> f64 {
    100.0 * n as f64 / max.max(1) as f64
}

/// Shares beside each other, in the order and colours of `names`.
pub(super) fn stacked(contents: &[ContentShare], names: &[&str], words: Words) -> Markup {
    let share = |name: &str| contents.iter().find(|content| content.content_type == name).map(|c| c.share);
    let mut end = 0.0;
    let parts = names.iter().enumerate().filter_map(|(index, name)| {
        let (share, start) = (share(name)?, end);
        end += share * 100.0;
        Some((index % COLORS, start, share, format!("{} {}", words.content_type(name), words.percent(share))))
    });
    html! {
        svg.track {
            @for (color, start, share, told) in parts {
                rect class=(format!("c{color}")) x=(format!("{start:.2}%"))
                    width=(format!("{:.2}%", share * 100.0)) height="100%" { title { (told) } }
            }
        }
    }
}

/// Which colour is which content type.
pub(super) fn legend(names: &[&str], words: Words) -> Markup {
    html! {
        p.legend {
            @for (index, name) in names.iter().enumerate() {
                span { span class=(format!("key c{}", index % COLORS)) {} (words.content_type(name)) }
            }
        }
    }
}

/// The hours of the week, from few accesses to many.
pub(super) fn week(hours_by_weekday: &[[u64; 24]; 7], words: Words) -> Markup {
    let max = hours_by_weekday.iter().flatten().copied().max().unwrap_or(0);
    html! {
        div.wide tabindex="0" {
            table.week {
                thead { tr { th {} @for hour in 0..24 { th { (format!("{hour:02}")) } } } }
                tbody {
                    @for (weekday, hours) in hours_by_weekday.iter().enumerate() {
                        tr {
                            th { (words.weekday(weekday)) }
                            @for (hour, n) in hours.iter().enumerate() {
                                td class=(format!("v{:.0}", percent(*n, max) / 100.0 * SHADES))
                                    title=(format!("{} {hour:02}:00: {}", words.weekday(weekday), words.int(*n))) {}
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_round_number_above_the_highest() {
        let ends = [0, 1, 2, 3, 9, 19, 20, 21, 118, 199, 200, 48_210].map(round_up);
        assert_eq!(ends, [2, 2, 2, 4, 10, 20, 20, 40, 120, 200, 200, 60_000]);
    }
}
