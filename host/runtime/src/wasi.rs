//! The virtual WASI: what a standard library needs to start, and no more.
//!
//! No files, no variables, no arguments, no network. Standard output and error
//! are the invocation's log. Random numbers come from a seed of the invocation,
//! and time stands still between events, so that a run can be repeated.

use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use tokio::io::AsyncWrite;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::io::poll::{Host as PollHost, HostPollable};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, io, random};
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamResult};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView,
};

use crate::invocation::Invocation;
use crate::log::Stream;
use crate::state::State;

/// Bytes of one read of random numbers.
const RANDOM_BYTES: u64 = 1 << 20;
/// Bytes of one write to a stream.
const WRITE_BYTES: usize = 64 << 10;

/// Links the virtual WASI.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    io::error::add_to_linker::<State, Table>(linker, |state| &mut state.table)?;
    io::streams::add_to_linker::<State, Table>(linker, |state| &mut state.table)?;
    io::poll::add_to_linker::<State, Poll>(linker, |state| PollView {
        table: &mut state.table,
        invocation: &state.invocation,
    })?;
    clocks::wall_clock::add_to_linker::<State, WasiClocks>(linker, State::clocks)?;
    clocks::monotonic_clock::add_to_linker::<State, WasiClocks>(linker, State::clocks)?;
    random::random::add_to_linker::<State, WasiRandom>(linker, |state| state.ctx().ctx.random())?;
    random::insecure::add_to_linker::<State, WasiRandom>(linker, |state| state.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<State, WasiRandom>(linker, |state| {
        state.ctx().ctx.random()
    })?;
    // No directory is ever opened, so nothing of the file system is reachable.
    filesystem::preopens::add_to_linker::<State, WasiFilesystem>(linker, State::filesystem)?;
    filesystem::types::add_to_linker::<State, WasiFilesystem>(linker, State::filesystem)?;
    cli::exit::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::environment::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::stdin::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::stdout::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::stderr::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    Ok(())
}

/// Makes the WASI side of one invocation. Most guests never ask for it.
pub(crate) fn context(invocation: &Arc<Invocation>, seed: [u8; 32]) -> WasiCtx {
    // Three streams of one generator: none can be told from another's output.
    let stream = |number| {
        let mut random = ChaCha20Rng::from_seed(seed);
        random.set_stream(number);
        random
    };
    let mut hash_seed = [0; 16];
    stream(2).fill_bytes(&mut hash_seed);
    WasiCtxBuilder::new()
        .secure_random(stream(0))
        .insecure_random(stream(1))
        .insecure_random_seed(u128::from_le_bytes(hash_seed))
        .max_random_size(RANDOM_BYTES)
        .wall_clock(GuestClock(Arc::clone(invocation)))
        .monotonic_clock(GuestClock(Arc::clone(invocation)))
        .stdout(Output {
            invocation: Arc::clone(invocation),
            stream: Stream::Out,
        })
        .stderr(Output {
            invocation: Arc::clone(invocation),
            stream: Stream::Err,
        })
        .build()
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (ctx, table) = self.wasi();
        WasiCtxView { ctx, table }
    }
}

struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// Waiting, after which the guest's clock has moved: a sleep is an event.
struct Poll;

impl HasData for Poll {
    type Data<'a> = PollView<'a>;
}

struct PollView<'a> {
    table: &'a mut ResourceTable,
    invocation: &'a Arc<Invocation>,
}

impl PollHost for PollView<'_> {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        let ready = PollHost::poll(self.table, pollables).await;
        self.invocation.clock.advance();
        ready
    }
}

impl HostPollable for PollView<'_> {
    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        let ready = HostPollable::block(self.table, pollable).await;
        self.invocation.clock.advance();
        ready
    }

    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        HostPollable::ready(self.table, pollable).await
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        HostPollable::drop(self.table, pollable)
    }
}

struct GuestClock(Arc<Invocation>);

impl HostWallClock for GuestClock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        self.0.clock.wall()
    }
}

impl HostMonotonicClock for GuestClock {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        self.0.clock.monotonic()
    }
}

/// Standard output or standard error: lines of the log.
#[derive(Clone)]
struct Output {
    invocation: Arc<Invocation>,
    stream: Stream,
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    // The stream of WASI 0.3, which no agent's world has.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.invocation.write_stream(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

    use crate::invocation::Facts;
    use crate::limits::HostLimits;

    fn numbers(seed: u8) -> (u64, u64, (u64, u64)) {
        let facts = Facts {
            id: nexus_gate::InvocationId::new(),
            agent: "test".parse().expect("a name"),
            component: nexus_manifest::Digest::of(b""),
            generation: 1,
            principal: nexus_gate::Principal::new("me"),
            root: nexus_gate::RootOrigin::Interactive,
            chain: Vec::new(),
            chain_class: nexus_gate::EffectClass::Read,
            request_id: None,
        };
        let limits = HostLimits::default();
        let invocation = Invocation::new(facts, &limits, std::collections::BTreeSet::new(), None);
        let mut wasi = context(&invocation, [seed; 32]);
        let ctx = wasi.random();
        (
            random::Host::get_random_u64(ctx).expect("a number"),
            insecure::Host::get_insecure_random_u64(ctx).expect("a number"),
            insecure_seed::Host::insecure_seed(ctx).expect("a number"),
        )
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_no_stream_tells_of_another() {
        assert_eq!(numbers(1), numbers(1));
        let (secure, insecure, (seed, _)) = numbers(1);
        assert_ne!(numbers(1), numbers(2));
        assert!(secure != insecure && secure != seed && insecure != seed);
    }
}
