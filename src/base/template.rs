//! Templates with `{slot}`s: a slot is `{[a-z_]+}`, every other brace is literal, `{{` and `}}` are braces.
