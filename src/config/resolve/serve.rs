//! `[serve]`.

use super::{Resolver, or};
use crate::config::Serve;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::sections::{Root, ServeSection};
use crate::config::serve::{Algorithm, People};

impl Resolver<'_> {
    pub(super) fn serve(&mut self, root: &Root) -> Serve {
        let empty = ServeSection::default();
        let section = root.serve.as_ref().map_or(&empty, |section| &section.value);
        let people = self.people(section);
        Serve { webhooks_to_private: or(section.webhooks_to_private.as_ref(), false), people }
    }

    fn people(&mut self, section: &ServeSection) -> Option<People> {
        let (issuer, key) = match (&section.people_issuer, &section.people_key) {
            (None, None) => return None,
            (Some(issuer), Some(key)) => (issuer, key),
            (Some(given), None) | (None, Some(given)) => {
                self.problems.push(
                    Diagnostic::error("`people_issuer` and `people_key` go together")
                        .at(&given.span, "the other one is missing"),
                );
                return None;
            }
        };
        if issuer.value.is_empty() || issuer.value == "ao" {
            self.problems.push(
                Diagnostic::error("`people_issuer` is the `iss` of tokens")
                    .at(&issuer.span, "neither empty nor `ao`, which is this server itself"),
            );
        }
        self.existing("key of tokens", key);
        Some(People {
            issuer: issuer.value.clone(),
            audience: section.people_audience.as_ref().map_or("ao", |it| &it.value).to_owned(),
            algorithm: or(section.people_algorithm.as_ref(), Algorithm::EdDsa),
            key: self.path(&key.value),
        })
    }
}
