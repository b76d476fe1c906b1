//! Memory: a staging needs a few chunks, whatever the image's size, and an idle service next to nothing.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use crate::appliance::{Appliance, MIB, Plan, make, noise};

/// The most that a staging may hold, in KiB.
const STAGING_KIB: u64 = 32 * 1024;

/// The most that an idle service may hold, in KiB.
const IDLE_KIB: u64 = 6 * 1024;

/// A value of `/proc/PID/status`, in KiB.
fn kib(appliance: &Appliance, key: &str) -> u64 {
    let status = format!("/proc/{}/status", appliance.service());
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

/// Zeros, and every 4 MiB half a MiB that does not compress.
fn large_image(path: &Path, len: u64) {
    let file = make(path, b"");
    file.set_len(len).unwrap();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    for at in (0..len).step_by(4 << 20) {
        file.write_all_at(&noise(&at.to_string(), 1 << 19), at + MIB).unwrap();
    }
}

#[test]
fn staging_holds_little_whatever_the_image_s_size_and_idle_next_to_nothing() {
    let mut peaks = Vec::new();
    for mib in [64, 512] {
        let appliance = Appliance::on(Plan { slot_b: mib * MIB, ..Plan::default() });
        let idle = kib(&appliance, "RssAnon");
        assert!((1..=IDLE_KIB).contains(&idle), "idle: {idle} KiB");
        let raw = appliance.path("large.img");
        large_image(&raw, mib * MIB);
        let bundle = appliance.maker.bundle(&appliance.path("bundles"), "1.1.0-2", &raw, |_| {});
        std::fs::remove_file(&raw).unwrap();
        let start = [&Appliance::start_of(&bundle)[..], &["--stage-only"]].concat();
        let start = appliance.upgrade_in_background(&start);
        let mut peak = 0;
        while appliance.status().phase.word() != "staged" {
            peak = peak.max(kib(&appliance, "RssAnon"));
            std::thread::sleep(Duration::from_millis(50));
        }
        start.finish().exits(0);
        assert!((1..=STAGING_KIB).contains(&peak), "{mib} MiB: {peak} KiB at the highest");
        let (most, after) = (kib(&appliance, "VmHWM"), kib(&appliance, "RssAnon"));
        println!("{mib} MiB: idle {idle}, staging {peak}, afterwards {after}, VmHWM {most} KiB");
        peaks.push(peak);
    }
    assert!(peaks[1] < peaks[0] + 8 * 1024, "it grows with the image: {peaks:?} KiB");
}
