//! What was measured: sections with a table each, and what it says of the goals.

/// Whether a goal was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// It was.
    Yes,
    /// It was not.
    No,
    /// It could not be measured, and why.
    NotMeasured(String),
}

impl Held {
    /// Of what was measured.
    pub(crate) fn when(reached: bool) -> Held {
        if reached { Held::Yes } else { Held::No }
    }

    /// As the column says it.
    pub(crate) fn words(&self) -> String {
        match self {
            Held::Yes => "yes".into(),
            Held::No => "**no**".into(),
            Held::NotMeasured(why) => format!("not measured: {why}"),
        }
    }
}

/// One goal.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    pub(crate) what: String,
    /// What is to be reached.
    pub(crate) goal: String,
    pub(crate) measured: String,
    pub(crate) held: Held,
}

impl Goal {
    /// One that was measured.
    pub(crate) fn new(what: &str, goal: &str, measured: String, reached: bool) -> Goal {
        Goal { what: what.into(), goal: goal.into(), measured, held: Held::when(reached) }
    }

    /// One that was not.
    pub(crate) fn without(what: &str, goal: &str, why: &str) -> Goal {
        Goal {
            what: what.into(),
            goal: goal.into(),
            measured: "—".into(),
            held: Held::NotMeasured(why.into()),
        }
    }
}

/// One part of the page.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) title: String,
    /// How it was measured.
    pub(crate) about: String,
    /// Names of the columns, that of the rows' names first.
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) goals: Vec<Goal>,
}

impl Section {
    /// One without rows.
    pub(crate) fn new(title: &str, about: &str, columns: &[&str]) -> Section {
        let columns = columns.iter().map(|c| (*c).to_owned()).collect();
        Section { title: title.into(), about: about.into(), columns, rows: Vec::new(), goals: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

/// A table in Markdown, padded so that it also reads well as text.
pub(crate) fn markdown(columns: &[String], rows: &[Vec<String>]) -> String {
    let width = |n: usize| {
        let cells = rows.iter().filter_map(|row| row.get(n)).chain(columns.get(n));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |cells: &[String]| {
        let cells: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let head = line(columns) + &line(&rule);
    rows.iter().fold(head, |text, row| text + &line(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_padded() {
        let text = markdown(&["a".into(), "long".into()], &[vec!["µs".into(), "1".into()]]);
        assert_eq!(text, "| a  | long |\n| -- | ---- |\n| µs | 1    |\n");
    }
}
