use std::process::ExitCode;

/// A tenth of a busy scheduler's time goes to many small allocations: decoded objects, requests, events.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    chassis::program::main::<edge_scheduler::Scheduler>()
}
