//! `agent.toml`: the one place that knows all settings.
//!
//! Each part of the agent owns its settings as a type; here the file's text becomes those types, or an error with line
//! and column. Unknown keys are refused, because a misspelled `deadline` must not silently be the default.

use std::num::NonZeroU8;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bundle_format::{Platform, Refusal, Trust};
use flow::Rules;
use jiff::SignedDuration;
use serde::Deserialize;

use crate::disk::staging;
use crate::hand::{self, TrialSettings};

/// The longest configuration that is read.
const MAX_LEN: u64 = 256 * 1024;

/// The configuration is missing or wrong.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is not what this agent understands.
    #[error("{path}: {text}")]
    Text {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        text: String,
    },
    /// A value makes no sense together with the others.
    #[error("{path}: {what}")]
    Value {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The trusted keys cannot be used.
    #[error("{0}")]
    Keys(Refusal),
}

/// The file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    appliance: Appliance,
    trust: TrustTable,
    #[serde(default)]
    staging: Staging,
    trial: Trial,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Appliance {
    platform: Platform,
    model_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustTable {
    keys: PathBuf,
    #[serde(default = "one")]
    vendor_signatures: NonZeroU8,
}

fn one() -> NonZeroU8 {
    NonZeroU8::MIN
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Staging {
    max_rate: Option<Rate>,
}

/// Bytes a second, written as `400MB`, `512KB` or `1GB` (powers of 1000), or as a plain number of bytes.
#[derive(Deserialize, Clone, Copy)]
#[serde(try_from = "String")]
struct Rate(u64);

impl TryFrom<String> for Rate {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor = match &text[digits.len()..] {
            "" | "B" => 1,
            "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            unit => {
                return Err(format!(
                    "`{unit}` is no unit; use B, KB, MB or GB a second, as in \"400MB\""
                ));
            }
        };
        let number = digits.trim().parse::<u64>().ok().and_then(|n| n.checked_mul(factor));
        match number {
            Some(rate) if rate > 0 => Ok(Self(rate)),
            Some(_) | None => Err(format!("`{text}` is no rate; one looks like \"400MB\"")),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Trial {
    commands: Vec<Vec<String>>,
    soak: Option<SignedDuration>,
    deadline: Option<SignedDuration>,
    answer_within: Option<SignedDuration>,
    every: Option<SignedDuration>,
    confirm_within: Option<SignedDuration>,
}

/// Everything, validated.
#[derive(Debug)]
pub struct Config {
    /// The hand's settings.
    pub hand: hand::Settings,
    /// The file that holds the appliance's model.
    pub model_file: Option<PathBuf>,
}

impl Config {
    /// Reads and validates a file; its relative paths are relative to the directory it lies in.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = |source| ConfigError::File { path: path.to_owned(), source };
        let len = std::fs::metadata(path).map_err(file)?.len();
        if len > MAX_LEN {
            let what = format!("it has {len} bytes, {MAX_LEN} are allowed");
            return Err(ConfigError::Value { path: path.to_owned(), what });
        }
        let text = std::fs::read_to_string(path).map_err(file)?;
        Self::parse(&text, path)
    }

    /// The trusted keys alone, for a command that only verifies.
    pub fn trust(path: &Path) -> Result<Trust, ConfigError> {
        Self::read(path).map(|config| config.hand.trust)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text).map_err(|e| ConfigError::Text {
            path: path.to_owned(),
            text: e.to_string().trim_end().to_owned(),
        })?;
        let home = path.parent().unwrap_or(Path::new("."));
        let trial = trial(&file.trial)
            .map_err(|what| ConfigError::Value { path: path.to_owned(), what })?;
        let trust = Trust::load(&home.join(&file.trust.keys), file.trust.vendor_signatures)
            .map_err(ConfigError::Keys)?;
        let keys = trust.key_ids().count();
        if usize::from(trust.need().get()) > keys {
            let what = format!(
                "trust.vendor_signatures is {}, but there are only {keys} keys: no bundle could be accepted",
                trust.need()
            );
            return Err(ConfigError::Value { path: path.to_owned(), what });
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            hand: hand::Settings {
                platform: file.appliance.platform.to_string(),
                trust,
                staging: staging::Settings {
                    workers: cores.min(staging::Settings::MAX_WORKERS),
                    max_rate: file.staging.max_rate.map(|rate| rate.0),
                },
                trial,
            },
            model_file: file.appliance.model_file,
        })
    }
}

fn trial(trial: &Trial) -> Result<TrialSettings, String> {
    let defaults = Rules::default();
    let time = |name: &str, given: Option<SignedDuration>, default: Duration| match given {
        None => Ok(default),
        Some(time) => Duration::try_from(time)
            .ok()
            .filter(|time| !time.is_zero() || name == "soak")
            .ok_or(format!("trial.{name} must be a time, as in \"2m\"")),
    };
    let rules = Rules {
        soak: time("soak", trial.soak, defaults.soak)?,
        deadline: time("deadline", trial.deadline, defaults.deadline)?,
        agent_starts: defaults.agent_starts,
        confirm_within: match trial.confirm_within {
            None => None,
            given => Some(time("confirm_within", given, Duration::ZERO)?),
        },
    };
    let answer_within = time("answer_within", trial.answer_within, Duration::from_secs(10))?;
    let every = time("every", trial.every, Duration::from_secs(1))?;
    if trial.commands.is_empty() || trial.commands.iter().any(Vec::is_empty) {
        return Err("trial.commands must name at least one probe: a system that boots is not yet a system that works".to_owned());
    }
    // A healthy system whose probes are as slow as they may be must get through: one look begins the soak, one ends it,
    // and a pause lies between.
    let probes =
        answer_within.saturating_mul(u32::try_from(trial.commands.len()).unwrap_or(u32::MAX));
    let needed = rules.soak.saturating_add(probes.saturating_mul(2)).saturating_add(every);
    if needed >= rules.deadline {
        return Err(format!(
            "trial.soak {:?}, two looks at {} probes of {answer_within:?} each and a pause of {every:?} do not fit into \
             trial.deadline {:?}; {needed:?} are needed",
            rules.soak,
            trial.commands.len(),
            rules.deadline
        ));
    }
    Ok(TrialSettings { commands: trial.commands.clone(), answer_within, every, rules })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

    fn parse(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(dir.path().join("keys")).expect("a directory");
        let key = dir.path().join("keys/vendor.pem");
        std::os::unix::fs::FileExt::write_all_at(
            &std::fs::OpenOptions::new().write(true).create_new(true).open(key).expect("a file"),
            PEM.as_bytes(),
            0,
        )
        .expect("a write");
        Config::parse(text, &dir.path().join("agent.toml")).map_err(|e| e.to_string())
    }

    const GOOD: &str = "[appliance]\nplatform = \"Acme_SGW\"\n[trust]\nkeys = \"keys\"\n[staging]\nmax_rate = \"4MB\"\n\
                        [trial]\ncommands = [[\"true\"]]\nsoak = \"2s\"\ndeadline = \"1m\"\n";

    #[test]
    fn the_example_means_what_it_says() {
        let config = parse(GOOD).expect("it is good");
        assert_eq!(config.hand.staging.max_rate, Some(4_000_000));
        assert_eq!(config.hand.trial.rules.deadline, Duration::from_secs(60));
    }

    #[test]
    fn a_misspelled_key_is_refused_with_its_place() {
        let error = parse(&GOOD.replace("deadline", "deadlime")).expect_err("it is misspelled");
        assert!(error.contains("line 10, column 1") && error.contains("deadlime"), "{error}");
    }

    #[test]
    fn a_trial_without_a_probe_is_refused() {
        let error = parse(&GOOD.replace("[[\"true\"]]", "[]")).expect_err("there is no probe");
        assert!(error.contains("at least one probe"), "{error}");
    }

    #[test]
    fn a_soak_that_does_not_fit_into_the_deadline_is_refused() {
        let error =
            parse(&GOOD.replace("\"1m\"", "\"12s\"")).expect_err("2 s + 10 s do not fit into 12 s");
        assert!(error.contains("do not fit"), "{error}");
    }

    #[test]
    fn a_rate_without_a_known_unit_is_refused() {
        let error = parse(&GOOD.replace("4MB", "4MiB")).expect_err("the unit is wrong");
        assert!(error.contains("MiB"), "{error}");
    }
}
