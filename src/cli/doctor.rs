//! `dbproxy doctor`: whether the cluster is fit for a failover, and the statement that makes it so.

use super::{ConfigFile, Exit, Format, load, print};
use clap::Args;
use dbproxy::control::doctor::{Check, Patient, Weight, against_auto, diagnose};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Form of the answer
    #[arg(long, default_value = "table")]
    format: Format,
}

/// Ends with 0 when all must-haves hold, with 1 when not. Advice does not count.
pub fn doctor(arguments: &Arguments) -> Exit {
    let config = match load(&arguments.config.config) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{error}");
            return Exit::Start;
        }
    };
    let checks = runtime.block_on(diagnose(&Patient { config }));
    let fit = checks.iter().all(|check| check.holds || check.weight == Weight::Advice);
    let text = match arguments.format {
        Format::Json => {
            let json = serde_json::json!({
                "fit": fit,
                "auto": against_auto(&checks).is_none(),
                "against_auto": against_auto(&checks),
                "checks": checks,
            });
            format!("{json:#}\n")
        }
        Format::Table => table(&checks, fit),
    };
    match print(&text) {
        Exit::Done if !fit => Exit::Bad,
        exit => exit,
    }
}

fn table(checks: &[Check], fit: bool) -> String {
    let mut text = String::new();
    let mut server: Option<Option<String>> = None;
    for check in checks {
        if server.as_ref() != Some(&check.server) {
            text += &format!("{}\n", check.server.as_deref().unwrap_or("cluster"));
            server = Some(check.server.clone());
        }
        let word = match (check.holds, check.weight) {
            (true, _) => "ok    ",
            (false, Weight::Must) => "MUST  ",
            (false, Weight::Advice) => "advice",
        };
        text += &format!("  {word}  {}: {}\n", check.rule, check.found);
        if let Some(fix) = &check.fix {
            text += &format!("          {fix}\n");
        }
    }
    let count = |weight| checks.iter().filter(|check| !check.holds && check.weight == weight).count();
    let (must, advice) = (count(Weight::Must), count(Weight::Advice));
    let verdict = if fit { "fit for a failover" } else { "not fit for a failover" };
    text + &format!("{verdict}: {must} must-haves do not hold, {advice} pieces of advice\n")
}
