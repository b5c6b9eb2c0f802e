//! A supervisor as tidegate's child, which is waited for even where nobody asks any more.

use nix::unistd::Pid;
use tokio::process::Child;
use tokio::select;
use tokio::sync::{oneshot, watch};
use tracing::warn;

use crate::lifecycle::ports::PortGuard;

/// A supervisor. Dropped, it goes on until it ends by itself, and keeps its port until then.
#[derive(Debug)]
pub(super) struct Supervisor {
    pid: Pid,
    /// Its exit code, once it has ended; `None` within where it was killed.
    ended: watch::Receiver<Option<Option<i32>>>,
    kill: Option<oneshot::Sender<()>>,
}

impl Supervisor {
    /// Takes over a child, just started, with the port of its program. Starts a task.
    pub(super) fn watch(mut child: Child, port: PortGuard) -> Self {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        let pid = pid.expect("it was not waited for yet, and process ids are positive i32");
        let (tell, ended) = watch::channel(None);
        let (kill, killed) = oneshot::channel();
        tokio::spawn(async move {
            let status = select! {
                status = child.wait() => status,
                Ok(()) = killed => {
                    // Failing means that it has ended.
                    let _ended = child.start_kill();
                    child.wait().await
                }
            };
            let code = match status {
                Ok(status) => status.code(),
                Err(error) => {
                    warn!(%pid, %error, "cannot wait for a supervisor");
                    None
                }
            };
            tell.send_replace(Some(code));
            // While somebody still has it as their own, a new start gets another port.
            tell.closed().await;
            drop(port);
        });
        Self { pid, ended, kill: Some(kill) }
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for its end: its exit code, `None` where it was killed. Can be cancelled and called again.
    pub(super) async fn ended(&mut self) -> Option<i32> {
        // Without its task, the runtime is ending.
        self.ended.wait_for(Option::is_some).await.ok().and_then(|code| *code).flatten()
    }

    /// Kills it.
    pub(super) fn kill(&mut self) {
        if let Some(kill) = self.kill.take() {
            // Failing means that it has ended.
            let _ended = kill.send(());
        }
    }
}
