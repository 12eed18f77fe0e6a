//! Closed vocabularies of devices and content types, and the spellings that fold into them: whatever a log
//! says, counters are keyed by one of at most [`NAMES_MAX`] names.

use std::collections::BTreeMap;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Most names in one vocabulary.
pub const NAMES_MAX: usize = 16;
/// Longest name in bytes.
pub const NAME_BYTES_MAX: usize = 32;
/// Longest text that is folded without allocation, in bytes.
const FOLDED_BYTES_MAX: usize = 32;
/// The name of everything that folds into no other.
pub const OTHER: &str = "other";

/// Spellings by name, as they stand in the configuration.
pub type Spellings = BTreeMap<String, Vec<String>>;

const DEVICES: &[(&str, &[&str])] = &[
    (
        "tv",
        &[
            "tv",
            "smart tv",
            "television",
            "televisão",
            "televisor",
            "connected tv",
            "ctv",
            "android tv",
            "apple tv",
            "google tv",
            "fire tv",
            "roku",
            "chromecast",
            "web os",
            "tizen",
            "set top box",
            "stb",
        ],
    ),
    (
        "smartphone",
        &[
            "smartphone",
            "phone",
            "mobile",
            "mobile phone",
            "cell phone",
            "cellphone",
            "celular",
            "telefone",
            "telemóvel",
            "iphone",
            "android",
            "android phone",
            "ios",
        ],
    ),
    ("tablet", &["tablet", "ipad", "android tablet", "kindle fire", "fire tablet"]),
    (
        "desktop",
        &[
            "desktop",
            "computer",
            "computador",
            "pc",
            "laptop",
            "notebook",
            "web",
            "browser",
            "navegador",
            "mac",
            "macbook",
            "windows",
            "linux",
            "chromebook",
        ],
    ),
    (
        "console",
        &[
            "console",
            "game console",
            "games console",
            "videogame",
            "playstation",
            "ps4",
            "ps5",
            "xbox",
            "xbox one",
            "xbox series x",
            "nintendo switch",
            "switch",
        ],
    ),
    (OTHER, &["other", "others", "outro", "outros", "unknown", "desconhecido"]),
];

const CONTENT_TYPES: &[(&str, &[&str])] = &[
    ("movie", &["movie", "movies", "film", "films", "filme", "filmes", "feature", "longa metragem"]),
    (
        "series",
        &[
            "series",
            "serie",
            "série",
            "séries",
            "tv series",
            "tv show",
            "show",
            "episode",
            "episódio",
            "seriado",
            "novela",
            "season",
            "temporada",
        ],
    ),
    (
        "documentary",
        &["documentary", "documentaries", "documentário", "documentários", "doc", "docs", "docuseries"],
    ),
    (
        "live",
        &[
            "live",
            "ao vivo",
            "live tv",
            "live stream",
            "livestream",
            "broadcast",
            "transmissão",
            "esporte ao vivo",
        ],
    ),
    ("short", &["short", "shorts", "clip", "clipe", "trailer", "curta", "curtas", "curta metragem"]),
    (OTHER, &["other", "others", "outro", "outros", "unknown", "desconhecido"]),
];

/// A closed list of names and the table that folds spellings into them.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    names: Vec<String>,
    /// Spellings and the indexes of their names, by the length of the spelling: a handful each.
    by_length: Vec<Vec<(String, u8)>>,
}

impl Vocabulary {
    /// The devices with their spellings in English and Portuguese, extended by `more`: further spellings of a
    /// name, or further names. A spelling given in `more` wins over a default.
    ///
    /// # Errors
    /// Says which name is not `[a-z0-9_]{1,32}`, or that there are more than [`NAMES_MAX`].
    pub fn devices(more: &Spellings) -> Result<Self, String> {
        Self::new(DEVICES, more)
    }

    /// The content types; otherwise as [`Vocabulary::devices`].
    ///
    /// # Errors
    /// As [`Vocabulary::devices`].
    pub fn content_types(more: &Spellings) -> Result<Self, String> {
        Self::new(CONTENT_TYPES, more)
    }

    fn new(defaults: &[(&str, &[&str])], more: &Spellings) -> Result<Self, String> {
        let mut vocabulary = Self { names: Vec::new(), by_length: Vec::new() };
        for (name, spellings) in defaults {
            vocabulary.add(name, spellings)?;
        }
        for (name, spellings) in more {
            vocabulary.add(name, spellings)?;
        }
        Ok(vocabulary)
    }

    /// The index of the name that `text` is a spelling of.
    pub fn index(&self, text: &str) -> Option<u8> {
        self.find(text).or_else(|| {
            let mut folded = [0; FOLDED_BYTES_MAX];
            match fold_ascii(text, &mut folded) {
                Some(folded) => self.find(folded),
                None => self.find(&fold(text)),
            }
        })
    }

    /// The index of `other`.
    pub fn other(&self) -> u8 {
        self.find(OTHER).expect("every vocabulary has it")
    }

    fn find(&self, spelling: &str) -> Option<u8> {
        let spellings = self.by_length.get(spelling.len())?;
        spellings.iter().find(|(known, _)| known == spelling).map(|(_, index)| *index)
    }

    fn insert(&mut self, spelling: String, index: u8) {
        if self.by_length.len() <= spelling.len() {
            self.by_length.resize(spelling.len() + 1, Vec::new());
        }
        let spellings = &mut self.by_length[spelling.len()];
        match spellings.iter_mut().find(|(known, _)| *known == spelling) {
            Some((_, known)) => *known = index,
            None => spellings.push((spelling, index)),
        }
    }

    /// The name at an index given by this vocabulary.
    pub fn name(&self, index: u8) -> &str {
        &self.names[usize::from(index)]
    }

    /// All names in the order of their indexes.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    fn add(&mut self, name: &str, spellings: &[impl AsRef<str>]) -> Result<(), String> {
        if !is_name(name) {
            return Err(format!(
                "{name:?} is not a name of 1 to {NAME_BYTES_MAX} characters from a-z, 0-9 and _"
            ));
        }
        let index = match self.names.iter().position(|known| known == name) {
            Some(index) => index,
            None if self.names.len() == NAMES_MAX => {
                return Err(format!(
                    "{name:?} is one name too many: at most {NAMES_MAX}, \"other\" included"
                ));
            }
            None => {
                self.names.push(name.to_owned());
                self.names.len() - 1
            }
        };
        let index = u8::try_from(index).expect("NAMES_MAX fits");
        let spellings = spellings.iter().map(AsRef::as_ref);
        for spelling in spellings.chain([name]) {
            self.insert(spelling.to_owned(), index);
            self.insert(fold(spelling), index);
        }
        Ok(())
    }
}

/// Whether a text can be a name of a vocabulary.
pub fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain)
}

/// A spelling reduced to what counts: lower case, without accents, spaces and punctuation.
pub fn fold(text: &str) -> String {
    text.nfkd()
        .filter(|c| !is_combining_mark(*c) && c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// [`fold`] into a buffer; `None` of a text that is not ASCII or longer.
fn fold_ascii<'b>(text: &str, buffer: &'b mut [u8; FOLDED_BYTES_MAX]) -> Option<&'b str> {
    if text.len() > buffer.len() || !text.is_ascii() {
        return None;
    }
    let mut length = 0;
    for byte in text.bytes().filter(u8::is_ascii_alphanumeric) {
        buffer[length] = byte.to_ascii_lowercase();
        length += 1;
    }
    std::str::from_utf8(&buffer[..length]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(vocabulary: &Vocabulary, text: &str, expected: Option<&str>) {
        assert_eq!(vocabulary.index(text).map(|index| vocabulary.name(index)), expected, "{text:?}");
    }

    #[test]
    fn spellings_fold_into_names() {
        let devices = Vocabulary::devices(&Spellings::new()).expect("defaults are valid");
        check(&devices, "tv", Some("tv"));
        check(&devices, "Smart TV", Some("tv"));
        check(&devices, "SMART-TV", Some("tv"));
        check(&devices, "celular", Some("smartphone"));
        check(&devices, "Telemóvel", Some("smartphone"));
        check(&devices, "PlayStation", Some("console"));
        check(&devices, "toaster", None);
        check(&devices, "", None);
        let contents = Vocabulary::content_types(&Spellings::new()).expect("defaults are valid");
        check(&contents, "filme", Some("movie"));
        check(&contents, "SÉRIE", Some("series"));
        check(&contents, "se\u{301}rie", Some("series"));
        check(&contents, "documentário", Some("documentary"));
        check(&contents, "Ao vivo", Some("live"));
    }

    #[test]
    fn ascii_folds_into_the_same() {
        for text in ["", "tv", "Smart TV", "SMART-TV", " _Web.OS 5_", "\u{7f}", &"x".repeat(FOLDED_BYTES_MAX)]
        {
            assert_eq!(fold_ascii(text, &mut [0; FOLDED_BYTES_MAX]), Some(fold(text).as_str()), "{text:?}");
        }
        for text in ["Série", &"x".repeat(FOLDED_BYTES_MAX + 1)] {
            assert_eq!(fold_ascii(text, &mut [0; FOLDED_BYTES_MAX]), None);
        }
    }

    #[test]
    fn configuration_adds_spellings_and_names() {
        let more = Spellings::from([
            ("projector".to_owned(), vec!["Beamer".to_owned()]),
            ("desktop".to_owned(), vec!["ipad".to_owned()]),
        ]);
        let devices = Vocabulary::devices(&more).expect("valid");
        check(&devices, "beamer", Some("projector"));
        check(&devices, "iPad", Some("desktop"));
    }

    #[test]
    fn names_are_bounded() {
        let named = |name: &str| Vocabulary::devices(&Spellings::from([(name.to_owned(), vec![])]));
        assert!(named(&"a".repeat(NAME_BYTES_MAX)).is_ok());
        assert!(named(&"a".repeat(NAME_BYTES_MAX + 1)).is_err());
        assert!(named("with.dot").is_err());
        let numbered = |n: usize| Vocabulary::devices(&(0..n).map(|i| (format!("d{i}"), vec![])).collect());
        assert!(numbered(NAMES_MAX - DEVICES.len()).is_ok());
        assert!(numbered(NAMES_MAX - DEVICES.len() + 1).is_err());
    }
}
