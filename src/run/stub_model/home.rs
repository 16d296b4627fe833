//! A throwaway home in which a CLI talks to the stub and to nobody else.
//!
//! What each CLI must be told is data of this one file, used by the tests and by `ao selftest --live`. Nothing of
//! the person who runs it is read: the home, every folder of it and the key are made up.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use crate::sys::file::{self, FileError};

/// The key that is no key.
const API_KEY: &str = "sk-ant-api03-stub-0000000000000000000000000000000000000000";

/// How a CLI is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Setup {
    /// It asks before it runs a command.
    pub asks: bool,
    /// Nothing is answered beforehand: its first start shows its dialogs.
    pub bare: bool,
    /// It believes to be on a subscription (limits by the hour and week) instead of an API key.
    pub subscription: bool,
}

/// Lays out the home for the CLI of this preset and answers the environment it is to be started with.
pub fn lay(
    preset: &str,
    home: &Path,
    project: &Path,
    stub_url: &str,
    setup: Setup,
) -> Result<BTreeMap<String, String>, FileError> {
    let at = |name: &str| home.join(name).to_string_lossy().into_owned();
    let mut env: BTreeMap<String, String> = [
        ("HOME", home.to_string_lossy().into_owned()),
        ("XDG_CONFIG_HOME", at(".config")),
        ("XDG_DATA_HOME", at(".local/share")),
        ("XDG_STATE_HOME", at(".local/state")),
        ("XDG_CACHE_HOME", at(".cache")),
        ("NO_PROXY", "127.0.0.1,localhost".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let more = match preset {
        "claude" => claude(home, project, stub_url, setup)?,
        "opencode" => opencode(stub_url, setup),
        "codex" => codex(home, project, stub_url)?,
        "gemini" => gemini(home, stub_url)?,
        _ => Vec::new(),
    };
    env.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Ok(env)
}

fn claude(
    home: &Path,
    project: &Path,
    stub_url: &str,
    setup: Setup,
) -> Result<Vec<(&'static str, String)>, FileError> {
    let folder = home.join(".claude");
    std::fs::create_dir_all(&folder).map_err(|cause| FileError {
        act: "make",
        path: folder.clone(),
        cause,
    })?;
    let mut known = json!({ "hasCompletedOnboarding": true });
    let mut settings = json!({ "tui": "default" });
    if !setup.bare {
        let mut projects = json!({});
        projects[project.to_string_lossy().as_ref()] = json!({ "hasTrustDialogAccepted": true });
        known["projects"] = projects;
        // A key is known by its last 20 characters.
        let tail = &API_KEY[API_KEY.len() - 20..];
        known["customApiKeyResponses"] = json!({ "approved": [tail], "rejected": [] });
        settings["skipDangerousModePermissionPrompt"] = true.into();
    }
    for (name, value) in [(".claude.json", known), ("settings.json", settings)] {
        file::replace(&folder.join(name), value.to_string().as_bytes(), 0o600)?;
    }
    let mut env = vec![
        ("CLAUDE_CONFIG_DIR", folder.to_string_lossy().into_owned()),
        ("ANTHROPIC_BASE_URL", stub_url.to_owned()),
        ("DISABLE_AUTOUPDATER", "1".to_owned()),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".to_owned()),
        // As root it refuses to run without permission prompts unless told that it is in a sandbox.
        ("IS_SANDBOX", "1".to_owned()),
    ];
    if setup.subscription {
        env.push(("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-stub".to_owned()));
    } else {
        env.push(("ANTHROPIC_API_KEY", API_KEY.to_owned()));
    }
    Ok(env)
}

fn opencode(stub_url: &str, setup: Setup) -> Vec<(&'static str, String)> {
    let mut config = json!({
        "autoupdate": false,
        "model": "stub/stub",
        "small_model": "stub/stub",
        "provider": { "stub": {
            "npm": "@ai-sdk/openai-compatible",
            "name": "stub",
            "options": { "baseURL": format!("{stub_url}/v1"), "apiKey": "stub" },
            "models": { "stub": { "name": "stub", "limit": { "context": 200_000, "output": 8_000 } } },
        } },
    });
    if setup.asks {
        config["permission"] = json!({ "bash": "ask", "edit": "ask" });
    }
    vec![
        ("OPENCODE_CONFIG_CONTENT", config.to_string()),
        ("OPENCODE_DISABLE_MODELS_FETCH", "1".to_owned()),
        ("OPENCODE_DISABLE_AUTOUPDATE", "1".to_owned()),
    ]
}

fn codex(
    home: &Path,
    project: &Path,
    stub_url: &str,
) -> Result<Vec<(&'static str, String)>, FileError> {
    let folder = home.join(".codex");
    std::fs::create_dir_all(&folder).map_err(|cause| FileError {
        act: "make",
        path: folder.clone(),
        cause,
    })?;
    // A listed model would be advertised against, or sends its commands as a program instead of calls.
    let config = format!(
        "model = \"stub\"\nmodel_provider = \"stub\"\ncheck_for_update_on_startup = false\n\
         [model_providers.stub]\nname = \"stub\"\nbase_url = \"{stub_url}/v1\"\n\
         wire_api = \"responses\"\nenv_key = \"STUB_API_KEY\"\n\
         [projects.{project:?}]\ntrust_level = \"trusted\"\n",
        project = project.to_string_lossy(),
    );
    file::replace(&folder.join("config.toml"), config.as_bytes(), 0o600)?;
    Ok(vec![
        ("CODEX_HOME", folder.to_string_lossy().into_owned()),
        ("STUB_API_KEY", "stub".to_owned()),
    ])
}

fn gemini(home: &Path, stub_url: &str) -> Result<Vec<(&'static str, String)>, FileError> {
    let folder = home.join(".gemini");
    std::fs::create_dir_all(&folder).map_err(|cause| FileError {
        act: "make",
        path: folder.clone(),
        cause,
    })?;
    let settings = json!({
        "security": { "auth": { "selectedType": "gemini-api-key" } },
        "general": { "enableAutoUpdate": false, "enableAutoUpdateNotification": false },
        "privacy": { "usageStatisticsEnabled": false },
        // A named model: otherwise another model is asked which one to take.
        "model": { "name": "gemini-2.5-pro" },
    });
    file::replace(&folder.join("settings.json"), settings.to_string().as_bytes(), 0o600)?;
    Ok(vec![
        ("GEMINI_CLI_HOME", home.to_string_lossy().into_owned()),
        ("GEMINI_API_KEY", "stub".to_owned()),
        ("GOOGLE_GEMINI_BASE_URL", stub_url.to_owned()),
    ])
}

/// The flags with which the CLI asks before it runs a command; `None`: the setup alone does it.
pub fn asking_flags(preset: &str) -> Option<&'static str> {
    match preset {
        "claude" => Some("--permission-mode default"),
        "codex" => Some(
            "--no-daemon --ask-for-approval on-request --sandbox read-only \
             -c 'tui.terminal_title=[\"spinner\",\"status\",\"project\"]'",
        ),
        "gemini" => Some("--skip-trust"),
        _ => None,
    }
}

/// A call of the tool that runs a command; one that changes nothing would not be asked about.
pub fn command_call(preset: &str) -> super::Answer {
    let (tool, input) = match preset {
        "claude" => ("Bash", json!({ "command": "touch asked", "description": "makes a file" })),
        "codex" => (
            "exec_command",
            json!({
                "cmd": "touch asked",
                "sandbox_permissions": "require_escalated",
                "justification": "It makes a file.",
            }),
        ),
        "gemini" => (
            "run_shell_command",
            json!({ "command": "touch asked", "description": "makes a file" }),
        ),
        _ => ("bash", json!({ "command": "touch asked", "description": "makes a file" })),
    };
    super::Answer::UseTool { tool: tool.to_owned(), input }
}
