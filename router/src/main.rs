use std::process::ExitCode;

fn main() -> ExitCode {
    chassis::program::main::<edge_router::EdgeRouter>()
}
