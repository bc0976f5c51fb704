//! A client of RabbitMQ's management API, for what AMQP cannot tell: which policies apply to a queue, what leads to it, and
//! what is in it beside ready messages.

use super::{Binding, bind};
use crate::{process::tls, sources::rabbitmq::settings::Settings};
use lapin::uri::AMQPUri;
use reqwest::{Certificate, Client, StatusCode, redirect};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::{error::Error, time::Duration};
use url::Url;

/// Longest wait for one answer. The API waits for its own nodes' statistics, and answers in milliseconds when it is well.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read: one queue's or one policy's, which are well under a KiB.
const MAX_ANSWER: usize = 64 * 1024;

/// Why the API cannot be asked. Never repeats `broker.management_url`, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum ManagementError {
    #[error("broker.management_url is no http or https URL, or broker.url no AMQP URL")]
    Url,
    #[error("broker.tls_ca {0}")]
    Authorities(String),
    #[error("cannot set up the client for broker.management_url: {0}")]
    Client(String),
    #[error("the management API at {at} cannot be asked: {why}")]
    Away { at: String, why: String },
    #[error(
        "the management API at {at} answers {status}; the user of broker.management_url needs one of the tags monitoring, \
         policymaker and administrator, and rights in the vhost of broker.url"
    )]
    Refused { at: String, status: StatusCode },
    #[error("the management API at {at} answers something else than RabbitMQ's JSON: {why}")]
    Unreadable { at: String, why: String },
    #[error(
        "the management API at {at} does not report which policies apply to queue `{queue}`; is its collector of metrics disabled?"
    )]
    Unreported { at: String, queue: String },
}

/// What the API reports of a queue.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct QueuePolicies {
    #[serde(default)]
    pub policy: Option<String>,
    #[serde(default)]
    pub operator_policy: Option<String>,
    /// An object; an empty list in some versions where no policy applies. Missing for the first seconds of a queue's life.
    #[serde(default)]
    effective_policy_definition: Option<Value>,
}

impl QueuePolicies {
    /// What both policies together define; none as long as the broker has not reported it.
    pub(super) fn definition(&self) -> Option<Map<String, Value>> {
        match self.effective_policy_definition.as_ref()? {
            Value::Object(definition) => Some(definition.clone()),
            _ => Some(Map::new()),
        }
    }
}

/// A queue at one instant, as its leader saw it; taken every 5 seconds. Both are missing for the first seconds of its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct QueueSample {
    pub consumers: Option<u32>,
    /// All of them: ready, unsettled, and those that the next queue has not confirmed yet. `messages` is of another instant.
    #[serde(rename = "messages_persistent")]
    pub messages: Option<u64>,
}

/// The API of one vhost.
pub(super) struct Management {
    client: Client,
    base: Url,
    /// `base` as messages may show it.
    pub at: String,
    user: String,
    password: String,
    pub vhost: String,
}

impl Management {
    /// None where `broker.management_url` is empty. The vhost is that of `broker.url`, and so are user and password where the
    /// URL holds none.
    pub(super) fn new(settings: &Settings) -> Result<Option<Self>, ManagementError> {
        let url = settings.management_url.current();
        if url.is_empty() {
            return Ok(None);
        }
        let mut base: Url = url.parse().map_err(|_| ManagementError::Url)?;
        let brokers = settings.access.url.current();
        let broker = brokers.split(',').next().unwrap_or_default().trim();
        let broker: AMQPUri = broker.parse().map_err(|_| ManagementError::Url)?;
        let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let (user, password) = match base.username() {
            "" => (broker.authority.userinfo.username, broker.authority.userinfo.password),
            user => (decoded(user), decoded(base.password().unwrap_or_default())),
        };
        base.set_username("").and_then(|()| base.set_password(None)).map_err(|()| ManagementError::Url)?;
        let at = base.origin().ascii_serialization();
        Ok(Some(Self { client: client(settings)?, base, at, user, password, vhost: broker.vhost }))
    }

    /// None if the queue does not exist.
    pub(super) async fn queue(&self, name: &str) -> Result<Option<QueuePolicies>, ManagementError> {
        let columns = "policy,operator_policy,effective_policy_definition";
        self.get(&["queues", &self.vhost, name], Some(columns)).await
    }

    /// None if the queue does not exist.
    pub(super) async fn sample(&self, queue: &str) -> Result<Option<QueueSample>, ManagementError> {
        // Without the name, which is always there, what has no column at all would be an empty list.
        self.get(&["queues", &self.vhost, queue], Some("name,consumers,messages_persistent")).await
    }

    /// What leads to a queue, beside its name itself; nothing if it does not exist.
    pub(super) async fn bindings(&self, queue: &str) -> Result<Vec<Binding>, ManagementError> {
        #[derive(Deserialize)]
        struct Bound {
            source: String,
            routing_key: String,
        }
        let bound: Option<Vec<Bound>> = self.get(&["queues", &self.vhost, queue, "bindings"], None).await?;
        let bound = bound.into_iter().flatten().filter(|bound| !bound.source.is_empty());
        Ok(bound.map(|Bound { source, routing_key }| bind(queue, &source, &routing_key)).collect())
    }

    /// What a policy defines; `kind` is `policies` or `operator-policies`. None if there is none of that name.
    pub(super) async fn definition(
        &self,
        kind: &str,
        name: &str,
    ) -> Result<Option<Map<String, Value>>, ManagementError> {
        #[derive(Deserialize)]
        struct Policy {
            definition: Map<String, Value>,
        }
        let policy: Option<Policy> = self.get(&[kind, &self.vhost, name], None).await?;
        Ok(policy.map(|policy| policy.definition))
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        columns: Option<&str>,
    ) -> Result<Option<T>, ManagementError> {
        let mut url = self.base.clone();
        url.path_segments_mut().map_err(|()| ManagementError::Url)?.pop_if_empty().push("api").extend(path);
        url.set_query(columns.map(|columns| format!("columns={columns}")).as_deref());
        let away = |error: reqwest::Error| ManagementError::Away { at: self.at.clone(), why: root(&error) };
        let asked = self.client.get(url).basic_auth(&self.user, Some(&self.password));
        let mut answer = asked.send().await.map_err(away)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(ManagementError::Refused { at: self.at.clone(), status }),
        }
        let unreadable = |why: String| ManagementError::Unreadable { at: self.at.clone(), why };
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(away)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(unreadable(format!("more than {MAX_ANSWER} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map(Some).map_err(|error| unreadable(error.to_string()))
    }
}

/// Trusts whom the connection to the broker trusts, and uses no proxy, as that does not either.
fn client(settings: &Settings) -> Result<Client, ManagementError> {
    let failed = |error: reqwest::Error| ManagementError::Client(root(&error));
    let mut builder = Client::builder()
        .user_agent(concat!("hookbro/", env!("CARGO_PKG_VERSION")))
        .timeout(TIMEOUT)
        .redirect(redirect::Policy::none())
        .no_proxy();
    let pem = settings.access.authorities.current();
    if !pem.is_empty() {
        let ders = tls::authorities(&pem).map_err(ManagementError::Authorities)?;
        let added: Result<Vec<_>, _> = ders.iter().map(|der| Certificate::from_der(der)).collect();
        builder = builder.tls_certs_merge(added.map_err(failed)?);
    }
    builder.build().map_err(failed)
}

/// The innermost cause: what is around it repeats the URL.
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if cause.is::<reqwest::Error>() { "it did not answer in time".to_owned() } else { cause.to_string() }
}
