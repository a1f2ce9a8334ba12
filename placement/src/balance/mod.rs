//! Routing policies as pure pickers over feasible endpoints.
