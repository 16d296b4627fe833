//! A checked config as a document for programs: the shape of the file, every default filled in.
//!
//! A wire format of its own: its field names are those of `agents.toml` and do not follow renames of
//! our types. Durations are seconds; what is not set is left out. Presets are not merged in here.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::section::backend::BackendSection;
use super::{Agent, Config, Prompt, Sequence, Service, Watchdog};

/// Grows when a field changes its meaning or goes away; not when one is added.
const VERSION: u32 = 1;

/// `{"version": 1, "config": {…}}`.
pub fn document(config: &Config) -> Value {
    json!({ "version": VERSION, "config": whole(config) })
}

fn whole(config: &Config) -> Value {
    let agents: Vec<Value> = config.agents.iter().map(agent).collect();
    let services: Vec<Value> = config.services.iter().map(service).collect();
    let backends: Map<String, Value> =
        config.backends.iter().map(|(name, section)| (name.clone(), backend(section))).collect();
    compact(json!({
        "file": path(&config.file),
        "defaults": {
            "session_prefix": config.session_prefix,
            "project_dir": path(&config.project_dir),
            "log_dir": path(&config.log_dir),
            "env": config.env,
            "max_starting": config.starts.max_starting,
            "start_stagger": seconds(config.starts.stagger),
            "account_start_spacing": seconds(config.starts.account_spacing),
            "start_pressure_max": config.starts.pressure_max_percent,
        },
        "watchdog": watchdog(&config.watchdog),
        "tmux": {
            "socket": config.tmux.socket,
            "width": config.tmux.width,
            "height": config.tmux.height,
        },
        "notify": {
            "command": config.notify.command,
            "bell": config.notify.bell,
            "quiet_hours": config.notify.quiet_hours.map(|hours| {
                let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
                format!("{}-{}", clock(hours.from_minute), clock(hours.to_minute))
            }),
            "repeat_after": seconds(config.notify.repeat_after),
        },
        "agent": agents,
        "service": services,
        "backend": backends,
        "loop": config.sequence.as_ref().map(sequence),
    }))
}

fn watchdog(watchdog: &Watchdog) -> Value {
    json!({
        "signal_interval": seconds(watchdog.signal_interval),
        "heavy_interval": seconds(watchdog.heavy_interval),
        "limit_probe_fallback": seconds(watchdog.limit_probe_fallback),
        "limit_reset_slack": seconds(watchdog.limit_reset_slack),
        "limit_probe_text": watchdog.limit_probe_text,
        "stall_nudge_text": watchdog.stall_nudge_text,
        "stall_grace": seconds(watchdog.stall_grace),
        "max_wait": seconds(watchdog.max_wait),
        "max_limit_window": seconds(watchdog.max_limit_window),
        "max_restarts": watchdog.max_restarts,
        "stop_grace": seconds(watchdog.stop_grace),
        "log_bytes_max": watchdog.log_bytes_max,
    })
}

fn agent(agent: &Agent) -> Value {
    let (prompt, prompt_file) = match &agent.prompt {
        Prompt::Inline(text) => (Some(text.clone()), None),
        Prompt::File(file) => (None, Some(path(file))),
        Prompt::None | Prompt::Kickoff => (None, None),
    };
    json!({
        "name": agent.name,
        "session": agent.session,
        "kind": agent.kind.word(),
        "backend": agent.backend,
        "model": agent.model,
        "dir": path(&agent.dir),
        "role": agent.role,
        "resume": agent.resume,
        "watch": agent.watch.word(),
        "enabled": agent.enabled,
        "wake": agent.wake.as_ref().map(|wake| json!({
            "interval": seconds(wake.interval),
            "prompt_file": path(&wake.prompt_file),
        })),
        "prompt": prompt,
        "prompt_file": prompt_file,
        "log_signature": agent.log_signature,
        "account": agent.account,
        "hooks": agent.hooks,
        "on_limit": agent.on_limit.as_ref().map(|on_limit| json!({
            "backend": on_limit.backend,
            "model": on_limit.model,
        })),
        "env": agent.env,
    })
}

fn service(service: &Service) -> Value {
    json!({
        "name": service.name,
        "session": service.session,
        "command": service.command,
        "dir": path(&service.dir),
        "enabled": service.enabled,
        "env": service.env,
    })
}

fn backend(section: &BackendSection) -> Value {
    json!({
        "preset": section.preset,
        "bin": section.bin,
        "flags": section.flags,
        "preamble": section.preamble,
        "prompt_delivery": section.prompt_delivery.map(super::section::backend::PromptDelivery::word),
        "attach": section.attach,
        "server": section.server,
        "remote_control": section.remote_control,
        "supports_resume": section.supports_resume,
        "resume_flag": section.resume_flag,
        "session_id_flag": section.session_id_flag,
        "model_flag": section.model_flag,
        "remote_control_flag": section.remote_control_flag,
        "resume_failed_re": section.resume_failed_re,
        "model_env": section.model_env,
        "process_name": section.process_name,
        "submit_key": section.submit_key,
        "submit_delay": section.submit_delay.map(seconds),
        "quit_keys": section.quit_keys,
        "connect_delay": section.connect_delay.map(seconds),
        "ready_re": section.ready_re,
        "stall_idle": section.stall_idle.map(seconds),
        "log_grace": section.log_grace.map(seconds),
        "footer_ui": section.footer_ui,
        "live_lines": section.live_lines,
        "paste_chars_max": section.paste_chars_max,
        "paste_lines_max": section.paste_lines_max,
        "busy_input": section.busy_input,
        "holder": section.holder.map(super::section::backend::Holder::word),
        "account": section.account,
        "limit_dismiss_keys": section.limit_dismiss_keys,
        "active_re": section.active_re,
        "limit_re": section.limit_re,
        "fatal_re": section.fatal_re,
        "waiting_re": section.waiting_re,
        "idle_re": section.idle_re,
        "env": section.env,
        "detect": section.detect,
        "proven": section.proven,
    })
}

fn sequence(sequence: &Sequence) -> Value {
    let phases: Vec<Value> = sequence
        .phases
        .iter()
        .map(|phase| {
            json!({
                "id": phase.id, "plan": phase.plan, "status": phase.status, "models": phase.models,
            })
        })
        .collect();
    json!({
        "state_file": sequence.state_file,
        "resume_phase": sequence.resume_phase,
        "auto_advance": sequence.auto_advance,
        "done_marker": sequence.done_marker,
        "kickoff_template": path(&sequence.kickoff_template),
        "roles_dir": path(&sequence.roles_dir),
        "handoff": sequence.handoff.as_ref().map(|handoff| json!({
            "repo": path(&handoff.repo),
            "remote": handoff.remote,
            "branch": handoff.branch,
            "claim_pings": handoff.claim_pings,
            "review_pings": handoff.review_pings,
            "inboxes": handoff.inboxes,
            "claim_pattern": handoff.claim_pattern,
            "review_pattern": handoff.review_pattern,
            "state_subdir": handoff.state_subdir,
            "claim_text": handoff.claim_text,
            "review_text": handoff.review_text,
            "inbox_text": handoff.inbox_text,
        })),
        "on_complete": sequence.on_complete.as_ref().map(|on_complete| json!({
            "trigger_file": on_complete.trigger_file,
            "run": on_complete.run,
        })),
        "phases": phases,
    })
}

/// Seconds, whole where they are.
fn seconds(duration: Duration) -> Value {
    if duration.subsec_nanos() == 0 {
        duration.as_secs().into()
    } else {
        duration.as_secs_f64().into()
    }
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Without what is not set: nulls and empty tables.
fn compact(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().map(|(name, value)| (name, compact(value))).filter(
                |(_, value)| {
                    !value.is_null() && value.as_object().is_none_or(|map| !map.is_empty())
                },
            );
            Value::Object(kept.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(compact).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}
