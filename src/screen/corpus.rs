//! The recorded panes of real CLIs, inside the binary, so that `ao selftest` needs nothing else.
//!
//! `tests/corpus/expected.tsv` says what each pane says; a test compares its list with this one and with
//! the folder, so that a pane cannot be forgotten.

/// One recorded pane and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedPane {
    /// Path under `tests/corpus`.
    pub file: &'static str,
    pub text: &'static str,
    /// The preset that reads it.
    pub backend: &'static str,
    /// The word of the state.
    pub expected: &'static str,
    /// When the printed limit ends: an instant, `+<seconds>s` from the capture, or `-`.
    pub reset: &'static str,
    pub note: &'static str,
}

const EXPECTED: &str = include_str!("../../tests/corpus/expected.tsv");

macro_rules! recorded {
    ($($file:literal,)*) => {
        const TEXTS: &[(&str, &str)] =
            &[$(($file, include_str!(concat!("../../tests/corpus/", $file))),)*];
    };
}

/// All recorded panes, in the order of their table.
pub fn panes() -> Vec<RecordedPane> {
    let rows = EXPECTED.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    rows.filter_map(|row| {
        let mut columns = row.split('\t');
        let file = columns.next()?;
        let (_, text) = TEXTS.iter().find(|(name, _)| *name == file)?;
        let (backend, expected) = (columns.next()?, columns.next()?);
        let (reset, note) = (columns.next().unwrap_or("-"), columns.next().unwrap_or("-"));
        Some(RecordedPane { file, text, backend, expected, reset, note })
    })
    .collect()
}

/// The files whose text the binary holds.
pub fn files() -> impl Iterator<Item = &'static str> {
    TEXTS.iter().map(|(file, _)| *file)
}

/// How often a pane of one state was read as another: rows `expected`, `read`, count, by name.
pub fn confusion(
    results: &[(&'static str, super::PaneState)],
) -> std::collections::BTreeMap<(&'static str, &'static str), usize> {
    let mut matrix = std::collections::BTreeMap::new();
    for (expected, read) in results {
        *matrix.entry((*expected, read.word())).or_insert(0) += 1;
    }
    matrix
}

recorded! {
    "claude-code/fatal-400-credit-too-low.ansi",
    "claude-code/fatal-400-credit-too-low.txt",
    "claude-code/fatal-400-generic.txt",
    "claude-code/fatal-400-prompt-too-long.txt",
    "claude-code/fatal-400-redacted-thinking.ansi",
    "claude-code/fatal-400-redacted-thinking.txt",
    "claude-code/fatal-401-invalid-key.ansi",
    "claude-code/fatal-401-invalid-key.txt",
    "claude-code/fatal-403-permission.txt",
    "claude-code/fatal-404-model.txt",
    "claude-code/fatal-413-too-large.txt",
    "claude-code/fatal-429-api-key.ansi",
    "claude-code/fatal-429-api-key.txt",
    "claude-code/fatal-429-server-temporarily-limiting.txt",
    "claude-code/fatal-500.txt",
    "claude-code/fatal-529-overloaded.ansi",
    "claude-code/fatal-529-overloaded.txt",
    "claude-code/fatal-bad-flag.txt",
    "claude-code/fatal-not-logged-in.ansi",
    "claude-code/fatal-not-logged-in.txt",
    "claude-code/fatal-onboarding-no-network.txt",
    "claude-code/fatal-response-stopped-arriving.ansi",
    "claude-code/fatal-response-stopped-arriving.txt",
    "claude-code/fatal-resume-unknown-session.txt",
    "claude-code/fatal-root-refused.txt",
    "claude-code/fatal-session-id-in-use.txt",
    "claude-code/idle-after-background-shell.txt",
    "claude-code/idle-after-compact.txt",
    "claude-code/idle-after-permission-rejected.txt",
    "claude-code/idle-after-subagent.txt",
    "claude-code/idle-after-turn-fullscreen.ansi",
    "claude-code/idle-after-turn-fullscreen.txt",
    "claude-code/idle-after-turn.ansi",
    "claude-code/idle-after-turn.txt",
    "claude-code/idle-background-shell-running.ansi",
    "claude-code/idle-background-shell-running.txt",
    "claude-code/idle-bypass-mode.ansi",
    "claude-code/idle-bypass-mode.txt",
    "claude-code/idle-exited-resume-hint.txt",
    "claude-code/idle-false-positive-esc-to-interrupt-in-transcript.txt",
    "claude-code/idle-first-start-auto-mode.ansi",
    "claude-code/idle-first-start-auto-mode.txt",
    "claude-code/idle-fullscreen-after-long-turn.txt",
    "claude-code/idle-hook-blocked-tool.txt",
    "claude-code/idle-interrupted-by-escape.ansi",
    "claude-code/idle-interrupted-by-escape.txt",
    "claude-code/idle-limit-warning-95pct-in-footer.ansi",
    "claude-code/idle-limit-warning-95pct-in-footer.txt",
    "claude-code/idle-max-tokens.txt",
    "claude-code/idle-message-sent-while-limit-armed.txt",
    "claude-code/idle-mode-acceptEdits.txt",
    "claude-code/idle-mode-auto.txt",
    "claude-code/idle-mode-dontAsk.txt",
    "claude-code/idle-mode-manual.txt",
    "claude-code/idle-mode-plan.txt",
    "claude-code/idle-not-logged-in.txt",
    "claude-code/idle-refusal.txt",
    "claude-code/idle-resumed.txt",
    "claude-code/idle-stale-error-above.txt",
    "claude-code/idle-transcript-view-ctrl-o.txt",
    "claude-code/idle-with-statusline.txt",
    "claude-code/limited-api-usage-cap-regain-access.txt",
    "claude-code/limited-dialog-rate-limit-options.ansi",
    "claude-code/limited-dialog-rate-limit-options.txt",
    "claude-code/limited-five-hour-autocontinue-cancelled.txt",
    "claude-code/limited-five-hour-autocontinue.ansi",
    "claude-code/limited-five-hour-autocontinue.txt",
    "claude-code/limited-five-hour-dialog-dismissed.ansi",
    "claude-code/limited-five-hour-dialog-dismissed.txt",
    "claude-code/limited-five-hour-on-the-hour.txt",
    "claude-code/limited-opus-weekly.txt",
    "claude-code/limited-seven-day-overage-included.txt",
    "claude-code/limited-sonnet-weekly.txt",
    "claude-code/limited-weekly-autocontinue-80x24.ansi",
    "claude-code/limited-weekly-autocontinue-80x24.txt",
    "claude-code/limited-weekly-days-away-minutes.txt",
    "claude-code/limited-weekly-days-away.txt",
    "claude-code/limited-weekly-dialog-60x24.txt",
    "claude-code/limited-weekly-next-year.txt",
    "claude-code/starting-blank.txt",
    "claude-code/waiting-apikey-prompt.ansi",
    "claude-code/waiting-apikey-prompt.txt",
    "claude-code/waiting-bypass-dialog.ansi",
    "claude-code/waiting-bypass-dialog.txt",
    "claude-code/waiting-mcp-approval-dialog.txt",
    "claude-code/waiting-permission-bash.ansi",
    "claude-code/waiting-permission-bash.txt",
    "claude-code/waiting-permission-edit.ansi",
    "claude-code/waiting-permission-edit.txt",
    "claude-code/waiting-permission-fetch.txt",
    "claude-code/waiting-permission-write.ansi",
    "claude-code/waiting-permission-write.txt",
    "claude-code/waiting-plan-approval.ansi",
    "claude-code/waiting-plan-approval.txt",
    "claude-code/waiting-question.ansi",
    "claude-code/waiting-question.txt",
    "claude-code/waiting-rewind-dialog.txt",
    "claude-code/waiting-settings-error-dialog.txt",
    "claude-code/waiting-trust-dialog.ansi",
    "claude-code/waiting-trust-dialog.txt",
    "claude-code/working-220x50.ansi",
    "claude-code/working-220x50.txt",
    "claude-code/working-80x24.ansi",
    "claude-code/working-80x24.txt",
    "claude-code/working-background-subagent.ansi",
    "claude-code/working-background-subagent.txt",
    "claude-code/working-bash-running.ansi",
    "claude-code/working-bash-running.txt",
    "claude-code/working-compacting.ansi",
    "claude-code/working-compacting.txt",
    "claude-code/working-fullscreen-80x24.txt",
    "claude-code/working-fullscreen-bash.ansi",
    "claude-code/working-fullscreen-bash.txt",
    "claude-code/working-hang-60s.txt",
    "claude-code/working-many-queued-messages.txt",
    "claude-code/working-mode-acceptEdits.txt",
    "claude-code/working-mode-auto.txt",
    "claude-code/working-mode-dontAsk.txt",
    "claude-code/working-mode-manual.txt",
    "claude-code/working-mode-plan.txt",
    "claude-code/working-pretooluse-hook-pending.ansi",
    "claude-code/working-pretooluse-hook-pending.txt",
    "claude-code/working-retry-401.txt",
    "claude-code/working-retry-429.txt",
    "claude-code/working-retry-500.txt",
    "claude-code/working-retry-529.ansi",
    "claude-code/working-retry-529.txt",
    "claude-code/working-retry-connection-refused.ansi",
    "claude-code/working-retry-connection-refused.txt",
    "claude-code/working-retry-no-response.txt",
    "claude-code/working-silent-60s.ansi",
    "claude-code/working-silent-60s.txt",
    "claude-code/working-streaming-text.ansi",
    "claude-code/working-streaming-text.txt",
    "claude-code/working-thinking.ansi",
    "claude-code/working-thinking.txt",
    "claude-code/working-with-queued-message-80x24.txt",
    "claude-code/working-with-statusline.txt",
    "claude-code/working-with-typed-text-80x24.txt",
    "gemini/fatal-400-120x40.ansi",
    "gemini/fatal-401-120x40.ansi",
    "gemini/limit-429-120x40.txt",
    "opencode/attach-idle-home-80x24.txt",
    "opencode/attach-working-80x24.txt",
    "opencode/fatal-400-80x24.ansi",
    "opencode/fatal-400-80x24.txt",
    "opencode/fatal-401-80x24.ansi",
    "opencode/fatal-401-80x24.txt",
    "opencode/fatal-404-80x24.ansi",
    "opencode/fatal-404-80x24.txt",
    "opencode/fatal-500-80x24.ansi",
    "opencode/fatal-500-80x24.txt",
    "opencode/idle-after-limit-recovered-80x24.txt",
    "opencode/idle-after-permission-escape-80x24.txt",
    "opencode/idle-after-permission-rejected-80x24.txt",
    "opencode/idle-after-queued-80x24.txt",
    "opencode/idle-after-tool-80x24.txt",
    "opencode/idle-after-turn-220x50.ansi",
    "opencode/idle-after-turn-220x50.txt",
    "opencode/idle-after-turn-80x24.ansi",
    "opencode/idle-after-turn-80x24.txt",
    "opencode/idle-composer-with-big-paste-80x24.txt",
    "opencode/idle-home-220x50.txt",
    "opencode/idle-home-80x24.ansi",
    "opencode/idle-home-80x24.txt",
    "opencode/idle-interrupted-80x24.txt",
    "opencode/idle-looking-attach-server-gone-80x24.ansi",
    "opencode/idle-looking-attach-server-gone-80x24.txt",
    "opencode/limited-429-esc-once-220x50.txt",
    "opencode/limited-429-retrying-220x50.ansi",
    "opencode/limited-429-retrying-220x50.txt",
    "opencode/limited-429-retrying-80x24.ansi",
    "opencode/limited-429-retrying-80x24.txt",
    "opencode/limited-insufficient_quota-80x24.ansi",
    "opencode/limited-insufficient_quota-80x24.txt",
    "opencode/limited-usage_limit_reached-80x24.txt",
    "opencode/limited-usage_limit_reached-final-80x24.ansi",
    "opencode/limited-usage_limit_reached-final-80x24.txt",
    "opencode/limited-zen-free-220x50.txt",
    "opencode/limited-zen-free-80x24.ansi",
    "opencode/limited-zen-free-80x24.txt",
    "opencode/limited-zen-go-220x50.ansi",
    "opencode/limited-zen-go-220x50.txt",
    "opencode/limited-zen-go-80x24.ansi",
    "opencode/limited-zen-go-80x24.txt",
    "opencode/retrying-500-80x24.ansi",
    "opencode/retrying-500-80x24.txt",
    "opencode/starting-serve-120x30.txt",
    "opencode/waiting-permission-80x24.ansi",
    "opencode/waiting-permission-80x24.txt",
    "opencode/waiting-permission-bash-80x24.ansi",
    "opencode/waiting-permission-bash-80x24.txt",
    "opencode/waiting-question-80x24.ansi",
    "opencode/waiting-question-80x24.txt",
    "opencode/working-drop-looping-80x24.ansi",
    "opencode/working-drop-looping-80x24.txt",
    "opencode/working-drop-retrying-80x24.txt",
    "opencode/working-early-80x24.ansi",
    "opencode/working-early-80x24.txt",
    "opencode/working-message-queued-80x24.ansi",
    "opencode/working-message-queued-80x24.txt",
    "opencode/working-plugin-deny-80x24.ansi",
    "opencode/working-plugin-deny-80x24.txt",
    "opencode/working-streaming-220x50.ansi",
    "opencode/working-streaming-220x50.txt",
    "opencode/working-streaming-80x24.ansi",
    "opencode/working-streaming-80x24.txt",
    "opencode/working-thinking-80x24.ansi",
    "opencode/working-thinking-80x24.txt",
    "opencode/working-tool-220x50.txt",
    "opencode/working-tool-80x24.ansi",
    "opencode/working-tool-80x24.txt",
    "opencode/working-waiting-for-model-80x24.txt",
}
