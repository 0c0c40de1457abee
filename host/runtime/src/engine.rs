//! The one constructor of every wasmtime engine: those that compile, load and
//! run. Two configurations that drift apart would refuse each other's artifacts.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
};

/// How often a running guest is interrupted to let others run.
pub(crate) const TICK: Duration = Duration::from_millis(2);

/// Slots beyond which the guard pages alone use up the kernel's default limit
/// of memory mappings.
const MOST_SLOTS: u32 = 8_000;

/// Pools at most. Each worker has one as long as there are no more workers than this.
const MOST_POOLS: usize = 4;

/// The engines that run components.
///
/// All take the same artifacts. Those with a pool are as many as workers, since the counters of a
/// pool and of the code loaded into it are written by every instance: two cores that share them
/// hold each other up. The one without a pool serves when every slot of a pool is taken, at about
/// five times the cost of an instance.
pub(crate) struct Engines {
    /// The one without a pool again, if there can be none.
    first: Engine,
    others: Vec<Engine>,
    pub(crate) on_demand: Engine,
}

impl Engines {
    /// Makes the engines, with `slots` shared out among the pools of `workers`, and starts the
    /// thread that advances their epochs, which ends when the engines are dropped.
    pub(crate) fn new(slots: u32, workers: usize) -> wasmtime::Result<Self> {
        let on_demand = compiler()?;
        let slots = slots.min(MOST_SLOTS).min(mappings() / 8);
        let count = workers.clamp(1, MOST_POOLS).min(slots.max(1) as usize);
        let each = slots.div_ceil(count as u32);
        let made = || -> wasmtime::Result<(Engine, Vec<Engine>)> {
            let others: wasmtime::Result<_> = (1..count).map(|_| pooled(each)).collect();
            Ok((pooled(each)?, others?))
        };
        // Without enough address space, or on a kernel that says no to the
        // reservation, everything still runs from the other engine.
        let (first, others) = made().unwrap_or_else(|error| {
            tracing::warn!(%error, "instances come from no pool and start slower");
            (on_demand.clone(), Vec::new())
        });
        let engines = Self {
            first,
            others,
            on_demand,
        };
        engines.tick()?;
        Ok(engines)
    }

    /// The engines that new instances come from, if they have a free slot.
    pub(crate) fn pools(&self) -> (&Engine, &[Engine]) {
        (&self.first, &self.others)
    }

    fn tick(&self) -> wasmtime::Result<()> {
        let engines: Vec<_> = self
            .others
            .iter()
            .chain([&self.on_demand])
            // Without a pool it is the same again, and would age twice as fast.
            .chain((!Engine::same(&self.first, &self.on_demand)).then_some(&self.first))
            .map(Engine::weak)
            .collect();
        std::thread::Builder::new()
            .name("nexus-epoch".to_owned())
            .spawn(move || {
                loop {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "this thread has nothing else to do and is no executor's"
                    )]
                    std::thread::sleep(TICK);
                    let mut alive = false;
                    for engine in &engines {
                        if let Some(engine) = engine.upgrade() {
                            engine.increment_epoch();
                            alive = true;
                        }
                    }
                    if !alive {
                        return;
                    }
                }
            })?;
        Ok(())
    }
}

/// An engine without a pool: for compiling, and where the pool is exhausted.
pub(crate) fn compiler() -> wasmtime::Result<Engine> {
    Engine::new(&config())
}

/// What decides whether an artifact fits: wasmtime's version, the target and
/// every setting that generated code depends on.
pub(crate) fn fingerprint(engine: &Engine) -> [u8; 32] {
    struct Collect(Sha256);
    impl Hasher for Collect {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut collect = Collect(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut collect);
    collect.0.finalize().into()
}

fn config() -> Config {
    let mut config = Config::new();
    config
        // The world has synchronous functions only; see the invoke path.
        .concurrency_support(false)
        .epoch_interruption(true)
        .consume_fuel(false)
        .cranelift_opt_level(OptLevel::Speed)
        // A replay has to see the same bits.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        // Stacks are never readable by guests; zeroing them costs half the
        // throughput of the second core.
        .async_stack_zeroing(false);
    config
}

fn pooled(slots: u32) -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_memories(slots)
        .total_stacks(slots)
        .total_core_instances(slots.saturating_mul(4))
        .total_tables(slots.saturating_mul(2))
        .max_unused_warm_slots(slots.min(1_000))
        .decommit_batch_size(1)
        // Together these turn the reset of a slot from system calls that
        // serialise all cores into a few copied pages.
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    let mut config = config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// How many memory mappings this process may have.
fn mappings() -> u32 {
    std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(65_530)
}
