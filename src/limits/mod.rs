//! Usage limits: banner text to reset instant to window.
