//! The arrows of the house: which module of the agent may use which.
//!
//! The table stands here once, and the source is held to it. An arrow that is not in the table is a decision to be made
//! and written down, not a slip.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Module, and what it may use of this crate; lowest floor first. No circles: each uses only what stands above it.
const ARROWS: [(&str, &[&str]); 14] = [
    ("device", &[]),
    ("progress", &[]),
    ("os_release", &[]),
    ("explain", &[]),
    ("disk", &["device", "progress"]),
    ("linux", &["device"]),
    ("source", &["device", "disk"]),
    ("hand", &["device", "disk", "progress", "os_release", "source"]),
    ("driver", &["device", "disk", "progress", "source", "hand"]),
    ("directory", &["device", "linux"]),
    ("config", &["disk", "hand"]),
    ("door", &["device", "disk", "explain", "source", "driver"]),
    ("service", &["device", "linux", "driver", "directory", "config", "door"]),
    ("command", &["config", "door"]),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("src is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// Every `crate::name` in the code of each module, comments and tests left out.
fn used() -> BTreeMap<String, BTreeSet<String>> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let inside = file.strip_prefix(&src).expect("it lies in src");
        let first = inside.components().next().expect("it has a name");
        let module = Path::new(first.as_os_str()).file_stem().expect("it has a name");
        let module = module.to_string_lossy();
        if matches!(&*module, "lib" | "bin") || file.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("it can be read");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let names = lines.flat_map(|line| line.split("crate::").skip(1)).flat_map(names_after);
        used.entry(module.into_owned()).or_default().extend(names);
    }
    used
}

/// The names that follow `crate::`: one, or all of `{a::x, b::y}`.
fn names_after(rest: &str) -> Vec<String> {
    let is_name = |c: &char| c.is_alphanumeric() || *c == '_';
    let word = |text: &str| text.trim().chars().take_while(is_name).collect::<String>();
    match rest.strip_prefix('{') {
        Some(list) => list.split(',').map(word).filter(|word| !word.is_empty()).collect(),
        None => vec![word(rest)],
    }
}

#[test]
fn every_arrow_between_modules_is_in_the_table() {
    let used = used();
    let known: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    for (module, targets) in &used {
        let row = known.get(module.as_str());
        let allowed = row.unwrap_or_else(|| panic!("module {module} has no row in the table"));
        for target in targets.iter().filter(|target| *target != module) {
            assert!(allowed.contains(&target.as_str()), "{module} must not use {target}");
        }
    }
    assert_eq!(used.len(), ARROWS.len(), "the table has a row for a module that is gone");
}

#[test]
fn no_module_uses_one_that_stands_below_it() {
    let floor = |name: &str| ARROWS.iter().position(|(module, _)| *module == name);
    for (module, targets) in ARROWS {
        for target in targets {
            assert!(floor(target) < floor(module), "{module} and {target} make a circle");
        }
    }
}
