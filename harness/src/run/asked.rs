//! What the store has of a tag is made ready while the registry is asked whether the tag still names it. The answer is waited for before the guest
//! runs, and before anything is told.

use super::{RunRequest, RunTarget, SessionPolicy, named};
use crate::context::Context;
use crate::distribution::oci::{self, PullOptions, PullPolicy, Standpoint};
use crate::observer::{Notice, Observer, Progress};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use tracing::debug;

/// A registry that is being asked.
pub struct Asked {
    /// The request, for what is in the store.
    stored: RunRequest,
    question: Arc<Question>,
}

/// What is asked, and then the answer.
struct Question {
    context: Context,
    answers: Mutex<Receiver<Standpoint>>,
    answer: OnceLock<Standpoint>,
}

impl Asked {
    /// Asks, unless that is not what `request` wants, or must be done first: who names a session may have one that is of no registry.
    pub fn begin(context: &Context, request: &RunRequest) -> Option<Self> {
        let RunTarget::Reference(text) = &request.target else { return None };
        let is_usual = matches!(request.session, SessionPolicy::Automatic | SessionPolicy::Never);
        let is_asked = matches!(request.pull.policy, PullPolicy::Newer | PullPolicy::Always);
        let tag = named::tag(text).filter(|_| is_usual && is_asked)?;
        let (asking, options) = (context.clone(), request.pull);
        let (answer, answers) = channel();
        let ask = move || {
            // Whoever waits hears of no answer as well, and not only once the connection is closed.
            let asked = oci::ask(&asking, &tag, &options, |standpoint| drop(answer.send(standpoint)));
            debug!(target: "prebake::registry", ?asked, "asked");
        };
        thread::Builder::new().name("ask".into()).spawn(ask).ok()?;
        let question = Question { context: context.clone(), answers: Mutex::new(answers), answer: OnceLock::new() };
        let pull = PullOptions { policy: PullPolicy::Never, ..options };
        Some(Self { stored: RunRequest { pull, ..request.clone() }, question: Arc::new(question) })
    }

    /// The request, for what is in the store.
    pub const fn request(&self) -> &RunRequest {
        &self.stored
    }

    /// What that is made ready in: nothing is told before it is known to be wanted, and it is given up once it is not.
    pub fn context(&self) -> Context {
        self.question.context.tentative(self.question.clone())
    }

    /// Waits for the answer: whether what is in the store is to be run.
    pub fn is_current(&self) -> bool {
        self.question.is_current()
    }
}

impl Question {
    fn is_current(&self) -> bool {
        let answer = self.answer.get_or_init(|| {
            let answer = self.answers.lock().unwrap_or_else(PoisonError::into_inner).recv().unwrap_or(Standpoint::Other);
            if let Standpoint::Down(error) = &answer {
                self.context.notice(Notice::RegistryDown { error });
            }
            answer
        });
        !matches!(answer, Standpoint::Other)
    }
}

impl Observer for Question {
    fn notice(&self, notice: &Notice<'_>) {
        if self.is_current() {
            self.context.observer().notice(notice);
        }
    }

    fn progress(&self, progress: &Progress<'_>) {
        if self.is_current() {
            self.context.observer().progress(progress);
        }
    }

    fn is_cancelled(&self) -> bool {
        matches!(self.answer.get(), Some(Standpoint::Other)) || self.context.observer().is_cancelled()
    }
}
