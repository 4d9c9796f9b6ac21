//! What was looked at, as people and pipelines read it. Pure.

use serde_json::{Value, json};

use crate::cli::paint::{Ink, Paint, clean};

/// What was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) sections: Vec<Section>,
}

/// Things that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) mark: Mark,
    /// What it is.
    pub(super) text: String,
    /// What to do, unless all is well.
    pub(super) remedy: Option<String>,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    Good,
    /// It works, but not as one would think, or it can't be known.
    Warning,
    Bad,
}

impl Finding {
    pub(super) fn good(text: impl Into<String>) -> Finding {
        Finding { mark: Mark::Good, text: text.into(), remedy: None }
    }

    pub(super) fn warning(text: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { mark: Mark::Warning, text: text.into(), remedy: Some(remedy.into()) }
    }

    pub(super) fn bad(text: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { mark: Mark::Bad, text: text.into(), remedy: Some(remedy.into()) }
    }
}

impl Section {
    pub(super) fn new(name: impl Into<String>, findings: Vec<Finding>) -> Section {
        Section { name: name.into(), findings }
    }
}

impl Report {
    pub(super) fn worst(&self) -> Mark {
        let marks = self.sections.iter().flat_map(|section| &section.findings).map(|finding| finding.mark);
        marks.max().unwrap_or(Mark::Good)
    }

    /// For people: a line for each finding, the remedy below it.
    pub(super) fn text(&self, paint: Paint) -> String {
        let mut lines = Vec::new();
        for section in self.sections.iter().filter(|section| !section.findings.is_empty()) {
            lines.push(paint.ink(Ink::Bold, &clean(&section.name)));
            for finding in &section.findings {
                lines.push(format!("  {} {}", sign(finding.mark, paint), clean(&finding.text)));
                lines.extend(finding.remedy.iter().map(|remedy| format!("    {}", clean(remedy))));
            }
            lines.push(String::new());
        }
        lines.push(self.total());
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    fn total(&self) -> String {
        let of = |mark| {
            self.sections.iter().flat_map(|s| &s.findings).filter(|finding| finding.mark == mark).count()
        };
        match (of(Mark::Bad), of(Mark::Warning)) {
            (0, 0) => "all is well".to_owned(),
            (0, warnings) => format!("nothing is wrong; {}", counted(warnings, "warning")),
            (bad, 0) => format!("{} wrong", counted(bad, "thing")),
            (bad, warnings) => format!("{} wrong; {}", counted(bad, "thing"), counted(warnings, "warning")),
        }
    }

    /// For pipelines, in the form that `linkerd check -o json` has.
    pub(super) fn json(&self) -> Value {
        let check = |finding: &Finding| {
            let mut check = json!({"description": finding.text, "result": word(finding.mark)});
            if let Some(remedy) = &finding.remedy {
                check["hint"] = remedy.as_str().into();
            }
            check
        };
        let category = |section: &Section| {
            let checks: Vec<_> = section.findings.iter().map(check).collect();
            json!({"categoryName": section.name, "checks": checks})
        };
        let categories: Vec<_> = self.sections.iter().map(category).collect();
        json!({"success": self.worst() != Mark::Bad, "categories": categories})
    }
}

fn sign(mark: Mark, paint: Paint) -> String {
    match mark {
        Mark::Good => paint.ink(Ink::Green, "✓"),
        Mark::Warning => paint.ink(Ink::Yellow, "!"),
        Mark::Bad => paint.ink(Ink::Red, "✗"),
    }
}

fn word(mark: Mark) -> &'static str {
    match mark {
        Mark::Good => "success",
        Mark::Warning => "warning",
        Mark::Bad => "error",
    }
}

/// `1 thing`, `2 things`.
pub(super) fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
