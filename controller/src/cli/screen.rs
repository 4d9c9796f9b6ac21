//! A whole terminal for a picture that goes on, given back as it was.

use std::io::{Write, stdout};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::Result;
use terminal_size::{Height, Width, terminal_size};
use tokio::runtime::Builder;
use unicode_width::UnicodeWidthChar;

use super::local::interrupted;

/// Another page, no cursor, no wrapping: a long line is cut, whatever the terminal does meanwhile.
const BEGIN: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J";
const END: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// What is between them is shown at once, by terminals that know how to.
const AT_ONCE: (&str, &str) = ("\x1b[?2026h", "\x1b[?2026l");

/// The one terminal that there is.
static STAGE: Mutex<Stage> =
    Mutex::new(Stage { open: false, last: String::new(), size: (0, 0), note: None, fresh: false });

struct Stage {
    open: bool,
    last: String,
    size: (usize, usize),
    /// What went wrong since something was heard.
    note: Option<String>,
    /// The note is new.
    fresh: bool,
}

/// Puts what went wrong below the picture, until something is heard again. `false`: there is no picture.
pub(super) fn note(text: &str) -> bool {
    let mut stage = stage();
    if stage.open {
        (stage.note, stage.fresh) = (Some(text.to_owned()), true);
    }
    stage.open
}

/// A terminal that is ours; dropping it gives it back, with the last picture on it.
pub(super) struct Screen(());

impl Screen {
    /// Takes the terminal. It is given back, too, when we are interrupted.
    pub(super) fn open() -> Result<Screen> {
        let mut stage = stage();
        write!(stdout(), "{BEGIN}")?;
        stdout().flush()?;
        stage.open = true;
        thread::spawn(|| {
            let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(async { interrupted().await });
            leave();
            std::process::exit(130);
        });
        Ok(Screen(()))
    }

    /// Shows a picture: over the one before, and only where anything has changed. `heard`: there is something new in it.
    pub(super) fn draw(&self, text: &str, heard: bool) -> Result<()> {
        let mut stage = stage();
        if heard && !std::mem::take(&mut stage.fresh) {
            stage.note = None;
        }
        let note = stage.note.as_ref().map(|note| format!("\n{note}\n")).unwrap_or_default();
        let text = &format!("{text}{note}");
        let size = terminal_size().map_or((80, 24), |(Width(w), Height(h))| (w.into(), h.into()));
        if !stage.open || (stage.last == *text && stage.size == size) {
            return Ok(());
        }
        // Of another size, what stands there may be anywhere.
        let clear = if stage.size == size { "" } else { "\x1b[2J" };
        let (begin, end) = AT_ONCE;
        let mut out = stdout().lock();
        write!(out, "{begin}\x1b[H{clear}{}{end}", painted(&fitted(text, size)))?;
        out.flush()?;
        (stage.last, stage.size) = (text.clone(), size);
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

fn stage() -> MutexGuard<'static, Stage> {
    STAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn leave() {
    let mut stage = stage();
    if std::mem::take(&mut stage.open) {
        let mut out = stdout().lock();
        let _ = write!(out, "{END}{}", stage.last);
        let _ = out.flush();
    }
}

/// Lines over what was there. Each is wiped before it is written: behind its last column the cursor stands on it still.
fn painted(lines: &[String]) -> String {
    let (last, others) =
        lines.split_last().map_or(("", [].as_slice()), |(last, others)| (last.as_str(), others));
    let others: String = others.iter().map(|line| format!("\x1b[K{line}\r\n")).collect();
    format!("{others}\x1b[J{last}")
}

/// The lines that a terminal of so many columns and lines has room for.
fn fitted(text: &str, (width, height): (usize, usize)) -> Vec<String> {
    let all: Vec<&str> = text.lines().collect();
    let room = if all.len() > height { height.saturating_sub(1) } else { all.len() };
    let mut lines: Vec<String> = all.iter().take(room).map(|line| cut(line, width)).collect();
    if all.len() > room {
        lines.push(cut(&format!("… {} more lines", all.len() - room), width));
    }
    lines
}

/// As much of a line as fits, with an ellipsis where it was longer. Colours take no room, and end with the line.
fn cut(line: &str, width: usize) -> String {
    let (mut out, mut used, mut rest) = (String::new(), 0, line);
    let whole = columns(line) <= width;
    let room = if whole { width } else { width.saturating_sub(1) };
    let mut coloured = false;
    while let Some(c) = rest.chars().next() {
        let escape = rest.starts_with("\x1b[").then(|| rest.find('m')).flatten();
        let taken = escape.map_or(c.len_utf8(), |end| end + 1);
        let wide = if escape.is_some() { 0 } else { c.width().unwrap_or(0) };
        if used + wide > room {
            break;
        }
        coloured |= escape.is_some();
        out.push_str(&rest[..taken]);
        (used, rest) = (used + wide, &rest[taken..]);
    }
    if !whole && width > 0 {
        out.push('…');
    }
    if coloured && !whole {
        out.push_str("\x1b[0m");
    }
    out
}

fn columns(line: &str) -> usize {
    let (mut used, mut rest) = (0, line);
    while let Some(c) = rest.chars().next() {
        let escape = rest.starts_with("\x1b[").then(|| rest.find('m')).flatten();
        used += if escape.is_some() { 0 } else { c.width().unwrap_or(0) };
        rest = &rest[escape.map_or(c.len_utf8(), |end| end + 1)..];
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_by_columns_and_colours_take_none() {
        assert_eq!(cut("├─ stable", 9), "├─ stable");
        assert_eq!(cut("├─ stable", 6), "├─ st…");
        assert_eq!(cut("\x1b[32mready\x1b[0m", 5), "\x1b[32mready\x1b[0m");
        assert_eq!(cut("\x1b[32mready\x1b[0m", 4), "\x1b[32mrea…\x1b[0m");
        assert_eq!(cut("日本語", 4), "日…", "wide characters");
        assert_eq!((cut("ab", 1).as_str(), cut("ab", 0).as_str()), ("…", ""));
    }

    #[test]
    fn a_low_terminal_shows_the_top_and_says_how_much_is_below() {
        let text = "one\ntwo\nthree\nfour\n";
        assert_eq!(fitted(text, (80, 4)), ["one", "two", "three", "four"]);
        assert_eq!(fitted(text, (80, 3)), ["one", "two", "… 2 more lines"]);
        assert_eq!(fitted(text, (5, 1)), ["… 4 …"]);
    }
}
