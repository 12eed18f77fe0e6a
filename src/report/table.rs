//! How text is laid out in a terminal: columns aligned by what characters occupy on the screen, bars of block
//! characters, wrapped sentences, colors. Knows nothing of reports.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A sentence is wrapped at this many columns at most, since longer lines are hard to read.
const SENTENCE_WIDTH_MAX: usize = 110;
const GAP: &str = "  ";

/// What a piece of text is, which decides its color.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Heading,
    /// Table heads and notes.
    Quiet,
    Bar,
    Warning,
    Critical,
}

/// Text on its way to the terminal: how wide it may be and whether it may be colored.
pub(crate) struct Page {
    pub text: String,
    pub color: bool,
    pub width: usize,
}

impl Page {
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Heading => "1",
            Tone::Quiet => "2",
            Tone::Bar => "36",
            Tone::Warning => "33",
            Tone::Critical => "31",
        };
        if self.color && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    pub fn heading(&mut self, text: &str) {
        let painted = self.paint(Tone::Heading, text);
        self.line("");
        self.line(&painted);
    }

    /// The first line of the page.
    pub fn title(&mut self, text: &str) {
        self.wrapped(text, "", Some(Tone::Heading));
    }

    /// A sentence, indented, wrapped between words.
    pub fn sentence(&mut self, text: &str) {
        self.wrapped(text, GAP, None);
    }

    fn wrapped(&mut self, text: &str, indent: &str, tone: Option<Tone>) {
        let width = self.width.min(SENTENCE_WIDTH_MAX) - indent.len();
        let mut lines: Vec<String> = Vec::new();
        for word in text.split(' ') {
            match lines.last_mut().filter(|line| line.width() + 1 + word.width() <= width) {
                Some(line) => {
                    line.push(' ');
                    line.push_str(word);
                }
                None => lines.push(word.to_owned()),
            }
        }
        for line in lines {
            let painted = tone.map_or(line.clone(), |tone| self.paint(tone, &line));
            self.line(&format!("{indent}{painted}"));
        }
    }

    /// A quiet line that says what a table leaves out or means.
    pub fn note(&mut self, text: &str) {
        let painted = self.paint(Tone::Quiet, text);
        self.line(&format!("{GAP}{painted}"));
    }

    /// A table after a blank line. Columns from the right are left out until the rest fits the width.
    pub fn table(&mut self, table: &Table) {
        let widths = table.widths();
        let mut columns = widths.len();
        while columns > 1 && widths[..columns].iter().map(|w| w + GAP.len()).sum::<usize>() > self.width {
            columns -= 1;
        }
        self.line("");
        let heads: String = (0..columns)
            .map(|c| GAP.to_owned() + &pad(&table.heads[c].0, widths[c], table.heads[c].1))
            .collect();
        if !heads.trim().is_empty() {
            let painted = self.paint(Tone::Quiet, heads.trim_end());
            self.line(&painted);
        }
        for row in &table.rows {
            let mut line = String::new();
            for (c, cell) in row.cells.iter().enumerate().take(columns) {
                let align = table.heads[c].1;
                let text = pad(cell, widths[c], align);
                line.push_str(GAP);
                line.push_str(&match (align, row.tone) {
                    (Align::Bar, _) => self.paint(Tone::Bar, text.trim_end()),
                    (Align::Toned, Some(tone)) => self.paint(tone, &text),
                    _ => text,
                });
            }
            self.line(&line);
        }
    }
}

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
    /// Left, in the color of the row.
    Toned,
    /// Left, in the color of bars.
    Bar,
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    heads: Vec<(String, Align)>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    cells: Vec<String>,
    tone: Option<Tone>,
}

impl Table {
    pub fn new<'a>(heads: impl IntoIterator<Item = (&'a str, Align)>) -> Self {
        let heads = heads.into_iter().map(|(text, align)| (text.to_owned(), align)).collect();
        Self { heads, rows: Vec::new() }
    }

    /// Adds a row with one cell per head; what characters of it could move the cursor is made harmless.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>, tone: Option<Tone>) {
        self.rows.push(Row { cells: cells.into_iter().map(|cell| printable(&cell)).collect(), tone });
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.heads.iter().map(|(head, _)| head.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(&row.cells) {
                *width = cell.width().max(*width);
            }
        }
        widths
    }
}

fn pad(text: &str, width: usize, align: Align) -> String {
    let fill = " ".repeat(width.saturating_sub(text.width()));
    if align == Align::Right { fill + text } else { text.to_owned() + &fill }
}

/// A bar of `n` against `max`, at most `cells` characters long, drawn to an eighth of a character.
pub(crate) fn bar(n: u64, max: u64, cells: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if max == 0 {
        return String::new();
    }
    let length = (n as f64 / max as f64 * (cells * 8) as f64).round() as usize;
    // What is there at all is seen.
    let length = if n > 0 { length.max(1) } else { 0 };
    "█".repeat(length / 8) + EIGHTHS[length % 8]
}

/// A cell of a heat map, two columns wide: empty for 0, else one of four shades by the share of `max`.
pub(crate) fn shade(n: u64, max: u64) -> &'static str {
    if n == 0 {
        return "  ";
    }
    match (n as f64 / max as f64 * 4.0).ceil() as u64 {
        0 | 1 => "░░",
        2 => "▒▒",
        3 => "▓▓",
        _ => "██",
    }
}

/// Text from outside with every character replaced that could move the cursor, color or reorder what follows.
pub(crate) fn printable(text: &str) -> String {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if harmful(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Text cut to a number of columns, with an ellipsis where something was cut.
pub(crate) fn cut(text: &str, columns_max: usize) -> String {
    if text.width() <= columns_max {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut width = 1;
    for c in text.chars() {
        width += c.width().unwrap_or(0);
        if width > columns_max {
            break;
        }
        kept.push(c);
    }
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn page(width: usize, color: bool) -> Page {
        Page { text: String::new(), color, width }
    }

    #[test]
    fn columns_align_by_what_is_seen() {
        let mut table = Table::new([("city", Align::Left), ("n", Align::Right), ("", Align::Bar)]);
        for (city, n) in [("São Paulo", 1200), ("東京", 80), ("Sa\u{303}o", 7), ("\x1b[2J\u{202e}x", 1)] {
            table.row([city.to_owned(), n.to_string(), bar(n, 1200, 4)], None);
        }
        let mut plain = page(40, false);
        plain.title("title");
        plain.table(&table);
        expect![[r#"
            title

              city          n
              São Paulo  1200  ████
              東京         80  ▎
              São           7  ▏
              �[2J�x        1  ▏
        "#]]
        .assert_eq(&plain.text);
        let mut narrow = page(20, true);
        narrow.table(&table);
        assert_eq!(narrow.text.lines().nth(2), Some("  São Paulo  1200"));
        assert!(narrow.text.contains("\x1b[2m  city          n\x1b[0m\n"));
    }

    #[test]
    fn sentences_wrap_between_words_and_long_words_stand_alone() {
        let mut page = page(14, false);
        page.title("a long title");
        page.sentence("one two three abcdefghijklmnopqrst four");
        expect![[r#"
            a long title
              one two
              three
              abcdefghijklmnopqrst
              four
        "#]]
        .assert_eq(&page.text);
    }

    #[test]
    fn bars_and_shades_show_what_is_there_at_all() {
        let bars: Vec<String> = [0, 1, 500, 999, 1000].iter().map(|&n| bar(n, 1000, 2)).collect();
        assert_eq!(bars, ["", "▏", "█", "██", "██"]);
        assert_eq!(bar(0, 0, 9), "");
        let shades: Vec<&str> = [0, 1, 25, 26, 50, 51, 76, 100].iter().map(|&n| shade(n, 100)).collect();
        assert_eq!(shades, ["  ", "░░", "░░", "▒▒", "▒▒", "▓▓", "██", "██"]);
    }

    #[test]
    fn cutting_counts_columns() {
        assert_eq!(cut("São Paulo", 9), "São Paulo");
        assert_eq!(cut("São Paulo", 8), "São Pau…");
        assert_eq!(cut("東京都", 5), "東京…");
        assert_eq!(cut("東京都", 4), "東…");
    }
}
