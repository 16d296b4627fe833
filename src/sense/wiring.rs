//! How a CLI is told to call `ao hook`: one file of ours beside the agent's state, never the user's own.
//!
//! Each CLI has its own door: a settings file by argument (Claude Code), an inline table by argument
//! (Codex), a plugin named in a variable (opencode). Gemini CLI has none that an ordinary user can
//! open: settings named in a variable must belong to root. All of them add to what the user
//! configured; only the status line of Claude Code is replaced, which is why `ao statusline` runs
//! the user's own.
//!
//! Surprise: the commands are shell lines, although Claude Code also takes a program with arguments.
//! A release that ignored the arguments would run `ao` alone, whose exit code 2 denies every tool.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Cli;
use crate::base::quote::shell_word;

/// A hook that hangs is given up by the CLI after so many seconds.
const TIMEOUT_S: u64 = 10;

/// A hook that waits for a person gives up by itself before the CLI does.
const GOVERNED_SLACK_S: u64 = 60;

const CLAUDE_EVENTS: [&str; 12] = [
    "SessionStart",
    "SessionEnd",
    "UserPromptSubmit",
    "PreToolUse",
    "PostToolUse",
    "PostToolUseFailure",
    "PermissionRequest",
    "Notification",
    "Stop",
    "StopFailure",
    "SubagentStart",
    "SubagentStop",
];

const CODEX_EVENTS: [&str; 8] = [
    "SessionStart",
    "SessionEnd",
    "UserPromptSubmit",
    "PreToolUse",
    "PostToolUse",
    "PermissionRequest",
    "Stop",
    "Interrupt",
];

/// What a start needs beside its usual launch line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wiring {
    /// Content of the file of ours; `None` needs none.
    pub file: Option<String>,
    /// A piece of shell for the launch line.
    pub flag: String,
    /// To be put into the `plugin` list of `OPENCODE_CONFIG_CONTENT`.
    pub opencode_plugin: Option<String>,
    /// For the environment of the CLI.
    pub env: BTreeMap<String, String>,
}

/// What a governed start is told, and what is given back of what its flags take away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Governed {
    /// The file with the agent's bounds.
    pub bounds: String,
    /// Seconds that a hook may wait for a person.
    pub wait_s: u64,
    /// The agent's own folder.
    pub folder: String,
    /// The project's MCP servers, when it has any.
    pub mcp: Option<String>,
    /// The user's own CLAUDE.md, when there is one.
    pub memory: Option<String>,
    /// The user's settings; a few of them are kept.
    pub settings: Map<String, Value>,
}

/// How the file of ours ends: a plugin has to be JavaScript.
pub const fn extension(cli: Cli) -> &'static str {
    match cli {
        Cli::Claude | Cli::Codex | Cli::Gemini => "json",
        Cli::Opencode => "js",
    }
}

/// How this CLI calls the program `ao`; `file` is where the content will stand. Both are absolute.
pub fn wire(cli: Cli, ao: &str, file: &str) -> Wiring {
    let command = format!("{} hook {}", shell_word(ao), cli.word());
    match cli {
        Cli::Claude => Wiring {
            file: Some(claude_settings(&command, &format!("{} statusline", shell_word(ao)))),
            flag: format!("--settings {}", shell_word(file)),
            ..Wiring::default()
        },
        Cli::Codex => Wiring { flag: codex_flag(&command, None), ..Wiring::default() },
        Cli::Gemini => Wiring::default(),
        Cli::Opencode => Wiring {
            file: Some(PLUGIN.replace("\"AO\"", &json!(ao).to_string())),
            opencode_plugin: Some(format!("file://{file}")),
            ..Wiring::default()
        },
    }
}

/// The same for an agent whose acts are judged: tool calls are asked about, and only our settings count.
///
/// Claude Code fails closed by `onFailure` and takes settings of the project's folder no more, as the
/// agent could switch hooks off there. Codex lets a tool run whose hook fails. The plugin of opencode
/// throws unless it is told to go on.
pub fn wire_governed(cli: Cli, ao: &str, file: &str, governed: &Governed) -> Wiring {
    let command = format!("{} hook {}", shell_word(ao), cli.word());
    let ask = format!("{command} --governed {}", shell_word(&governed.bounds));
    match cli {
        Cli::Claude => Wiring {
            file: Some(governed_claude_settings(ao, &command, &ask, governed)),
            flag: governed_claude_flag(file, governed),
            env: [("CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD", "1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Wiring::default()
        },
        Cli::Codex => {
            Wiring { flag: codex_flag(&command, Some((&ask, governed))), ..Wiring::default() }
        }
        Cli::Gemini => Wiring::default(),
        Cli::Opencode => Wiring {
            file: Some(
                GATE.replace("\"AO\"", &json!(ao).to_string())
                    .replace("\"BOUNDS\"", &json!(governed.bounds).to_string()),
            ),
            opencode_plugin: Some(format!("file://{file}")),
            ..Wiring::default()
        },
    }
}

/// A variadic flag would swallow the prompt behind it, hence the `=`.
fn governed_claude_flag(file: &str, governed: &Governed) -> String {
    let mut flag = format!(
        "--settings {} --setting-sources '' --add-dir={}",
        shell_word(file),
        shell_word(&governed.folder)
    );
    for (name, value) in
        [("mcp-config", &governed.mcp), ("append-system-prompt-file", &governed.memory)]
    {
        if let Some(value) = value {
            flag.push_str(&format!(" --{name}={}", shell_word(value)));
        }
    }
    flag
}

/// Settings of the user's that say how to reach the model, not what the agent may do.
const KEPT: [&str; 6] =
    ["env", "apiKeyHelper", "model", "theme", "language", "autoContinueAtUsageLimit"];

fn governed_claude_settings(ao: &str, command: &str, ask: &str, governed: &Governed) -> String {
    let line = format!("{} statusline", shell_word(ao));
    let mut settings: Value =
        serde_json::from_str(&claude_settings(command, &line)).expect("settings of ours are JSON");
    let hook = |timeout: u64| {
        json!([{ "hooks": [{
            "type": "command", "command": ask, "timeout": timeout, "onFailure": "block",
            "statusMessage": "asking for leave",
        }]}])
    };
    settings["hooks"]["PreToolUse"] = hook(governed.wait_s + GOVERNED_SLACK_S);
    for event in ["PostToolUse", "PostToolUseFailure"] {
        settings["hooks"][event][0]["hooks"][0]["command"] = ask.into();
    }
    // Nobody is there to answer it, and every act is judged.
    settings["skipDangerousModePermissionPrompt"] = true.into();
    for name in KEPT {
        if let Some(value) = governed.settings.get(name) {
            settings[name] = value.clone();
        }
    }
    pretty(&settings)
}

/// `OPENCODE_CONFIG_CONTENT` with one plugin more; what is no JSON object is left as it is.
pub fn with_plugin(content: Option<&str>, plugin: &str) -> Option<String> {
    let mut object: Map<String, Value> =
        match content.map(str::trim).filter(|text| !text.is_empty()) {
            Some(text) => serde_json::from_str(text).ok()?,
            None => Map::new(),
        };
    let list = object.entry("plugin").or_insert_with(|| json!([])).as_array_mut()?;
    list.push(plugin.into());
    Some(Value::Object(object).to_string())
}

fn claude_settings(command: &str, status_line: &str) -> String {
    let hook = json!([{ "hooks": [{
        "type": "command", "command": command, "timeout": TIMEOUT_S,
    }]}]);
    let hooks: Map<String, Value> =
        CLAUDE_EVENTS.iter().map(|event| ((*event).to_owned(), hook.clone())).collect();
    pretty(&json!({
        "hooks": hooks,
        "statusLine": { "type": "command", "command": status_line },
    }))
}

fn codex_flag(command: &str, governed: Option<(&str, &Governed)>) -> String {
    let hook = |command: &str, timeout: u64| {
        // A JSON string of printable characters is a TOML string too.
        let command = json!(command).to_string();
        format!("[{{hooks=[{{type=\"command\",command={command},timeout={timeout}}}]}}]")
    };
    let event = |event: &&str| match (governed, *event) {
        (Some((ask, governed)), "PreToolUse") => {
            format!("{event}={}", hook(ask, governed.wait_s + GOVERNED_SLACK_S))
        }
        (Some((ask, _)), "PostToolUse") => format!("{event}={}", hook(ask, TIMEOUT_S)),
        (Some(_) | None, _) => format!("{event}={}", hook(command, TIMEOUT_S)),
    };
    let events: Vec<String> = CODEX_EVENTS.iter().map(event).collect();
    let table = format!("hooks={{{}}}", events.join(","));
    format!("--dangerously-bypass-hook-trust -c {}", shell_word(&table))
}

fn pretty(value: &Value) -> String {
    let mut text = format!("{value:#}");
    text.push('\n');
    text
}

/// Tells and goes on: nothing in it waits for `ao`, and nothing it does can fail a turn.
const PLUGIN: &str = include_str!("wiring/sensors.js");
/// Tells in the same way, but asks before each tool call and throws unless it is told to go on.
const GATE: &str = include_str!("wiring/gate.js");

#[cfg(test)]
mod tests {
    use super::*;

    const AO: &str = "/state dir/it's/ao";

    #[test]
    fn claude_gets_a_whole_settings_file_whose_commands_survive_a_path_with_quotes() {
        let wiring = wire(Cli::Claude, AO, "/state dir/settings-p-a.json");
        assert_eq!(wiring.flag, "--settings '/state dir/settings-p-a.json'");
        let settings: Value = serde_json::from_str(&wiring.file.unwrap()).unwrap();
        let hooks = settings["hooks"].as_object().unwrap();
        assert_eq!(hooks.len(), CLAUDE_EVENTS.len());
        for entries in hooks.values() {
            let command = entries[0]["hooks"][0]["command"].as_str().unwrap();
            assert_eq!(command, r"'/state dir/it'\''s/ao' hook claude");
        }
        let line = settings["statusLine"]["command"].as_str().unwrap();
        assert!(line.ends_with(" statusline"), "{line}");
    }

    #[test]
    fn codex_gets_its_hooks_as_one_word_that_is_a_toml_table() {
        let wiring = wire(Cli::Codex, "/state/ao", "/unused");
        assert_eq!(wiring.file, None);
        let table = wiring.flag.split_once(" -c '").unwrap().1.strip_suffix('\'').unwrap();
        let value: toml::Table = toml::from_str(table).unwrap();
        let stop = &value["hooks"]["Stop"][0]["hooks"][0];
        assert_eq!(stop["command"].as_str(), Some("/state/ao hook codex"));
        assert_eq!(value["hooks"].as_table().unwrap().len(), CODEX_EVENTS.len());
    }

    #[test]
    fn gemini_is_left_as_it_is() {
        assert_eq!(wire(Cli::Gemini, "/state/ao", "/state/settings.json"), Wiring::default());
    }

    #[test]
    fn the_plugin_joins_those_of_the_user_and_spares_a_text_that_is_no_object() {
        let with = |content| with_plugin(content, "file:///p.js");
        assert_eq!(with(None).unwrap(), r#"{"plugin":["file:///p.js"]}"#);
        let joined = with(Some(r#"{"model":"a/b","plugin":["mine"]}"#)).unwrap();
        assert_eq!(joined, r#"{"model":"a/b","plugin":["mine","file:///p.js"]}"#);
        assert_eq!(with(Some("no json")), None);
        assert!(wire(Cli::Opencode, AO, "/p.js").file.unwrap().contains(r#""/state dir/it's/ao""#));
    }
}
