//! The engine against the reference backend.
