//! What systemd is told, if it started this process as a service of `Type=notify`. Elsewhere these do nothing.

use sd_notify::{NotifyState, notify};

/// The process does what it is for; `status` is shown by `systemctl status`.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The process was told to end, and does.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    // systemd then ends the service when its patience is over; nothing else can be done about it here.
    if let Err(error) = notify(states) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}
