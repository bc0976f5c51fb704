//! A project's endpoints in Svix: shown, tested, what failed there recovered; a link to the portal; one event sent again.

use super::{
    components::{Level, badge, done},
    form::{project, wrong},
    list_query::{WINDOWS, since},
    page::{NavItem, Refused, page},
    state::Endpoints,
};
use crate::{
    event::{EndpointId, EventId, EventType},
    http::{
        api::endpoints::{failed, not_made},
        problem::Problem,
    },
    operate::{
        audit::Audit,
        endpoint_admin::{Endpoint, EndpointAdmin, NO_PORTAL, PING},
        endpoints::Order,
        sanitize::Plain,
    },
};
use axum::{
    extract::{Path, Request, State},
    response::{IntoResponse as _, Response},
};
use maud::{Markup, html};
use std::sync::Arc;

/// Where the forms go, and what their proofs are about.
pub(super) const RESEND: &str = "/resend";
const ORDERS: &str = "/projects/endpoints";
/// Endpoints of one page. Svix's customers have a handful each.
const MOST: usize = 100;

type Shared<H, A> = State<Arc<Endpoints<H, A>>>;

fn endpoint(id: Option<&str>) -> Result<EndpointId, Problem> {
    EndpointId::try_new(id.unwrap_or_default().to_owned()).map_err(|why| wrong("endpoint", why))
}

/// `GET /projects/{project}/endpoints`.
pub(super) async fn list<H: EndpointAdmin, A: Audit>(
    State(endpoints): Shared<H, A>,
    Path(name): Path<String>,
) -> Result<Response, Refused> {
    let project = project(&name)?;
    let found = endpoints.operations.endpoints(&project).await.map_err(failed)?;
    let action = format!("/projects/{project}/endpoints");
    let proof = endpoints.forms.proof(ORDERS);
    let content = html! {
        p.above { a href={"/projects/" (project)} { "Project " (project) } }
        h1 { "Endpoints" }
        p.lead { "Where Svix delivers this project's events. hookbro records every action." }
        form.bar method="post" action=(action) {
            (proof)
            button name="work" value="portal" { "Link to the customer portal" }
        }
        @if found.is_empty() { p.empty { "This project has no endpoints, so Svix stores its events without delivering them." } }
        @for one in found.iter().take(MOST) { (shown(one, &action, &proof)) }
        @if found.len() > MOST { p.faint { "Only the first endpoints are shown." } }
    };
    Ok(page("Endpoints", NavItem::Projects, None, &content).into_response())
}

fn shown(one: &Endpoint, action: &str, proof: &Markup) -> Markup {
    let (id, url) = (Plain::new(&one.id), Plain::new(&one.url));
    html! {
        section aria-label={"Endpoint " (url)} {
            h2.url { (url) }
            p {
                @if one.disabled { (badge(Level::Watch, "disabled")) } @else { (badge(Level::Good, "enabled")) }
                " " code.faint { (id) }
            }
            p.faint {
                @match &one.event_types {
                    None => "Takes all event types.",
                    Some(types) => { "Takes " @for (n, kind) in types.iter().enumerate() { @if n > 0 { ", " } code { (Plain::new(kind)) } } "." },
                }
            }
            form.filter method="post" action=(action) {
                (proof)
                input type="hidden" name="endpoint" value=(one.id);
                div.field {
                    label for={"type-" (id)} { "Event type of the test" }
                    input id={"type-" (id)} name="type" value=(PING) maxlength="256" autocomplete="off" autocapitalize="off" spellcheck="false";
                }
                div.field.do { button name="work" value="test" { "Send a test" } }
            }
            form.filter method="post" action=(action) {
                (proof)
                input type="hidden" name="endpoint" value=(one.id);
                div.field {
                    label for={"window-" (id)} { "Failed messages of the" }
                    select id={"window-" (id)} name="window" {
                        @for (word, name, _) in WINDOWS { option value=(word) { (name) } }
                    }
                }
                div.field.do { button name="work" value="recover" { "Deliver again" } }
            }
        }
    }
}

/// `POST /projects/{project}/endpoints`.
pub(super) async fn order<H: EndpointAdmin, A: Audit>(
    State(endpoints): Shared<H, A>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Refused> {
    let (actor, fields) = endpoints.forms.read(ORDERS, &endpoints.tokens, request).await?;
    let project = project(&name)?;
    let order = match fields.get("work") {
        Some("portal") => Order::Portal,
        Some("test") => {
            let kind = fields.get("type").unwrap_or(PING).to_owned();
            let kind = EventType::try_new(kind).map_err(|why| wrong("type", why))?;
            Order::Test { endpoint: endpoint(fields.get("endpoint"))?, kind }
        }
        Some("recover") => {
            let since =
                fields.get("window").and_then(since).ok_or_else(|| wrong("time", "is none of those to choose"))?;
            Order::Recover { endpoint: endpoint(fields.get("endpoint"))?, since }
        }
        _ => return Err(wrong("form", "does not say what to do").into()),
    };
    let answer =
        endpoints.operations.order(actor, &project, order.clone()).await.map_err(not_made)?.unwrap_or_default();
    let back = format!("/projects/{project}/endpoints");
    Ok(done(&said(&order, &answer), &back, "Back to the endpoints"))
}

fn said(order: &Order, answer: &str) -> Markup {
    match order {
        Order::Test { kind, .. } => {
            html! { p.lead { "Svix sends an example of " code { (kind) } ", message " code { (Plain::new(answer)) } "." } }
        }
        Order::Recover { .. } => {
            html! { p.lead { "Svix delivers again what failed, as task " code { (Plain::new(answer)) } "." } }
        }
        Order::Resend { .. } => html! { p.lead { "Svix delivers it to this endpoint once more." } },
        Order::Portal if answer == NO_PORTAL => {
            html! { p.lead { "This Svix is the open-source server, which has no customer portal." } }
        }
        Order::Portal => html! {
            p.lead { "This link logs in as the customer. Keep it secret; hookbro does not record it." }
            div.copy data-copy="link" { pre #link tabindex="0" { (Plain::new(answer)) } }
            @if answer.starts_with("https://") || answer.starts_with("http://") {
                p { a.button href=(answer) rel="noreferrer noopener" target="_blank" { "Open the portal" } }
            }
        },
    }
}

/// `POST /resend`.
pub(super) async fn resend<H: EndpointAdmin, A: Audit>(
    State(endpoints): Shared<H, A>,
    request: Request,
) -> Result<Response, Refused> {
    let (actor, fields) = endpoints.forms.read(RESEND, &endpoints.tokens, request).await?;
    let project = project(fields.get("project").unwrap_or_default())?;
    let event =
        EventId::try_new(fields.get("id").unwrap_or_default().to_owned()).map_err(|why| wrong("event id", why))?;
    let order = Order::Resend { event: event.clone(), endpoint: endpoint(fields.get("endpoint"))? };
    endpoints.operations.order(actor, &project, order.clone()).await.map_err(not_made)?;
    Ok(done(&said(&order, ""), &format!("/events/{event}?project={project}"), "Back to the event"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_the_portal_is_one_only_where_it_leads_to_a_site() {
        let shown = |link: &str| said(&Order::Portal, link).into_string();
        let link = "https://app.svix.example/login#key=a\"b";
        assert!(shown(link).contains("href=\"https://app.svix.example/login#key=a&quot;b\""), "{}", shown(link));
        assert!(!shown("javascript:alert(1)").contains("href"));
        assert!(shown(NO_PORTAL).contains("no customer portal"));
    }
}
