//! `hookbro sandbox`: serves the in-memory Svix stand-in until it is asked to stop.

use std::future::Future;
use std::io;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;

use svix_sandbox::{Options, Sandbox};

/// The organisation of tokens that name none.
const ORGANISATION: &str = "org_sandbox";

/// Run an in-memory stand-in for Svix, to try hookbro and to test against.
///
/// It answers applications and messages as Svix does, delivers nothing and keeps everything in memory. Script failures
/// by `POST /sandbox/v1/faults`; see what arrived by `GET /sandbox/v1/summary`, `/messages` and `/requests`. These ask
/// for no token, so keep the address on loopback.
#[derive(Args, Clone, Debug)]
pub struct SandboxArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8071")]
    pub listen: String,

    /// Accept this token, for this organisation; repeatable. Without it any token is accepted.
    #[arg(long = "token", value_name = "TOKEN[=ORG]", value_parser = token)]
    pub tokens: Vec<(String, String)>,

    /// Wait this long before every answer, such as 20ms.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub latency: Duration,
}

pub async fn run(args: SandboxArgs, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let bind = TcpListener::bind(&args.listen).await;
    let listener =
        bind.map_err(|err| io::Error::new(err.kind(), format!("cannot listen on {}: {err}", args.listen)))?;
    let mut out = io::stdout();
    writeln!(out, "sandbox listening on http://{}", listener.local_addr()?)?;
    out.flush()?;
    let options = Options { tokens: args.tokens, latency: args.latency, ..Options::default() };
    Sandbox::new(options).serve(listener, shutdown).await;
    Ok(())
}

fn token(text: &str) -> Result<(String, String), String> {
    let (token, org) = text.split_once('=').unwrap_or((text, ORGANISATION));
    if token.is_empty() || org.is_empty() {
        return Err("expected TOKEN or TOKEN=ORG, neither of them empty".to_owned());
    }
    Ok((token.to_owned(), org.to_owned()))
}

fn duration(text: &str) -> Result<Duration, String> {
    let refuse = || "expected a duration such as 20ms or 1s".to_owned();
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| refuse())?;
    Duration::try_from(parsed).map_err(|_| refuse())
}

#[cfg(test)]
mod tests {
    use crate::cli::sandbox::{duration, token};
    use std::time::Duration;

    #[test]
    fn a_token_may_name_its_organisation() {
        let pair = |token: &str, org: &str| Ok((token.to_owned(), org.to_owned()));
        assert_eq!(token("abc"), pair("abc", "org_sandbox"));
        assert_eq!(token("abc=org_1"), pair("abc", "org_1"));
        assert!(token("=org_1").is_err() && token("abc=").is_err());
    }

    #[test]
    fn a_latency_is_a_duration_with_a_unit() {
        assert_eq!(duration("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert!(duration("20").is_err() && duration("-1s").is_err());
    }
}
