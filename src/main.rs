//! The binary: `loudhailer::cli` does it all.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    loudhailer::cli::main()
}
