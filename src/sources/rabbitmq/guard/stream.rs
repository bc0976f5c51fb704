//! A connection with the guard before its reading side. What is written passes as it is.

use super::frames::{Frames, Scanned, Then};
use futures_io::{AsyncRead, AsyncWrite};
use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// How much is read at once while a frame is longer than the buffer that it is wanted in; lapin's wraps around.
const READ: usize = 16 * 1024;
/// Memory that is kept for the next frame that a read ends in. Few methods and content headers are larger.
const KEPT: usize = READ;

/// Bytes from the inside, in the order in which they are handed on: some that pass, a replacement, others not scanned yet.
pub struct Guarded<S> {
    inner: S,
    frames: Frames,
    /// From `at` on: `passed` bytes that pass, `replaced` that do not, and the rest.
    held: Vec<u8>,
    at: usize,
    passed: usize,
    replaced: usize,
    /// In the place of those that were replaced.
    replacement: Vec<u8>,
    replacement_at: usize,
    /// What is held is the beginning of a frame, and no more.
    part: bool,
}

impl<S> Guarded<S> {
    /// `frame_max`: the largest frame that lapin asks for; 0 for any.
    pub fn new(inner: S, frame_max: u32) -> Self {
        Self {
            inner,
            frames: Frames::new(frame_max),
            held: Vec::new(),
            at: 0,
            passed: 0,
            replaced: 0,
            replacement: Vec::new(),
            replacement_at: 0,
            part: false,
        }
    }

    /// What can be handed on without a read; nothing if there is none.
    fn hand_on(&mut self, buffer: &mut [u8]) -> Option<usize> {
        loop {
            if self.passed > 0 {
                let some = self.passed.min(buffer.len());
                buffer[..some].copy_from_slice(&self.held[self.at..self.at + some]);
                self.at += some;
                self.passed -= some;
                return Some(some);
            }
            self.at += std::mem::take(&mut self.replaced);
            if self.replacement_at < self.replacement.len() {
                let some = (self.replacement.len() - self.replacement_at).min(buffer.len());
                buffer[..some].copy_from_slice(&self.replacement[self.replacement_at..][..some]);
                self.replacement_at += some;
                return Some(some);
            }
            self.replacement = Vec::new();
            if self.at == self.held.len() {
                self.let_go();
                return None;
            }
            if self.part {
                return None;
            }
            let Scanned { pass, then } = self.frames.scan(&mut self.held[self.at..]);
            self.passed = pass;
            match then {
                Then::End => {}
                Then::Part => self.part = true,
                Then::Replace { bytes, with } => {
                    self.replaced = bytes;
                    self.replacement = with;
                    self.replacement_at = 0;
                }
            }
        }
    }

    /// Scans what was read into `buffer` and keeps what cannot be handed on yet.
    fn keep(&mut self, buffer: &mut [u8]) -> usize {
        let Scanned { pass, then } = self.frames.scan(buffer);
        self.let_go();
        match then {
            Then::End => {}
            Then::Part => {
                self.part = true;
                self.held.extend_from_slice(&buffer[pass..]);
            }
            Then::Replace { bytes, with } => {
                self.held.extend_from_slice(&buffer[pass + bytes..]);
                self.replacement = with;
                self.replacement_at = 0;
            }
        }
        pass
    }

    fn let_go(&mut self) {
        self.held.clear();
        self.held.shrink_to(KEPT);
        self.at = 0;
        self.part = false;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            if let Some(some) = this.hand_on(buffer) {
                return Poll::Ready(Ok(some));
            }
            let part = this.held.len() - this.at;
            if part < buffer.len() {
                // The usual way: into lapin's own buffer, behind what is there of a frame, which stays held until there is more.
                buffer[..part].copy_from_slice(&this.held[this.at..]);
                let read = ready!(Pin::new(&mut this.inner).poll_read(cx, &mut buffer[part..]))?;
                if read == 0 {
                    // A frame that has no end is none.
                    return Poll::Ready(Ok(0));
                }
                let pass = this.keep(&mut buffer[..part + read]);
                if pass > 0 {
                    return Poll::Ready(Ok(pass));
                }
                continue;
            }
            this.held.drain(..std::mem::take(&mut this.at));
            this.held.resize(part + READ, 0);
            let read = Pin::new(&mut this.inner).poll_read(cx, &mut this.held[part..]);
            this.held.truncate(part + if let Poll::Ready(Ok(read)) = &read { *read } else { 0 });
            if ready!(read)? == 0 {
                return Poll::Ready(Ok(0));
            }
            this.part = false;
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, buffers)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

impl<S> fmt::Debug for Guarded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("frames", &self.frames).finish_non_exhaustive()
    }
}
