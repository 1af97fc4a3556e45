//! The medians that criterion left, as a table.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::Value;

/// Prints a table of what `cargo bench` measured last.
#[derive(Debug, Parser)]
struct Options {
    /// Criterion's folder, target/criterion.
    folder: PathBuf,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let mut rows = Vec::new();
    for group in folders(&options.folder)? {
        for measurement in folders(&group)? {
            let new = measurement.join("new");
            if new.is_dir() {
                rows.push(row(&read(&new.join("benchmark.json"))?, &read(&new.join("estimates.json"))?)?);
            }
        }
    }
    ensure!(!rows.is_empty(), "{} has no measurements; run `cargo bench`", options.folder.display());
    rows.sort();
    println!("| subject | measurement | median |\n|---|---|---|\n{}", rows.join("\n"));
    Ok(())
}

fn folders(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.is_dir()).collect())
}

fn read(path: &Path) -> Result<Value> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", path.display()))
}

/// A row: time for each element if there are several, bytes in a second, or the time of the whole.
fn row(benchmark: &Value, estimates: &Value) -> Result<String> {
    let text = |name: &str| benchmark[name].as_str().with_context(|| format!("a measurement has no {name}"));
    let nanoseconds = estimates["median"]["point_estimate"].as_f64().context("a measurement has no median")?;
    let amount = |name: &str| benchmark["throughput"][name].as_f64();
    let figure = match (amount("Elements"), amount("Bytes")) {
        (Some(elements), _) => duration(nanoseconds / elements),
        (_, Some(bytes)) => format!("{:.0} MiB/s", bytes / f64::from(1 << 20) / (nanoseconds * 1e-9)),
        _ => duration(nanoseconds),
    };
    Ok(format!("| {} | {} | {figure} |", text("group_id")?, text("function_id")?))
}

/// A time with three digits that count.
fn duration(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        n if n < 1e3 => (n, "ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n => (n / 1e6, "ms"),
    };
    let digits = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_has_the_cost_of_one() {
        let estimates = json!({"median": {"point_estimate": 4_000_000.0}});
        let of = |throughput| row(&json!({"group_id": "g", "function_id": "f", "throughput": throughput}), &estimates).unwrap();
        assert_eq!(of(json!({"Elements": 1_000_000})), "| g | f | 4.00 ns |");
        assert_eq!(of(json!({"Bytes": 4 << 20})), "| g | f | 1000 MiB/s |");
        assert_eq!(of(Value::Null), "| g | f | 4.00 ms |");
        assert!(row(&json!({}), &estimates).is_err());
    }

    #[test]
    fn durations_have_three_digits() {
        assert_eq!([5.0, 99.94, 123.4, 45_600.0].map(duration), ["5.00 ns", "99.9 ns", "123 ns", "45.6 µs"]);
    }
}
