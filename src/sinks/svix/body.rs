//! A request body that lies around an event's own bytes. It knows when sharing them is cheaper than copying them.

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

/// Payloads from here on are shared with the delivery, or a large one would be in memory twice while its call is under way.
/// Below, one piece costs less: no box, one write, and no more memory than the buffers of its connection.
const SHARED_FROM: usize = 32 * 1024;

/// What comes before the payload, and the payload; a closing brace ends it.
#[derive(Debug)]
pub(super) struct MessageBody {
    pub head: String,
    pub payload: Bytes,
}

const TAIL: &[u8] = b"}";

impl From<MessageBody> for reqwest::Body {
    fn from(body: MessageBody) -> Self {
        let MessageBody { head, payload } = body;
        if payload.len() >= SHARED_FROM {
            return Self::wrap(Pieces([head.into(), payload, Bytes::from_static(TAIL)]));
        }
        let mut whole = BytesMut::with_capacity(head.len() + payload.len() + TAIL.len());
        whole.extend_from_slice(head.as_bytes());
        whole.extend_from_slice(&payload);
        whole.extend_from_slice(TAIL);
        whole.freeze().into()
    }
}

/// Pieces sent one after another; those that are gone are empty. Its exact size lets HTTP/1.1 send `Content-Length`.
struct Pieces([Bytes; 3]);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.get_mut().0.iter_mut().find(|piece| !piece.is_empty());
        Poll::Ready(next.map(|piece| Ok(Frame::data(std::mem::take(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn body(payload: &Bytes) -> reqwest::Body {
        MessageBody { head: r#"{"payload":"#.into(), payload: payload.clone() }.into()
    }

    #[tokio::test]
    async fn a_large_payload_is_the_delivery_s_own_memory() {
        for (size, pieces) in [(SHARED_FROM - 1, 1), (SHARED_FROM, 3)] {
            let payload = Bytes::from(vec![b'x'; size]);
            let mut sent = body(&payload);
            assert_eq!(sent.size_hint().exact(), Some(size as u64 + 12));
            let mut frames = Vec::new();
            while let Some(frame) = sent.frame().await {
                frames.push(frame.unwrap().into_data().unwrap());
            }
            assert!(sent.is_end_stream() || pieces == 1);
            assert_eq!(frames.len(), pieces);
            assert_eq!(frames.concat(), [br#"{"payload":"#, &payload[..], b"}"].concat());
            assert_eq!(frames.iter().any(|frame| frame.as_ptr() == payload.as_ptr()), pieces == 3);
        }
    }

    /// Chunks would do for hyper; proxies before Svix and its own body limit look at the length.
    #[tokio::test]
    async fn a_body_of_pieces_says_its_length() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let payload = Bytes::from(vec![b'x'; 256 * 1024]);
        let _ = rustls::crypto::ring::default_provider().install_default();
        let calling = tokio::spawn(reqwest::Client::new().post(url).body(body(&payload)).send());
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        let end = loop {
            socket.read_buf(&mut received).await.unwrap();
            if let Some(at) = received.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
        };
        while received.len() < end + payload.len() + 12 {
            assert_ne!(socket.read_buf(&mut received).await.unwrap(), 0, "the body is short");
        }
        socket.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        assert_eq!(calling.await.unwrap().unwrap().status(), 202);
        let head = String::from_utf8(received[..end].to_vec()).unwrap().to_ascii_lowercase();
        assert!(head.contains(&format!("content-length: {}\r\n", payload.len() + 12)), "{head}");
        assert!(!head.contains("transfer-encoding"), "{head}");
        assert_eq!(received[end..], [br#"{"payload":"#, &payload[..], b"}"].concat());
    }

    #[tokio::test]
    async fn a_body_of_pieces_travels_over_http2() {
        use hyper::{Request, Response, body::Incoming, server::conn::http2, service::service_fn};
        use hyper_util::rt::{TokioExecutor, TokioIo};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (received, mut bodies) = tokio::sync::mpsc::unbounded_channel();
        let serving = tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let answer = service_fn(move |request: Request<Incoming>| {
                let received = received.clone();
                async move {
                    received.send(request.into_body().collect().await.unwrap().to_bytes()).unwrap();
                    Ok::<_, Infallible>(Response::new(reqwest::Body::from("")))
                }
            });
            let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), answer).await;
        });
        let payload = Bytes::from(vec![b'x'; 256 * 1024]);
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
        let answer = client.post(url).body(body(&payload)).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_2));
        assert_eq!(bodies.recv().await.unwrap(), [br#"{"payload":"#, &payload[..], b"}"].concat());
        serving.abort();
    }
}
