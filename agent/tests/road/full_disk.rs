//! A data partition that is full: a small tmpfs in a mount namespace of its own, so that nothing outlives the test.

use crate::appliance::{Appliance, MIB, Plan, make, noise};

/// Journal and history need a little more than 1 MiB of it.
fn small_data() -> Plan {
    Plan { data_mib: Some(14), ..Plan::default() }
}

/// Leaves so much free on the data partition.
fn leave_free(appliance: &Appliance, free: u64) {
    let stat = nix::sys::statvfs::statvfs(&appliance.in_data("")).unwrap();
    let there = stat.blocks_available() * stat.fragment_size();
    let ballast = usize::try_from(there.saturating_sub(free)).unwrap();
    make(&appliance.in_data("ballast"), &vec![1; ballast]);
}

#[test]
fn a_bundle_that_does_not_fit_is_refused_with_numbers_and_fits_when_there_is_room() {
    let appliance = Appliance::on(small_data());
    let bundle = appliance.bundle("1.1.0-2", "well");
    let path = bundle.to_str().unwrap();
    leave_free(&appliance, 5 * MIB);
    let len = std::fs::metadata(&bundle).unwrap().len();
    let full = appliance.upgrade(&["fetch", path]).exits(1).says("error[no-space]");
    let full = full.says(&format!("the spool needs {} bytes", len + 8 * MIB));
    full.says(&format!("{} are free", 5 * MIB)).says("  -> free space on the data partition");
    assert_eq!(std::fs::metadata(appliance.in_data("spool.1")).map_or(0, |m| m.len()), 0);
    let status = appliance.status();
    assert_eq!((status.phase.word(), status.held), ("idle", None));
    std::fs::remove_file(appliance.in_data("ballast")).unwrap();
    appliance.upgrade(&["fetch", path]).exits(0);
    assert!(appliance.status().held.is_some());
    // Handing the file over needs no room, so a full disk does not stand in the way of an upgrade.
    appliance.upgrade(&["discard"]).exits(0);
    leave_free(&appliance, 2 * MIB);
    appliance.upgrade(&Appliance::start_of(&bundle)).exits(7);
}

#[test]
fn a_disk_that_fills_up_while_a_stream_comes_in_lets_go_of_what_came() {
    let appliance = Appliance::on(small_data());
    let large = appliance.path("large");
    make(&large, &noise("large", 20 << 20));
    // A stream without a length: only the disk can say that it is too long.
    let chunked = format!("@{}", large.display());
    let put = ["--request", "PUT", "--header", "Transfer-Encoding: chunked", "--data-binary"];
    let put = [&put[..], &[chunked.as_str()]].concat();
    let reply = appliance.curl("/bundle/Test_Box_Upgrade-1.1.0-2.sh.REL.tar", &put);
    reply.is_problem(507, "no-space");
    let status = appliance.status();
    assert_eq!((status.phase.word(), status.held), ("idle", None));
    assert_eq!(std::fs::metadata(appliance.in_data("spool.1")).map_or(0, |m| m.len()), 0);
    let bundle = appliance.bundle("1.1.0-2", "well");
    appliance.upgrade(&["fetch", bundle.to_str().unwrap()]).exits(0);
    // The next one does not fit beside the one that is held, and that one stays.
    leave_free(&appliance, 9 * MIB);
    let next = appliance.bundle("1.2.0-3", "well");
    appliance.upgrade(&["fetch", next.to_str().unwrap()]).exits(1).says("error[no-space]");
    let held = appliance.status().held.unwrap();
    assert_eq!(held, bundle.file_name().unwrap().to_str().unwrap());
    appliance.upgrade(&["start", "--yes", "--force", "clock"]).exits(7);
}

#[test]
fn too_little_room_for_the_agent_itself_is_a_failed_check() {
    let appliance = Appliance::on(small_data());
    let bundle = appliance.bundle("1.1.0-2", "well");
    leave_free(&appliance, MIB / 2);
    let refused = appliance.upgrade(&Appliance::start_of(&bundle)).exits(4);
    refused.says("FAIL    space").says("524288 bytes free, 1048576 needed, 524288 missing");
    std::fs::remove_file(appliance.in_data("ballast")).unwrap();
    appliance.upgrade(&Appliance::start_of(&bundle)).exits(7);
}
