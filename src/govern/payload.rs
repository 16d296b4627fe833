//! What an agent CLI's hook says it is about to do, as an [`Ask`].
//!
//! One function for four CLIs, since their payloads differ in names only. Not every event asks for
//! something: those give `None`. Which agent it is comes from the caller, never from the payload, as the
//! agent could write that. Left out: facts for supervision, which `sense` reads from the same bytes.

use serde_json::{Map, Value};

use super::action::{Ask, Micros};
use super::classes::Table;

/// Longest payload that is read, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest resource, in bytes; what a tool gives beyond that cannot be judged.
const RESOURCE_BYTES_MAX: usize = 1024 * 1024;
/// Longest id of a call that is taken, in bytes.
const ID_BYTES_MAX: usize = 200;

/// Whose hook it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cli {
    Claude,
    Codex,
    Opencode,
    Gemini,
}

impl Cli {
    pub const ALL: [Self; 4] = [Self::Claude, Self::Codex, Self::Opencode, Self::Gemini];

    /// As on the command line of `ao hook`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Opencode => "opencode",
            Self::Gemini => "gemini",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cli| cli.word() == word)
    }
}

/// Which question a hook asks; the answer's form depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Before a tool runs, whatever the CLI's own permissions say.
    Before,
    /// The CLI would show its own permission dialog.
    Permission,
}

/// Why a payload cannot be judged; each of them denies.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    #[error("the hook's payload is larger than {PAYLOAD_BYTES_MAX} bytes")]
    TooLong,
    #[error("the hook's payload is not JSON")]
    NotJson(#[source] serde_json::Error),
    #[error("the hook's payload has no `{0}`, or not of the kind expected")]
    Missing(&'static str),
    #[error("the input of the tool `{0}` is too long to be judged")]
    LongResource(String),
}

/// What a hook asks, and in which form it wants to be answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub event: Event,
    pub ask: Ask,
    /// The CLI's own id of this one call; it names the submission.
    pub call: Option<String>,
    /// Of the whole input but its description, hex: a resource alone does not say what is written to it.
    pub input: String,
    /// Size of what would be written; `None`: nothing is, or it is not told.
    pub written_bytes: Option<u64>,
}

/// Reads a payload. `agent` and `org` are the caller's knowledge; `None`: the event asks for nothing.
pub fn ask(
    table: &Table,
    cli: Cli,
    org: &str,
    agent: &str,
    bytes: &[u8],
) -> Result<Option<Asked>, PayloadError> {
    if bytes.len() > PAYLOAD_BYTES_MAX {
        return Err(PayloadError::TooLong);
    }
    let payload: Value = serde_json::from_slice(bytes).map_err(PayloadError::NotJson)?;
    let payload = payload.as_object().ok_or(PayloadError::Missing("object"))?;
    let call = match cli {
        Cli::Claude | Cli::Codex | Cli::Gemini => hook_call(cli, payload)?,
        Cli::Opencode => plugin_call(payload)?,
    };
    let Some(call) = call else {
        return Ok(None);
    };
    let tool = table.tool(&call.tool);
    let action_type = tool.map_or("tool.unknown", |tool| tool.action_type.as_str());
    let fields = tool.map_or(&[][..], |tool| &tool.fields);
    let given =
        fields.iter().find_map(|field| call.input.get(field)).map_or_else(String::new, text);
    let mut context = Map::new();
    context.insert("cli".into(), cli.word().into());
    context.insert("tool".into(), call.tool.clone().into());
    for field in ["cwd", "permission_mode", "agent_type", "model"] {
        if let Some(value) = payload.get(field) {
            context.insert(field.into(), value.clone());
        }
    }
    // A shell tool may name the folder of this one command.
    for field in ["workdir", "dir_path", "directory"] {
        let folder = call.input.get(field).and_then(Value::as_str);
        if let Some(folder) = folder.filter(|_| action_type == "shell.run") {
            context.insert("cwd".into(), folder.into());
        }
    }
    let mut resource = given;
    if tool.is_some_and(|tool| tool.patch) {
        let paths = patched(&resource);
        if paths.is_empty() {
            return Err(PayloadError::Missing("file in the patch"));
        }
        resource.clone_from(&paths[0]);
        context.insert("paths".into(), paths.into());
    }
    if resource.is_empty() {
        // A shell without a command, a write without a file: nothing that could be judged.
        if ["shell.run", "file.write"].contains(&action_type) {
            return Err(PayloadError::Missing("resource"));
        }
        resource.clone_from(&call.tool);
    }
    if resource.len() > RESOURCE_BYTES_MAX {
        return Err(PayloadError::LongResource(call.tool));
    }
    let ask = Ask {
        org: org.to_owned(),
        agent: agent.to_owned(),
        action_type: action_type.to_owned(),
        resource,
        context,
        cost: Micros(0),
        claimed_risk: None,
        session_id: None,
        parent_action_id: None,
        depth: 0,
        correlation_id: None,
    };
    let id = payload.get("tool_use_id").or_else(|| payload.get("input")?.get("callID"));
    let id = id.and_then(Value::as_str).filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX);
    Ok(Some(Asked {
        event: call.event,
        ask,
        call: id.map(str::to_owned),
        written_bytes: written(&call.input),
        input: digest(call.input),
    }))
}

/// A tool call that came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// As in [`Asked::call`].
    pub call: String,
    pub success: bool,
}

/// Reads that a call ended; `None` where the payload says nothing of the kind.
pub fn ended(cli: Cli, bytes: &[u8]) -> Option<Ended> {
    let payload: Value = serde_json::from_slice(bytes).ok()?;
    let name = payload.get("hook_event_name").or(payload.get("hook"))?.as_str()?;
    let success = match (cli, name) {
        (Cli::Claude | Cli::Codex, "PostToolUse")
        | (Cli::Gemini, "AfterTool")
        | (Cli::Opencode, "tool.execute.after") => true,
        (Cli::Claude | Cli::Codex, "PostToolUseFailure") => false,
        _ => return None,
    };
    let id =
        payload.get("tool_use_id").or_else(|| payload.get("input")?.get("callID"))?.as_str()?;
    Some(Ended { call: id.to_owned(), success })
}

/// What an approval is bound to. A description is the model's own words about the act, not the act.
fn digest(mut input: Map<String, Value>) -> String {
    input.remove("description");
    let fields: std::collections::BTreeMap<String, Value> = input.into_iter().collect();
    let text = serde_json::to_string(&fields).expect("JSON serialises");
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// The texts that the CLIs' writing tools put into files.
fn written(input: &Map<String, Value>) -> Option<u64> {
    const FIELDS: [&str; 5] = ["content", "new_string", "newString", "new_source", "patchText"];
    let texts = |object: &Map<String, Value>| {
        FIELDS
            .iter()
            .filter_map(|field| object.get(*field)?.as_str())
            .map(str::len)
            .reduce(|a, b| a + b)
    };
    let edits = input.get("edits").and_then(Value::as_array);
    let edits = edits.map(|edits| edits.iter().filter_map(|edit| texts(edit.as_object()?)).sum());
    let total = texts(input).or(edits)?;
    u64::try_from(total).ok()
}

struct Call {
    event: Event,
    tool: String,
    input: Map<String, Value>,
}

fn hook_call(cli: Cli, payload: &Map<String, Value>) -> Result<Option<Call>, PayloadError> {
    let name = payload.get("hook_event_name").and_then(Value::as_str);
    let name = name.ok_or(PayloadError::Missing("hook_event_name"))?;
    let event = match (cli, name) {
        (Cli::Claude | Cli::Codex, "PreToolUse") | (Cli::Gemini, "BeforeTool") => Event::Before,
        (Cli::Claude | Cli::Codex, "PermissionRequest") => Event::Permission,
        _ => return Ok(None),
    };
    call(event, payload.get("tool_name"), "tool_name", payload.get("tool_input"), "tool_input")
        .map(Some)
}

/// The plugin hands over its two arguments as `{"hook", "input": {"tool"}, "output": {"args"}}`.
fn plugin_call(payload: &Map<String, Value>) -> Result<Option<Call>, PayloadError> {
    let name = payload.get("hook").or(payload.get("k")).and_then(Value::as_str);
    if name.ok_or(PayloadError::Missing("hook"))? != "tool.execute.before" {
        return Ok(None);
    }
    let inside = |part: &str, field: &str| payload.get(part).and_then(|part| part.get(field));
    call(
        Event::Before,
        inside("input", "tool"),
        "input.tool",
        inside("output", "args"),
        "output.args",
    )
    .map(Some)
}

fn call(
    event: Event,
    tool: Option<&Value>,
    tool_field: &'static str,
    input: Option<&Value>,
    input_field: &'static str,
) -> Result<Call, PayloadError> {
    let tool = tool.and_then(Value::as_str).filter(|tool| !tool.is_empty());
    let tool = tool.ok_or(PayloadError::Missing(tool_field))?.to_owned();
    let input = input.and_then(Value::as_object).ok_or(PayloadError::Missing(input_field))?.clone();
    Ok(Call { event, tool, input })
}

/// A field's text; a command given as a list of words is quoted back into one line.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let words: Vec<String> = items
                .iter()
                .map(|item| {
                    let word = item.as_str().map_or_else(|| item.to_string(), str::to_owned);
                    format!("'{}'", word.replace('\'', r"'\''"))
                })
                .collect();
            words.join(" ")
        }
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// The files a patch names, in the form of `apply_patch` and in that of `diff -u`.
fn patched(patch: &str) -> Vec<String> {
    const HEADS: [&str; 6] = [
        "*** Add File: ",
        "*** Update File: ",
        "*** Delete File: ",
        "*** Move to: ",
        "+++ ",
        "--- ",
    ];
    let mut paths: Vec<String> = patch
        .lines()
        .filter_map(|line| HEADS.iter().find_map(|head| line.strip_prefix(head)))
        .map(|path| path.split('\t').next().unwrap_or_default().trim())
        .map(|path| path.strip_prefix("a/").or(path.strip_prefix("b/")).unwrap_or(path).to_owned())
        .filter(|path| !path.is_empty() && path != "/dev/null")
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! recorded {
        ($path:literal) => {
            include_bytes!(concat!("../../tests/corpus/hooks/", $path))
        };
    }

    fn read(cli: Cli, bytes: &[u8]) -> Result<Option<Asked>, PayloadError> {
        ask(Table::shipped(), cli, "local", "writer", bytes)
    }

    fn check(cli: Cli, bytes: &[u8], action_type: &str, resource: &str) {
        let asked = read(cli, bytes).unwrap().unwrap();
        assert_eq!(
            (asked.ask.action_type.as_str(), asked.ask.resource.as_str()),
            (action_type, resource)
        );
        assert_eq!(asked.ask.agent, "writer");
    }

    #[test]
    fn recorded_payloads_become_asks() {
        check(
            Cli::Claude,
            recorded!("claude/PreToolUse.Read.json"),
            "file.read",
            "/home/dev/project/h2.txt",
        );
        check(
            Cli::Claude,
            recorded!("claude/PreToolUse.Write.json"),
            "file.write",
            "/home/dev/project/h2.txt",
        );
        check(
            Cli::Claude,
            recorded!("claude/PreToolUse.Edit.json"),
            "file.write",
            "/home/dev/project/h2.txt",
        );
        check(
            Cli::Claude,
            recorded!("claude/PreToolUse.Agent.json"),
            "agent.delegate",
            "general-purpose",
        );
        check(
            Cli::Claude,
            recorded!("claude/PreToolUse.Bash.in-subagent.json"),
            "shell.run",
            "ls -la",
        );
        check(
            Cli::Claude,
            recorded!("claude/PermissionRequest.Bash.json"),
            "shell.run",
            "curl -s http://127.0.0.1:1/",
        );
        check(Cli::Codex, recorded!("codex/PreToolUse.stdin.json"), "shell.run", "echo HANG > m3");
        check(
            Cli::Codex,
            recorded!("codex/PermissionRequest.stdin.json"),
            "shell.run",
            "echo PRDENY > m2",
        );
        check(
            Cli::Gemini,
            recorded!("gemini/BeforeTool.stdin.json"),
            "shell.run",
            "echo DENYME > m1",
        );
        check(
            Cli::Opencode,
            recorded!("opencode/tool.execute.before.json"),
            "shell.run",
            "echo DENYME",
        );
    }

    #[test]
    fn an_event_that_asks_nothing_is_none() {
        assert!(read(Cli::Claude, br#"{"hook_event_name":"Stop"}"#).unwrap().is_none());
        assert!(read(Cli::Gemini, br#"{"hook_event_name":"PreToolUse"}"#).unwrap().is_none());
        assert!(read(Cli::Opencode, br#"{"hook":"chat.message"}"#).unwrap().is_none());
    }

    #[test]
    fn an_unknown_tool_is_an_unknown_act_and_an_unreadable_one_an_error() {
        let call = |tool: &str, input: &str| {
            format!(r#"{{"hook_event_name":"PreToolUse","tool_name":{tool},"tool_input":{input}}}"#)
        };
        let asked = read(Cli::Claude, call("\"Frob\"", "{}").as_bytes()).unwrap().unwrap();
        assert_eq!(asked.ask.action_type, "tool.unknown");
        let mcp = read(Cli::Claude, call("\"mcp__db__drop\"", "{}").as_bytes()).unwrap().unwrap();
        assert_eq!(
            (mcp.ask.action_type.as_str(), mcp.ask.resource.as_str()),
            ("mcp.call", "mcp__db__drop")
        );
        for bad in [
            "",
            "{",
            "[]",
            "null",
            "{}",
            r#"{"hook_event_name":5}"#,
            r#"{"hook_event_name":"PreToolUse"}"#,
            &call("5", "{}"),
            &call("\"\"", "{}"),
            &call("\"Bash\"", "[]"),
            &call("\"Bash\"", "{}"),
            &call("\"Write\"", "{\"content\":\"x\"}"),
            &call("\"apply_patch\"", "{\"command\":\"nothing\"}"),
        ] {
            assert!(read(Cli::Claude, bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_patch_names_all_its_files_and_a_list_of_words_is_one_command() {
        let patch = r#"{"hook_event_name":"PreToolUse","tool_name":"apply_patch","cwd":"/p","tool_input":
            {"command":"*** Begin Patch\n*** Update File: src/a.rs\n*** Move to: agents.toml\n*** Add File: b\n*** End Patch"}}"#;
        let asked = read(Cli::Codex, patch.as_bytes()).unwrap().unwrap();
        assert_eq!(asked.ask.context["paths"], serde_json::json!(["agents.toml", "b", "src/a.rs"]));
        assert_eq!(asked.ask.context["cwd"], "/p");
        let words = r#"{"hook_event_name":"PreToolUse","tool_name":"shell","tool_input":{"command":["bash","-lc","echo 'x'"]}}"#;
        check(Cli::Codex, words.as_bytes(), "shell.run", r"'bash' '-lc' 'echo '\''x'\'''");
    }
}
