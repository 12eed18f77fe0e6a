//! The language of the text report, English or Portuguese: names, numbers, dates and whole sentences. Each
//! sentence is written out per language, since word order and plurals differ.

use chrono::{DateTime, Datelike, FixedOffset, Timelike};

use super::labels::Labels;
use super::{Lang, Stretch};

/// Speaks one language.
#[derive(Clone, Copy)]
pub(crate) struct Words(pub Lang);

impl Words {
    pub fn labels(self) -> &'static Labels {
        Labels::of(self.0)
    }

    /// `1 access`, `2 accesses`, `0 accesses`.
    fn counted(self, n: u64, en: [&str; 2], pt: [&str; 2]) -> String {
        let [one, many] = match self.0 {
            Lang::En => en,
            Lang::Pt => pt,
        };
        format!("{} {}", self.int(n), if n == 1 { one } else { many })
    }

    fn accesses(self, n: u64) -> String {
        self.counted(n, ["access", "accesses"], ["acesso", "acessos"])
    }

    /// The short name of a weekday, 0 is Monday.
    pub fn weekday(self, from_monday: usize) -> &'static str {
        match self.0 {
            Lang::En => ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][from_monday],
            Lang::Pt => ["seg", "ter", "qua", "qui", "sex", "sáb", "dom"][from_monday],
        }
    }

    pub fn moment(self, at: DateTime<FixedOffset>) -> String {
        let weekday = self.weekday(at.weekday().num_days_from_monday() as usize);
        match self.0 {
            Lang::En => format!("{weekday} {}", at.format("%Y-%m-%d %H:%M")),
            Lang::Pt => format!("{weekday} {}", at.format("%d/%m/%Y %H:%M")),
        }
    }

    /// The name of a device; unknown ones as they are.
    pub fn device(self, name: &str) -> &str {
        match (self.0, name) {
            (_, "tv") => "TV",
            (Lang::Pt, "desktop") => "computador",
            (Lang::Pt, "other") => "outros",
            _ => name,
        }
    }

    /// The name of a content type; unknown ones as they are.
    pub fn content_type(self, name: &str) -> &str {
        match (self.0, name) {
            (Lang::Pt, "movie") => "filme",
            (Lang::Pt, "series") => "série",
            (Lang::Pt, "documentary") => "documentário",
            (Lang::Pt, "live") => "ao vivo",
            (Lang::Pt, "short") => "curto",
            (Lang::Pt, "other") => "outros",
            _ => name,
        }
    }

    pub fn alert_kind(self, name: &str) -> &str {
        match (self.0, name) {
            (Lang::Pt, "limit") => "limite",
            (Lang::Pt, "surge") => "pico",
            (Lang::Pt, "drop") => "queda",
            (Lang::Pt, "outage") => "interrupção",
            (Lang::En, "shift_up") => "lasting rise",
            (Lang::Pt, "shift_up") => "alta duradoura",
            (Lang::En, "shift_down") => "lasting fall",
            (Lang::Pt, "shift_down") => "baixa duradoura",
            (Lang::En, "season_above") => "above other weeks",
            (Lang::Pt, "season_above") => "acima de outras semanas",
            (Lang::En, "season_below") => "below other weeks",
            (Lang::Pt, "season_below") => "abaixo de outras semanas",
            (Lang::En, "bot_users") => "bots",
            (Lang::Pt, "bot_users") => "robôs",
            (Lang::En, "bot_group") => "group of bots",
            (Lang::Pt, "bot_group") => "grupo de robôs",
            _ => name,
        }
    }

    pub fn severity(self, name: &str) -> &str {
        match (self.0, name) {
            (Lang::Pt, "warning") => "aviso",
            (Lang::Pt, "critical") => "crítico",
            _ => name,
        }
    }

    /// The state of a process.
    pub fn process(self, name: &str) -> &str {
        match (self.0, name) {
            (Lang::Pt, "runs") => "funciona",
            (Lang::Pt, "gone") => "sumiu",
            (Lang::Pt, "ended") => "terminou",
            _ => name,
        }
    }

    /// The name of a job.
    pub fn job(self, name: &str) -> &str {
        match (self.0, name) {
            (Lang::Pt, "events") => "eventos",
            (Lang::Pt, "rollups") => "contagens",
            (Lang::Pt, "alerts") => "alertas",
            _ => name,
        }
    }

    pub fn status(self, name: &str) -> &str {
        match (self.0, name) {
            (Lang::Pt, "open") => "aberto",
            (Lang::Pt, "closed") => "encerrado",
            _ => name,
        }
    }

    /// `n` minutes, hours, days or seconds; the unit as in `7d`.
    pub fn duration(self, n: u64, unit: char) -> String {
        match unit {
            'd' => self.counted(n, ["day", "days"], ["dia", "dias"]),
            'h' => self.counted(n, ["hour", "hours"], ["hora", "horas"]),
            'm' => self.counted(n, ["minute", "minutes"], ["minuto", "minutos"]),
            _ => self.counted(n, ["second", "seconds"], ["segundo", "segundos"]),
        }
    }

    /// What a stretch of the timeline holds.
    pub fn stretch(self, stretch: &Stretch) -> String {
        let (at, labels) = (self.moment(stretch.local), self.labels());
        if stretch.minutes == 1 {
            return format!("{at}: {}", self.accesses(stretch.n));
        }
        let mean = self.decimal(stretch.n as f64 / stretch.minutes.max(1) as f64);
        let peak = self.int(stretch.peak);
        format!("{at}: {} {mean}, {} {peak}", labels.mean, labels.busiest_minute)
    }

    pub fn title(self, from: Option<&str>, to: Option<&str>, zone: &str, country: Option<&str>) -> String {
        let [title, since, until, only] = match self.0 {
            Lang::En => ["Accesses", "from", "to", "only"],
            Lang::Pt => ["Acessos", "de", "até", "somente"],
        };
        let from = from.map(|from| format!(" {since} {from}")).unwrap_or_default();
        let to = to.map(|to| format!(" {until} {to}")).unwrap_or_default();
        let country = country.map(|country| format!(", {only} {country}")).unwrap_or_default();
        format!("{title}{from}{to} ({zone}){country}")
    }

    pub fn total(self, n: u64, minutes: u64) -> String {
        let minutes = self.counted(minutes, ["minute", "minutes"], ["minuto", "minutos"]);
        match self.0 {
            Lang::En => format!("{} in {minutes}.", self.accesses(n)),
            Lang::Pt => format!("{} em {minutes}.", self.accesses(n)),
        }
    }

    pub fn arrivals(self, rejected: u64, late: u64) -> String {
        let lines = self.counted(
            rejected,
            ["line was", "lines were"],
            ["linha foi recusada", "linhas foram recusadas"],
        );
        let late =
            self.counted(late, ["access came", "accesses came"], ["acesso chegou", "acessos chegaram"]);
        match self.0 {
            Lang::En => format!("{lines} rejected, {late} late."),
            Lang::Pt => format!("{lines}, {late} com atraso."),
        }
    }

    pub fn users(self, at_least: u64, at_most: u64) -> String {
        let (least, most) = (self.int(at_least), self.int(at_most));
        match (self.0, at_least == at_most) {
            (Lang::En, true) => format!("Distinct users: about {least}."),
            (Lang::En, false) => format!("Distinct users: between {least} and {most} (estimates)."),
            (Lang::Pt, true) => format!("Usuários distintos: cerca de {least}."),
            (Lang::Pt, false) => {
                format!("Usuários distintos: entre {least} e {most} (estimativas).")
            }
        }
    }

    /// `times` is left out where it says nothing.
    pub fn busiest_minute(self, at: &str, zone: &str, n: u64, times: Option<f64>) -> String {
        let (n, times) = (self.accesses(n), self.times_the_average(times));
        match self.0 {
            Lang::En => format!("The busiest minute was {at} ({zone}) with {n}{times}."),
            Lang::Pt => format!("O minuto mais movimentado foi {at} ({zone}), com {n}{times}."),
        }
    }

    pub fn busiest_hour(self, at: DateTime<FixedOffset>, n: u64, times: Option<f64>) -> String {
        let end = (at.hour() + 1) % 24;
        let (at, n, times) = (self.moment(at), self.accesses(n), self.times_the_average(times));
        match self.0 {
            Lang::En => format!("The busiest hour was {at} to {end:02}:00 with {n}{times}."),
            Lang::Pt => format!("A hora mais movimentada foi {at} a {end:02}:00, com {n}{times}."),
        }
    }

    fn times_the_average(self, times: Option<f64>) -> String {
        match (times, self.0) {
            (None, _) => String::new(),
            (Some(times), Lang::En) => format!(", {} times the average", self.decimal(times)),
            (Some(times), Lang::Pt) => format!(", {} vezes a média", self.decimal(times)),
        }
    }

    pub fn usual_minute(self, average: f64, median: f64) -> String {
        let (average, median) = (self.decimal(average), self.short(median));
        match self.0 {
            Lang::En => {
                format!("A minute has {average} accesses on average; the median is {median}.")
            }
            Lang::Pt => format!("Um minuto tem em média {average} acessos; a mediana é {median}."),
        }
    }

    /// `weekday` is the JSON name.
    pub fn busiest_weekday_hour(self, weekday: &str, hour: u8, n: u64) -> String {
        let (n, end) = (self.accesses(n), (hour + 1) % 24);
        match self.0 {
            Lang::En => {
                let (first, rest) = weekday.split_at(1);
                let day = first.to_uppercase() + rest;
                format!("In the week, {day} from {hour:02}:00 to {end:02}:00 has most: {n} in all.")
            }
            Lang::Pt => {
                let day = match weekday {
                    "monday" => "segunda-feira",
                    "tuesday" => "terça-feira",
                    "wednesday" => "quarta-feira",
                    "thursday" => "quinta-feira",
                    "friday" => "sexta-feira",
                    "saturday" => "sábado",
                    _ => "domingo",
                };
                format!("Na semana, {day} das {hour:02}:00 às {end:02}:00 tem mais: {n} ao todo.")
            }
        }
    }

    /// How many sharp peaks there are, and the sharpest: when, and how many times the median, if that is not
    /// 0.
    pub fn sharp(self, total: u64, sharpest: Option<(&str, Option<f64>)>) -> String {
        let minutes = self.counted(
            total,
            ["minute is a sharp peak,", "minutes are sharp peaks, each"],
            ["minuto é um pico abrupto,", "minutos são picos abruptos, cada um"],
        );
        let what = match self.0 {
            Lang::En => "above twice the median of the hour around it",
            Lang::Pt => "acima do dobro da mediana da hora ao redor",
        };
        let Some((at, ratio)) = sharpest else {
            return match self.0 {
                Lang::En => format!("There is no sharp peak: no minute is {what}."),
                Lang::Pt => format!("Não há pico abrupto: nenhum minuto está {what}."),
            };
        };
        let beside = match (self.0, ratio.map(|times| self.decimal(times))) {
            (Lang::En, Some(times)) => format!("at {times} times that median"),
            (Lang::Pt, Some(times)) => format!("com {times} vezes essa mediana"),
            (Lang::En, None) => "in an hour that is quiet otherwise".to_owned(),
            (Lang::Pt, None) => "numa hora de resto calma".to_owned(),
        };
        match self.0 {
            Lang::En => format!("{minutes} {what}. The sharpest is {at}, {beside}."),
            Lang::Pt => format!("{minutes} {what}. O maior é {at}, {beside}."),
        }
    }

    pub fn most_used(self, first: (&str, f64), second: Option<(&str, f64)>) -> String {
        let share = self.percent(first.1);
        let name = self.device(first.0);
        let second = second.map(|(name, share)| (self.device(name), self.percent(share)));
        match (self.0, second) {
            (Lang::En, None) => format!("Most used: {name}, with {share} of the accesses."),
            (Lang::Pt, None) => format!("Mais usado: {name}, com {share} dos acessos."),
            (Lang::En, Some((next, next_share))) => {
                format!("Most used: {name}, with {share} of the accesses, ahead of {next} with {next_share}.")
            }
            (Lang::Pt, Some((next, next_share))) => {
                format!("Mais usado: {name}, com {share} dos acessos, à frente de {next}, com {next_share}.")
            }
        }
    }

    pub fn most_watched(self, content_type: &str, share: f64) -> String {
        let (name, share) = (self.content_type(content_type), self.percent(share));
        match self.0 {
            Lang::En => format!("Most watched: {name}, with {share} of the accesses."),
            Lang::Pt => format!("Mais assistido: {name}, com {share} dos acessos."),
        }
    }

    /// Which content type comes first in which countries; each with how many countries and some of their
    /// names.
    pub fn first_by_country(self, firsts: &[(&str, usize, String)]) -> String {
        let parts: Vec<String> = firsts
            .iter()
            .map(|(name, countries, names)| {
                let name = self.content_type(name);
                let countries = self.counted(*countries as u64, ["country", "countries"], ["país", "países"]);
                match self.0 {
                    Lang::En => format!("{name} in {countries} ({names})"),
                    Lang::Pt => format!("{name} em {countries} ({names})"),
                }
            })
            .collect();
        match self.0 {
            Lang::En => format!("In first place: {}.", parts.join(", ")),
            Lang::Pt => format!("Em primeiro lugar: {}.", parts.join(", ")),
        }
    }

    pub fn more(self, n: u64) -> String {
        match self.0 {
            Lang::En => format!("and {} more", self.int(n)),
            Lang::Pt => format!("e mais {}", self.int(n)),
        }
    }

    pub fn earlier(self, n: u64) -> String {
        match self.0 {
            Lang::En => format!("{} earlier not shown", self.int(n)),
            Lang::Pt => format!("{} anteriores não mostrados", self.int(n)),
        }
    }

    /// `listed` of the alerts belong to `incidents`.
    pub fn alerts(self, total: u64, listed: u64, incidents: u64) -> String {
        let alerts = self.counted(total, ["alert", "alerts"], ["alerta", "alertas"]);
        let incidents = self.counted(incidents, ["incident", "incidents"], ["incidente", "incidentes"]);
        let newest = self.int(listed);
        match (self.0, total == listed) {
            (Lang::En, true) => format!("{alerts} in {incidents}."),
            (Lang::Pt, true) => format!("{alerts} em {incidents}."),
            (Lang::En, false) => format!("{alerts}; the newest {newest} are {incidents}."),
            (Lang::Pt, false) => format!("{alerts}; os {newest} mais novos são {incidents}."),
        }
    }
}
