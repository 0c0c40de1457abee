use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::guard::Guard;

/// A started helper and all processes that come of it.
pub(crate) struct Group {
    pub(crate) child: Child,
    leader: Option<Pid>,
}

impl Group {
    /// Starts the command as the leader of a process group of its own.
    pub(crate) async fn start(mut command: Command) -> std::io::Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        spawn(command).await
    }

    fn of(child: Child) -> Self {
        let leader = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        Self { child, leader }
    }

    /// Kills every process of the group and waits until none is left.
    pub(crate) async fn end(&mut self) -> std::io::Result<ExitStatus> {
        self.kill();
        let status = self.child.wait().await;
        // The others are gone as soon as they are scheduled, and stay as zombies for a while where
        // nobody collects them.
        for _ in 0..LOOKS {
            match self.leader {
                Some(leader) if test_kill_process_group(leader).is_ok() => {
                    tokio::time::sleep(BETWEEN_LOOKS).await;
                }
                _ => break,
            }
        }
        status
    }

    /// Kills every process of the group. The system call filter keeps them
    /// from leaving it.
    pub(crate) fn kill(&self) {
        if let Some(leader) = self.leader {
            // It fails only where nothing is left to kill.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        if let (Some(leader), Some(starter)) = (self.leader, STARTER.get()) {
            let _ = starter.send(Order::Ended(leader));
        }
    }
}

/// How often it is looked whether a killed group is gone, and after how long each.
const LOOKS: u32 = 100;
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// The thread that starts every job of this process.
static STARTER: OnceLock<mpsc::UnboundedSender<Order>> = OnceLock::new();

enum Order {
    Start(
        Box<Command>,
        Handle,
        oneshot::Sender<std::io::Result<Group>>,
    ),
    /// Nothing is left of this group.
    Ended(Pid),
}

/// Starts the process from a thread that lives as long as the host does.
///
/// The helper asks to be killed when its parent dies, and to the kernel the
/// parent is the thread that started it: a worker thread that a runtime retires
/// would take a healthy job along.
async fn spawn(command: Command) -> std::io::Result<Group> {
    let starter = match STARTER.get() {
        Some(starter) => starter,
        None => {
            let starter = start_starter()?;
            STARTER.get_or_init(|| starter)
        }
    };
    let (answer, answered) = oneshot::channel();
    let gone = || std::io::Error::other("the thread that starts sandboxed programs has ended");
    starter
        .send(Order::Start(Box::new(command), Handle::current(), answer))
        .map_err(|_| gone())?;
    answered.await.map_err(|_| gone())?
}

fn start_starter() -> std::io::Result<mpsc::UnboundedSender<Order>> {
    let (orders, mut queue) = mpsc::unbounded_channel::<Order>();
    std::thread::Builder::new()
        .name("sandbox-starter".to_owned())
        .spawn(move || {
            let mut guard = Guard::default();
            while let Some(order) = queue.blocking_recv() {
                match order {
                    Order::Start(mut command, runtime, answer) => {
                        let _context = runtime.enter();
                        guard.ready(command.as_std().get_program());
                        let started = command.spawn().map(Group::of);
                        if let Ok(Some(leader)) = started.as_ref().map(|group| group.leader) {
                            guard.begun(leader.as_raw_nonzero().get());
                        }
                        // Whoever asked may be gone; the group is then killed on drop.
                        let _ = answer.send(started);
                    }
                    Order::Ended(leader) => guard.ended(leader.as_raw_nonzero().get()),
                }
            }
        })?;
    Ok(orders)
}
