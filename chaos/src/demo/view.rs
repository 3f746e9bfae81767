//! Shows the board: a table that redraws on a terminal, or plain lines.

use std::{
    env,
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::oneshot, task::JoinHandle, time};

use super::{
    frame::{Marks, clock, frame},
    options::{Display, Options, Output},
};
use crate::scene::{Board, Snapshot};

const REDRAW_EVERY: Duration = Duration::from_millis(250);
const LINE_EVERY: Duration = Duration::from_secs(3);
/// Another screen, no cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
/// The cursor and the screen from before.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// True while the terminal shows the table: a panic must restore it before it says anything.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// How the run was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// On a screen of its own, which is gone at the end.
    Table,
    /// As lines, which stay.
    Lines,
}

/// Shows until it is ended or dropped; the terminal is restored in any case.
#[derive(Debug)]
pub(super) struct View {
    shown: Shown,
    stop: Option<oneshot::Sender<()>>,
    drawing: Option<JoinHandle<()>>,
}

impl View {
    /// Begins to show.
    #[must_use]
    pub(super) fn start(board: &Arc<Board>, options: &Options) -> Self {
        let (stop, stopped) = oneshot::channel();
        let board = Arc::clone(board);
        let shown = if draws_table(options) { Shown::Table } else { Shown::Lines };
        let drawing = if shown == Shown::Table {
            restore_on_panic();
            enter();
            let marks = marks();
            tokio::spawn(draw_table(board, marks, stopped))
        } else {
            tokio::spawn(draw_lines(board, options.output, stopped))
        };
        Self { shown, stop: Some(stop), drawing: Some(drawing) }
    }

    /// Ends the show, the last notes included, and restores the terminal.
    pub(super) async fn end(mut self) -> Shown {
        // One that has ended by itself hears nothing.
        if let Some(stop) = self.stop.take() {
            stop.send(()).ok();
        }
        if let Some(drawing) = self.drawing.take() {
            drawing.await.ok();
        }
        leave();
        self.shown
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Some(drawing) = &self.drawing {
            drawing.abort();
        }
        leave();
    }
}

fn draws_table(options: &Options) -> bool {
    match (options.output, options.display) {
        // Standard output is the document's.
        (Output::Json, _) | (_, Display::Lines) => false,
        (Output::Table, Display::Table) => true,
        (Output::Table, Display::Auto) => {
            env::var("TERM").is_ok_and(|term| term != "dumb") && io::stdout().is_terminal()
        }
    }
}

/// Blocks where the locale says UTF-8.
fn marks() -> Marks {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()));
    let utf8 = locale.is_none_or(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    });
    if utf8 { Marks::Blocks } else { Marks::Ascii }
}

async fn draw_table(board: Arc<Board>, marks: Marks, mut stopped: oneshot::Receiver<()>) {
    let mut ticks = time::interval(REDRAW_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let size = rustix::termios::tcgetwinsize(io::stdout());
                let (width, height) = size.map_or((80, 24), |size| {
                    (usize::from(size.ws_col).max(40), usize::from(size.ws_row).max(10))
                });
                let lines = frame(&board.snapshot(), width, height, marks);
                say(&screen(&lines));
            }
            _ = &mut stopped => return,
        }
    }
}

/// A frame as one write: nothing is cleared before it is drawn over, so nothing flickers.
fn screen(lines: &[String]) -> String {
    let mut text = String::from("\x1b[?2026h\x1b[H");
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            text.push_str("\r\n");
        }
        text.push_str(&coloured(index, line));
        text.push_str("\x1b[K");
    }
    text.push_str("\x1b[J\x1b[?2026l");
    text
}

/// The head stands out; a lost node is red.
fn coloured(index: usize, line: &str) -> String {
    match index {
        0 => format!("\x1b[7m{line}\x1b[0m"),
        1 => format!("\x1b[1m{line}\x1b[0m"),
        _ if line.contains(" LOST ") => format!("\x1b[31m{line}\x1b[0m"),
        _ => line.to_owned(),
    }
}

async fn draw_lines(board: Arc<Board>, output: Output, mut stopped: oneshot::Receiver<()>) {
    let mut ticks = time::interval(Duration::from_millis(200));
    let mut printed = Printed::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = &mut stopped => {
                print(&printed.news(&board.snapshot(), Last::Yes), output);
                return;
            }
        }
        print(&printed.news(&board.snapshot(), Last::No), output);
    }
}

fn print(lines: &[String], output: Output) {
    if lines.is_empty() {
        return;
    }
    let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    match output {
        Output::Table => say(&text),
        Output::Json => eprint!("{text}"),
    }
}

/// What the lines have said already.
#[derive(Debug, Default)]
struct Printed {
    notes: u64,
    phase: usize,
    line_at: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Yes,
    No,
}

impl Printed {
    /// New phases and notes at once; a line about the cluster every few seconds.
    fn news(&mut self, seen: &Snapshot, last: Last) -> Vec<String> {
        let mut lines = Vec::new();
        if seen.phase.number > self.phase {
            self.phase = seen.phase.number;
            lines.push(String::new());
            lines.push(format!("== {}/{} {}", seen.phase.number, seen.phases, seen.phase.title));
            lines.push(format!("   {}", seen.phase.watch));
        }
        for note in seen.notes.iter().filter(|note| note.serial >= self.notes) {
            lines.push(format!("{} {}", clock(note.at), note.text));
        }
        self.notes = seen.notes.last().map_or(self.notes, |note| note.serial + 1);
        let due = self.line_at.is_none_or(|at| seen.elapsed >= at + LINE_EVERY);
        if due
            && last == Last::No
            && let Some(line) = status_line(seen)
        {
            self.line_at = Some(seen.elapsed);
            lines.push(line);
        }
        lines
    }
}

fn status_line(seen: &Snapshot) -> Option<String> {
    let sample = seen.sample.as_ref()?;
    let sites: Vec<String> = sample
        .sites
        .iter()
        .map(|site| {
            let state = if site.node == "up" { site.state.as_str() } else { site.node.as_str() };
            let state = if state == "open" { String::new() } else { format!(" {state}") };
            format!("{}{state} {}/{}", site.name, site.talking, site.agents)
        })
        .collect();
    Some(format!(
        "{}   waiting {} talking {} longest wait {:.1} s leader {}; talking: {}",
        clock(seen.elapsed),
        sample.waiting,
        sample.talking,
        sample.longest_wait_ms as f64 / 1_000.0,
        sample.leader.as_deref().unwrap_or("none"),
        sites.join(", ")
    ))
}

fn enter() {
    ENTERED.store(true, Ordering::SeqCst);
    say(ENTER);
}

fn leave() {
    if ENTERED.swap(false, Ordering::SeqCst) {
        say(LEAVE);
    }
}

/// A panic's words must not be drawn into the table.
fn restore_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        leave();
        before(panic);
    }));
}

/// A terminal that is gone (SIGHUP) is told nothing; the signal ends the demo.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::frame::tests::busy;

    // Goal: a frame as written clears each line's rest and the screen's rest, and never the screen
    // before it is drawn.
    #[test]
    fn frames_do_not_flicker() {
        let text = screen(&["one".to_owned(), "two".to_owned()]);
        assert_eq!(text.matches("\x1b[K").count(), 2);
        assert!(text.ends_with("\x1b[J\x1b[?2026l"));
        assert!(!text.contains("\x1b[2J"));
    }

    // Goal: lines hold no escape codes; each phase and note is said once; the cluster every three
    // seconds; the last call says the last notes only.
    #[test]
    fn lines_say_everything_once() {
        let mut seen = busy();
        let mut printed = Printed::default();
        let first = printed.news(&seen, Last::No);
        assert_eq!(first.iter().filter(|line| line.contains("note ")).count(), 40);
        assert_eq!(first.iter().filter(|line| line.starts_with("== 4/7")).count(), 1);
        assert!(first.iter().all(|line| !line.contains('\x1b')));
        assert!(printed.news(&seen, Last::No).is_empty());
        seen.elapsed += LINE_EVERY;
        let later = printed.news(&seen, Last::No);
        assert!(later.len() == 1 && later[0].contains("lon lost 9/10"), "{later:?}");
        seen.elapsed += LINE_EVERY;
        assert!(printed.news(&seen, Last::Yes).is_empty());
    }
}
