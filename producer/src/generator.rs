//! The endless stream of synthetic access-log lines: the same seed and the same instants give the same bytes.
//! It reads no clock: every line is written for an instant that the caller names, now or in the past.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::conditions::{Conditions, NOW_MS_MAX, NOW_MS_MIN, Source};
use crate::incident::Incident;
use crate::line::Line;
use crate::malformed::write_malformed;
use crate::profile::{CONTENTS, COUNTRIES, DEVICES, PLACES, Place};
use crate::session::{Session, Sessions};
use crate::viewer::{Population, Viewer, draw, mix};
use crate::vocabulary::{RARE_MEMBERS, TITLES, VIRAL_TITLES};

/// The latest that a late line can be, in milliseconds.
pub const LATE_MS_MAX: i64 = 2 * 3_600_000;
/// The most incidents that are used; what is beyond is left out.
pub const INCIDENTS_MAX: usize = 10_000;
/// The most bots in one attack; there are at least half as many.
pub const BOTS_MAX: u32 = 40;

/// What to generate.
#[derive(Clone, Debug)]
pub struct GeneratorConfig {
    pub seed: u64,
    /// Share (0 to 1) of lines that are no events.
    pub malformed_share: f64,
    /// Share (0 to 1) of lines that arrive minutes to hours after their event.
    pub late_share: f64,
    /// About how many viewers there are; does not change the memory needed.
    pub users: u32,
    pub incidents: Vec<Incident>,
}

impl Default for GeneratorConfig {
    fn default() -> GeneratorConfig {
        GeneratorConfig {
            seed: 0,
            malformed_share: 0.002,
            late_share: 0.01,
            users: 200_000,
            incidents: Vec::new(),
        }
    }
}

/// What kind of line was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// An event; with the index of the incident that added it, if one did.
    Valid { incident: Option<usize> },
    /// No event: the pipeline has to reject it.
    Malformed,
}

/// Writes lines. Its memory is bounded, whatever the rate and the number of viewers.
pub struct Generator {
    rng: ChaCha8Rng,
    seed: u64,
    malformed_share: f64,
    late_share: f64,
    population: Population,
    conditions: Conditions,
    sessions: Sessions,
    sessions_opened: u32,
}

impl Generator {
    pub fn new(mut config: GeneratorConfig) -> Generator {
        config.incidents.truncate(INCIDENTS_MAX);
        Generator {
            rng: ChaCha8Rng::seed_from_u64(config.seed),
            seed: config.seed,
            malformed_share: config.malformed_share,
            late_share: config.late_share,
            population: Population::new(config.users, config.seed),
            conditions: Conditions::new(config.incidents),
            sessions: Sessions::default(),
            sessions_opened: 0,
        }
    }

    /// Appends one line without a newline, as it is written at `now_ms` (kept between [`NOW_MS_MIN`] and
    /// [`NOW_MS_MAX`]). Instants should not decrease; a malformed line may be empty.
    pub fn next_line(&mut self, now_ms: i64, out: &mut Vec<u8>) -> LineKind {
        let now_ms = now_ms.clamp(NOW_MS_MIN, NOW_MS_MAX);
        self.conditions.move_to(now_ms);
        let (line, incident) = match self.conditions.source_at(self.rng.random()) {
            Source::Organic => (self.organic_line(now_ms), None),
            Source::Viral(incident) => (self.viral_line(incident, now_ms), Some(incident)),
            Source::Bot(incident) => (self.bot_line(incident, now_ms), Some(incident)),
        };
        if self.chance(self.malformed_share) {
            write_malformed(&line, &mut self.rng, out);
            return LineKind::Malformed;
        }
        line.write(None, out);
        LineKind::Valid { incident }
    }

    /// By how much the incidents alone change the rate at `now_ms`; 1 without any. A caller that keeps a
    /// rate multiplies it with this, so that the lines of an attack really come on top.
    pub fn rate_factor(&self, now_ms: i64) -> f64 {
        if self.conditions.hold_at(now_ms) {
            return self.conditions.rate_factor();
        }
        let mut conditions = self.conditions.clone();
        conditions.move_to(now_ms);
        conditions.rate_factor()
    }

    /// The incidents, in the order of the indexes in [`LineKind`].
    pub fn incidents(&self) -> &[Incident] {
        self.conditions.incidents()
    }

    fn organic_line(&mut self, now_ms: i64) -> Line {
        let session = self.served(|generator| {
            if let Some(session) = generator.running_session(now_ms) {
                return session;
            }
            let session = generator.new_session(None, now_ms);
            generator.sessions.open(session);
            session
        });
        self.session_line(&session, now_ms)
    }

    /// Draws until no outage takes the line away. Viewers without service are drawn and remembered like
    /// all others, so that they are all back when an outage ends.
    fn served(&mut self, mut draw: impl FnMut(&mut Generator) -> Session) -> Session {
        for _ in 0..DRAWS_MAX {
            let session = draw(self);
            let lost_share = self.conditions.lost_share(usize::from(session.viewer.place));
            if !self.chance(lost_share) {
                return session;
            }
        }
        draw(self)
    }

    fn running_session(&mut self, now_ms: i64) -> Option<Session> {
        if !self.chance(CONTINUE_SHARE) {
            return None;
        }
        let is_next_title = self.chance(NEXT_TITLE_SHARE);
        let session = self.sessions.session_at(now_ms, self.rng.random())?;
        if is_next_title {
            let titles = TITLES[usize::from(session.content)].len();
            session.title = (session.title + 1) % titles as u8;
        }
        Some(*session)
    }

    fn new_session(&mut self, country: Option<usize>, now_ms: i64) -> Session {
        let place = self.conditions.place_at(country, self.rng.random());
        let viewer = self.population.viewer_at(place, self.rng.random());
        let device = if self.chance(USUAL_SHARE) { viewer.usual_device() } else { viewer.second_device() };
        let content = if self.chance(USUAL_SHARE) {
            viewer.usual_content()
        } else {
            let mix = &COUNTRIES[PLACES[place].country].contents;
            draw(mix, self.rng.random_range(0..100))
        };
        self.sessions_opened = self.sessions_opened.wrapping_add(1);
        Session {
            viewer,
            id: self.sessions_opened,
            device: device as u8,
            content: content as u8,
            title: self.popular(TITLES[content].len()) as u8,
            opened_ms: now_ms,
        }
    }

    fn session_line(&mut self, session: &Session, now_ms: i64) -> Line {
        let (viewer, content) = (session.viewer, usize::from(session.content));
        let device = usize::from(session.device);
        let title = TITLES[content][usize::from(session.title)];
        let device_name = viewer.device_name(device, DEVICES[device]);
        let content_name = viewer.content_name(content, CONTENTS[content]);
        let line = self.viewer_line(&viewer, device_name, content_name, now_ms);
        Line {
            session: self.chance(SESSION_ID_SHARE).then_some(session.id),
            title: self.chance(TITLE_SHARE).then_some(title),
            app_version: viewer.app_version(),
            bitrate_kbps: self.bitrate_kbps(),
            rare_member: self.rare_member(),
            ..line
        }
    }

    fn viral_line(&mut self, incident: usize, now_ms: i64) -> Line {
        let traits = self.incident_traits(incident);
        let country = self.conditions.incidents()[incident].country_index();
        let session = self.served(|generator| generator.new_session(country, now_ms));
        // A release is a movie or an episode of a series.
        let content = (traits & 1) as usize;
        let title = VIRAL_TITLES[(traits >> 1) as usize % VIRAL_TITLES.len()];
        let session = Session { content: content as u8, title: 0, ..session };
        Line { title: Some(title), ..self.session_line(&session, now_ms) }
    }

    fn bot_line(&mut self, incident: usize, now_ms: i64) -> Line {
        let traits = self.incident_traits(incident);
        let bots = BOTS_MAX / 2 + (traits & 0xff) as u32 % (BOTS_MAX / 2 + 1);
        // Numbers above those of all viewers, apart for each attack.
        let bot = incident as u32 * BOTS_MAX + self.rng.random_range(0..bots);
        let country = self.conditions.incidents()[incident].country_index();
        let places = self.conditions.places_of(country);
        let place = places.start + (traits >> 8) as usize % places.len();
        let viewer = Viewer::new(u32::MAX - bot, place, self.seed);
        // Desktops, or what no table knows.
        let device = DEVICES[if traits >> 63 == 0 { 3 } else { 5 }];
        let content = CONTENTS[(traits >> 32) as usize % CONTENTS.len()];
        self.viewer_line(&viewer, device, content, now_ms)
    }

    /// Bits that stay the same while an incident lasts.
    fn incident_traits(&self, incident: usize) -> u64 {
        mix(self.seed ^ mix(incident as u64 + 1))
    }

    fn viewer_line(
        &mut self,
        viewer: &Viewer,
        device: &'static str,
        content_type: &'static str,
        now_ms: i64,
    ) -> Line {
        let place = usize::from(viewer.place);
        let Place { country, city, .. } = &PLACES[place];
        Line {
            user_number: viewer.number,
            event_ms: now_ms - self.delay_ms(),
            timestamp_form: viewer.timestamp_form(),
            offset_minutes: self.conditions.offset_minutes(place),
            device,
            content_type,
            country: COUNTRIES[*country].code,
            city: city.name,
            ascii: viewer.writes_ascii(),
            session: None,
            title: None,
            app_version: None,
            bitrate_kbps: None,
            rare_member: None,
        }
    }

    /// At most half a second; for late lines, `1 / x` gives a heavy tail that starts
    /// at a minute and ends at [`LATE_MS_MAX`].
    fn delay_ms(&mut self) -> i64 {
        let x: f64 = self.rng.random();
        if self.chance(self.late_share) {
            let shortest = LATE_MS_MIN / LATE_MS_MAX as f64;
            return (LATE_MS_MIN / (1.0 - x * (1.0 - shortest))) as i64;
        }
        (x * x * x * JITTER_MS_MAX) as i64
    }

    fn bitrate_kbps(&mut self) -> Option<u32> {
        let steps = [800, 1_500, 3_000, 5_200, 8_000, 16_000];
        self.chance(BITRATE_SHARE).then(|| steps[self.rng.random_range(0..steps.len())])
    }

    fn rare_member(&mut self) -> Option<&'static str> {
        self.chance(RARE_SHARE).then(|| RARE_MEMBERS[self.rng.random_range(0..RARE_MEMBERS.len())])
    }

    /// An index below `count`; the first ones come more often.
    fn popular(&mut self, count: usize) -> usize {
        let x: f64 = self.rng.random();
        (x * x * count as f64) as usize
    }

    fn chance(&mut self, share: f64) -> bool {
        self.rng.random::<f64>() < share
    }
}

/// Lines that belong to a session which is already there: five lines a session, on average.
const CONTINUE_SHARE: f64 = 0.8;
/// Lines at which the viewer goes on to another title.
const NEXT_TITLE_SHARE: f64 = 0.1;
/// Sessions on the device, or of the content type, that the viewer likes best.
const USUAL_SHARE: f64 = 0.7;
const SESSION_ID_SHARE: f64 = 0.6;
const TITLE_SHARE: f64 = 0.4;
const BITRATE_SHARE: f64 = 0.3;
const RARE_SHARE: f64 = 0.004;
/// Draws for one line before it comes from a silent country after all; reached if all are silent.
const DRAWS_MAX: usize = 64;
const JITTER_MS_MAX: f64 = 500.0;
const LATE_MS_MIN: f64 = 60_000.0;

#[cfg(test)]
mod tests;
