//! The loading script, as far as GRUB in user space can run it.
//!
//! There is no `linux`, no `initrd` and no partition with a slot here, so functions stand in for
//! them, and what is proven is the order of attempts and the command line. That a kernel starts is
//! proven in a virtual machine, elsewhere.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

mod emulator;

use emulator::{CHOOSE, Disks, LOAD, command, run, tool, write_file};
use tempfile::TempDir;

/// What stands in for the commands that grub-emu lacks: each says what it was given, and fails for
/// the slots named in `$broken_kernel` and `$broken_initrd`.
const STAND_INS: &str = r#"
function linux { echo "@linux $@@"; if [ "$1" = "$broken_kernel" ]; then return 1; fi; set loaded=$1; }
function initrd { echo "@initrd $1@"; if [ "$1" = "$broken_initrd" ]; then return 1; fi; }
function stand_in_boot { echo "@boot $loaded@"; }
function stand_in_reboot { echo "@reboot@"; }
function stand_in_sleep { echo "@sleep $1@"; }
function stand_in_probe {
  if [ "$3" = "$upgrade_device_A" ]; then set upgrade_partuuid=aaaa; fi
  if [ "$3" = "$upgrade_device_B" ]; then set upgrade_partuuid=bbbb; fi
}
"#;

/// The commands that `load.cfg` ran, with `setup` before it. Slots are directories of the host.
fn loads(setup: &str) -> Vec<String> {
    let slots = TempDir::new().unwrap();
    for (slot, cmdline) in [("a", "quiet panic=10"), ("b", "panic=10 oops=panic")] {
        let boot = slots.path().join(slot).join("boot");
        std::fs::create_dir_all(&boot).unwrap();
        let text = format!("# GRUB Environment Block\ncmdline={cmdline}\nupgrade_trial=7\n");
        write_file(&boot.join("cmdline.env"), text.as_bytes());
    }
    let mut script = LOAD.to_owned();
    for command in ["boot\n", "reboot\n", "sleep ", "probe "] {
        let shipped = script.clone();
        script = script.replace(&format!("  {command}"), &format!("  stand_in_{command}"));
        script = script.replace(&format!("\n{command}"), &format!("\nstand_in_{command}"));
        assert_ne!(script, shipped, "{command}");
    }
    let root = slots.path().display();
    let devices =
        format!("set upgrade_device_A=(host){root}/a\nset upgrade_device_B=(host){root}/b\n");
    let caller = format!("{STAND_INS}{devices}{setup}\nsource $choose");
    let (_directory, output) = run(&caller, &script, &[], Disks::Writable);
    let prefix = format!("(host){root}/");
    let told = output.split('@').skip(1).step_by(2);
    told.map(|line| line.replace(&prefix, "").replace(['\r', '\n'], "")).collect()
}

const LINUX_A: &str = "linux a/boot/vmlinuz quiet panic=10 root=PARTUUID=aaaa upgrade.slot=A";
const LINUX_B: &str = "linux b/boot/vmlinuz panic=10 oops=panic root=PARTUUID=bbbb upgrade.slot=B";

#[test]
fn both_scripts_are_understood_by_grubs_own_checker() {
    for script in [CHOOSE, LOAD] {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("script");
        write_file(&file, script.as_bytes());
        let output =
            command(&tool("grub-script-check", "grub-common")).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_trial_slot_is_loaded_with_its_own_command_line_and_ours_at_the_end() {
    let told = loads("set upgrade_slot=B\nset upgrade_trial=1\nset upgrade_last=A");
    assert_eq!(told[0], format!("{LINUX_B} upgrade.trial=1"));
    assert_eq!(told[1..3], ["initrd b/boot/initrd.img", "boot b/boot/vmlinuz"]);
}

#[test]
fn a_slot_that_cannot_be_loaded_is_followed_by_the_last_resort_which_is_not_on_trial() {
    for broken in ["broken_kernel=$upgrade_device_B/boot/vmlinuz", "upgrade_device_B=(hd9)"] {
        let setup = "set upgrade_slot=B\nset upgrade_trial=1\nset upgrade_last=A\nset ";
        let told = loads(&format!("{setup}{broken}"));
        let told: Vec<_> = told.into_iter().filter(|line| !line.starts_with(LINUX_B)).collect();
        assert_eq!(told[0], format!("{LINUX_A} upgrade.trial=0"), "{broken}");
        assert_eq!(told[1..3], ["initrd a/boot/initrd.img", "boot a/boot/vmlinuz"], "{broken}");
    }
}

#[test]
fn a_kernel_without_its_initramfs_is_not_booted() {
    let broken = "set broken_initrd=$upgrade_device_A/boot/initrd.img";
    let told =
        loads(&format!("set upgrade_slot=A\nset upgrade_trial=0\nset upgrade_last=\n{broken}"));
    let expected =
        [&format!("{LINUX_A} upgrade.trial=0"), "initrd a/boot/initrd.img", "sleep 10", "reboot"];
    assert_eq!(told, expected);
}

#[test]
fn without_a_choice_slot_a_is_tried_then_b_neither_on_trial() {
    for setup in ["", "set upgrade_slot=C\nset upgrade_trial=1\nset upgrade_last=C"] {
        let told = loads(&format!("{setup}\nset upgrade_pause=3"));
        let kernels: Vec<_> = told.iter().filter(|line| line.starts_with("linux")).collect();
        let expected =
            [&format!("{LINUX_A} upgrade.trial=0"), &format!("{LINUX_B} upgrade.trial=0")];
        assert_eq!(kernels, expected);
        assert_eq!(told[told.len() - 2..], ["sleep 3", "reboot"]);
    }
}
