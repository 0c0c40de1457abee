use std::process::Stdio;
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

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
        let child = spawn(command).await?;
        let leader = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        Ok(Self { child, leader })
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
    }
}

type Order = (Command, Handle, oneshot::Sender<std::io::Result<Child>>);

/// Starts the process from a thread that lives as long as the host does.
///
/// The helper asks to be killed when its parent dies, and to the kernel the
/// parent is the thread that started it: a worker thread that a runtime retires
/// would take a healthy job along.
async fn spawn(command: Command) -> std::io::Result<Child> {
    static STARTER: OnceLock<mpsc::UnboundedSender<Order>> = OnceLock::new();
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
        .send((command, Handle::current(), answer))
        .map_err(|_| gone())?;
    answered.await.map_err(|_| gone())?
}

fn start_starter() -> std::io::Result<mpsc::UnboundedSender<Order>> {
    let (orders, mut queue) = mpsc::unbounded_channel::<Order>();
    std::thread::Builder::new()
        .name("sandbox-starter".to_owned())
        .spawn(move || {
            while let Some((mut command, runtime, answer)) = queue.blocking_recv() {
                let _context = runtime.enter();
                // Whoever asked may be gone; the child is then killed on drop.
                let _ = answer.send(command.spawn());
            }
        })?;
    Ok(orders)
}
