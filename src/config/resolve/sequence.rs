//! `[loop]`: phases, kickoff template, role files, hand-off and completion.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::unit::PlacedAgent;
use super::{Resolver, or};
use crate::base::name::UnitName;
use crate::base::suggest;
use crate::base::template::Template;
use crate::config::diagnostic::Diagnostic;
use crate::config::pattern;
use crate::config::raw::sections::{
    HandoffSection, LoopSection, OnCompleteSection, PhaseSection, Root,
};
use crate::config::raw::{At, quoted};
use crate::config::snippet;
use crate::config::{Handoff, Kind, OnComplete, PhaseStep, Sequence};

/// The slots of a kickoff template.
pub const KICKOFF_SLOTS: [&str; 4] = ["phase_id", "plan", "status", "role"];

const CLAIM_TEXT: &str = "New work was claimed as ready for you. Fetch, look at it and act on it.";
const REVIEW_TEXT: &str = "A review has arrived for you. Fetch, read it and act on it.";
const INBOX_TEXT: &str = "Your inbox has changed. Read it and act on it.";

impl Resolver<'_> {
    pub(super) fn sequence(&mut self, root: &Root, agents: &[PlacedAgent]) -> Option<Sequence> {
        let section = &root.r#loop.as_ref()?.value;
        let text =
            |field: &Option<At<String>>, default: &str| or(field.as_ref(), default.to_owned());
        let kickoff_template = self.kickoff(section);
        let roles_dir = self.path(&text(&section.roles_dir, "prompts"));
        self.check_roles(&roles_dir, agents);
        let phases = self.phases(section, agents);
        let handoff = section.handoff.as_ref().map(|handoff| self.handoff(&handoff.value, agents));
        let on_complete =
            section.on_complete.as_ref().and_then(|found| self.on_complete(&found.value, agents));
        Some(Sequence {
            state_file: self.plain_name("state_file", section.state_file.as_ref(), "phase-idx"),
            resume_phase: or(section.resume_phase.as_ref(), true),
            auto_advance: or(section.auto_advance.as_ref(), true),
            done_marker: self.done_marker(section),
            kickoff_template,
            roles_dir,
            handoff,
            on_complete,
            phases: phases?,
        })
    }

    /// The template's path; the file must be there and know its slots.
    fn kickoff(&mut self, section: &LoopSection) -> PathBuf {
        let default = At { value: "prompts/kickoff.md".to_owned(), span: section.at.clone() };
        let field = section.kickoff_template.as_ref().unwrap_or(&default);
        let path = self.existing("kickoff template", field);
        let Some(text) = (self.read)(&path) else {
            return path;
        };
        for slot in Template::parse(&text).slots() {
            if KICKOFF_SLOTS.contains(&slot.name.as_str()) {
                continue;
            }
            let (line, column) = snippet::position(&text, slot.span.start);
            let near = suggest::nearest(&slot.name, KICKOFF_SLOTS)
                .map_or(String::new(), |near| format!("did you mean `{{{near}}}`? "));
            let known = KICKOFF_SLOTS.map(|slot| format!("{{{slot}}}"));
            self.problems.push(
                Diagnostic::error(format!(
                    "unknown slot `{{{}}}` in the kickoff template, line {line}, column {column}",
                    slot.name
                ))
                .at(&field.span, format!("in `{}`", path.display()))
                .hint(format!(
                    "{near}known: {}; for literal braces write `{{{{{}}}}}`",
                    quoted(&known),
                    slot.name
                )),
            );
        }
        path
    }

    fn check_roles(&mut self, roles_dir: &Path, agents: &[PlacedAgent]) {
        for placed in agents.iter().filter(|placed| placed.agent.kind == Kind::Loop) {
            let (Some(role), Some(at)) = (&placed.agent.role, &placed.role_at) else {
                continue;
            };
            let path = roles_dir.join(format!("{role}.md"));
            if !(self.exists)(&path) {
                self.problems.push(
                    Diagnostic::error(format!("the role `{role}` has no file"))
                        .at(at, "no such role file")
                        .hint(format!("looked for `{}`", path.display())),
                );
            }
        }
    }

    fn phases(&mut self, section: &LoopSection, agents: &[PlacedAgent]) -> Option<Vec<PhaseStep>> {
        let list = self.required(
            "phases",
            "`[loop]`",
            section.phases.as_ref(),
            &section.refused,
            Some(&section.at),
        )?;
        if list.value.is_empty() {
            self.problems.push(
                Diagnostic::error("`[loop]` has no phases")
                    .at(&list.span, "give at least one phase"),
            );
        }
        let mut seen: Vec<&At<String>> = Vec::new();
        let mut steps = Vec::new();
        for phase in &list.value {
            if let Some(id) = &phase.value.id {
                if let Some(first) = seen.iter().find(|first| first.value == id.value) {
                    self.problems.push(
                        Diagnostic::error(format!("the phase `{}` is there twice", id.value))
                            .at(&id.span, "used again here")
                            .at(&first.span, "first defined here"),
                    );
                }
                seen.push(id);
            }
            steps.extend(self.phase(&phase.value, agents));
        }
        Some(steps)
    }

    fn phase(&mut self, section: &PhaseSection, agents: &[PlacedAgent]) -> Option<PhaseStep> {
        let mut given = |name, field| {
            let field: Option<&At<String>> =
                self.required(name, "a phase", field, &section.refused, Some(&section.at));
            field.map(|field| field.value.clone())
        };
        let (id, plan, status) = (
            given("id", section.id.as_ref()),
            given("plan", section.plan.as_ref()),
            given("status", section.status.as_ref()),
        );
        if let Some(id) = section.id.as_ref().filter(|id| id.value.trim().is_empty()) {
            self.problems
                .push(Diagnostic::error("a phase's `id` cannot be empty").at(&id.span, "name it"));
        }
        let mut models = BTreeMap::new();
        let entries = section.models.as_ref().map_or(&[][..], |models| &models.value.0);
        for (role, model) in entries {
            self.check_model_role(role, agents);
            models.insert(role.value.clone(), model.value.clone());
        }
        Some(PhaseStep { id: id?, plan: plan?, status: status?, models })
    }

    fn check_model_role(&mut self, role: &At<String>, agents: &[PlacedAgent]) {
        let mut known: Vec<&str> =
            agents.iter().filter_map(|placed| placed.agent.role.as_deref()).collect();
        known.dedup();
        if known.iter().any(|known| known.eq_ignore_ascii_case(&role.value)) {
            return;
        }
        let near = suggest::nearest(&role.value, known.iter().copied())
            .map_or(String::new(), |near| format!("did you mean `{near}`? "));
        self.problems.push(
            Diagnostic::error(format!("unknown role `{}`", role.value))
                .at(&role.span, "no agent has this role")
                .hint(format!("{near}roles: {}", quoted(&known))),
        );
    }

    fn handoff(&mut self, section: &HandoffSection, agents: &[PlacedAgent]) -> Handoff {
        let text =
            |field: &Option<At<String>>, default: &str| or(field.as_ref(), default.to_owned());
        for (name, field) in
            [("claim_pattern", &section.claim_pattern), ("review_pattern", &section.review_pattern)]
        {
            if let Some(field) = field {
                pattern::check(self.source, name, field, &mut self.problems);
            }
        }
        Handoff {
            repo: self.path(&text(&section.repo, ".")),
            remote: text(&section.remote, "origin"),
            branch: text(&section.branch, "main"),
            claim_pings: self.agent_named("claim_pings", section.claim_pings.as_ref(), agents),
            review_pings: self.agent_named("review_pings", section.review_pings.as_ref(), agents),
            inboxes: section
                .inboxes
                .iter()
                .flat_map(|list| &list.value)
                .map(|name| name.value.clone())
                .collect(),
            claim_pattern: text(&section.claim_pattern, "^claim"),
            review_pattern: text(&section.review_pattern, "^review"),
            state_subdir: text(&section.state_subdir, "machine-docs"),
            claim_text: text(&section.claim_text, CLAIM_TEXT),
            review_text: text(&section.review_text, REVIEW_TEXT),
            inbox_text: text(&section.inbox_text, INBOX_TEXT),
        }
    }

    fn on_complete(
        &mut self,
        section: &OnCompleteSection,
        agents: &[PlacedAgent],
    ) -> Option<OnComplete> {
        let trigger_file =
            self.plain_name("trigger_file", section.trigger_file.as_ref(), ".run-on-complete");
        let run = self.required(
            "run",
            "`on_complete`",
            section.run.as_ref(),
            &section.refused,
            Some(&section.at),
        );
        let run = self.agent_named("run", run, agents)?;
        Some(OnComplete { trigger_file, run })
    }

    /// The agent of that name, or a report that there is none.
    fn agent_named(
        &mut self,
        key: &str,
        field: Option<&At<String>>,
        agents: &[PlacedAgent],
    ) -> Option<UnitName> {
        let field = field?;
        let found = agents.iter().find(|placed| placed.agent.name.as_str() == field.value);
        if found.is_none() {
            let known: Vec<&str> = agents.iter().map(|placed| placed.agent.name.as_str()).collect();
            let near = suggest::nearest(&field.value, known.iter().copied())
                .map_or(String::new(), |near| format!("did you mean `{near}`? "));
            self.problems.push(
                Diagnostic::error(format!("`{key}` names an unknown agent `{}`", field.value))
                    .at(&field.span, "no agent has this name")
                    .hint(format!("{near}agents: {}", quoted(&known))),
            );
        }
        found.map(|placed| placed.agent.name.clone())
    }

    fn done_marker(&mut self, section: &LoopSection) -> String {
        if let Some(field) =
            section.done_marker.as_ref().filter(|field| field.value.trim().is_empty())
        {
            self.problems.push(
                Diagnostic::error("`done_marker` cannot be empty")
                    .at(&field.span, "every line would end the phase"),
            );
        }
        or(section.done_marker.as_ref(), "## DONE".to_owned())
    }

    /// A file name that stays in the folder it is for.
    fn plain_name(&mut self, key: &str, field: Option<&At<String>>, default: &str) -> String {
        let outside = |name: &str| {
            name.is_empty() || Path::new(name).is_absolute() || name.split('/').any(|p| p == "..")
        };
        if let Some(field) = field.filter(|field| outside(&field.value)) {
            self.problems.push(
                Diagnostic::error(format!("`{key}` must stay in its folder"))
                    .at(&field.span, "write a plain file name"),
            );
        }
        or(field, default.to_owned())
    }
}
