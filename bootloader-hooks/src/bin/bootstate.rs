//! `bootstate`: makes the image of the boot-state partition, and shows what one says.
//!
//! For the factory, the installer and the person before a broken box. It never changes a boot state
//! that is in use: that is the agent's, and two writers would be one too many. So there is no
//! command to arm or confirm here, and `image` refuses whatever exists unless it is forced.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bootloader_hooks::{
    BLOCK_LEN, Block, BootState, Choice, Copies, Copy, IMAGE_LEN, Other, Slot, Spend, choose, image,
};

const HELP: &str = "\
The boot state of an appliance with two slots.

Usage:
  bootstate image FILE [--confirmed A|B] [--other given-up|whole] [--force]
  bootstate show FILE [--json]

FILE is a file, or the boot-state partition itself.

image   Writes the image of the boot-state partition.
        --confirmed  the slot that boots (default: A)
        --other      what the other slot is: `given-up` is never booted (default),
                     `whole` is the last resort; say it if the factory wrote both slots
        --force      write over what exists; refused if that is smaller than 1 MiB or
                     larger than 16 MiB, because then it is something else
show    Prints both copies of the boot state and what the bootloader would boot.
        --json       for programs

Exit status:
  0  done; with show, both copies are whole
  1  FILE cannot be read or written
  2  the command line is not understood
  3  show: one copy is damaged, the other one counts; the agent repairs it
  4  show: both copies are damaged; the bootloader tries slot A, then B
";

/// The largest thing `--force` writes over: a boot-state partition is 1 MiB or a little more, and a
/// mistyped partition is not.
const FORCED_MAX: u64 = 16 * 1024 * 1024;

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    match parse(arguments).and_then(Request::run) {
        Ok((text, status)) => match io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::from(status),
            Err(_) => ExitCode::from(1),
        },
        Err(trouble) => {
            eprintln!("bootstate: {trouble}");
            ExitCode::from(trouble.status())
        }
    }
}

/// What the command line asks for.
enum Request {
    Help,
    Image { file: PathBuf, state: BootState, over: Over },
    Show { file: PathBuf, form: Form },
}

/// What happens to a file that exists.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Refuse,
    Write,
}

/// For whom the answer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}; see `bootstate --help`")]
    Usage(String),
    #[error("{} exists already; nothing was written; --force writes over it", file.display())]
    Exists { file: PathBuf },
    #[error(
        "{} is {length} bytes long; a boot-state partition has {IMAGE_LEN} to {FORCED_MAX}; \
         nothing was written", file.display()
    )]
    Length { file: PathBuf, length: u64 },
    #[error("{} was written, but does not read back the same; replace the disk", file.display())]
    ReadBack { file: PathBuf },
    #[error("{}: {doing}: {cause}", file.display())]
    Io { file: PathBuf, doing: &'static str, cause: io::Error },
}

impl Trouble {
    fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Exists { .. } | Self::Length { .. } | Self::ReadBack { .. } | Self::Io { .. } => {
                1
            }
        }
    }

    fn io(file: &Path, doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |cause| Self::Io { file: file.to_owned(), doing, cause }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Request, Trouble> {
    let usage = |text: &str| Trouble::Usage(text.to_owned());
    let command = words.next().ok_or_else(|| usage("say `image` or `show`"))?;
    let (mut file, mut over, mut form) = (None, Over::Refuse, Form::Text);
    let mut state = BootState { confirmed: Slot::A, other: Other::GivenUp };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| usage(&format!("{word} needs a value")));
        match (command.as_str(), word.as_str()) {
            (_, "--help" | "-h") => return Ok(Request::Help),
            ("image", "--force") => over = Over::Write,
            ("image", "--confirmed") => {
                state.confirmed = value()?.parse().map_err(|why| usage(&format!("{why}")))?;
            }
            ("image", "--other") => {
                state.other = match value()?.as_str() {
                    "given-up" => Other::GivenUp,
                    "whole" => Other::Whole,
                    other => return Err(usage(&format!("{other:?} is not given-up or whole"))),
                };
            }
            ("show", "--json") => form = Form::Json,
            (_, option) if option.starts_with('-') => {
                return Err(usage(&format!("{command} knows no {option}")));
            }
            (_, path) if file.is_none() => file = Some(PathBuf::from(path)),
            (_, more) => return Err(usage(&format!("one FILE is enough, {more:?} is too much"))),
        }
    }
    let file = || file.ok_or_else(|| usage(&format!("{command} needs a FILE")));
    match command.as_str() {
        "image" => Ok(Request::Image { file: file()?, state, over }),
        "show" => Ok(Request::Show { file: file()?, form }),
        "help" | "--help" | "-h" => Ok(Request::Help),
        other => Err(usage(&format!("{other:?} is not a command"))),
    }
}

impl Request {
    /// What to print, and the exit status.
    fn run(self) -> Result<(String, u8), Trouble> {
        match self {
            Self::Help => Ok((HELP.to_owned(), 0)),
            Self::Image { file, state, over } => {
                write_image(&file, state, over)?;
                Ok((String::new(), 0))
            }
            Self::Show { file, form } => {
                let copies = read_copies(&file)?;
                let text = match form {
                    Form::Text => as_text(&copies),
                    Form::Json => as_json(&copies),
                };
                let status = match copies.damaged().count() {
                    0 => 0,
                    1 => 3,
                    _ => 4,
                };
                Ok((text, status))
            }
        }
    }
}

fn write_image(path: &Path, state: BootState, over: Over) -> Result<(), Trouble> {
    let mut file = open_target(path, over)?;
    let image = image(state);
    file.rewind().map_err(Trouble::io(path, "going to the start"))?;
    file.write_all(&image).map_err(Trouble::io(path, "writing"))?;
    file.sync_all().map_err(Trouble::io(path, "syncing"))?;
    let mut back = vec![0; image.len()];
    file.rewind().map_err(Trouble::io(path, "going to the start"))?;
    file.read_exact(&mut back).map_err(Trouble::io(path, "reading back"))?;
    if back != image {
        return Err(Trouble::ReadBack { file: path.to_owned() });
    }
    Ok(())
}

/// A new file, or what exists if that was asked for and it can be a boot-state partition. Never
/// shortens anything: a partition cannot be, and a longer file was meant.
fn open_target(path: &Path, over: Over) -> Result<File, Trouble> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.clone().create_new(true).open(path) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
        opened => return opened.map_err(Trouble::io(path, "creating")),
    }
    if over == Over::Refuse {
        return Err(Trouble::Exists { file: path.to_owned() });
    }
    let mut file = options.open(path).map_err(Trouble::io(path, "opening for writing"))?;
    let length = file.seek(SeekFrom::End(0)).map_err(Trouble::io(path, "finding its end"))?;
    if !(IMAGE_LEN..=FORCED_MAX).contains(&length) {
        return Err(Trouble::Length { file: path.to_owned(), length });
    }
    Ok(file)
}

fn read_copies(path: &Path) -> Result<Copies, Trouble> {
    let mut file = File::open(path).map_err(Trouble::io(path, "opening"))?;
    let mut read = |copy: Copy| -> Result<Block, Trouble> {
        let mut block = [0; BLOCK_LEN];
        file.seek(SeekFrom::Start(copy.offset()))
            .and_then(|_| file.read_exact(&mut block))
            .map_err(Trouble::io(path, "reading a copy of the boot state"))?;
        Ok(block)
    };
    Ok(Copies::decode(&read(Copy::One)?, &read(Copy::Two)?))
}

/// What boots next if the bootloader can write.
fn boots(copies: &Copies) -> Choice {
    choose(copies.state(), Spend::Durable)
}

fn as_text(copies: &Copies) -> String {
    let mut lines = Vec::new();
    let newest = copies.newest().map(|(copy, _)| copy);
    for copy in Copy::ALL {
        let name = copy.file_name();
        lines.push(match copies.says(copy) {
            Ok((sequence, BootState { confirmed, other })) => {
                let counts = if newest == Some(copy) { ", counts" } else { "" };
                let other = match other {
                    Other::GivenUp => "is given up",
                    Other::Whole => "is whole",
                    Other::Armed => "is on trial, try not taken",
                    Other::Spent => "is on trial, try taken",
                };
                let slot = !confirmed;
                format!("{name}: {confirmed} is confirmed, {slot} {other} (seq {sequence}{counts})")
            }
            Err(damage) => format!("{name}: damaged: {damage}"),
        });
    }
    let Choice { slot, trial, last_resort } = boots(copies);
    let trial = if trial { ", on trial" } else { "" };
    let last = last_resort.map_or("none".to_owned(), |slot| slot.to_string());
    lines.push(format!("boots: {slot}{trial}; last resort: {last}\n"));
    lines.join("\n")
}

fn as_json(copies: &Copies) -> String {
    let each = Copy::ALL.map(|copy| match copies.says(copy) {
        Ok((sequence, state)) => serde_json::json!({
            "copy": copy, "offset": copy.offset(), "sequence": sequence, "state": state,
        }),
        Err(damage) => serde_json::json!({
            "copy": copy, "offset": copy.offset(), "damage": damage.to_string(),
        }),
    });
    let newest = copies.newest().map(|(copy, _)| copy);
    let answer = serde_json::json!({ "copies": each, "newest": newest, "boots": boots(copies) });
    format!("{answer:#}\n")
}
