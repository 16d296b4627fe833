//! Every section of `agents.toml`, field by field, with the words of the reference.
//!
//! The doc comments here are what editors, the JSON Schema and the table of fields show.

use super::Absent::{Is, Means, Nothing, Required};
use super::leaf::{Dollars, Named, OneOrMany};
use super::rule::RuleEntry;
use super::{At, lapse::Lapse, section};
use crate::config::governance::{BudgetWindow, DepthRule, Trust};
use crate::config::section::backend::{Holder, PromptDelivery};
use crate::config::serve::Algorithm;
use crate::config::{Kind, Watch};

section! {
    /// The configuration of one project: its agents, services, backends and phases.
    struct Root in "(top)" {
        /// Cadences and bounds of the supervisor.
        watchdog: WatchdogSection = Nothing,
        /// What every agent inherits; names the project's session prefix and log folder.
        defaults: DefaultsSection = Required,
        /// The tmux server and the size of the windows.
        tmux: TmuxSection = Nothing,
        /// Who is told when something needs a person.
        notify: NotifySection = Nothing,
        /// Governance of agents' actions.
        governance: GovernanceSection = Nothing,
        /// Governance over HTTP.
        serve: ServeSection = Nothing,
        /// How AI CLIs are started, spoken to and read, by name.
        backend: Named<RawBackend> = Nothing,
        /// The agents, one block each.
        agent: Vec<At<AgentSection>> = Nothing,
        /// Supervised commands that are no AI CLI, one block each.
        service: Vec<At<ServiceSection>> = Nothing,
        /// The phase sequence that agents of kind `loop` work through.
        r#loop: LoopSection = Nothing,
    }
}

section! {
    /// Cadences and bounds of the supervisor.
    struct WatchdogSection in "[watchdog]" {
        /// Between light checks: hand-offs, stalls, limits, wakes.
        signal_interval: Lapse = Is("30"),
        /// Between heavy checks: healing and phase advance.
        heavy_interval: Lapse = Is("300"),
        /// How often a limited agent is probed when its reset time cannot be read.
        limit_probe_fallback: Lapse = Is("300"),
        /// Waited past a reset time before the probe.
        limit_reset_slack: Lapse = Is("45"),
        /// Typed once at the end of a usage-limit window, and again after an overload of the provider.
        limit_probe_text: String = Is("\"Continue where you left off.\""),
        /// Typed first to an agent that sits idle, before it is restarted.
        stall_nudge_text: String = Is("\"You have been idle for a while. Continue with your task, or say in a last line WAITING-UNTIL: TIME (as ISO 8601) that you wait on purpose.\""),
        /// Waited past a `WAITING-UNTIL` time before a stall counts.
        stall_grace: Lapse = Is("180"),
        /// The longest believed `WAITING-UNTIL`.
        max_wait: Lapse = Is("\"24h\""),
        /// The longest believed usage-limit window.
        max_limit_window: Lapse = Is("\"8d\""),
        /// Restarts within an hour before an agent or service is left alone as `failed`.
        max_restarts: u32 = Is("10"),
        /// Between SIGTERM and SIGKILL when something is stopped.
        stop_grace: Lapse = Is("5"),
        /// Bytes of one session log before it is rotated.
        log_bytes_max: u64 = Is("16777216"),
    }
}

section! {
    /// What every agent inherits, and what names the project.
    struct DefaultsSection in "[defaults]" {
        /// First part of every tmux session name of the project; unlike any other project's.
        session_prefix: String = Required,
        /// Folder of logs and state.
        log_dir: String = Required,
        /// Backend of agents that name none.
        backend: String = Nothing,
        /// Model of agents on the default backend that name none.
        model: String = Means("the CLI's own choice"),
        /// Working folder of agents and services that name none.
        dir: String = Is("\".\""),
        /// Watch policy of agents that name none.
        watch: Watch = Is("\"heal\""),
        /// Every other relative path starts here; itself relative to the config file.
        project_dir: String = Means("the config file's folder"),
        /// The CLIs of agents tell about themselves through hooks that `up` gives them.
        hooks: bool = Is("true"),
        /// Most agents and services that start at the same time; others wait for their turn.
        max_starting: u32 = Means("no bound"),
        /// Between two starts.
        start_stagger: Lapse = Is("0"),
        /// Between two starts of agents of one account.
        account_start_spacing: Lapse = Is("0"),
        /// Percent of the last 10 s in which something waited for CPU or memory; above it starts wait; one a minute still goes.
        start_pressure_max: u32 = Means("no bound"),
        /// Environment variables of every agent and service.
        env: Named<String> = Nothing,
    }
}

section! {
    /// The tmux server and the size of the windows.
    struct TmuxSection in "[tmux]" {
        /// Name of a tmux server of the project's own (as in `tmux -L`).
        socket: String = Means("the user's default server"),
        /// Columns of new windows.
        width: u16 = Is("200"),
        /// Lines of new windows.
        height: u16 = Is("50"),
    }
}

section! {
    /// Who is told when something needs a person.
    struct NotifySection in "[notify]" {
        /// Run by `sh -c` with the event as JSON on standard input.
        command: String = Nothing,
        /// Ring the bell of attached terminals.
        bell: bool = Is("false"),
        /// Hours of the local clock in which nobody is told anything; it is told when they end.
        quiet_hours: String = Means("none; write \"22:00-07:00\""),
        /// The same about the same agent is told at most this often.
        repeat_after: Lapse = Is("300"),
    }
}

section! {
    /// Governance of agents' actions.
    struct GovernanceSection in "[governance]" {
        /// The store that holds levels, budgets and the audit chain: a file, which several projects may share, or a `postgres://` address, for several machines (docs/postgres.md).
        store: String = Means("`ao.db` in the state folder"),
        /// Folder of the policy files.
        policies: String = Is("\"policies\""),
        /// File of action classes that come before the shipped ones.
        classes: String = Nothing,
        /// Time zone of budgets and schedules that name none.
        zone: String = Is("\"UTC\""),
        /// File of the operator's credential, outside what agents can read.
        operator: String = Means("in the user's own config folder"),
        /// An act waits this long for a person before it is denied.
        approval_timeout: Lapse = Is("\"1h\""),
        /// A hook waits this long for an approval before it answers that there is none yet.
        hook_wait: Lapse = Is("\"10m\""),
        /// A delegated act's depth: as `declared`, or `exact`ly one more than its parent's.
        depth_rule: DepthRule = Is("\"declared\""),
        /// Only registered orchestrators may delegate, and only to their workers.
        enforce_topology: bool = Is("false"),
        /// Acts that one session of delegated acts may have.
        session_actions_max: u32 = Means("no bound"),
        /// US dollars that one session may cost, by what its acts report.
        session_cost_max: Dollars = Means("no bound"),
        /// Limits on money, by name.
        budget: Named<BudgetSection> = Nothing,
        /// Commands that tell policies verified facts, by name.
        source: Named<SourceSection> = Nothing,
    }
}

section! {
    /// Governance over HTTP, by `ao serve`.
    struct ServeSection in "[serve]" {
        /// Webhooks may go to this machine and into private networks, and by plain `http`.
        webhooks_to_private: bool = Is("false"),
        /// The `iss` of tokens that say who a person is, beside those of `ao key token`.
        people_issuer: String = Nothing,
        /// The `aud` that those tokens must have.
        people_audience: String = Is("\"ao\""),
        /// How they are signed.
        people_algorithm: Algorithm = Is("\"EdDSA\""),
        /// File of the key that checks them: an Ed25519 public key (PEM or hex), or the secret of `HS256`.
        people_key: String = Nothing,
    }
}

section! {
    /// A command that tells policies verified facts, such as whether CI is green.
    struct SourceSection in "[governance.source.<name>]" {
        /// Run by `sh -c` in `project_dir`; prints one JSON object of attributes by full name, such as `{"system.ci_green": true}`.
        command: String = Required,
        /// Between two runs.
        every: Lapse = Is("\"5m\""),
        /// What it said is unknown when it is older than this.
        valid: Lapse = Means("three times `every`"),
        /// A run that takes longer has failed.
        timeout: Lapse = Is("\"30s\""),
    }
}

section! {
    /// A limit on money.
    struct BudgetSection in "[governance.budget.<name>]" {
        /// US dollars in a window.
        limit: Dollars = Required,
        /// Calendar `day`, ISO `week` or `month`, in `[governance] zone`.
        window: BudgetWindow = Required,
        /// Agents whose costs count.
        agents: Vec<At<String>> = Means("all agents"),
        /// Percent of the limit at which a person is told.
        warn_at: u16 = Is("80"),
        /// Percent of the limit from which trust is lowered until the window ends.
        downgrade_at: u16 = Is("90"),
        /// The trust that is left then.
        downgrade_to: Trust = Means("`L1`, or one level less than held"),
    }
}

section! {
    /// How an AI CLI is started, spoken to and read.
    struct RawBackend in "[backend.<name>]" {
        /// Take every field that is absent here from a preset: `claude`, `opencode`, `codex`, `gemini` or `demo`.
        preset: String = Means("this table is used exactly as written"),
        /// The program, or a shell command for `prompt_delivery = "exec"`. A launch template.
        bin: String = Means("required without a preset"),
        /// Arguments of every start. A launch template.
        flags: String = Nothing,
        /// Shell code run before the launch, in the same shell.
        preamble: String = Nothing,
        /// How the first prompt arrives: as an argument, typed, or in a file.
        prompt_delivery: PromptDelivery = Is("\"arg\""),
        /// The whole launch line of a `ping` backend. A launch template.
        attach: String = Nothing,
        /// Address for `{server}`.
        server: String = Nothing,
        /// Add `remote_control_flag` to the launch line.
        remote_control: bool = Is("false"),
        /// Whether the CLI can take up an earlier conversation.
        supports_resume: bool = Is("false"),
        /// Added to take up a conversation. A launch template.
        resume_flag: String = Is("\"--resume '{id}'\""),
        /// Added on a first start to choose the conversation's id. A launch template.
        session_id_flag: String = Nothing,
        /// Added when a model is set. A launch template.
        model_flag: String = Is("\"--model '{model}'\""),
        /// Added with `remote_control`. A launch template.
        remote_control_flag: String = Is("\"--remote-control '{session}'\""),
        /// The screen says that the conversation could not be taken up.
        resume_failed_re: String = Nothing,
        /// Pass the model through `OPENCODE_CONFIG_CONTENT`.
        model_env: bool = Is("false"),
        /// The program a healthy pane runs, or several names for it.
        process_name: OneOrMany = Means("never judged by its process"),
        /// tmux key that submits typed text.
        submit_key: String = Is("\"Enter\""),
        /// Between typed text and the submit key.
        submit_delay: Lapse = Nothing,
        /// tmux keys that make the idle CLI leave.
        quit_keys: Vec<At<String>> = Nothing,
        /// The longest wait for the terminal program before typing.
        connect_delay: Lapse = Is("12"),
        /// The screen is ready for the first prompt.
        ready_re: String = Nothing,
        /// Idle time after which a `heal+stall` agent is restarted.
        stall_idle: Lapse = Is("300"),
        /// A log write this recent postpones stall and heal.
        log_grace: Lapse = Is("180"),
        /// A footer stays on screen after a turn.
        footer_ui: bool = Is("false"),
        /// Lines at the bottom of the screen that are read.
        live_lines: u16 = Is("12"),
        /// Characters of a message that are typed rather than put into a file.
        paste_chars_max: u32 = Nothing,
        /// Lines of a message that are typed rather than put into a file.
        paste_lines_max: u32 = Nothing,
        /// The CLI takes text while it works.
        busy_input: bool = Is("false"),
        /// Where a turn lives.
        holder: Holder = Is("\"pane\""),
        /// Agents of one account share its usage limits.
        account: String = Means("the backend's name"),
        /// tmux keys that close a usage-limit dialog.
        limit_dismiss_keys: Vec<At<String>> = Nothing,
        /// The screen says that the agent works.
        active_re: String = Nothing,
        /// The screen shows a usage or rate limit.
        limit_re: String = Nothing,
        /// The screen shows a conversation that cannot go on.
        fatal_re: String = Nothing,
        /// The screen waits for a person.
        waiting_re: String = Nothing,
        /// The screen waits for a prompt.
        idle_re: String = Nothing,
        /// Environment variables of agents on this backend.
        env: Named<String> = Nothing,
        /// Rules that say what a screen means.
        detect: Vec<At<RuleEntry>> = Nothing,
        /// The CLI version the rules were proven on.
        proven: String = Nothing,
    }
}

section! {
    /// One agent: an AI CLI in a tmux session of its own.
    struct AgentSection in "[[agent]]" {
        /// Letters, digits, `_` and `-`; unique.
        name: String = Required,
        /// The tmux session.
        session: String = Means("`session_prefix` and the name"),
        /// `loop` works through the phases, `persistent` stays, `task` runs once.
        kind: Kind = Is("\"persistent\""),
        /// A `[backend.<name>]` table or the name of a preset.
        backend: String = Means("`[defaults] backend`"),
        /// The model.
        model: String = Means("`[defaults] model`, on the default backend"),
        /// Working folder.
        dir: String = Means("`[defaults] dir`"),
        /// Agents of kind `loop`: the role file is `<roles_dir>/<role>.md`.
        role: String = Nothing,
        /// Take up the last conversation at a restart.
        resume: bool = Is("false"),
        /// What the watchdog does: `none`, `heal` or `heal+stall`.
        watch: Watch = Means("`[defaults] watch`"),
        /// Started by a bare `up`, and supervised.
        enabled: bool = Is("true"),
        /// A text typed again and again.
        wake: WakeSection = Nothing,
        /// The first prompt.
        prompt: String = Nothing,
        /// File of the first prompt.
        prompt_file: String = Nothing,
        /// Text that tells this agent's transcripts from others of the same folder.
        log_signature: String = Nothing,
        /// Its acts are judged, recorded and paid for.
        governed: bool = Is("false"),
        /// The level of trust it begins with. Raising it later lifts nobody; lowering it lowers.
        trust: Trust = Is("\"L0\""),
        /// The highest level it can earn.
        trust_max: Trust = Is("\"L4\""),
        /// Globs of action types it may do at any level.
        capabilities: Vec<At<String>> = Means("all that its trust allows"),
        /// Globs of resources it may touch at any level.
        permissions: Vec<At<String>> = Means("all that its trust allows"),
        /// Agents of one account share its usage limits.
        account: String = Means("the backend's `account`"),
        /// What it goes on with while a usage limit lasts.
        on_limit: OnLimitSection = Nothing,
        /// Its CLI tells about itself through hooks that `up` gives it.
        hooks: bool = Means("`[defaults] hooks`"),
        /// Environment variables of this agent.
        env: Named<String> = Nothing,
    }
}

section! {
    /// What an agent goes on with while a usage limit lasts; afterwards it comes back.
    struct OnLimitSection in "[[agent]] on_limit" {
        /// Another backend; its conversation is its own.
        backend: String = Means("the agent's"),
        /// Another model.
        model: String = Means("the agent's, on the same backend"),
    }
}

section! {
    /// A text typed again and again.
    struct WakeSection in "[[agent]] wake" {
        /// Between two wakes.
        interval: Lapse = Required,
        /// File of the text.
        prompt_file: String = Required,
    }
}

section! {
    /// A supervised command that is no AI CLI.
    struct ServiceSection in "[[service]]" {
        /// Letters, digits, `_` and `-`; unique among agents and services.
        name: String = Required,
        /// Run by `sh -c`.
        command: String = Required,
        /// The tmux session.
        session: String = Means("`session_prefix` and the name"),
        /// Working folder.
        dir: String = Means("`[defaults] dir`"),
        /// Started by a bare `up`, and supervised.
        enabled: bool = Is("true"),
        /// Environment variables of this service.
        env: Named<String> = Nothing,
    }
}

section! {
    /// The phase sequence that agents of kind `loop` work through.
    struct LoopSection in "[loop]" {
        /// File of the current phase's index, under `<log_dir>/state/`.
        state_file: String = Is("\"phase-idx\""),
        /// Keep the phase over restarts of the fleet.
        resume_phase: bool = Is("true"),
        /// Go on when the status file of the phase says `done_marker`.
        auto_advance: bool = Is("true"),
        /// The line of a status file that ends a phase.
        done_marker: String = Is("\"## DONE\""),
        /// First part of each loop agent's prompt; slots `{phase_id} {plan} {status} {role}`.
        kickoff_template: String = Is("\"prompts/kickoff.md\""),
        /// Folder of the role files.
        roles_dir: String = Is("\"prompts\""),
        /// Pings through git.
        handoff: HandoffSection = Nothing,
        /// What runs once after the last phase.
        on_complete: OnCompleteSection = Nothing,
        /// The phases, in order; at least one.
        phases: Vec<At<PhaseSection>> = Required,
    }
}

section! {
    /// Pings through git: commits and inbox files.
    struct HandoffSection in "[loop] handoff" {
        /// The repository that is watched.
        repo: String = Is("\".\""),
        /// Its remote; without one the local branch is watched.
        remote: String = Is("\"origin\""),
        /// Its branch.
        branch: String = Is("\"main\""),
        /// Agent that is told of claims.
        claim_pings: String = Nothing,
        /// Agent that is told of reviews.
        review_pings: String = Nothing,
        /// Files whose changes are told to the side they are for.
        inboxes: Vec<At<String>> = Is("[]"),
        /// Commit subjects that claim.
        claim_pattern: String = Is("\"^claim\""),
        /// Commit subjects that review.
        review_pattern: String = Is("\"^review\""),
        /// Folder of status and inbox files in the repository; its root is looked at too.
        state_subdir: String = Is("\"machine-docs\""),
        /// What a claim's ping says.
        claim_text: String = Is("\"New work was claimed as ready for you. Fetch, look at it and act on it.\""),
        /// What a review's ping says.
        review_text: String = Is("\"A review has arrived for you. Fetch, read it and act on it.\""),
        /// What an inbox's ping says.
        inbox_text: String = Is("\"Your inbox has changed. Read it and act on it.\""),
    }
}

section! {
    /// What runs once after the last phase.
    struct OnCompleteSection in "[loop] on_complete" {
        /// The agent runs only if this file stands in `log_dir`; it is used up.
        trigger_file: String = Is("\".run-on-complete\""),
        /// The agent.
        run: String = Required,
    }
}

section! {
    /// One phase.
    struct PhaseSection in "[loop] phases" {
        /// Unique.
        id: String = Required,
        /// The plan's file, for `{plan}`.
        plan: String = Required,
        /// The status file, for `{status}`; says when the phase is done.
        status: String = Required,
        /// Models by role, for this phase only.
        models: Named<String> = Nothing,
    }
}
