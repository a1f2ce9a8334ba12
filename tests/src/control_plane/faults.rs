//! Hurting the control plane: its programs are killed, paused, resumed and started again.

use super::{ControlPlane, Error, output, script, succeeded};
use rustix::process::{Pid, Signal, kill_process};

/// One program of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    Etcd,
    ApiServer,
    ControllerManager,
    Scheduler,
    Kwok,
}

impl Component {
    fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kwok => "kwok",
        }
    }
}

impl ControlPlane {
    /// Its process id, while `up` or `restart` has it running.
    pub fn process(&self, component: Component) -> Result<u32, Error> {
        let name = component.name();
        let file = std::fs::read_to_string(self.folder.join(format!("run/{name}.pid"))).map_err(|_absent| Error::NotRunning(name))?;
        file.split_whitespace().next().and_then(|pid| pid.parse().ok()).ok_or(Error::NotRunning(name))
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&self, component: Component) -> Result<(), Error> {
        self.signal(component, Signal::KILL)
    }

    /// Stops it from running (SIGSTOP) until [`Self::resume`]: its connections stay open and nobody answers.
    pub fn pause(&self, component: Component) -> Result<(), Error> {
        self.signal(component, Signal::STOP)
    }

    /// See [`Self::pause`].
    pub fn resume(&self, component: Component) -> Result<(), Error> {
        self.signal(component, Signal::CONT)
    }

    /// Ends it if it still runs and starts it again, on the same port and data; returns when it is ready.
    pub async fn restart(&self, component: Component) -> Result<(), Error> {
        let mut restart = script("restart");
        restart.arg(&self.folder).arg(component.name());
        succeeded("tests/control-plane/restart", &output(restart).await?).map(drop)
    }

    fn signal(&self, component: Component, signal: Signal) -> Result<(), Error> {
        let gone = Error::NotRunning(component.name());
        let pid = i32::try_from(self.process(component)?).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else { return Err(gone) };
        kill_process(pid, signal).map_err(|_errno| gone)
    }
}
