//! What benchmarks print: tables in Markdown, as they stand in `docs/performance.md`, and how each figure
//! stands to its limit.

use std::{fs, io, path::Path};

/// Everything that was printed, and the verdicts.
#[derive(Debug, Default)]
pub struct Report {
    text: String,
    verdicts: Vec<[String; 5]>,
    pictures: Vec<(&'static str, String)>,
}

/// Which side of a limit is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The limit or more.
    AtLeast,
    /// The limit or less.
    AtMost,
}

/// The processor, how many there are, and how busy the machine has been for a minute: what times depend on.
#[must_use]
pub fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (processors, load) = (read("/proc/cpuinfo"), read("/proc/loadavg"));
    let model = processors.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("a processor", |line| line.trim_start_matches([' ', '\t', ':']));
    let cores = processors.lines().filter(|line| line.starts_with("processor")).count();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    format!("{model}, {cores} processors; load of the machine at the beginning: {load}.")
}

impl Report {
    /// Prints a paragraph.
    pub fn say(&mut self, text: &str) {
        println!("{text}");
        self.text += text;
        self.text.push('\n');
    }

    /// Prints a heading.
    pub fn heading(&mut self, text: &str) {
        self.say(&format!("\n## {text}\n"));
    }

    /// Prints a table; the first column is words, the others numbers.
    pub fn table(&mut self, columns: &[&str], rows: &[Vec<String>]) {
        let line = |cells: Vec<&str>| format!("| {} |", cells.join(" | "));
        self.say(&line(columns.to_vec()));
        let rules = columns.iter().enumerate();
        self.say(&line(rules.map(|(at, _)| if at == 0 { "---" } else { "---:" }).collect()));
        for row in rows {
            self.say(&line(row.iter().map(String::as_str).collect()));
        }
        self.say("");
    }

    /// Notes how a figure stands to its limit: the ratio is above one when the limit is held.
    pub fn judge(&mut self, what: &str, figure: f64, bound: Bound, limit: f64, unit: &str) {
        let (words, ratio) = match bound {
            Bound::AtLeast => ("at least", figure / limit),
            Bound::AtMost => ("at most", limit / figure),
        };
        self.verdicts.push([
            what.to_owned(),
            format!("{} {unit}", number(figure)).trim_end().to_owned(),
            format!("{words} {} {unit}", number(limit)).trim_end().to_owned(),
            format!("{ratio:.2}"),
            if ratio >= 1.0 { "held" } else { "missed" }.to_owned(),
        ]);
    }

    /// Keeps a picture for the folder.
    pub fn picture(&mut self, name: &'static str, svg: String) {
        self.pictures.push((name, svg));
    }

    /// Prints the verdicts, and writes everything to a folder when there is one.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn end(mut self, folder: Option<&Path>, tables: &str) -> io::Result<()> {
        if !self.verdicts.is_empty() {
            self.heading("Limits");
            let rows: Vec<Vec<String>> =
                std::mem::take(&mut self.verdicts).into_iter().map(Vec::from).collect();
            self.table(&["what", "this run", "limit", "ratio", ""], &rows);
        }
        let Some(folder) = folder else { return Ok(()) };
        fs::create_dir_all(folder)?;
        fs::write(folder.join(tables), &self.text)?;
        self.pictures.iter().try_for_each(|(name, svg)| fs::write(folder.join(name), svg))
    }
}

/// A number as people read it: three digits and more without a fraction, thousands apart.
#[must_use]
pub fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        let text = format!("{value:.2}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

/// A count as people read it.
#[must_use]
pub fn count(value: usize) -> String {
    number(value as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: numbers are readable at every size.
    #[test]
    fn numbers_are_readable() {
        let said = [0.0, 0.123, 20.0, 99.5, 100.4, 1_234.6, 1_000_000.0, -5_000.0].map(number);
        assert_eq!(said, ["0", "0.12", "20", "99.5", "100", "1,235", "1,000,000", "-5,000"]);
    }

    // Goal: the ratio is above one when the limit is held, whichever side of it is good.
    #[test]
    fn verdicts_follow_the_limits() {
        let mut report = Report::default();
        report.judge("a", 200.0, Bound::AtLeast, 100.0, "x");
        report.judge("b", 200.0, Bound::AtMost, 100.0, "x");
        let said: Vec<_> = report.verdicts.iter().map(|row| (&*row[3], &*row[4])).collect();
        assert_eq!(said, [("2.00", "held"), ("0.50", "missed")]);
    }
}
