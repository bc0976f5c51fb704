//! The style, the script and the mark, as they stand beside this file.

use super::page::Refused;
use crate::http::problem::Problem;
use axum::{
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};

/// Names that pages ask for; another release has other addresses.
pub(super) const STYLE: &str = concat!("/assets/console.css?", env!("CARGO_PKG_VERSION"));
pub(super) const SCRIPT: &str = concat!("/assets/console.js?", env!("CARGO_PKG_VERSION"));
pub(super) const MARK: &str = concat!("/assets/mark.svg?", env!("CARGO_PKG_VERSION"));

/// A few minutes: what changes within a release, in development, should show soon.
const KEEP: &str = "private, max-age=300";

pub(super) async fn asset(Path(name): Path<String>) -> Response {
    let (kind, text) = match name.as_str() {
        "console.css" => ("text/css; charset=utf-8", include_str!("console.css")),
        "console.js" => ("text/javascript; charset=utf-8", include_str!("console.js")),
        "mark.svg" => ("image/svg+xml", include_str!("mark.svg")),
        _ => return Refused(Problem::new(StatusCode::NOT_FOUND, "there is no such file")).into_response(),
    };
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, KEEP)], text).into_response()
}
