//! Tells the program which commit it was built from: `0.1.0 (1a2b3c4)`.
//!
//! Without git, or where this folder is not the top of its own repository (a packaged copy), the
//! version stands alone.

#![expect(clippy::disallowed_methods, reason = "a build script has no other way to ask git")]

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let version = env!("CARGO_PKG_VERSION");
    let version = match commit(Path::new(env!("CARGO_MANIFEST_DIR"))) {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    };
    println!("cargo:rustc-env=AO_VERSION={version}");
}

fn commit(root: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.current_dir(root).env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
        let output = command.args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    let commit = git(&["rev-parse", "--short=7", "HEAD"])?;
    // The log of HEAD moves with each commit and checkout; naming a file that is absent would mean
    // building anew each time.
    for name in ["HEAD", "logs/HEAD"] {
        let path = root.join(git(&["rev-parse", "--git-path", name])?);
        if path.exists() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    Some(commit)
}
