//! The command `upgrade`. Everything it does can be called by a test: see `upgrade_agent::command`.

use std::process::ExitCode;

fn main() -> ExitCode {
    upgrade_agent::command::main()
}
