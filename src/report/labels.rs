//! Headings and column names of the text report, in English and Portuguese.

use super::Lang;

/// Names of columns and headings, in the order of the fields.
pub(crate) struct Labels {
    pub timeline: &'static str,
    pub mean: &'static str,
    pub busiest_minute: &'static str,
    pub limit: &'static str,
    pub peaks: &'static str,
    pub devices: &'static str,
    pub contents: &'static str,
    pub alerts: &'static str,
    pub nothing: &'static str,
    pub no_alerts: &'static str,
    pub busiest_minutes: &'static str,
    pub busiest_hours: &'static str,
    pub sharp_peaks: &'static str,
    pub accesses: &'static str,
    pub times_average: &'static str,
    pub median_of_hour: &'static str,
    pub times_median: &'static str,
    /// With how the shades of the text are to be read.
    pub week: &'static str,
    pub week_title: &'static str,
    pub device: &'static str,
    pub share: &'static str,
    pub country: &'static str,
    pub city: &'static str,
    /// Severity, kind, first minute, last minute, minutes, highest count, limit or expectation, status.
    pub alert_columns: [&'static str; 8],
}

impl Labels {
    pub fn of(lang: Lang) -> &'static Self {
        match lang {
            Lang::En => &EN,
            Lang::Pt => &PT,
        }
    }
}

const EN: Labels = Labels {
    timeline: "Accesses a minute",
    mean: "mean",
    busiest_minute: "busiest minute",
    limit: "limit",
    peaks: "When are the peaks?",
    devices: "Which devices are used most?",
    contents: "What is watched where?",
    alerts: "Alerts",
    nothing: "No accesses in this period.",
    no_alerts: "No alerts in this period.",
    busiest_minutes: "busiest minutes",
    busiest_hours: "busiest hours",
    sharp_peaks: "sharp peaks",
    accesses: "accesses",
    times_average: "× average",
    median_of_hour: "median of the hour",
    times_median: "× median",
    week: "Hours of the week, from few accesses to many: ░░ ▒▒ ▓▓ ██",
    week_title: "Hours of the week, from few accesses to many",
    device: "device",
    share: "share",
    country: "country",
    city: "city",
    alert_columns: ["severity", "kind", "from", "to", "minutes", "peak", "against", "status"],
};

const PT: Labels = Labels {
    timeline: "Acessos por minuto",
    mean: "média",
    busiest_minute: "minuto mais movimentado",
    limit: "limite",
    peaks: "Quando são os picos?",
    devices: "Quais dispositivos são mais usados?",
    contents: "O que se assiste e onde?",
    alerts: "Alertas",
    nothing: "Nenhum acesso neste período.",
    no_alerts: "Nenhum alerta neste período.",
    busiest_minutes: "minutos mais movimentados",
    busiest_hours: "horas mais movimentadas",
    sharp_peaks: "picos abruptos",
    accesses: "acessos",
    times_average: "× média",
    median_of_hour: "mediana da hora",
    times_median: "× mediana",
    week: "Horas da semana, de poucos acessos a muitos: ░░ ▒▒ ▓▓ ██",
    week_title: "Horas da semana, de poucos acessos a muitos",
    device: "dispositivo",
    share: "parcela",
    country: "país",
    city: "cidade",
    alert_columns: ["gravidade", "tipo", "de", "até", "minutos", "pico", "contra", "situação"],
};
