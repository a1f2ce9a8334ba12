//! One signal that ends everything a program started, and the wait for it to have ended.

use futures::FutureExt as _;
use std::{
    future::Future,
    panic::{AssertUnwindSafe, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// Asks tasks to end and knows which of them still run. Clones are the same shutdown.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
    /// Trackers of the shutdowns this one descends from: they wait for our tasks too.
    ancestors: Vec<TaskTracker>,
    /// Tasks that panicked, here and in relatives.
    panics: Arc<AtomicUsize>,
}

/// [`Shutdown::wait_all`] ran out of time.
#[derive(Debug, thiserror::Error)]
#[error("{running} tasks still run {limit:?} after shutdown")]
pub struct StillRunning {
    pub running: usize,
    pub limit: Duration,
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// Completes once shutdown has been asked for (at once when it already was).
    pub async fn signalled(&self) {
        self.token.cancelled().await;
    }

    pub fn is_signalled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Asks everything under this shutdown, children included, to end. Idempotent.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// A shutdown that ends with this one but can also be triggered alone; this one's [`wait_all`](Self::wait_all) covers its tasks.
    pub fn child(&self) -> Self {
        let mut ancestors = self.ancestors.clone();
        ancestors.push(self.tasks.clone());
        Self { token: self.token.child_token(), tasks: TaskTracker::new(), ancestors, panics: self.panics.clone() }
    }

    /// Runs a task that [`wait_all`](Self::wait_all) waits for. The task itself watches [`signalled`](Self::signalled).
    ///
    /// A panic is counted (see [`healthy`](Self::healthy)): without its tasks a program must not pass for alive.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let held: Vec<TaskTrackerToken> = self.ancestors.iter().map(TaskTracker::token).collect();
        let panics = self.panics.clone();
        self.tasks.spawn(async move {
            let _held = held;
            AssertUnwindSafe(future).catch_unwind().await.unwrap_or_else(|panic| {
                panics.fetch_add(1, Ordering::Relaxed);
                tracing::error!("a task panicked; the program is not whole any more");
                resume_unwind(panic)
            })
        })
    }

    /// Whether no task panicked; a liveness check.
    pub fn healthy(&self) -> Result<(), String> {
        match self.panics.load(Ordering::Relaxed) {
            0 => Ok(()),
            panics => Err(format!("{panics} tasks panicked")),
        }
    }

    /// Runs `future` until it completes or shutdown is asked for; `None` in the latter case.
    pub async fn interrupt<F: Future>(&self, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            () = self.token.cancelled() => None,
            output = future => Some(output),
        }
    }

    /// Sleeps unless shutdown comes first; `false` when it did.
    pub async fn sleep(&self, duration: Duration) -> bool {
        self.interrupt(tokio::time::sleep(duration)).await.is_some()
    }

    /// Waits until every task spawned here or in a child has ended, for at most `limit`.
    pub async fn wait_all(&self, limit: Duration) -> Result<(), StillRunning> {
        self.tasks.close();
        tokio::time::timeout(limit, self.tasks.wait()).await.map_err(|_elapsed| StillRunning { running: self.tasks.len(), limit })
    }
}

/// Triggers `shutdown` on SIGTERM or SIGINT; the second signal ends the process at once with 128 + its number.
///
/// For `main` alone: signal handlers belong to the process. Errors when the handlers cannot be installed.
pub fn on_signals(shutdown: &Shutdown) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = shutdown.clone();
    // Not tracked: it must outlive the wait for the tracked tasks, or a second signal would go unheard.
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => (SignalKind::terminate(), "SIGTERM"),
                _ = interrupt.recv() => (SignalKind::interrupt(), "SIGINT"),
            }
        };
        let (_, name) = next().await;
        tracing::info!(signal = name, "shutting down; a second signal exits at once");
        shutdown.trigger();
        let (kind, name) = next().await;
        tracing::warn!(signal = name, "second signal, exiting at once");
        std::process::exit(128 + kind.as_raw_value());
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn wait_all_covers_the_tasks_of_children() {
        let parent = Shutdown::new();
        let child = parent.child().child();
        let task = child.clone();
        child.spawn(async move { task.signalled().await });

        let error = parent.wait_all(LIMIT).await.expect_err("the child's task still runs");
        assert_eq!(error.running, 1);
        parent.trigger();
        parent.wait_all(LIMIT).await.expect("every task ended");
        child.wait_all(LIMIT).await.expect("every task ended");
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_ends_alone() {
        let parent = Shutdown::new();
        let child = parent.child();
        child.trigger();
        assert!(child.is_signalled());
        assert!(!parent.is_signalled());
        assert!(!child.sleep(LIMIT).await, "a sleep ends with the shutdown");
        assert!(parent.sleep(LIMIT).await);
    }

    #[tokio::test]
    async fn a_panic_is_remembered() {
        let parent = Shutdown::new();
        let task = parent.child().spawn(async {
            if std::hint::black_box(true) {
                panic!("expected in this test")
            }
        });
        assert!(task.await.is_err());
        assert_eq!(parent.healthy(), Err("1 tasks panicked".to_owned()));
        parent.wait_all(LIMIT).await.expect("it counts as ended");
    }

    /// Runs in a process of its own, which `signals_end_the_process` starts: a signal goes to a whole process.
    #[test]
    fn signal_child() {
        let Ok(mode) = std::env::var("CHASSIS_SIGNAL_CHILD") else {
            return;
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let shutdown = Shutdown::new();
            on_signals(&shutdown).unwrap();
            println!("\nlistening");
            shutdown.signalled().await;
            println!("\nsignalled");
            if mode == "stubborn" {
                std::future::pending::<()>().await;
            }
        });
        std::process::exit(0);
    }

    fn exit_code(mode: &str, signals: &[&str]) -> Option<i32> {
        use std::io::BufRead as _;
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "shutdown::tests::signal_child", "--nocapture"])
            .env("CHASSIS_SIGNAL_CHILD", mode)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        for (signal, awaited) in signals.iter().zip(["listening", "signalled"]) {
            assert!(lines.by_ref().any(|line| line.unwrap() == awaited), "{mode}: no {awaited:?}");
            let killed = std::process::Command::new("kill").arg(signal).arg(child.id().to_string()).status().unwrap();
            assert!(killed.success());
        }
        lines.for_each(drop);
        child.wait().unwrap().code()
    }

    #[test]
    fn signals_end_the_process() {
        assert_eq!(exit_code("polite", &["-TERM"]), Some(0));
        assert_eq!(exit_code("polite", &["-INT"]), Some(0));
        assert_eq!(exit_code("stubborn", &["-TERM", "-INT"]), Some(130));
        assert_eq!(exit_code("stubborn", &["-INT", "-TERM"]), Some(143));
    }
}
