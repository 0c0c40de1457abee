//! What an invocation may use up, and the record of what it used up first.

use std::fmt;
use std::time::Duration;

use wasmtime::ResourceLimiter;

/// The host's limits. A manifest can only lower those that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLimits {
    /// Bytes of all linear memories of an invocation together.
    pub memory: u64,
    /// Time spent computing.
    pub cpu: Duration,
    /// Time on the clock, waiting for people excepted.
    pub wall: Duration,
    /// Elements of all tables of an invocation together.
    pub table_elements: u64,
    /// Core instances of an invocation.
    pub instances: usize,
    /// Linear memories of an invocation, and as many tables times eight.
    pub memories: usize,
    /// Handles that an invocation holds at a time.
    pub handles: usize,
    /// Bytes that one call passes to the host.
    pub host_call_bytes: usize,
    /// Bytes that the host holds for an invocation at a time, beside its memory: requests that are
    /// being put together or under way, inputs of calls, and answers that were not taken.
    pub held_bytes: usize,
    /// Calls of capabilities.
    pub host_calls: u64,
    /// Bytes of log, standard output and standard error; what is beyond is
    /// dropped and counted.
    pub log_bytes: u64,
    /// Bytes of the input.
    pub input_bytes: usize,
    /// Bytes of the output.
    pub output_bytes: usize,
    /// Calls of peers that one invocation may make.
    pub fan_out: u32,
    /// Calls of peers of one chain, all its branches together.
    pub chain_calls: u32,
    /// Agents that may stand in one chain of calls.
    pub depth: usize,
    /// Invocations of one agent at a time, the waiting ones among them.
    pub concurrent_per_agent: usize,
    /// Invocations of all agents at a time, the waiting ones among them.
    pub concurrent: usize,
    /// Bytes of a component.
    pub component_bytes: usize,
}

impl Default for HostLimits {
    fn default() -> Self {
        Self {
            memory: 256 << 20,
            cpu: Duration::from_secs(10),
            wall: Duration::from_secs(300),
            table_elements: 100_000,
            instances: 64,
            memories: 8,
            handles: 1_024,
            host_call_bytes: 4 << 20,
            held_bytes: 64 << 20,
            host_calls: 100_000,
            log_bytes: 1 << 20,
            input_bytes: 3 << 20,
            output_bytes: 3 << 20,
            fan_out: 32,
            chain_calls: 256,
            depth: 8,
            concurrent_per_agent: 1_024,
            concurrent: 4_096,
            component_bytes: 32 << 20,
        }
    }
}

impl HostLimits {
    /// The limits of one agent: the host's own, lowered by the manifest.
    pub(crate) fn lowered(&self, manifest: &nexus_manifest::Limits) -> Self {
        let mut limits = self.clone();
        limits.memory = manifest
            .memory
            .map_or(self.memory, |bytes| bytes.min(self.memory));
        limits.cpu = manifest.cpu.map_or(self.cpu, |time| time.min(self.cpu));
        limits.wall = manifest.wall.map_or(self.wall, |time| time.min(self.wall));
        limits
    }
}

/// A limit that ended an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Limit {
    /// [`HostLimits::memory`], or the number of memories.
    Memory,
    /// [`HostLimits::cpu`].
    Cpu,
    /// [`HostLimits::wall`].
    Wall,
    /// [`HostLimits::table_elements`], or the number of tables.
    Tables,
    /// [`HostLimits::instances`].
    Instances,
    /// [`HostLimits::handles`].
    Handles,
    /// [`HostLimits::host_call_bytes`].
    HostCallBytes,
    /// [`HostLimits::held_bytes`].
    HeldBytes,
    /// [`HostLimits::host_calls`].
    HostCalls,
    /// [`HostLimits::output_bytes`].
    Output,
    /// The call stack.
    Stack,
}

impl Limit {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Wall => "wall",
            Self::Tables => "tables",
            Self::Instances => "instances",
            Self::Handles => "handles",
            Self::HostCallBytes => "host_call_bytes",
            Self::HeldBytes => "held_bytes",
            Self::HostCalls => "host_calls",
            Self::Output => "output",
            Self::Stack => "stack",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Cpu => "CPU time",
            Self::Wall => "time",
            Self::Tables => "table elements",
            Self::Instances => "core instances",
            Self::Handles => "handles",
            Self::HostCallBytes => "bytes passed in one call",
            Self::HeldBytes => "bytes held by the host",
            Self::HostCalls => "capability calls",
            Self::Output => "output bytes",
            Self::Stack => "call stack",
        })
    }
}

/// Counts memory and tables over the whole store, so that many small ones are
/// worth no more than one large one.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory: u64,
    memory_limit: u64,
    last_growth: u64,
    elements: u64,
    last_elements: u64,
    element_limit: u64,
    instances: usize,
    memories: usize,
    hit: Option<Limit>,
}

impl Limiter {
    pub(crate) fn new(limits: &HostLimits) -> Self {
        Self {
            memory: 0,
            memory_limit: limits.memory,
            last_growth: 0,
            elements: 0,
            last_elements: 0,
            element_limit: limits.table_elements,
            instances: limits.instances,
            memories: limits.memories,
            hit: None,
        }
    }

    /// The limit that was run into last, whatever the guest made of it.
    pub(crate) fn hit(&self) -> Option<Limit> {
        self.hit
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current) as u64;
        if self.memory.saturating_add(growth) > self.memory_limit {
            self.hit = Some(Limit::Memory);
            return Ok(false);
        }
        self.memory += growth;
        self.last_growth = growth;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory -= std::mem::take(&mut self.last_growth).min(self.memory);
        self.hit = Some(Limit::Memory);
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current) as u64;
        if self.elements.saturating_add(growth) > self.element_limit {
            self.hit = Some(Limit::Tables);
            return Ok(false);
        }
        self.elements += growth;
        self.last_elements = growth;
        Ok(true)
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        // A place of the pool holds fewer elements in one table than an invocation has in all.
        self.elements -= std::mem::take(&mut self.last_elements).min(self.elements);
        self.hit = Some(Limit::Tables);
        Ok(())
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.memories.saturating_mul(8)
    }

    fn memories(&self) -> usize {
        self.memories
    }
}
