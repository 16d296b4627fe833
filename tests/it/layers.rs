//! What the compiler cannot fence inside one crate: the layers, the purity of the pure folders, and
//! that every file says at its top what it is for.
//!
//! The order is read from the picture in `src/lib.rs`, so the picture cannot go stale. Text is
//! searched, not syntax trees: comments and string literals are blanked first, which is enough to
//! tell a path from talk about it. Paths that reach another folder by `super::super::…` count too.
//! Unit tests inside pure folders may touch the world (they read recordings) but not other layers.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Each with the words to show; the needle is searched in code without comments and strings.
const BANNED_IN_PURE: [(&str, &str); 12] = [
    ("std::fs", "files belong to sys"),
    ("std::process", "processes belong to sys"),
    ("std::net", "the network belongs to sys"),
    ("std::env", "the environment belongs to sys, run and ui"),
    ("std::thread", "threads belong to run and sys"),
    ("SystemTime", "take `now: Now`"),
    ("Instant", "take `now: Now`"),
    ("Utc::now", "take `now: Now`"),
    ("Local::now", "take `now: Now`"),
    ("chrono::Local", "the zone is an argument"),
    ("HashMap", "its order differs from run to run; use BTreeMap"),
    ("HashSet", "its order differs from run to run; use BTreeSet"),
];

/// Modules of `std` that do IO, for the grouped form `use std::{fs, …}`.
const STD_IO: [&str; 5] = ["fs", "process", "net", "env", "thread"];

/// The layers as `src/lib.rs` draws them.
struct Layers {
    /// From the left (may use all that follows) to the right.
    pure: Vec<String>,
}

impl Layers {
    fn from_picture(lib: &str) -> Self {
        let line = lib
            .lines()
            .find(|line| line.starts_with("//!") && line.matches('→').count() > 2)
            .expect("src/lib.rs draws the pure folders as `a → b → c`");
        let names = line.trim_start_matches("//!").split('→');
        Self { pure: names.map(|name| name.trim().to_owned()).collect() }
    }

    fn real() -> Self {
        Self::from_picture(&read(&Path::new(ROOT).join("src/lib.rs")))
    }

    fn is_pure(&self, folder: &str) -> bool {
        self.pure.iter().any(|name| name == folder)
    }

    fn is_layer(&self, name: &str) -> bool {
        self.is_pure(name) || ["sys", "run", "ui"].contains(&name)
    }

    fn may_use(&self, from: &str, to: &str) -> bool {
        if from == to || from == "ui" {
            return true;
        }
        match from {
            "run" => to != "ui",
            "sys" => to != "ui" && to != "run",
            _ => {
                let place = |wanted: &str| self.pure.iter().position(|name| name == wanted);
                matches!((place(from), place(to)), (Some(from), Some(to)) if to > from)
            }
        }
    }
}

/// All complaints about one file of `src/`; `path` is relative to `src/`, with `/`.
fn complaints(layers: &Layers, path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push(format!("{path}:1: open the file with `//!`: what it is for"));
    }
    let Some((folder, _)) = path.split_once('/') else {
        return found; // lib.rs and main.rs stand above the layers.
    };
    let code = code_only(text);
    for (offset, to) in used_layers(layers, path, &code) {
        if !layers.may_use(folder, &to) {
            found.push(format!("{path}:{}: `{folder}` uses `{to}`", line_of(&code, offset)));
        }
    }
    if layers.is_pure(folder) && !is_test_file(path) {
        let code = without_test_modules(&code);
        for (needle, why) in BANNED_IN_PURE {
            for offset in words(&code, needle) {
                let line = line_of(&code, offset);
                found.push(format!("{path}:{line}: `{needle}` in a pure folder: {why}"));
            }
        }
        for offset in words(&code, "std::{") {
            for name in group(&code[offset + "std::".len()..]) {
                if STD_IO.contains(&name.as_str()) {
                    let line = line_of(&code, offset);
                    found.push(format!("{path}:{line}: `std::{name}` in a pure folder"));
                }
            }
        }
    }
    if folder != "sys" {
        for offset in words(&without_test_modules(&code), "Command::new") {
            let line = line_of(&code, offset);
            if !code.contains("clap::Command") {
                found.push(format!("{path}:{line}: processes are started by sys only"));
            }
        }
    }
    found
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// Every top-level folder that the code names by a `crate::` path or by climbing with `super::`.
fn used_layers(layers: &Layers, path: &str, code: &str) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    for offset in words(code, "crate::") {
        for name in heads(&code[offset + "crate::".len()..]) {
            used.push((offset, name));
        }
    }
    let depth = path.trim_end_matches(".rs").trim_end_matches("/mod").split('/').count();
    let mut at = 0;
    while let Some(next) = code[at..].find("super::") {
        let start = at + next;
        let mut end = start;
        while code[end..].starts_with("super::") {
            end += "super::".len();
        }
        if (end - start) / "super::".len() >= depth {
            used.extend(heads(&code[end..]).into_iter().map(|name| (start, name)));
        }
        at = end;
    }
    used.retain(|(_, name)| layers.is_layer(name));
    used
}

/// The first names of what follows a path prefix: one, or those of a `{…}` group.
fn heads(rest: &str) -> Vec<String> {
    if rest.starts_with('{') { group(rest) } else { vec![identifier(rest)] }
}

/// The first name of each element of a `{a::b, c, d::{e, f}}` group.
fn group(rest: &str) -> Vec<String> {
    let (mut depth, mut names, mut at_start) = (0_usize, Vec::new(), false);
    for (offset, c) in rest.char_indices() {
        match c {
            '{' => {
                depth += 1;
                at_start = depth == 1;
            }
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => at_start = true,
            _ if at_start && !c.is_whitespace() => {
                names.push(identifier(&rest[offset..]));
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

fn identifier(rest: &str) -> String {
    rest.trim_start().chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect()
}

/// Where `needle` stands and is not the tail or the head of a longer name.
fn words(code: &str, needle: &str) -> Vec<usize> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let open_end = !needle.ends_with(part);
    let alone = |&(offset, _): &(usize, &str)| {
        !code[..offset].ends_with(part)
            && (open_end || !code[offset + needle.len()..].starts_with(part))
    };
    code.match_indices(needle).filter(alone).map(|(offset, _)| offset).collect()
}

fn line_of(code: &str, offset: usize) -> usize {
    code[..offset].matches('\n').count() + 1
}

/// The text with comments, string and character literals blanked, line breaks kept.
fn code_only(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut i = 0;
    while i < bytes.len() {
        let end = match bytes[i] {
            '/' if bytes.get(i + 1) == Some(&'/') => line_end(&bytes, i),
            '/' if bytes.get(i + 1) == Some(&'*') => block_comment_end(&bytes, i),
            '"' => string_end(&bytes, i),
            'r' if i == 0 || !(bytes[i - 1].is_alphanumeric() || bytes[i - 1] == '_') => {
                raw_string_end(&bytes, i).unwrap_or(i)
            }
            '\'' if bytes.get(i + 1) == Some(&'\\') => {
                bytes[i + 3..].iter().position(|&c| c == '\'').map_or(i, |far| i + 4 + far)
            }
            '\'' if bytes.get(i + 2) == Some(&'\'') => i + 3,
            _ => i,
        };
        if end == i {
            code.push(bytes[i]);
            i += 1;
        } else {
            code.extend(bytes[i..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            i = end;
        }
    }
    code
}

fn line_end(text: &[char], from: usize) -> usize {
    text[from..].iter().position(|&c| c == '\n').map_or(text.len(), |far| from + far)
}

fn block_comment_end(text: &[char], from: usize) -> usize {
    let (mut depth, mut i) = (0_usize, from);
    while i + 1 < text.len() {
        match (text[i], text[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') if depth == 1 => return i + 2,
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
    }
    text.len()
}

fn string_end(text: &[char], from: usize) -> usize {
    let mut i = from + 1;
    while i < text.len() {
        match text[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    text.len()
}

/// `None` when no raw string begins here.
fn raw_string_end(text: &[char], from: usize) -> Option<usize> {
    let hashes = text[from + 1..].iter().take_while(|&&c| c == '#').count();
    let open = from + 1 + hashes;
    if text.get(open) != Some(&'"') {
        return None;
    }
    let closes = |&i: &usize| {
        text[i] == '"' && text[i + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes
    };
    Some((open + 1..text.len()).find(closes).map_or(text.len(), |i| i + 1 + hashes))
}

/// The code with every `#[cfg(test)] mod x { … }` blanked.
fn without_test_modules(code: &str) -> String {
    let mut kept = code.to_owned();
    let mut from = 0;
    while let Some(found) = kept[from..].find("#[cfg(test)]") {
        let start = from + found;
        let after = start + "#[cfg(test)]".len();
        let open = kept[after..].find(['{', ';']).map(|far| after + far);
        from = after;
        let Some(open) = open.filter(|&open| kept[open..].starts_with('{')) else { continue };
        let mut depth = 0_usize;
        let mut end = kept.len();
        for (offset, c) in kept[open..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 1 => {
                    end = open + offset + 1;
                    break;
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
        let blank = |c: char| if c == '\n' { '\n'.to_string() } else { " ".repeat(c.len_utf8()) };
        let blanked: String = kept[start..end].chars().map(blank).collect();
        kept.replace_range(start..end, &blanked);
        from = end;
    }
    kept
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below `folder`, build products and hidden folders left out.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() && name != "target" && name != ".git" && name != ".ao-state" {
                folders.push(entry.path());
            } else if kind.is_file() && name != ".git" {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    files
}

#[track_caller]
fn check(path: &str, code: &str, expected: Expect) {
    let layers = Layers::from_picture("//! report → supervise → screen → config → base\n");
    let mut shown = String::new();
    for complaint in complaints(&layers, path, &format!("//! Top.\n{code}")) {
        writeln!(shown, "{complaint}").unwrap();
    }
    expected.assert_eq(&shown);
}

#[test]
fn every_file_keeps_to_its_layer() {
    let layers = Layers::real();
    let source = Path::new(ROOT).join("src");
    let mut found = Vec::new();
    let mut seen = 0;
    for file in files_below(&source) {
        if file.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        // The tests of a module may ask the real world (a shell proves the quoting).
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with("_tests.rs") || name == "tests.rs" {
            continue;
        }
        seen += 1;
        let path = file.strip_prefix(&source).unwrap().to_string_lossy().replace('\\', "/");
        found.extend(complaints(&layers, &path, &read(&file)));
    }
    assert!(seen > 20, "only {seen} files were looked at");
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_top_folder_has_a_place_in_the_picture() {
    let layers = Layers::real();
    for line in read(&Path::new(ROOT).join("src/lib.rs")).lines() {
        if let Some(name) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';')) {
            assert!(layers.is_layer(name), "src/lib.rs: `{name}` is not in the picture");
        }
    }
}

#[test]
fn tests_too_say_at_their_top_what_they_are_for() {
    for file in files_below(&Path::new(ROOT).join("tests")) {
        if file.extension().is_some_and(|extension| extension == "rs") {
            assert!(read(&file).starts_with("//!"), "{}: open with `//!`", file.display());
        }
    }
}

#[test]
fn no_file_names_the_place_it_was_written_in() {
    let places = ["shared", "wt", ".library"].map(|name| ["/work", name].join("/"));
    let mut found = Vec::new();
    for file in files_below(Path::new(ROOT)) {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        for place in places.iter().filter(|place| text.contains(place.as_str())) {
            found.push(format!("{}: {place}", file.display()));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_pure_folder_that_looks_to_its_left_is_caught() {
    check(
        "screen/x.rs",
        "use crate::supervise::Fleet;\nuse crate::config::Config;\n",
        expect![[r"
            screen/x.rs:2: `screen` uses `supervise`
        "]],
    );
}

#[test]
fn a_grouped_import_is_taken_apart() {
    check(
        "config/x.rs",
        "use crate::{\n    base::{name, now},\n    sys::clock, run,\n};\n",
        expect![[r"
            config/x.rs:2: `config` uses `sys`
            config/x.rs:2: `config` uses `run`
        "]],
    );
}

#[test]
fn sys_may_use_the_pure_folders_but_not_run_or_ui() {
    check(
        "sys/x.rs",
        "use crate::report::Row;\nfn f() { crate::run::go(); crate::ui::exit::DONE }\n",
        expect![[r"
            sys/x.rs:3: `sys` uses `run`
            sys/x.rs:3: `sys` uses `ui`
        "]],
    );
}

#[test]
fn climbing_out_of_the_folder_by_super_is_caught() {
    check(
        "base/deep/x.rs",
        "use super::super::super::sys::clock;\nuse super::name;\n",
        expect![[r"
            base/deep/x.rs:2: `base` uses `sys`
        "]],
    );
}

#[test]
fn io_clocks_and_unordered_maps_are_caught_in_a_pure_folder_only() {
    let code = "use std::{fmt, fs::File};\nfn f() { std::env::var(\"X\"); SystemTime::now(); }\n\
                type A = HashMap<u8, chrono::Local>;\n";
    check(
        "base/x.rs",
        code,
        expect![[r"
            base/x.rs:3: `std::env` in a pure folder: the environment belongs to sys, run and ui
            base/x.rs:3: `SystemTime` in a pure folder: take `now: Now`
            base/x.rs:4: `chrono::Local` in a pure folder: the zone is an argument
            base/x.rs:4: `HashMap` in a pure folder: its order differs from run to run; use BTreeMap
            base/x.rs:2: `std::fs` in a pure folder
        "]],
    );
    check("sys/x.rs", code, expect![""]);
}

#[test]
fn a_process_started_outside_sys_is_caught() {
    check(
        "ui/x.rs",
        "fn f() { std::process::Command::new(\"ls\"); }\n",
        expect![[r"
            ui/x.rs:2: processes are started by sys only
        "]],
    );
}

#[test]
fn talk_in_comments_strings_and_unit_tests_is_not_code() {
    check(
        "base/x.rs",
        "// std::fs and crate::sys\n/* Instant /* nested */ Utc::now */\n\
         const A: &str = \"crate::run \\\" HashMap\";\nconst B: &str = r#\"std::net \" Instant\"#;\n\
         const C: char = '\"';\nstruct InstantKind<'a>(&'a str);\n\
         #[cfg(test)]\nmod tests {\n    fn f() { std::fs::read(\"x\"); }\n}\n",
        expect![""],
    );
}

#[test]
fn a_file_that_does_not_say_what_it_is_for_is_caught() {
    let layers = Layers::real();
    assert_eq!(
        complaints(&layers, "base/x.rs", "use std::fmt;\n"),
        ["base/x.rs:1: open the file with `//!`: what it is for"]
    );
}
