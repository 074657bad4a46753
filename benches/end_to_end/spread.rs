//! The same bytes in one file and in many.
//!
//! In:  the agent, lines of 400 bytes
//! Out: what they cost in so many files, and how that compares with one

use std::io;

use crate::corpus::{Corpora, ORDINARY};
use crate::or_dash;
use crate::run::{Case, Measured, Spread, median, run};

const FILES: [u64; 5] = [1, 10, 100, 1_000, 10_000];

/// Runs all of them in each of so many rounds, so that a ratio has both of its sides from one.
pub(crate) fn print_spread(agent: &str, rounds: usize, corpora: &mut Corpora) -> io::Result<()> {
    let mut runs = vec![Vec::new(); FILES.len()];
    for _ in 0..rounds {
        for (files, runs) in FILES.iter().zip(&mut runs) {
            let case = Case { name: "many files", files: *files, ..Case::of(ORDINARY) };
            runs.push(run(agent, &case, corpora.get(ORDINARY, *files)?)?);
        }
    }
    println!("| files  | MB/s  | CPU s/GB | CPU to one file     | peak RSS | lost |");
    println!("| -----: | ----: | -------: | ------------------: | -------: | ---: |");
    for (files, of_many) in FILES.iter().zip(&runs) {
        print_row(*files, of_many, &runs[0]);
    }
    println!();
    Ok(())
}

fn print_row(files: u64, of_many: &[Measured], of_one: &[Measured]) {
    let pairs = of_many.iter().zip(of_one);
    let ratios = pairs.filter_map(|(many, one)| Some(many.cost()? / one.cost()?));
    let ratio = Spread::of(ratios).map(|spread| spread.to_string());
    let middle = median(of_many.to_vec());
    println!(
        "| {files:>6} | {:>5.0} | {:>8} | {:>19} | {:>8} | {:>4} |",
        middle.speed(),
        or_dash(middle.cost().map(|cost| format!("{cost:.2}"))),
        or_dash(ratio),
        or_dash(middle.peak_memory.map(|bytes| format!("{:.1} MB", bytes as f64 / 1e6))),
        middle.lost(),
    );
}
