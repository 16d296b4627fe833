//! What an agent was declared to do: globs of action types and of resources in its config.
//!
//! What is declared bounds every level of trust; what is absent leaves all that trust allows. An empty list
//! is a declaration too: nothing.

use super::assess::Act;
use super::glob;
use super::verdict::{Effect, Said, Step};

/// Two lists, each absent or binding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Declared {
    /// Globs of action types.
    pub capabilities: Option<Vec<String>>,
    /// Globs of resources.
    pub permissions: Option<Vec<String>>,
}

impl Declared {
    /// A denial when the act lies outside; `None` when it lies within.
    pub fn says(&self, act: &Act) -> Option<Said> {
        let deny = |rule: &str, why: String| Said {
            step: Step::Declared,
            rule: rule.to_owned(),
            effect: Effect::Deny,
            why,
            shadow: false,
        };
        let outside = |list: &Option<Vec<String>>, text: &str| {
            list.as_ref().is_some_and(|list| !glob::any(list, text))
        };
        if outside(&self.capabilities, &act.action_type) {
            return Some(deny("capabilities", format!("`{}` is not declared", act.action_type)));
        }
        if outside(&self.permissions, &act.resource) {
            return Some(deny("permissions", format!("`{}` is not declared", act.resource)));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::govern::class::Class;

    #[test]
    fn what_is_not_declared_is_denied_and_no_list_binds_nothing() {
        let act = |action_type: &str, resource: &str| Act {
            action_type: action_type.into(),
            resource: resource.into(),
            class: Class::Observe,
            risk: 0,
        };
        let list = |items: &[&str]| Some(items.iter().map(|item| (*item).to_owned()).collect());
        let open = Declared::default();
        assert!(open.says(&act("file.read", "/x")).is_none());
        let bound = Declared { capabilities: list(&["file.*"]), permissions: list(&["/p/**"]) };
        assert!(bound.says(&act("file.read", "/p/a/b")).is_none());
        assert_eq!(bound.says(&act("git.push", "/p/a")).unwrap().rule, "capabilities");
        assert_eq!(bound.says(&act("file.read", "/q")).unwrap().rule, "permissions");
        let none = Declared { capabilities: list(&[]), permissions: None };
        assert!(none.says(&act("file.read", "/x")).is_some());
    }
}
