//! The words in the lines: how clients spell devices and content types, titles, versions, odd extra fields.
//! Most clients use the canonical names; the variants here are the ones that real logs are full of.

/// How one device or content type is spelled by clients that do not use the canonical name.
pub struct Spelling {
    pub english: &'static [&'static str],
    pub portuguese: &'static [&'static str],
}

const fn spelling(english: &'static [&'static str], portuguese: &'static [&'static str]) -> Spelling {
    Spelling { english, portuguese }
}

/// Variants by device, in the order of [`crate::profile::DEVICES`].
/// Those of `other` are in no table: they are folded to `other` and kept beside it.
pub const DEVICE_SPELLINGS: [Spelling; 6] = [
    spelling(&["Smart TV", "TV", "smart_tv", "smarttv"], &["Smart TV", "televisão", "TV"]),
    spelling(&["iPhone", "Android", "mobile", "Smartphone"], &["celular", "iPhone", "Celular"]),
    spelling(&["iPad", "Tablet"], &["iPad", "Tablet"]),
    spelling(&["PC", "laptop", "Desktop"], &["computador", "notebook"]),
    spelling(&["PlayStation", "Xbox", "Console"], &["videogame", "PlayStation"]),
    spelling(&["smart fridge", "VR headset"], &["projetor", "VR headset"]),
];

/// Variants by content type, in the order of [`crate::profile::CONTENTS`].
pub const CONTENT_SPELLINGS: [Spelling; 6] = [
    spelling(&["Movie", "film", "MOVIE"], &["filme", "Filme"]),
    spelling(&["Series", "TV show"], &["série", "Série", "serie"]),
    spelling(&["Documentary"], &["documentário", "Documentário"]),
    spelling(&["Live", "LIVE"], &["ao vivo", "Ao Vivo"]),
    spelling(&["Short", "shorts"], &["curta", "Curta"]),
    spelling(&["podcast", "karaoke"], &["podcast", "karaokê"]),
];

/// Titles by content type, the most watched first, already escaped for JSON.
pub const TITLES: [&[&str]; 6] = [
    &[
        "A Última Estação",
        "Harbor of Glass",
        "Noite no Sertão",
        "The Long Orbit",
        "Cinco Minutos",
        "Maré Alta",
        "The \\\"Quiet\\\" Room",
        "L'Été d'Hélène",
    ],
    &[
        "Cidade Submersa",
        "Northern Line",
        "Os Vizinhos do 302",
        "Salt & Copper",
        "海の町",
        "Casa de Vidro",
        "Second Shift",
        "Die Brücke am Fluss",
    ],
    &["Amazônia por Dentro", "Deep Cold", "The Bee Year", "Cerrado", "How Bridges Fall"],
    &["Futebol ao Vivo", "Live News", "Copa do Nordeste", "Morning Show", "Grand Prix"],
    &["30s de Receita", "Cat vs. Printer", "Gol de Placa", "Try Not to Laugh"],
    &["Trailer: Harbor of Glass", "Bastidores"],
];

/// Titles of viral releases.
pub const VIRAL_TITLES: [&str; 6] = [
    "O Último Capítulo",
    "Finale: Northern Line",
    "Final do Campeonato",
    "The Leak",
    "Sombra e Sal",
    "Encore",
];

/// Versions of the players, the most common first.
pub const APP_VERSIONS: [&str; 6] = ["9.4.1", "9.4.0", "9.3.2", "9.1.0", "8.12.5", "7.0.3-beta"];

/// Members that few lines carry, as JSON text. The names with `$` and `.` are hostile to some databases.
pub const RARE_MEMBERS: [&str; 8] = [
    r#""player":{"buffer_ms":310,"muted":false,"drm":null}"#,
    r#""ab_tests":["row-order-7","autoplay-off"]"#,
    r#""referrer":"https://example.com/?q=a%20b&lang=pt""#,
    r#""error_code":504"#,
    r#""$where":"sleep(1000)""#,
    r#""device.os.name":"linux""#,
    r#""note":"tab\tquote\"slash\\ \ud83c\udfac""#,
    r#""position_s":1287.25"#,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{CONTENTS, DEVICES};

    #[test]
    fn titles_and_members_are_json_text() {
        for title in TITLES.iter().copied().flatten().chain(&VIRAL_TITLES) {
            serde_json::from_str::<String>(&format!("\"{title}\"")).unwrap();
        }
        for member in RARE_MEMBERS {
            let object = serde_json::from_str::<serde_json::Value>(&format!("{{{member}}}")).unwrap();
            assert_eq!(object.as_object().unwrap().len(), 1);
        }
    }

    #[track_caller]
    fn check(folded: &domain::Vocabulary, names: &[&str; 6], spellings: &[Spelling; 6]) {
        for (name, spelling) in names.iter().zip(spellings) {
            assert!(!spelling.english.is_empty() && !spelling.portuguese.is_empty());
            for variant in spelling.english.iter().chain(spelling.portuguese) {
                let index = folded.index(variant).unwrap_or(folded.other());
                assert_eq!(folded.name(index), *name, "{variant}");
            }
        }
    }

    #[test]
    fn the_pipeline_folds_the_variants_as_meant() {
        let none = Default::default();
        check(&domain::Vocabulary::devices(&none).unwrap(), &DEVICES, &DEVICE_SPELLINGS);
        check(&domain::Vocabulary::content_types(&none).unwrap(), &CONTENTS, &CONTENT_SPELLINGS);
    }
}
