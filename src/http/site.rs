//! What is under which path.
//!
//! In:  a path
//! Out: an answer

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value as Json, json};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Settings;
use super::health::Window;
use super::prometheus::{self, Times};
use crate::ingest::{Controls, Figures};
use crate::model::OutputCounters;

/// How long ingest may take to answer: as long as Kubernetes' probes wait unless told otherwise.
const INGEST_ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// The version of Fluent Bit whose paths and shapes these are.
const FLUENT_BIT: &str = "5.1.1";

/// An output, as metrics know it.
#[derive(Debug)]
pub struct Output {
    /// `Alias`, or `forward.<n>`.
    pub name: String,
    /// What became of its chunks.
    pub counters: Arc<OutputCounters>,
}

/// See the head of this file.
pub struct Site {
    settings: Settings,
    controls: Arc<Controls>,
    outputs: Vec<Output>,
    given_up: Mutex<Window>,
    started: Instant,
    started_at: SystemTime,
}

/// What is sent back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// `None`: no such header, as in Fluent Bit.
    pub(super) content_type: Option<&'static str>,
    pub(super) body: String,
}

/// What there is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Root,
    Uptime,
    Health,
    HealthInDetail,
    Metrics,
    Prometheus,
}

impl Page {
    fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/" => Self::Root,
            "/api/v1/uptime" => Self::Uptime,
            "/api/v1/health" => Self::Health,
            "/api/v2/health" => Self::HealthInDetail,
            "/api/v1/metrics" => Self::Metrics,
            "/api/v1/metrics/prometheus" | "/api/v2/metrics/prometheus" | "/metrics" => {
                Self::Prometheus
            }
            _ => return None,
        })
    }
}

impl Answer {
    /// Without a body.
    pub(super) fn empty(status: u16) -> Self {
        Self { status, content_type: None, body: String::new() }
    }

    fn json(status: u16, body: String) -> Self {
        Self { status, content_type: Some("application/json"), body }
    }
}

impl Site {
    /// What `controls` answer for, and these outputs. The agent has started now.
    pub fn new(settings: Settings, controls: Arc<Controls>, outputs: Vec<Output>) -> Self {
        Self {
            given_up: Mutex::new(Window::new(settings.period)),
            settings,
            controls,
            outputs,
            started: Instant::now(),
            started_at: SystemTime::now(),
        }
    }

    /// Looks at how many chunks were given up, again and again, until it is dropped: the window
    /// has to know when that was, whenever somebody asks.
    pub(super) async fn watch_health(&self) -> std::convert::Infallible {
        let interval = Window::interval(self.settings.period);
        loop {
            self.given_up_lately();
            tokio::time::sleep(interval).await;
        }
    }

    /// The answer to a GET of `path`, which is without its query.
    pub(super) async fn answer(&self, path: &str) -> Answer {
        match Page::at(path) {
            Some(Page::Root) => Answer::json(200, root()),
            Some(Page::Uptime) => Answer::json(200, uptime(self.started.elapsed().as_secs())),
            Some(Page::Health) if self.settings.health_check => {
                let (status, word) = self.health().await;
                Answer { body: format!("{word}\n"), ..Answer::empty(status) }
            }
            Some(Page::HealthInDetail) => {
                let (status, word) = self.health().await;
                Answer::json(status, self.health_in_detail(word))
            }
            Some(Page::Metrics) => match self.figures().await {
                Some(figures) => Answer::json(200, self.metrics(&figures)),
                None => Answer::empty(503),
            },
            Some(Page::Prometheus) => match self.figures().await {
                Some(figures) => Answer {
                    status: 200,
                    content_type: Some("text/plain; version=0.0.4"),
                    body: prometheus::page(&figures, &self.outputs, self.times()),
                },
                None => Answer::empty(503),
            },
            Some(Page::Health) | None => Answer::empty(404),
        }
    }

    /// Asks ingest. `None`: it does not answer in time.
    async fn figures(&self) -> Option<Figures> {
        let (tell, figures) = oneshot::channel();
        // Who asked may have stopped waiting.
        self.controls.ask(Box::new(|figures| drop(tell.send(figures))));
        timeout(INGEST_ANSWERS_WITHIN, figures).await.ok()?.ok()
    }

    /// Status and word.
    async fn health(&self) -> (u16, &'static str) {
        let too_many = self.given_up_lately() > self.settings.retry_failures_limit;
        if too_many || self.figures().await.is_none() { (500, "error") } else { (200, "ok") }
    }

    fn given_up_lately(&self) -> u64 {
        let total = self.outputs.iter().map(|output| output.counters.retries_failed.get()).sum();
        let mut window = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        window.see(total, Instant::now())
    }

    fn health_in_detail(&self, word: &str) -> String {
        format!(
            r#"{{"status":"{word}","errors":0,"retries_failed":{},"error_limit":{},"retry_failure_limit":{},"period_limit":{}}}"#,
            self.given_up_lately(),
            self.settings.errors_limit,
            self.settings.retry_failures_limit,
            self.settings.period.as_secs(),
        )
    }

    fn metrics(&self, figures: &Figures) -> String {
        let inputs = figures.inputs.iter().map(|input| {
            (input.name.clone(), json!({"records": input.records, "bytes": input.bytes}))
        });
        let outputs = self.outputs.iter().map(|output| {
            let each = output.counters.each();
            let numbers = each.map(|counted| (counted.name.to_owned(), counted.value.into()));
            (output.name.clone(), Json::Object(numbers.collect()))
        });
        let (inputs, outputs): (Map<_, _>, Map<_, _>) = (inputs.collect(), outputs.collect());
        json!({"input": inputs, "filter": {}, "output": outputs}).to_string()
    }

    fn times(&self) -> Times {
        let started = self.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Times { started: started.as_secs(), uptime: self.started.elapsed().as_secs() }
    }
}

fn root() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        r#"{{"fluent-bit":{{"version":"{FLUENT_BIT}","edition":"log-ambassador","flags":[]}},"log-ambassador":{{"version":"{version}"}}}}"#
    )
}

/// The words are Fluent Bit's, as somebody may take them apart.
fn uptime(seconds: u64) -> String {
    let mut words = String::new();
    for (number, unit, after) in [
        (seconds / 86_400, "day", ", "),
        (seconds / 3600 % 24, "hour", ", "),
        (seconds / 60 % 60, "minute", " and "),
        (seconds % 60, "second", ""),
    ] {
        let s = if number > 1 { "s" } else { "" };
        write!(words, "{number} {unit}{s}{after}").expect("a string takes everything");
    }
    format!(r#"{{"uptime_sec":{seconds},"uptime_hr":"Fluent Bit has been running:  {words}"}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::waker;

    /// A site whose ingest never answers.
    fn alone(health_check: bool) -> Site {
        let (waker, _sleeper) = waker().unwrap();
        let controls = Arc::new(Controls::new(waker, Box::new(|| ())));
        Site::new(Settings { health_check, ..Settings::default() }, controls, Vec::new())
    }

    fn answer(site: &Site, path: &str) -> Answer {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(site.answer(path))
    }

    #[test]
    fn an_ingest_that_does_not_answer_is_unhealthy_and_has_no_metrics() {
        let site = alone(true);
        let health = answer(&site, "/api/v1/health");
        assert_eq!(health, Answer { body: "error\n".to_owned(), ..Answer::empty(500) });
        assert_eq!(answer(&site, "/metrics"), Answer::empty(503));
        let detail = answer(&site, "/api/v2/health");
        assert_eq!(
            (detail.status, detail.body.as_str()),
            (
                500,
                r#"{"status":"error","errors":0,"retries_failed":0,"error_limit":5,"retry_failure_limit":5,"period_limit":60}"#
            )
        );
    }

    #[test]
    fn paths_must_match_exactly_and_health_is_there_only_if_asked_for() {
        let site = alone(false);
        for path in ["/api/v1/health", "/api/v1/uptime/", "/api/v1/storage", "/x", "", "//"] {
            assert_eq!(answer(&site, path), Answer::empty(404), "{path}");
        }
        assert_eq!(answer(&site, "/").status, 200);
    }

    #[test]
    fn the_uptime_is_said_in_the_words_of_fluent_bit() {
        for (seconds, words) in [
            (4, "0 day, 0 hour, 0 minute and 4 seconds"),
            (86_400 + 3600 + 60 + 1, "1 day, 1 hour, 1 minute and 1 second"),
            (200_000, "2 days, 7 hours, 33 minutes and 20 seconds"),
        ] {
            let expected = format!(
                r#"{{"uptime_sec":{seconds},"uptime_hr":"Fluent Bit has been running:  {words}"}}"#
            );
            assert_eq!(uptime(seconds), expected);
        }
    }
}
