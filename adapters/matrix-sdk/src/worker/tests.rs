//! Schedules of the worker.
