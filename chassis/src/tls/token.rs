//! Where a client's bearer token comes from.

use futures::future::BoxFuture;
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

/// A bearer token that may change: service account tokens live for an hour and are replaced before.
#[derive(Clone)]
pub enum TokenSource {
    Static(Arc<str>),
    /// A file, read again when it changes (kubelets replace projected tokens in place).
    File(Arc<TokenFile>),
    /// Asked for every call; caches by itself if it must.
    Callback(Arc<dyn Fn() -> BoxFuture<'static, Result<String, TokenError>> + Send + Sync>),
}

/// There is no token to send.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("cannot read the token file {}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("the token file {} is empty", path.display())]
    Empty { path: PathBuf },
    #[error("cannot get a token")]
    Callback(#[source] Box<dyn std::error::Error + Send + Sync>),
}

pub struct TokenFile {
    path: PathBuf,
    /// The token and the file's time of change when it was read.
    last: Mutex<Option<(SystemTime, Arc<str>)>>,
}

impl TokenSource {
    pub fn fixed(token: &str) -> Self {
        Self::Static(token.into())
    }

    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(Arc::new(TokenFile { path: path.into(), last: Mutex::new(None) }))
    }

    /// The token to send now.
    pub async fn token(&self) -> Result<Arc<str>, TokenError> {
        match self {
            Self::Static(token) => Ok(token.clone()),
            // A file of a kilobyte on a memory file system: not worth another thread.
            Self::File(file) => file.read(),
            Self::Callback(ask) => Ok(ask().await?.into()),
        }
    }
}

impl fmt::Debug for TokenSource {
    /// Never shows the token itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Static(_) => f.write_str("Static"),
            Self::File(file) => write!(f, "File({})", file.path.display()),
            Self::Callback(_) => f.write_str("Callback"),
        }
    }
}

impl TokenFile {
    fn read(&self) -> Result<Arc<str>, TokenError> {
        let unreadable = |source| TokenError::Unreadable { path: self.path.clone(), source };
        let changed = modified(&self.path).map_err(unreadable)?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, token)) = &*last
            && *at == changed
        {
            return Ok(token.clone());
        }
        let token: Arc<str> = std::fs::read_to_string(&self.path).map_err(unreadable)?.trim().into();
        if token.is_empty() {
            return Err(TokenError::Empty { path: self.path.clone() });
        }
        *last = Some((changed, token.clone()));
        Ok(token)
    }
}

fn modified(path: &Path) -> std::io::Result<SystemTime> {
    std::fs::metadata(path)?.modified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_read_again_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let source = TokenSource::file(&path);
        let error = source.token().await.expect_err("no file").to_string();
        assert_eq!(error, format!("cannot read the token file {}", path.display()));
        std::fs::write(&path, "  \n").unwrap();
        let error = source.token().await.expect_err("empty").to_string();
        assert_eq!(error, format!("the token file {} is empty", path.display()));

        let write = |token: &str, at_s: u64| {
            std::fs::write(&path, token).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(at_s)).unwrap();
        };
        write("first\n", 1000);
        assert_eq!(&*source.token().await.unwrap(), "first");
        write("second", 1000);
        assert_eq!(&*source.token().await.unwrap(), "first", "unchanged by its time: not read");
        write("third", 1001);
        assert_eq!(&*source.token().await.unwrap(), "third");
    }

    #[tokio::test]
    async fn a_token_never_shows_in_a_log() {
        assert_eq!(format!("{:?}", TokenSource::fixed("secret")), "Static");
        let callback = TokenSource::Callback(Arc::new(|| Box::pin(async { Ok("asked".to_owned()) })));
        assert_eq!(&*callback.token().await.unwrap(), "asked");
    }
}
