//! What may be there after power loss: names and attributes as they were after one of the steps, not before
//! the last sync; in each file what was synced last, and in places that were written since, any of the
//! bytes that stood there, or zeros.

use crate::model::{Model, Step};
use std::{ops::Range, sync::Arc};

#[derive(Debug)]
pub(crate) struct History {
    /// What was there at first, and after each step.
    models: Vec<Model>,
    steps: Vec<Step>,
    /// The model that survives at least.
    synced: usize,
}

impl History {
    /// Of work that begins where everything is on the disk.
    pub(crate) fn new(start: Model) -> History {
        History { models: vec![start], steps: Vec::new(), synced: 0 }
    }

    pub(crate) fn now(&self) -> &Model {
        &self.models[self.steps.len()]
    }

    pub(crate) fn add(&mut self, step: Step) {
        let mut next = self.now().clone();
        next.apply(&step);
        self.models.push(next);
        self.steps.push(step);
        if let Some(Step::Sync { .. }) = self.steps.last() {
            self.synced = self.steps.len();
        }
    }

    /// # Errors
    /// Why it is none of the states that may be there. The step that was cut off was not acknowledged.
    pub(crate) fn judge(mut self, found: &Model, cut_off: Option<Step>) -> Result<(), String> {
        self.steps.extend(cut_off);
        let mut nearest = (usize::MAX, String::new());
        for at in (self.synced..self.models.len()).rev() {
            let next = self.steps.get(at).map(|step| self.models[at].variants(step));
            for model in [&self.models[at]].into_iter().chain(next.iter().flatten()) {
                let differences = model.differences_outside(found);
                if differences.len() >= nearest.0 && !differences.is_empty() {
                    continue;
                }
                let text = if differences.is_empty() {
                    match self.differs_in_bytes(at, model, found) {
                        None => return Ok(()),
                        Some(differs) => format!("as after step {at}, but {differs}"),
                    }
                } else {
                    format!("not as after step {at}: {}", differences.join("; "))
                };
                nearest = (differences.len(), text);
            }
        }
        let steps = self.steps.iter().enumerate();
        let steps: Vec<String> = steps.map(|(at, step)| format!("{}: {step:?}", at + 1)).collect();
        let (why, steps) = (nearest.1, steps.join("\n"));
        Err(format!("{why}\nsynced after step {} of\n{steps}", self.synced))
    }

    /// `model` is what was there after step `at`, or in the middle of the next one.
    fn differs_in_bytes(&self, at: usize, model: &Model, found: &Model) -> Option<String> {
        found.files().find_map(|(path, bytes)| {
            let (mut versions, touched) = self.versions(at, path);
            versions.extend(model.bytes(path).cloned());
            let wrong = (0..bytes.len()).find(|&place| {
                let may_be_zero = touched.iter().any(|range| range.contains(&place));
                let mut could = versions.iter().map(|version| version.get(place));
                !(could.any(|could| could == bytes.get(place)) || may_be_zero && bytes[place] == 0)
            })?;
            let (count, byte) = (versions.len(), bytes[wrong]);
            let could = versions.first().and_then(|version| version.get(wrong));
            Some(format!("{path} has {byte} at {wrong}, none of {count} versions: {could:?}, ..."))
        })
    }

    /// Contents of the file that has this path after step `at`: what was synced last, and all since; and
    /// where it was written since.
    fn versions(&self, at: usize, path: &str) -> (Vec<Arc<Vec<u8>>>, Vec<Range<usize>>) {
        let (mut versions, mut touched) = (Vec::new(), Vec::new());
        let mut name = path.to_owned();
        for at in (0..=at).rev() {
            versions.extend(self.models[at].bytes(&name).cloned());
            let Some(before) = at.checked_sub(1) else { break };
            match &self.steps[before] {
                Step::Sync { path } if *path == name => break,
                Step::Rename { from, to } => moved(&mut name, to, from),
                step => touched.extend(step.touches(&name, &self.models[before])),
            }
            if matches!(&self.steps[before], Step::Create { path, .. } if *path == name) {
                break;
            }
        }
        name = path.to_owned();
        for (at, step) in self.steps.iter().enumerate().skip(at) {
            match step {
                Step::Remove { path } if *path == name => break,
                Step::Rename { to, .. } if *to == name => break,
                Step::Rename { from, to } => moved(&mut name, from, to),
                step => touched.extend(step.touches(&name, &self.models[at])),
            }
            match self.models.get(at + 1) {
                Some(model) => versions.extend(model.bytes(&name).cloned()),
                None => {
                    let last = self.models[at].variants(step);
                    versions.extend(last.iter().filter_map(|model| model.bytes(&name).cloned()));
                }
            }
        }
        (versions, touched)
    }
}

fn moved(name: &mut String, from: &str, to: &str) {
    if let Some(rest) = name.strip_prefix(from)
        && (rest.is_empty() || rest.starts_with('/'))
    {
        *name = format!("{to}{rest}");
    }
}
