//! Follows the files: reads them when they change, and keeps their rows fresh as long as they are there.

use super::{FileRows, Poll, Polled, Source};
use crate::state::now;
use crate::topology::board::Board;
use chassis::shutdown::Shutdown;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub struct FileSource {
    pub poll: Poll,
    pub interval: Duration,
    /// Rows older than this are unmeasured for the model: they are declared again in time.
    pub max_age: Duration,
}

impl Source for FileSource {
    fn run(self: Box<Self>, board: Arc<Board>, shutdown: Shutdown) -> BoxFuture<'static, ()> {
        Box::pin(follow(*self, board, shutdown))
    }
}

async fn follow(mut source: FileSource, board: Arc<Board>, shutdown: Shutdown) {
    let mut declared: Option<(FileRows, Instant)> = None;
    loop {
        let looked = tokio::task::spawn_blocking(move || {
            let polled = source.poll.look();
            (source, polled)
        });
        let Ok((back, polled)) = looked.await else { return };
        source = back;
        board.set_trouble(source.poll.error().map(str::to_owned));
        match polled {
            Polled::New(rows) => {
                tracing::info!(nodes = rows.nodes().count(), "delay matrix read");
                board.declare(declared.as_ref().map(|(rows, _)| rows), &rows, now());
                declared = Some((rows, Instant::now()));
                board.set_warm(now());
            }
            Polled::Wrong(error) if declared.is_some() => {
                tracing::error!(error, "the delay matrix can't be used; the last good one stands")
            }
            Polled::Wrong(error) => tracing::error!(error, "the delay matrix can't be used; pods with bounds wait for a good one"),
            Polled::Same => {}
        }
        if let (Some(rows), Some((_, at))) = (source.poll.current(), &mut declared)
            && at.elapsed() * 3 >= source.max_age
        {
            board.declare(None, rows, now());
            *at = Instant::now();
        }
        if !shutdown.sleep(source.interval).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Shared;
    use crate::topology::agents::{Settings, tests::settings};
    use placement::units::{Micros, Span, Timestamp};
    use std::path::Path;

    /// The p90 of a pair in the model, once it is `expected`; panics after five seconds.
    async fn check(shared: &Shared, expected: Option<u32>) {
        let figure = || {
            let cluster = shared.lock().cluster.snapshot();
            let pair = cluster.index("a").zip(cluster.index("b"));
            pair.and_then(|(a, b)| cluster.rtt().get(a, b)).map(|stat| stat.p90)
        };
        let reached = async {
            while figure() != expected.map(Micros) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), reached).await.unwrap_or_else(|_| panic!("{:?} is not {expected:?}", figure()));
    }

    fn start(path: &Path, shutdown: &Shutdown) -> (Arc<Shared>, Arc<Board>) {
        let shared = Arc::new(Shared::new(Default::default(), Default::default(), false));
        let settings = Settings { grace: Span(u64::MAX), probing: false, ..settings() };
        let board = Arc::new(Board::new(shared.clone(), settings, Timestamp(0)));
        let source =
            FileSource { poll: Poll::new(path.to_owned(), None), interval: Duration::from_millis(5), max_age: Duration::from_secs(900) };
        shutdown.spawn(Box::new(source).run(board.clone(), shutdown.clone()));
        (shared, board)
    }

    #[tokio::test]
    async fn the_model_follows_the_file_and_keeps_the_last_good_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("matrix.csv");
        std::fs::write(&path, "x,a,b\na,0,2\nb,4,0\n").unwrap();
        let shutdown = Shutdown::new();
        let (shared, board) = start(&path, &shutdown);
        check(&shared, Some(4_000)).await;
        assert!(shared.lock().warm, "files are there at once");
        std::fs::write(&path, "x,a,b\na,0,2\nb,8,0\n").unwrap();
        check(&shared, Some(8_000)).await;
        std::fs::write(&path, "x,a,b\na,0,2\nc,8,0\n").unwrap();
        let troubled = async {
            while board.trouble().is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), troubled).await.expect("the mistake is seen");
        check(&shared, Some(8_000)).await;
        std::fs::write(&path, "x,a\na,0\n").unwrap();
        check(&shared, None).await;
        assert_eq!(board.trouble(), None);
        shutdown.trigger();
        shutdown.wait_all(Duration::from_secs(5)).await.unwrap();
    }
}
