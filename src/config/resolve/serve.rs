//! `[serve]`.

use super::{Resolver, or};
use crate::config::Serve;
use crate::config::raw::sections::{Root, ServeSection};

impl Resolver<'_> {
    #[expect(clippy::unused_self, reason = "fields that need checking will come")]
    pub(super) fn serve(&mut self, root: &Root) -> Serve {
        let empty = ServeSection::default();
        let section = root.serve.as_ref().map_or(&empty, |section| &section.value);
        Serve { webhooks_to_private: or(section.webhooks_to_private.as_ref(), false) }
    }
}
