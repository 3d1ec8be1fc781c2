//! What an operator asks a live session. Only the session's own task knows its state, so it answers, between two commands.

use super::Session;
use std::sync::{Mutex, PoisonError};
use tokio::sync::oneshot;

/// Most questions that wait for one session.
const WAITING_MOST: usize = 16;

/// A question on its way to a session.
pub struct Question {
    /// The statement to explain; `None`: only the session itself.
    pub statement: Option<String>,
    /// Where the answer goes, as JSON.
    pub answer: oneshot::Sender<String>,
}

/// The questions that wait for one session.
#[derive(Default)]
pub(super) struct Questions {
    waiting: Mutex<Vec<Question>>,
}

impl Session {
    /// Asks the session what it would do with a statement. `None`: too many wait for an answer already. The answer does not
    /// come while a command runs.
    pub fn ask(&self, statement: Option<String>) -> Option<oneshot::Receiver<String>> {
        let (answer, receiver) = oneshot::channel();
        let mut waiting = self.questions.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|question| !question.answer.is_closed());
        if waiting.len() >= WAITING_MOST {
            return None;
        }
        waiting.push(Question { statement, answer });
        self.called.notify_one();
        Some(receiver)
    }

    /// Takes what was asked.
    pub fn take_questions(&self) -> Vec<Question> {
        std::mem::take(&mut *self.questions.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
