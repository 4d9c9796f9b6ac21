//! What is wrong with a spec, and what to write instead.

use std::fmt;

/// One thing that is wrong with a Rollout.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Refusal {
    /// The field, for instance `spec.strategy.canary.steps[2].setWeight`.
    pub path: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to write instead.
    pub remedy: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path, self.problem, self.remedy)
    }
}

/// A problem and its remedy, before it is known where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) problem: String,
    pub(crate) remedy: String,
}

impl Complaint {
    pub(crate) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Complaint {
        Complaint { problem: problem.into(), remedy: remedy.into() }
    }
}

/// All refusals of one spec: one at most for a field and all that is around or inside it, the first one wins.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Vec<Refusal>);

/// A spec can be wrong in more places than anyone reads.
const MOST: usize = 100;

impl Refusals {
    pub(crate) fn add(
        &mut self,
        path: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let refusal = Refusal { path: path.into(), problem: problem.into(), remedy: remedy.into() };
        let known = |old: &Refusal| around(&old.path, &refusal.path) || around(&refusal.path, &old.path);
        if self.0.len() < MOST && !self.0.iter().any(known) {
            self.0.push(refusal);
        }
    }

    pub(crate) fn complain(&mut self, path: impl Into<String>, complaint: Complaint) {
        self.add(path, complaint.problem, complaint.remedy);
    }

    /// The value, or a refusal at `path`.
    pub(crate) fn take<T>(&mut self, path: &str, result: Result<T, Complaint>) -> Option<T> {
        result.map_err(|complaint| self.complain(path, complaint)).ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_vec(self) -> Vec<Refusal> {
        self.0
    }
}

/// Whether `inner` is `outer` or lies inside of it.
fn around(outer: &str, inner: &str) -> bool {
    let inside = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
    inner.strip_prefix(outer).is_some_and(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_refused_once() {
        let mut refusals = Refusals::default();
        for path in
            ["spec.steps[1]", "spec.steps[1].setWeight", "spec.steps", "spec.steps[10]", "spec.stepsize"]
        {
            refusals.add(path, "p", "r");
        }
        let paths: Vec<_> = refusals.into_vec().into_iter().map(|r| r.path).collect();
        assert_eq!(paths, ["spec.steps[1]", "spec.steps[10]", "spec.stepsize"]);
    }
}
