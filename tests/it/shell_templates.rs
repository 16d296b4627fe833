//! Launch lines through the real shell: any value arrives in the program unchanged, wherever its slot stands.

use ao::base::template::{Fill, Template};
use proptest::prelude::*;

/// What a real shell makes of the value in this line.
#[expect(clippy::disallowed_methods, reason = "only a real shell can say what it makes of a line")]
fn through_sh(line: &str, value: &str) -> String {
    let template = Template::parse(line);
    let code = template.render_shell(|_| Some(Fill::Value(value.to_owned())));
    let output =
        std::process::Command::new("sh").args(["-c", &code]).output().expect("sh is there");
    String::from_utf8(output.stdout).expect("text in, text out")
}

#[track_caller]
fn check_survives(value: &str) {
    for line in ["printf %s {v}", "printf %s '{v}'", "printf %s \"{v}\"", "printf %s \\{v}"] {
        assert_eq!(through_sh(line, value), value, "{line}");
    }
    // `$(…)` and backticks drop trailing line ends, whatever is quoted.
    for line in ["printf %s \"$(printf %s {v})\"", "x=`printf %s {v}`; printf %s \"$x\""] {
        assert_eq!(through_sh(line, value), value.trim_end_matches('\n'), "{line}");
    }
    assert_eq!(through_sh("printf a # it's {v}", value), "a");
}

#[test]
fn hostile_values_survive_every_place_in_a_shell_line() {
    for value in ["'", "\"", "$HOME `id` \\", "a\nb; rm -r x", "", "-n", "{v}", "é 日本 \t"] {
        check_survives(value);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_text_survives_every_place_in_a_shell_line(value in "[^\0]{0,24}|[\"'`$\\\\ \n#!;(){}a]{0,12}") {
        check_survives(&value);
    }
}
