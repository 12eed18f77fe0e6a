//! JSON read in place, in one pass and without allocation: a log line is scanned once, and its values stay
//! slices of it until they are written as BSON. RFC 8259; of the grammar nothing is left out and nothing is
//! added, but nesting is bounded by [`DEPTH_MAX`], a number must fit into a double, and half of a surrogate
//! pair is no character. A general parser that builds values takes several times as long for a line
//! (`cargo xtask bench modules`).

use std::borrow::Cow;

/// Deepest nesting of objects and arrays.
pub const DEPTH_MAX: usize = 64;

/// Why a text is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// It is no JSON.
    Syntax,
    /// It nests deeper than [`DEPTH_MAX`].
    Depth,
}

/// The text of one valid value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json<'a> {
    text: &'a str,
    /// How deep it lies itself.
    level: u8,
    /// A text has escapes in it.
    escaped: bool,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind<'a> {
    /// Null.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number in the range of `i64`.
    Whole(i64),
    /// Any other number.
    Double(f64),
    /// A text, borrowed where it has no escapes.
    Text(Cow<'a, str>),
    /// An array; see [`Json::elements`].
    Array,
    /// An object; see [`Json::fields`].
    Object,
}

impl<'a> Json<'a> {
    /// Reads a text that is one value, with space around it at most.
    ///
    /// # Errors
    /// When it is not.
    pub fn parse(text: &'a [u8]) -> Result<Self, JsonError> {
        let text = std::str::from_utf8(text).map_err(|_| JsonError::Syntax)?;
        let mut scanner = Scanner { text, at: 0, level: 0 };
        scanner.space();
        let value = scanner.value()?;
        scanner.end().map(|()| value)
    }

    /// The text as it stands.
    pub fn text(self) -> &'a str {
        self.text
    }

    /// What it is.
    pub fn kind(self) -> Kind<'a> {
        match self.text.as_bytes() {
            [b'"', ..] => Kind::Text(Name(self).text()),
            [b'{', ..] => Kind::Object,
            [b'[', ..] => Kind::Array,
            [b't', ..] => Kind::Bool(true),
            [b'f', ..] => Kind::Bool(false),
            [b'n', ..] => Kind::Null,
            _ => number(self.text),
        }
    }

    /// The values of an array; none of any other value.
    pub fn elements(self) -> impl Iterator<Item = Json<'a>> {
        let mut scanner = self.inside(b'[');
        std::iter::from_fn(move || scanner.as_mut()?.next_element().ok().flatten())
    }

    /// The fields of an object, in the order in which they stand there, repeated ones too; none of any other
    /// value.
    pub fn fields(self) -> impl Iterator<Item = (Name<'a>, Json<'a>)> {
        let mut scanner = self.inside(b'{');
        std::iter::from_fn(move || scanner.as_mut()?.next_field().ok().flatten())
    }

    /// A scanner behind the opening bracket.
    fn inside(self, bracket: u8) -> Option<Scanner<'a>> {
        let opens = self.text.as_bytes().first() == Some(&bracket);
        opens.then_some(Scanner { text: self.text, at: 1, level: self.level + 1 })
    }
}

/// The name of a field: a value that is a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a>(Json<'a>);

impl<'a> Name<'a> {
    /// Without quotes and escapes; borrowed where it has none.
    #[inline]
    pub fn text(self) -> Cow<'a, str> {
        let Json { text, escaped, .. } = self.0;
        let text = &text[1..text.len() - 1];
        if escaped { Cow::Owned(unescaped(text)) } else { Cow::Borrowed(text) }
    }
}

/// Hands the fields of a line that is an object to `take`, in one pass: `Ok(false)` when it is valid but no
/// object. What was handed over before an error does not count.
///
/// # Errors
/// When the line is no JSON.
pub fn fields<'a>(line: &'a [u8], mut take: impl FnMut(Name<'a>, Json<'a>)) -> Result<bool, JsonError> {
    let text = std::str::from_utf8(line).map_err(|_| JsonError::Syntax)?;
    let mut scanner = Scanner { text, at: 0, level: 0 };
    scanner.space();
    if scanner.peek() != Some(b'{') {
        scanner.value()?;
        return scanner.end().map(|()| false);
    }
    scanner.at += 1;
    scanner.level = 1;
    while let Some((name, value)) = scanner.next_field()? {
        take(name, value);
    }
    scanner.end().map(|()| true)
}

/// Appends a text in quotes, escaped where it must be.
pub fn quote(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            control @ '\0'..' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            _ => out.push(character),
        }
    }
    out.push('"');
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// How many brackets are open outside of what is scanned.
    level: u8,
}

impl<'a> Scanner<'a> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Takes the byte if it comes next.
    #[inline]
    fn took(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        self.took(byte).then_some(()).ok_or(JsonError::Syntax)
    }

    fn end(&mut self) -> Result<(), JsonError> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { Err(JsonError::Syntax) }
    }

    /// The next field of the object that is open; `None` behind its bracket.
    #[inline(always)]
    fn next_field(&mut self) -> Result<Option<(Name<'a>, Json<'a>)>, JsonError> {
        if self.closed(b'}', b'{')? {
            return Ok(None);
        }
        let name = self.name()?;
        Ok(Some((name, self.value()?)))
    }

    /// The next value of the array that is open.
    fn next_element(&mut self) -> Result<Option<Json<'a>>, JsonError> {
        if self.closed(b']', b'[')? {
            return Ok(None);
        }
        self.value().map(Some)
    }

    /// Whether the container ends here; otherwise its next part begins here.
    #[inline(always)]
    fn closed(&mut self, bracket: u8, opening: u8) -> Result<bool, JsonError> {
        let is_first = self.text.as_bytes()[self.at - 1] == opening;
        self.space();
        if self.took(bracket) {
            return Ok(true);
        }
        if !is_first {
            self.expect(b',')?;
            self.space();
        }
        Ok(false)
    }

    /// A field's name, and the colon behind it.
    #[inline]
    fn name(&mut self) -> Result<Name<'a>, JsonError> {
        let name = self.string()?;
        self.space();
        self.expect(b':')?;
        self.space();
        Ok(Name(name))
    }

    #[inline]
    fn value(&mut self) -> Result<Json<'a>, JsonError> {
        if self.peek() == Some(b'"') { self.string() } else { self.other_value() }
    }

    /// A value, whatever it is. Brackets are counted, not recursed into: one bit a level says which they are.
    fn other_value(&mut self) -> Result<Json<'a>, JsonError> {
        let (from, mut objects, mut level) = (self.at, 0_u64, 0);
        loop {
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    if usize::from(self.level) + level == DEPTH_MAX {
                        return Err(JsonError::Depth);
                    }
                    self.at += 1;
                    level += 1;
                    objects = objects << 1 | u64::from(bracket == b'{');
                    self.space();
                    let is_object = objects & 1 == 1;
                    if self.took(if is_object { b'}' } else { b']' }) {
                        level -= 1;
                        objects >>= 1;
                    } else {
                        if is_object {
                            self.name()?;
                        }
                        continue;
                    }
                }
                Some(b'"') => {
                    self.string()?;
                }
                Some(b't') => self.literal("true")?,
                Some(b'f') => self.literal("false")?,
                Some(b'n') => self.literal("null")?,
                _ => self.number()?,
            }
            // Behind a value: the next one of its container, or the ends of as many as end here.
            loop {
                if level == 0 {
                    let text = &self.text[from..self.at];
                    return Ok(Json { text, level: self.level, escaped: false });
                }
                self.space();
                let is_object = objects & 1 == 1;
                if self.took(b',') {
                    self.space();
                    if is_object {
                        self.name()?;
                    }
                    break;
                }
                self.expect(if is_object { b'}' } else { b']' })?;
                level -= 1;
                objects >>= 1;
            }
        }
    }

    fn literal(&mut self, text: &str) -> Result<(), JsonError> {
        if !self.text.as_bytes()[self.at..].starts_with(text.as_bytes()) {
            return Err(JsonError::Syntax);
        }
        self.at += text.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonError> {
        let from = self.at;
        self.took(b'-');
        if !self.took(b'0') {
            self.digits()?;
        }
        if self.took(b'.') {
            self.digits()?;
        }
        if self.took(b'e') || self.took(b'E') {
            let _ = self.took(b'+') || self.took(b'-');
            self.digits()?;
        }
        // Shorter ones without an exponent cannot be out of range.
        let text = &self.text[from..self.at];
        let is_large = text.len() > 300 || text.bytes().any(|byte| matches!(byte, b'e' | b'E'));
        if is_large && !text.parse().is_ok_and(f64::is_finite) {
            return Err(JsonError::Syntax);
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let from = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > from { Ok(()) } else { Err(JsonError::Syntax) }
    }

    /// A text with its quotes.
    #[inline(always)]
    fn string(&mut self) -> Result<Json<'a>, JsonError> {
        let (from, mut escaped) = (self.at, false);
        self.expect(b'"')?;
        loop {
            self.at += plain(&self.text.as_bytes()[self.at..]);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => escaped = true,
                _ => return Err(JsonError::Syntax),
            }
            let (_, length) = escape(&self.text.as_bytes()[self.at..]).ok_or(JsonError::Syntax)?;
            self.at += length;
        }
        self.at += 1;
        Ok(Json { text: &self.text[from..self.at], level: self.level, escaped })
    }
}

/// How many bytes come before the first that is a quote, a backslash or a control character; eight at a time
/// (<https://graphics.stanford.edu/~seander/bithacks.html>, "determine if a word has a byte less than n").
#[inline]
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & TOPS;
    let (words, _) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = below(word, 0x20)
            | below(word ^ (ONES * u64::from(b'"')), 1)
            | below(word ^ (ONES * u64::from(b'\\')), 1);
        if found != 0 {
            return index * 8 + (found.trailing_zeros() / 8) as usize;
        }
    }
    let rest = words.len() * 8;
    let is_plain = |byte: &u8| *byte >= 0x20 && !matches!(byte, b'"' | b'\\');
    rest + bytes[rest..].iter().take_while(|byte| is_plain(byte)).count()
}

/// What the escape at the beginning stands for, and its length.
fn escape(bytes: &[u8]) -> Option<(char, usize)> {
    let plain = match bytes.get(1)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let first = hexadecimal(bytes.get(2..6)?)?;
            if !(0xd800..0xdc00).contains(&first) {
                return Some((char::from_u32(first)?, 6));
            }
            let second = hexadecimal(bytes.get(6..12)?.strip_prefix(b"\\u")?)?;
            let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
            return Some((char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + low)?, 12));
        }
        _ => return None,
    };
    Some((plain, 2))
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}

/// A valid text without its escapes.
fn unescaped(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let Some((character, length)) = escape(&rest.as_bytes()[at..]) else { break };
        out.push(character);
        rest = &rest[at + length..];
    }
    out.push_str(rest);
    out
}

/// A valid number. The negative zero has no whole form.
fn number(text: &str) -> Kind<'static> {
    match text.parse() {
        Ok(whole) if whole != 0 || !text.starts_with('-') => Kind::Whole(whole),
        _ => Kind::Double(text.parse().unwrap_or(f64::NAN)),
    }
}
