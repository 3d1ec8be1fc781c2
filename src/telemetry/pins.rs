//! How often sessions came to be held on one server, by what.

use super::catalogue::PINS;
use super::export::Registrar;
use crate::sql::Hold;
use ::metrics::Counter;

pub(super) struct Pins(Vec<(&'static str, Counter)>);

impl Pins {
    pub(super) fn new(series: &Registrar) -> Self {
        Self(Hold::ALL.iter().map(|hold| (hold.as_str(), series.counter(&PINS, &[hold.as_str()]))).collect())
    }

    /// A session holds this from now on. What is no pin, such as a transaction, is not counted.
    pub(super) fn began(&self, word: &str) {
        if let Some((_, counter)) = self.0.iter().find(|(pin, _)| *pin == word) {
            counter.increment(1);
        }
    }
}
