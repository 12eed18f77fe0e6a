//! The page's own words.

use crate::report::Lang;

/// What is said on the page and not in the report.
pub(super) struct Texts {
    pub minute: &'static str,
    pub day_before: &'static str,
    pub week_before: &'static str,
    pub users_today: &'static str,
    pub open_alerts: &'static str,
    pub age: &'static str,
    pub hour: &'static str,
    pub period: &'static str,
    pub pipeline: &'static str,
    pub no_process: &'static str,
    pub process: [&'static str; 5],
    pub jobs: [&'static str; 4],
    pub rejects: [&'static str; 2],
    pub away: &'static str,
}

impl Texts {
    pub fn of(lang: Lang) -> &'static Self {
        match lang {
            Lang::En => &EN,
            Lang::Pt => &PT,
        }
    }
}

const EN: Texts = Texts {
    minute: "accesses in the newest minute",
    day_before: "a day before",
    week_before: "a week before",
    users_today: "distinct users, newest day",
    open_alerts: "open alerts, last 24 hours",
    age: "since the newest access",
    hour: "The last hour",
    period: "Period of the answers",
    pipeline: "Does the pipeline keep up?",
    no_process: "No process of the pipeline has worked on this database yet: `streampulse up` starts one.",
    process: ["process", "state", "memory, MiB", "tries again", "seconds since its last sign"],
    jobs: ["job", "partitions", "records to go", "standstill, s"],
    rejects: ["rejected in the last hour", "lines"],
    away: "The page has lost its server and tries again; what it shows is old.",
};

const PT: Texts = Texts {
    minute: "acessos no minuto mais recente",
    day_before: "um dia antes",
    week_before: "uma semana antes",
    users_today: "usuários distintos, dia mais recente",
    open_alerts: "alertas abertos, últimas 24 horas",
    age: "desde o acesso mais recente",
    hour: "A última hora",
    period: "Período das respostas",
    pipeline: "O processamento acompanha?",
    no_process: "Nenhum processo trabalhou neste banco de dados ainda: `streampulse up` inicia um.",
    process: ["processo", "estado", "memória, MiB", "novas tentativas", "segundos desde o último sinal"],
    jobs: ["tarefa", "partições", "registros por processar", "parada, s"],
    rejects: ["recusadas na última hora", "linhas"],
    away: "A página perdeu o servidor e tenta de novo; o que mostra é antigo.",
};
