//! What was made of files, kept until they change to something else that can be used.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

use super::files::{Contents, Fingerprint};
use super::{Settings, TlsError};

/// Makes something of what the files hold.
pub(super) type Make<T> = Box<dyn Fn(&Settings, &Contents) -> Result<T, TlsError> + Send + Sync>;

/// See the head of this file.
pub(super) struct Kept<T> {
    /// What logs call it.
    name: String,
    settings: Settings,
    make: Make<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    made: Arc<T>,
    of: Fingerprint,
    /// What was found last and is of no use: said already.
    refused: Option<(Fingerprint, String)>,
}

impl<T> Kept<T> {
    /// Makes it for the first time. What is of no use now is an error.
    pub(super) fn new(name: &str, settings: Settings, make: Make<T>) -> Result<Self, TlsError> {
        let contents = Contents::read(&settings)?;
        let made = Arc::new(make(&settings, &contents)?);
        let state = State { made, of: contents.fingerprint(), refused: None };
        Ok(Self { name: name.to_owned(), settings, make, state: Mutex::new(state) })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Makes it anew if the files have changed; what could be used last, if they are of no use.
    pub(super) fn current(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match Contents::read(&self.settings) {
            Ok(contents) => self.look(&mut state, &contents),
            Err(error) => self.refuse(&mut state, 0, &error),
        }
        Arc::clone(&state.made)
    }

    fn look(&self, state: &mut State<T>, contents: &Contents) {
        let fingerprint = contents.fingerprint();
        if fingerprint == state.of {
            state.refused = None;
            return;
        }
        match (self.make)(&self.settings, contents) {
            Ok(made) => {
                *state = State { made: Arc::new(made), of: fingerprint, refused: None };
                info!(
                    "[tls:{}] certificates and keys have changed; new connections use them",
                    self.name
                );
            }
            Err(error) => self.refuse(state, fingerprint, &error),
        }
    }

    fn refuse(&self, state: &mut State<T>, fingerprint: Fingerprint, error: &TlsError) {
        let refused = Some((fingerprint, error.to_string()));
        if state.refused != refused {
            warn!("[tls:{}] {error}; what was there before is used on", self.name);
            state.refused = refused;
        }
    }
}
