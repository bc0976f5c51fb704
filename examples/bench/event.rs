//! The events that are published: shaped like Gigs' own, 1.5 KB unless asked otherwise, each with an id that ends in its
//! number.

use std::fmt::Write as _;

/// Digits of an event's number, which end its id; fixed, so that all bodies of a run are of one length.
const DIGITS: usize = 12;
const ID_PREFIX: &str = "evt_";

/// Makes the events of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Bytes of a body.
    pub(crate) bytes: usize,
    /// Projects that the events belong to, in turn.
    pub(crate) projects: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self { bytes: 1500, projects: 1 }
    }
}

impl Shape {
    /// The body of event `number`.
    pub(crate) fn body(self, number: u64) -> String {
        let project = number % self.projects;
        let mut body = format!(
            r#"{{"object":"event","id":"{ID_PREFIX}{number:0DIGITS$}","actor":{{"type":"apiKey","apiKey":"apk_0EGzmam8mxOzH5vjlVMZ5YjirXnj"}},"data":{{"object":"subscription","id":"sub_0OZtF3Eb5kqLV7UI6Xo6UbSOhHOv","metadata":{{"crmRef":"K-10001","channel":"app"}},"activatedAt":null,"billing":{{"invoiceGracePeriodDays":5,"invoiceOverdueAction":"restrict","invoiceOverduePeriodDays":14}},"createdAt":"2026-07-30T06:14:10Z","currentPeriod":{{"end":"2026-08-30T06:14:09Z","number":2,"start":"2026-07-31T06:14:09Z"}},"phoneNumber":"+447700900001","plan":{{"object":"plan","id":"pln_0FASTYVThl1gOq8Y3vcoN581uEGU","allowances":{{"dataBytes":4000000000,"smsMessages":null,"voiceSeconds":36000}},"name":"Hookbro Flex 4","description":"4 GB a month, no fixed term — “fair use” applies.","price":{{"amount":799,"currency":"EUR"}},"simTypes":["eSIM"]}},"sim":{{"object":"sim","id":"sim_0zRJeJrcoKx2S51eNwvUmLdhqJFy","iccid":"89000000008920141188","status":"active"}},"status":"initiated","user":{{"object":"user","id":"usr_0OffIzdFbcAJOGqBevUPZogJmXqr","email":"sakura.k@example.jp","fullName":"小林 さくら"}},"note":""#
        );
        let tail = format!(
            r#""}},"datacontenttype":"application/json","project":"project-{project:05}","source":"https://api.gigs.com","specversion":"1.0","time":"2026-08-03T06:14:46Z","type":"com.gigs.subscription.created","version":"2026-01-29"}}"#
        );
        let padding = self.bytes.saturating_sub(body.len() + tail.len());
        body.extend(std::iter::repeat_n('x', padding));
        let _infallible = body.write_str(&tail);
        body
    }
}

/// The id of the event that a request's body carries.
pub(crate) fn id_in(request: &[u8]) -> Option<&[u8]> {
    const MARK: &[u8] = br#""eventId":""#;
    let at = request.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    let length = request[at..].iter().position(|byte| *byte == b'"')?;
    Some(&request[at..at + length])
}

/// The number of the event that a request's body carries as `eventId`.
pub(crate) fn number_in(request: &[u8]) -> Option<u64> {
    const MARK: &[u8] = br#""eventId":"evt_"#;
    let at = request.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    std::str::from_utf8(request.get(at..at + DIGITS)?).ok()?.parse().ok()
}
