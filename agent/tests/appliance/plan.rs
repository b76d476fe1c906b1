//! What differs from one appliance to the other: its configuration, and what its slots hold at first.

use bootloader_hooks::Other;

use super::MIB;

/// What differs from one appliance to the other.
pub(crate) struct Plan {
    /// The probes, as in `agent.toml`.
    pub(crate) commands: &'static str,
    pub(crate) answer_within: &'static str,
    pub(crate) soak: &'static str,
    /// A sick trial lasts so long; a well one ends with its soak.
    pub(crate) deadline: &'static str,
    pub(crate) confirm_within: Option<&'static str>,
    pub(crate) max_rate: Option<&'static str>,
    pub(crate) platform: &'static str,
    /// Length of slot B in bytes.
    pub(crate) slot_b: u64,
    /// What slot B holds at first, as the boot state says it.
    pub(crate) other: Other,
    /// The data partition is a file system of its own with so many MiB.
    pub(crate) data_mib: Option<u32>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            commands: r#"[["./selftest"]]"#,
            answer_within: "4s",
            soak: "200ms",
            deadline: "25s",
            confirm_within: None,
            max_rate: None,
            platform: "Test_Box",
            slot_b: 4 * MIB,
            other: Other::GivenUp,
            data_mib: None,
        }
    }
}

/// A trial that is judged sick soon.
pub(crate) fn impatient() -> Plan {
    Plan { answer_within: "1s", deadline: "2400ms", ..Plan::default() }
}

/// A staging that takes two seconds, so that something can happen to it meanwhile.
pub(crate) fn slow_writing() -> Plan {
    Plan { max_rate: Some("2MB"), ..Plan::default() }
}

/// The probe: health comes out of the running slot's own bytes.
pub(super) const SELFTEST: &str = r#"#!/bin/sh
health=$(debugfs -R 'cat /usr/lib/box/health' "$UPGRADE_SLOT_IMAGE" 2>/dev/null)
case $health in
    well) exit 0 ;;
    hangs) sleep 600 ;;
    floods) yes "all is burning" ;;
    *) echo "dataplane says: $health"; exit 1 ;;
esac
"#;

/// The text of `agent.toml`.
pub(super) fn configuration(plan: &Plan) -> String {
    let Plan { platform, commands, answer_within, soak, deadline, .. } = plan;
    let staging = plan.max_rate.map(|rate| format!("[staging]\nmax_rate = \"{rate}\"\n"));
    let confirm = plan.confirm_within.map(|within| format!("confirm_within = \"{within}\"\n"));
    let (staging, confirm) = (staging.unwrap_or_default(), confirm.unwrap_or_default());
    format!(
        r#"[appliance]
platform = "{platform}"
model_file = "model"
[trust]
keys = "keys"
vendor_signatures = 1
{staging}[trial]
commands = {commands}
answer_within = "{answer_within}"
every = "50ms"
soak = "{soak}"
deadline = "{deadline}"
{confirm}"#
    )
}
