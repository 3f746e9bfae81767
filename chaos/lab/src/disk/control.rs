//! Orders over a Unix socket: one line of JSON asks, one answers.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::device::{Answer, Disk, Order};
use super::error::DiskError;
use super::limits::{CONTROL_ANSWER_WAIT_MAX, CONTROL_LINE_BYTES_MAX, CONTROL_LINE_WAIT_MAX};
use crate::machine::warden::Warden;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Reply {
    Answer(Answer),
    Refused(String),
}

/// A socket on which a disk takes orders. The socket file goes with it, or with this process.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
    _remover: Warden,
}

impl Control {
    /// Opens the socket. A file left there by a program that is no more is replaced; a living one's
    /// is not.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        if path.exists() && UnixStream::connect(path).is_err() {
            std::fs::remove_file(path).map_err(DiskError::file(path))?;
        }
        let listener = UnixListener::bind(path).map_err(DiskError::file(path))?;
        let path = path.canonicalize().map_err(DiskError::file(path))?;
        let remover = Warden::start("rm -f \"$1\"", [&path])?;
        Ok(Self { listener, path, _remover: remover })
    }

    /// Takes orders, one after the other, until one stops the disk.
    pub fn serve(&self, mut disk: Disk) -> Result<(), DiskError> {
        loop {
            let (peer, _) = self.listener.accept().map_err(DiskError::file(&self.path))?;
            match self.converse(&peer, &mut disk) {
                Ok(Conversation::Stopped) => return Ok(()),
                Ok(Conversation::Over) => {}
                Err(error) => tracing::warn!(%error, "an order was not heard to its end"),
            }
        }
    }

    fn converse(&self, peer: &UnixStream, disk: &mut Disk) -> Result<Conversation, DiskError> {
        set_patience(peer, CONTROL_LINE_WAIT_MAX).map_err(DiskError::file(&self.path))?;
        let (reply, conversation) = match receive::<Order>(peer, &self.path) {
            Ok(order) => {
                let stops = order == Order::Stop;
                match disk.apply(order) {
                    Ok(Answer::Done) if stops => {
                        (Reply::Answer(Answer::Done), Conversation::Stopped)
                    }
                    Ok(answer) => (Reply::Answer(answer), Conversation::Over),
                    Err(error) => (Reply::Refused(error.to_string()), Conversation::Over),
                }
            }
            Err(error) => (Reply::Refused(error.to_string()), Conversation::Over),
        };
        match send(peer, &reply, &self.path) {
            // The order was carried out; whoever gave it did not wait to hear so.
            Err(error) if matches!(conversation, Conversation::Stopped) => {
                tracing::warn!(%error, "the disk has stopped, and nobody heard it");
                Ok(conversation)
            }
            sent => sent.map(|()| conversation),
        }
    }
}

enum Conversation {
    Over,
    Stopped,
}

/// Gives orders to a disk that another process serves.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// Orders will go to this socket.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Gives an order and waits for its answer. A refusal is [`DiskError::Remote`].
    pub fn apply(&self, order: &Order) -> Result<Answer, DiskError> {
        let stream = UnixStream::connect(&self.socket).map_err(DiskError::file(&self.socket))?;
        set_patience(&stream, CONTROL_ANSWER_WAIT_MAX).map_err(DiskError::file(&self.socket))?;
        send(&stream, order, &self.socket)?;
        match receive(&stream, &self.socket)? {
            Reply::Answer(answer) => Ok(answer),
            Reply::Refused(complaint) => {
                Err(DiskError::Remote { socket: self.socket.clone(), complaint })
            }
        }
    }
}

fn set_patience(stream: &UnixStream, patience: Duration) -> std::io::Result<()> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))
}

fn send<T: Serialize>(mut stream: &UnixStream, message: &T, path: &Path) -> Result<(), DiskError> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line).map_err(DiskError::file(path))
}

fn receive<T: DeserializeOwned>(stream: &UnixStream, path: &Path) -> Result<T, DiskError> {
    let mut line = Vec::new();
    let mut bounded = BufReader::new(stream.take(CONTROL_LINE_BYTES_MAX));
    bounded.read_until(b'\n', &mut line).map_err(DiskError::file(path))?;
    if line.last() != Some(&b'\n') {
        let source = std::io::Error::new(ErrorKind::UnexpectedEof, "the line did not end");
        return Err(DiskError::File { path: path.to_owned(), source });
    }
    Ok(serde_json::from_slice(&line)?)
}
