//! What the handlers of the pages work with.

use super::{form::Forms, throughput::Throughput};
use crate::{
    http::{Api, Ops},
    operate::{dead_letters, endpoints, parked, project_pauses},
    process::secret::SecretList,
};
use std::sync::Arc;

/// What the pages are made of.
#[derive(Debug)]
pub struct Console<T, M> {
    pub(super) api: Arc<Api<T, M>>,
    pub(super) ops: Ops,
    pub(super) throughput: Throughput,
    pub(super) forms: Forms,
}

impl<T, M> Console<T, M> {
    pub fn new(api: Arc<Api<T, M>>, ops: Ops, forms: Forms) -> Self {
        Self { api, ops, throughput: Throughput::default(), forms }
    }
}

/// What the pages that change something are made of.
#[derive(Debug)]
pub struct Changes<D, A> {
    pub operations: Arc<dead_letters::Operations<D, A>>,
    pub audit: Arc<A>,
    pub tokens: SecretList,
    pub forms: Forms,
}

/// What the pages about endpoints are made of.
#[derive(Debug)]
pub struct Endpoints<H, A> {
    pub operations: Arc<endpoints::Operations<H, A>>,
    pub tokens: SecretList,
    pub forms: Forms,
}

/// What pauses and resumes projects.
#[derive(Debug)]
pub struct Pausing<P, A> {
    pub operations: Arc<project_pauses::Operations<P, A>>,
    pub tokens: SecretList,
    pub forms: Forms,
}

/// What the pages about parked events are made of.
#[derive(Debug)]
pub struct ParkedPages<P, A> {
    pub operations: Arc<parked::Operations<P, A>>,
    pub tokens: SecretList,
    pub forms: Forms,
}
