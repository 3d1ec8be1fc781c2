//! A replication stream (COM_BINLOG_DUMP): from the command on, bytes pass both ways unread until a side closes.

use super::client::{Driver, End};
use crate::session::Run;

impl Driver {
    pub(super) async fn tunnel(&mut self, run: &Run) -> End {
        let position = self.backends.iter().position(|backend| backend.server == run.route.server);
        let Some(position) = position else { return self.diverged(run.route.server).await };
        let mut backend = self.backends.swap_remove(position);
        let _in_flight = self.shared.admission.command(run.route.server);
        // Whatever the client sent behind the command belongs to the stream too.
        let sent = backend.send(self.client.received()).await;
        if sent.is_ok() {
            // Either side's end is the end of both.
            let _ = tokio::io::copy_bidirectional(&mut self.client.stream, &mut backend.stream).await;
        }
        End::ClientLeft
    }
}
