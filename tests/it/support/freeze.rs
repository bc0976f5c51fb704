//! A TCP proxy whose connections freeze: they stay open, and nothing passes any more, as when a machine or a path goes silent.

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

/// Ended with all its connections when dropped.
pub struct Freezer {
    /// The server's URL, by way of the proxy.
    pub url: String,
    frozen: watch::Sender<bool>,
    _serving: AbortOnDropHandle<()>,
}

impl Freezer {
    pub async fn before(server: &str) -> Self {
        let mut url = Url::parse(server).unwrap();
        let upstream = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let (frozen, state) = watch::channel(false);
        let serving = tokio::spawn(serve(listener, upstream, state));
        Self { url: url.into(), frozen, _serving: AbortOnDropHandle::new(serving) }
    }

    /// From now on nothing passes; what is connected stays so and is dead for ever.
    pub fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    /// Connections that came since, and those to come, work.
    pub fn thaw(&self) {
        self.frozen.send_replace(false);
    }
}

async fn serve(listener: TcpListener, upstream: String, state: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(pass(client, upstream.clone(), state.clone()));
    }
}

async fn pass(mut client: TcpStream, upstream: String, mut frozen: watch::Receiver<bool>) {
    if frozen.wait_for(|frozen| !frozen).await.is_err() {
        return;
    }
    let Ok(mut server) = TcpStream::connect(&upstream).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => return,
        _ = frozen.wait_for(|frozen| *frozen) => {}
    }
    std::future::pending::<()>().await;
}
