//! A history as a file of JSON lines, written by appending only.
//!
//! Asking and answering are two lines, so that the file of a run that was killed says what was
//! under way. A last line without its end is what such a run leaves, and is passed over; any other
//! line that cannot be read makes the whole file unfit.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Read, Write},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tandem_phone::RunTime;

use super::{
    Action, FAULTS_MAX, FaultSpan, History, LINE_BYTES_MAX, OPERATIONS_MAX, Operation, Outcome,
    Subject,
};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event", deny_unknown_fields)]
pub(super) enum Line {
    Invoke {
        id: u64,
        at_us: RunTime,
        client: u32,
        subject: Subject,
        action: Action,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        once: Option<String>,
    },
    Return {
        id: u64,
        at_us: RunTime,
        outcome: Outcome,
    },
    Fault {
        id: u64,
        at_us: RunTime,
        what: String,
    },
    Healed {
        id: u64,
        at_us: RunTime,
    },
}

/// Appends lines, each with one write: what was written before a SIGKILL is there after it.
#[derive(Debug)]
pub(super) struct Writer<W> {
    to: W,
    operations: usize,
    faults: usize,
}

impl Writer<File> {
    pub(super) fn create(file: &Path) -> Result<Self> {
        let opened = OpenOptions::new().append(true).create_new(true).open(file);
        let to =
            opened.with_context(|| format!("no history can be begun in {}", file.display()))?;
        Ok(Self::new(to))
    }
}

impl<W: Write> Writer<W> {
    fn new(to: W) -> Self {
        Self { to, operations: 0, faults: 0 }
    }

    pub(super) fn write(&mut self, line: &Line) -> Result<()> {
        match line {
            Line::Invoke { .. } => {
                ensure!(self.operations < OPERATIONS_MAX, "more than {OPERATIONS_MAX} operations");
                self.operations += 1;
            }
            Line::Fault { .. } => {
                ensure!(self.faults < FAULTS_MAX, "more than {FAULTS_MAX} faults");
                self.faults += 1;
            }
            Line::Return { .. } | Line::Healed { .. } => {}
        }
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        ensure!(text.len() <= LINE_BYTES_MAX, "a line of more than {LINE_BYTES_MAX} bytes");
        self.to.write_all(&text).context("the history cannot be written")
    }
}

impl History {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, is too large, or a line makes no sense; with the number of the line.
    pub fn read(file: &Path) -> Result<Self> {
        let opened = File::open(file).with_context(|| file.display().to_string())?;
        Self::from_lines(BufReader::new(opened)).with_context(|| file.display().to_string())
    }

    /// Reads lines.
    ///
    /// # Errors
    /// See [`History::read`].
    pub fn from_lines(mut lines: impl BufRead) -> Result<Self> {
        let mut draft = Draft::default();
        let mut text = Vec::new();
        for number in 1_usize.. {
            text.clear();
            let limit = LINE_BYTES_MAX as u64 + 1;
            lines.by_ref().take(limit).read_until(b'\n', &mut text)?;
            ensure!(text.len() <= LINE_BYTES_MAX, "line {number} is too long");
            // Nothing more, or the torn end of a run that was killed.
            let Some(line) = text.strip_suffix(b"\n") else { break };
            serde_json::from_slice(line)
                .map_err(anyhow::Error::from)
                .and_then(|line| draft.take(line))
                .with_context(|| format!("line {number}"))?;
        }
        Ok(draft.finish())
    }

    /// Writes the lines of this history, as a recorder would have.
    ///
    /// # Errors
    /// When it is too large or cannot be written.
    pub fn write(&self, to: impl Write) -> Result<()> {
        let mut lines = Vec::new();
        for operation in &self.operations {
            let Operation { id, client, subject, action, once, .. } = operation.clone();
            let at_us = operation.invoked_us;
            lines.push((at_us, Line::Invoke { id, at_us, client, subject, action, once }));
            if let Some(at_us) = operation.returned_us {
                let outcome = operation.outcome.clone();
                lines.push((at_us, Line::Return { id: operation.id, at_us, outcome }));
            }
        }
        for fault in &self.faults {
            let FaultSpan { id, what, began_us: at_us, ended_us } = fault.clone();
            lines.push((at_us, Line::Fault { id, at_us, what }));
            lines.extend(ended_us.map(|at_us| (at_us, Line::Healed { id, at_us })));
        }
        // Stable: what began stays before what ended at the same moment.
        lines.sort_by_key(|(at_us, _)| *at_us);
        let mut writer = Writer::new(to);
        lines.iter().try_for_each(|(_, line)| writer.write(line))
    }
}

#[derive(Default)]
struct Draft {
    operations: BTreeMap<u64, Operation>,
    faults: BTreeMap<u64, FaultSpan>,
}

impl Draft {
    fn take(&mut self, line: Line) -> Result<()> {
        match line {
            Line::Invoke { id, at_us, client, subject, action, once } => {
                ensure!(self.operations.len() < OPERATIONS_MAX, "too many operations");
                let operation = Operation {
                    id,
                    client,
                    subject,
                    action,
                    once,
                    invoked_us: at_us,
                    returned_us: None,
                    outcome: Outcome::Unknown,
                };
                let before = self.operations.insert(id, operation);
                ensure!(before.is_none(), "operation {id} was invoked twice");
            }
            Line::Return { id, at_us, outcome } => {
                let Some(operation) = self.operations.get_mut(&id) else {
                    bail!("operation {id} returned and was never invoked");
                };
                ensure!(operation.returned_us.is_none(), "operation {id} returned twice");
                ensure!(at_us >= operation.invoked_us, "operation {id} returned before it began");
                operation.returned_us = Some(at_us);
                operation.outcome = outcome;
            }
            Line::Fault { id, at_us, what } => {
                ensure!(self.faults.len() < FAULTS_MAX, "too many faults");
                let fault = FaultSpan { id, what, began_us: at_us, ended_us: None };
                ensure!(self.faults.insert(id, fault).is_none(), "fault {id} was made twice");
            }
            Line::Healed { id, at_us } => {
                let Some(fault) = self.faults.get_mut(&id) else {
                    bail!("fault {id} was undone and never made");
                };
                ensure!(fault.ended_us.is_none(), "fault {id} was undone twice");
                ensure!(at_us >= fault.began_us, "fault {id} ended before it began");
                fault.ended_us = Some(at_us);
            }
        }
        Ok(())
    }

    fn finish(self) -> History {
        let mut operations: Vec<Operation> = self.operations.into_values().collect();
        operations.sort_by_key(|operation| (operation.invoked_us, operation.id));
        let mut faults: Vec<FaultSpan> = self.faults.into_values().collect();
        faults.sort_by_key(|fault| (fault.began_us, fault.id));
        History { operations, faults }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};

    fn sample() -> History {
        let subject = Subject::register("queue/sales");
        let operation = |id, action, returned: Option<u64>, outcome| Operation {
            id,
            client: 7,
            subject: subject.clone(),
            action,
            once: (id == 1).then(|| "key-1".to_owned()),
            invoked_us: RunTime::from_us(id * 10),
            returned_us: returned.map(RunTime::from_us),
            outcome,
        };
        let seen = Answer::Seen { value: Value::Text("a".to_owned()), index: Some(12) };
        let swap = Action::CompareAndSet { from: "a".to_owned(), to: "b".to_owned() };
        let enter = Action::LogIn(Presence::NotReady("lunch".to_owned()));
        History {
            operations: vec![
                operation(1, Action::Write("a".to_owned()), Some(40), Outcome::Ok(Answer::Done)),
                operation(2, Action::Read, Some(30), Outcome::Ok(seen)),
                operation(3, swap, Some(99), Outcome::Refused(Refusal::Rule)),
                operation(4, Action::Add(2), Some(50), Outcome::Unknown),
                operation(5, enter, None, Outcome::Unknown),
            ],
            faults: vec![FaultSpan {
                id: 6,
                what: "kill lon".to_owned(),
                began_us: RunTime::from_us(25),
                ended_us: Some(RunTime::from_us(60)),
            }],
        }
    }

    fn text(history: &History) -> Vec<u8> {
        let mut text = Vec::new();
        history.write(&mut text).unwrap();
        text
    }

    // Goal: what was written is read again, all of it.
    #[test]
    fn written_and_read() {
        assert_eq!(History::from_lines(&text(&sample())[..]).unwrap(), sample());
    }

    // Goal: a run that is killed at any byte leaves a file that can be read, with a prefix of what
    // happened.
    #[test]
    fn torn_anywhere() {
        let whole = text(&sample());
        for end in 0..whole.len() {
            let history = History::from_lines(&whole[..end]).unwrap();
            assert!(history.operations.len() <= 5, "{end}");
        }
        let last_line = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
        let torn = History::from_lines(&whole[..last_line + 9]).unwrap();
        assert_eq!(torn.operations.len(), 5);
        assert_eq!(torn.operations[2].outcome, Outcome::Unknown, "its answer was torn off");
    }

    // Goal: a file that contradicts itself is refused with the line's number.
    #[test]
    fn nonsense_is_refused() {
        let invoke = r#"{"event":"invoke","id":1,"at_us":5,"client":1,"subject":{"kind":"counter","name":"n"},"action":"read"}"#;
        let back =
            |at: u64| format!(r#"{{"event":"return","id":1,"at_us":{at},"outcome":"unknown"}}"#);
        let fault = r#"{"event":"fault","id":2,"at_us":5,"what":"x"}"#;
        let healed = |at: u64| format!(r#"{{"event":"healed","id":2,"at_us":{at}}}"#);
        assert!(History::from_lines(format!("{invoke}\n{}\n", back(5)).as_bytes()).is_ok());
        for lines in [
            vec![back(5)],
            vec![invoke.to_owned(), invoke.to_owned()],
            vec![invoke.to_owned(), back(4)],
            vec![invoke.to_owned(), back(5), back(6)],
            vec![healed(5)],
            vec![fault.to_owned(), fault.to_owned()],
            vec![fault.to_owned(), healed(4)],
            vec![fault.to_owned(), healed(5), healed(6)],
            vec!["{}".to_owned()],
            vec![String::new()],
            vec![invoke.replace("client", "customer")],
        ] {
            let text = format!("{}\n", lines.join("\n"));
            let error = History::from_lines(text.as_bytes()).unwrap_err();
            assert!(format!("{error:#}").contains(&format!("line {}", lines.len())), "{error:#}");
        }
    }

    // Goal: a line at the limit is written and read, a longer one neither.
    #[test]
    fn lines_are_bounded() {
        let of = |length: usize| {
            let mut history = sample();
            history.faults[0].what = "x".repeat(length);
            history.faults[0].ended_us = None;
            history
        };
        let overhead = {
            let line = Line::Fault { id: 6, at_us: RunTime::from_us(25), what: String::new() };
            serde_json::to_vec(&line).unwrap().len() + 1
        };
        let fits = of(LINE_BYTES_MAX - overhead);
        assert_eq!(History::from_lines(&text(&fits)[..]).unwrap(), fits);
        assert!(of(LINE_BYTES_MAX - overhead + 1).write(Vec::new()).is_err());
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        assert!(History::from_lines(&long[..]).is_err());
    }

    // Goal: a history that is full takes nothing more.
    #[test]
    fn histories_are_bounded() {
        let mut writer = Writer::new(std::io::sink());
        let fault = |id| Line::Fault { id, at_us: RunTime::START, what: String::new() };
        for id in 0..FAULTS_MAX as u64 {
            writer.write(&fault(id)).unwrap();
        }
        assert!(writer.write(&fault(0)).is_err());
        writer.operations = OPERATIONS_MAX;
        let invoke = Line::Invoke {
            id: 1,
            at_us: RunTime::START,
            client: 1,
            subject: Subject::counter("n"),
            action: Action::Read,
            once: None,
        };
        assert!(writer.write(&invoke).is_err());
    }
}
