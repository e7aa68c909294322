//! Rings without a session (`matrix_voip::ring`): every rule and its boundary, every end in both
//! orders. Between any two events the notes go through their stored bytes.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod chance;
mod group;
mod invite;
mod phone;
