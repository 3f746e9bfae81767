//! `tandem-chaos day`: one simulated day of a center in five cities, under several arrangements. What is here
//! touches the world: arguments, threads, files, progress; the day itself stands in `tandem_sim::day`.

mod pictures;
mod study;
mod tables;

use std::{fs, io::Write, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;
use tandem_sim::day::{CITIES, CityId, HalfHour, figures::Counts};

use study::Study;

/// One simulated day of a center in five cities: five queues, rebalanced or not, against one, with the same agents
/// and callers.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tandem-chaos day\n  tandem-chaos day --seeds 1\n  tandem-chaos day --seats 250 --seeds 2 --output json > day.json\n  tandem-chaos day --out /tmp/one-queue\n\nThe same seats and seeds give the same digest on every machine. What is assumed, and what came out: docs/one-queue.md.\n\nExit codes: 0 done, 2 the command was wrong or a day could not be lived."
)]
pub struct DayCommand {
    /// Days of the two main kinds (as forecast, with surprises), from the seeds 1 to N.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    seeds: u64,
    /// Seats in all five cities together; a multiple of five.
    #[arg(long, value_name = "N", default_value_t = 2_500, value_parser = seats)]
    seats: u32,
    /// Where pictures (SVG) and tables (Markdown) are written; made when it does not exist.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Threads; 0: one for each processor.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// How the result is written to standard output.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// How a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// One JSON value.
    Json,
}

fn seats(text: &str) -> Result<u32, String> {
    let seats: u32 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    let cities = CITIES.len() as u32;
    match seats {
        20..=50_000 if seats.is_multiple_of(cities) => Ok(seats),
        20..=50_000 => Err(format!("{seats} seats cannot be shared by {cities} cities alike")),
        _ => Err(format!("{seats} seats: from 20 to 50,000 can be simulated")),
    }
}

impl DayCommand {
    /// Lives the days and writes what came out.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.carry_out() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::from(2)
            }
        }
    }

    fn carry_out(self) -> Result<()> {
        if let Some(folder) = &self.out {
            // Before minutes are spent.
            fs::create_dir_all(folder)
                .with_context(|| format!("the folder {} cannot be made", folder.display()))?;
            ensure!(folder.is_dir(), "{} is no folder", folder.display());
        }
        let threads = match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let study = Study::run(self.seats / CITIES.len() as u32, self.seeds, threads)?;
        let tables = tables::all(&study);
        if let Some(folder) = &self.out {
            let mut files = pictures::all(&study);
            files.push(("one-queue-tables.md", tables.clone()));
            for (name, text) in files {
                let path = folder.join(name);
                fs::write(&path, text)
                    .with_context(|| format!("{} cannot be written", path.display()))?;
                eprintln!("{}", path.display());
            }
        }
        let mut out = std::io::stdout().lock();
        match self.output {
            Format::Table => out.write_all(tables.as_bytes())?,
            Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&json(&study))?)?,
        }
        Ok(())
    }
}

/// A study for programs: plain counts, from which every measure follows.
#[derive(Debug, Serialize)]
struct Json {
    seats: u32,
    digest: String,
    cases: Vec<JsonCase>,
}

#[derive(Debug, Serialize)]
struct JsonCase {
    arrangement: String,
    surprises: String,
    hired_per_mille: u32,
    busy_percent_max: u32,
    /// Rebalance plans over all days, and changes of an agent's lines by them.
    plans: u64,
    moved: u64,
    /// For each seed, from 1 on.
    days: Vec<Counts>,
    /// Over all days: by the city of the callers and agents.
    cities: Vec<(&'static str, Counts)>,
    /// Over all days: by half hour.
    half_hours: Vec<(String, Counts)>,
}

fn json(study: &Study) -> Json {
    let case = |(case, days): &(study::Case, Vec<tandem_sim::day::figures::Figures>)| {
        let sum = study.sum(case);
        let city =
            |(index, city): (usize, &tandem_sim::day::City)| (city.title, sum.city(CityId(index)));
        let arrangement = study::arrangement(case.arrangement);
        JsonCase {
            arrangement: arrangement.map_or_else(String::new, |it| it.name.to_owned()),
            plans: sum.plans,
            moved: sum.moved,
            surprises: format!("{:?}", case.weather),
            hired_per_mille: case.hired_per_mille,
            busy_percent_max: case.busy_percent_max,
            days: days.iter().map(tandem_sim::day::figures::Figures::total).collect(),
            cities: CITIES.iter().enumerate().map(city).collect(),
            half_hours: HalfHour::all().map(|at| (tables::utc(at), sum.half_hour(at))).collect(),
        }
    };
    Json {
        seats: study.seats * CITIES.len() as u32,
        digest: format!("{:016x}", study.digest()),
        cases: study.answers.iter().map(case).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: numbers of seats that cannot be simulated are refused with words.
    #[test]
    fn wrong_seats() {
        assert_eq!((seats("2500"), seats("20")), (Ok(2_500), Ok(20)));
        for (text, says) in
            [("x", "no number"), ("21", "alike"), ("15", "from 20"), ("50005", "to 50,000")]
        {
            assert!(seats(text).unwrap_err().contains(says), "{text}");
        }
    }
}
