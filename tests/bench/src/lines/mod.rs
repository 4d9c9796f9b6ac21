//! The lines of the table, one file each.

pub(crate) mod failures;
pub(crate) mod growth;
pub(crate) mod latency;
pub(crate) mod memory;
pub(crate) mod rates;
pub(crate) mod reload;
pub(crate) mod rounds;
pub(crate) mod scaling;
pub(crate) mod soak;
pub(crate) mod split;

use crate::bench::{Bench, say};
use crate::table::{Goal, Section};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Line {
    Http1,
    Http2,
    Through,
    Middle,
    Large,
    Latency,
    Memory,
    Growth,
    Reload,
    Scaling,
    Split,
    Failures,
}

impl Line {
    /// In the order of the table.
    pub(crate) fn all() -> impl Iterator<Item = Line> {
        use Line::{
            Failures, Growth, Http1, Http2, Large, Latency, Memory, Middle, Reload, Scaling, Split, Through,
        };
        [Http1, Http2, Through, Middle, Large, Latency, Memory, Growth, Reload, Scaling, Split, Failures]
            .into_iter()
    }

    /// Measures it. What can't be measured says why.
    pub(crate) async fn measure(self, bench: &Bench) -> Section {
        say(&format!("{self:?}"));
        let measured = match self {
            Line::Http1 => rates::http1(bench).await,
            Line::Http2 => rates::http2(bench).await,
            Line::Through => rates::through(bench).await,
            Line::Middle => rates::middle(bench).await,
            Line::Large => rates::large(bench).await,
            Line::Latency => latency::measure(bench).await,
            Line::Memory => memory::measure(bench).await,
            Line::Growth => growth::measure(bench).await,
            Line::Reload => reload::measure(bench).await,
            Line::Scaling => scaling::measure(bench).await,
            Line::Split => split::measure(bench).await,
            Line::Failures => failures::measure(bench).await,
        };
        measured.unwrap_or_else(|error| {
            let mut section = Section::new(&format!("{self:?}"), &format!("Not measured: {error:#}."), &[]);
            section.goals.push(Goal::without(&format!("{self:?}"), "", &format!("{error:#}")));
            section
        })
    }
}
