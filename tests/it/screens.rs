//! Every recorded pane of a real CLI reads as the table beside it says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ao::backend::detect_preset;
use ao::screen::capture::Screen;
use ao::screen::corpus;
use ao::screen::detect::{Detector, PaneHints};

fn detectors() -> BTreeMap<&'static str, Detector> {
    let compile = |name: &'static str| {
        let preset = detect_preset::by_name(name).expect("a preset");
        let detector = Detector::new(name, &preset.detect, Some(&preset.layout), preset.live_lines)
            .expect("the rules of a preset compile");
        (name, detector)
    };
    detect_preset::NAMES.into_iter().map(compile).collect()
}

#[test]
fn every_recorded_pane_reads_as_the_table_says() {
    let detectors = detectors();
    let mut results = Vec::new();
    let mut missed = Vec::new();
    for pane in corpus::panes() {
        let screen = Screen::parse(pane.text);
        let reading = detectors[pane.backend].read(&screen, &PaneHints::default());
        results.push((pane.expected, reading.state));
        if reading.state.word() != pane.expected {
            missed.push(format!(
                "{}: expected {}, read {} by {:?}",
                pane.file,
                pane.expected,
                reading.state.word(),
                reading.evidence
            ));
        }
    }
    let matrix = corpus::confusion(&results);
    assert!(missed.is_empty(), "{}\n{matrix:#?}", missed.join("\n"));
}

#[test]
fn every_file_of_the_corpus_is_in_the_table_and_in_the_binary() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut on_disk = BTreeSet::new();
    for folder in ["claude-code", "gemini", "opencode"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            on_disk.insert(format!("{folder}/{name}"));
        }
    }
    let table: BTreeSet<String> = corpus::panes().iter().map(|pane| pane.file.to_owned()).collect();
    let embedded: BTreeSet<String> = corpus::files().map(str::to_owned).collect();
    assert_eq!(on_disk, table);
    assert_eq!(on_disk, embedded);
}
