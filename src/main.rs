//! The `ao` binary: arguments in, exit code out. Everything else lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ao::run(std::env::args_os())
}
