//! How each language writes numbers: thousands separators, the decimal sign, percent.

use std::fmt::Display;

use serde_json::Number;

use super::Lang;
use super::words::Words;

impl Words {
    /// A whole number with thousands separators.
    pub fn int(self, n: impl Display) -> String {
        let separator = match self.0 {
            Lang::En => ',',
            Lang::Pt => '.',
        };
        let digits = n.to_string();
        let mut text = String::with_capacity(digits.len() * 4 / 3);
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                text.push(separator);
            }
            text.push(digit);
        }
        text
    }

    /// A number that is not negative, with one decimal.
    pub fn decimal(self, x: f64) -> String {
        let text = format!("{x:.1}");
        match (text.split_once('.'), self.0) {
            (Some((whole, decimal)), Lang::En) => format!("{}.{decimal}", self.int(whole)),
            (Some((whole, decimal)), Lang::Pt) => format!("{},{decimal}", self.int(whole)),
            (None, _) => text,
        }
    }

    /// A number that is not negative, with one decimal if it is not whole.
    pub fn short(self, x: f64) -> String {
        if x.fract() == 0.0 { self.int(x) } else { self.decimal(x) }
    }

    /// A stored number, empty when there is none.
    pub fn stored(self, n: Option<&Number>) -> String {
        match n.map(|n| (n.as_u64(), n)) {
            None => String::new(),
            Some((Some(n), _)) => self.int(n),
            Some((None, n)) => n.as_f64().filter(|x| *x >= 0.0).map_or(n.to_string(), |x| self.short(x)),
        }
    }

    /// A share of 0 to 1 in percent.
    pub fn percent(self, share: f64) -> String {
        format!("{}%", self.decimal(share * 100.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_each_language_does() {
        let (en, pt) = (Words(Lang::En), Words(Lang::Pt));
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(en.int(n), text);
        }
        assert_eq!(pt.int(1_234_567), "1.234.567");
        assert_eq!((en.decimal(1234.56), pt.decimal(1234.56)), ("1,234.6".to_owned(), "1.234,6".to_owned()));
        assert_eq!((en.short(20.0), pt.short(20.5)), ("20".to_owned(), "20,5".to_owned()));
        assert_eq!(en.percent(0.4567), "45.7%");
        assert_eq!(en.stored(Some(&Number::from(48_210))), "48,210");
        assert_eq!(en.stored(Number::from_f64(2.5).as_ref()), "2.5");
        assert_eq!(en.stored(Some(&Number::from(-3))), "-3");
        assert_eq!(en.stored(None), "");
    }
}
