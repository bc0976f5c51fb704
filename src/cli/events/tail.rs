//! `events tail`: polls the newest pages, and shows what was not there before.
//!
//! What is written late, by a slow store or another replica, lies among what was seen already. So polls go further back
//! than the last one came, some of them as far as [`LATE`], and what was shown is remembered for that long.

use super::{
    api::{Api, ApiError},
    find,
    query::{FilterArgs, PAGE, Pages, Pair, time},
};
use crate::{
    cli::{
        exit::{Failure, on_signals},
        output::{Output, Stdout},
    },
    operate::{
        api_types::{Gap, Line},
        describe,
        sanitize::Plain,
        time_argument,
    },
};
use jiff::Timestamp;
use std::{collections::BTreeSet, time::Duration};

/// Between two polls; the journal is written each half second.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for a hookbro that is away: a restart shows within it.
const MAX_WAIT: Duration = Duration::from_secs(8);
/// What is written so much late is still shown: the longest write of a journal that is not counted as lost takes less.
const LATE: Duration = Duration::from_secs(30);
/// Every eighth poll goes back as far; the others end with the first page that has nothing new, for the store's sake.
const DEEP_EACH: u32 = 8;
/// Pages of one poll. At a thousand events a second there is something new on a handful.
const MAX_PAGES: usize = 25;
/// Events that are remembered as shown, at some 500 bytes each.
const MAX_SHOWN: usize = 2 * MAX_PAGES * PAGE;

#[derive(Debug, clap::Args)]
pub(super) struct TailArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Begin with what was delivered at this time or later, instead of the newest few.
    #[arg(long, value_name = "TIME", value_parser = time_argument::parse)]
    since: Option<Timestamp>,
    /// Begin with at most this many of the newest events; one read takes at most 5,000.
    #[arg(long, default_value_t = 10)]
    limit: usize,
    /// The cells of a table, or one JSON object a line.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// What has been shown, and how far back there may be more.
#[derive(Debug, Default)]
struct Memory {
    /// By time, so that the oldest are forgotten first.
    shown: BTreeSet<(Timestamp, String)>,
    /// Nothing before it is asked for again.
    floor: Option<Timestamp>,
    /// The latest gap that was reported.
    gap: Option<Timestamp>,
    polls: u32,
}

/// One poll: what was not shown before, oldest first.
#[derive(Debug, Default)]
struct Poll {
    fresh: Vec<(Timestamp, Line)>,
    gaps: Vec<Gap>,
    /// Whether it ended before it came to what the one before had seen.
    cut: bool,
}

pub(super) async fn tail(args: &TailArgs, api: &Api) -> Result<(), Failure> {
    let stop = on_signals().await?;
    tokio::select! {
        () = stop.requested.cancelled() => Ok(()),
        ended = follow(args, api) => ended,
    }
}

/// Until standard output has no reader.
async fn follow(args: &TailArgs, api: &Api) -> Result<(), Failure> {
    let mut out = Stdout::new();
    let mut memory = Memory { floor: args.since, ..Memory::default() };
    // The first poll says at once what is wrong.
    let first = if args.since.is_some() { None } else { Some(args.limit) };
    let mut poll = memory.poll(args.filter.pairs(), first, api).await?;
    loop {
        for gap in memory.unreported(&poll.gaps) {
            eprintln!("hookbro: {}", describe::gap(gap));
        }
        if poll.cut {
            eprintln!(
                "hookbro: more events came than one read takes, and the oldest of them are not shown; narrow it with --project or --type"
            );
        }
        for (_, event) in &poll.fresh {
            out.write(&match args.output {
                Output::Json => format!("{}\n", find::json(event)?),
                Output::Table => {
                    let [at, outcome, attempt, status, project, kind, id, why] = find::cells(event);
                    format!("{at}  {outcome:<9}  {attempt:>2}  {status:>3}  {project}  {kind}  {id}  {why}\n")
                }
            })?;
        }
        if !out.hand_over()? {
            return Ok(());
        }
        tokio::time::sleep(POLL_EVERY).await;
        poll = persevere(&mut memory, args, api).await?;
    }
}

/// The next poll, as soon as hookbro gives one.
async fn persevere(memory: &mut Memory, args: &TailArgs, api: &Api) -> Result<Poll, Failure> {
    let mut wait = None;
    loop {
        match memory.poll(args.filter.pairs(), None, api).await {
            Ok(poll) => {
                if wait.is_some() {
                    eprintln!("hookbro: {} answers again", api.address);
                }
                return Ok(poll);
            }
            Err(error) if error.may_pass() => {
                if wait.is_none() {
                    eprintln!("hookbro: {error}; waiting for it");
                }
                let next = wait.map_or(POLL_EVERY, |last: Duration| (last * 2).min(MAX_WAIT));
                tokio::time::sleep(next).await;
                wait = Some(next);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// What tells an event from others of the same moment.
fn key(event: &Line) -> String {
    let text = |text: &Option<Plain>| text.as_ref().map_or("-", Plain::as_written).to_owned();
    [text(&event.project), text(&event.id), event.last.attempt.to_string(), event.last.outcome.to_string()].join("\n")
}

impl Memory {
    /// Polls the newest pages; the first time, only for so many events. A poll that fails is as none.
    async fn poll(&mut self, mut query: Vec<Pair>, first: Option<usize>, api: &Api) -> Result<Poll, ApiError> {
        query.extend(time("since", self.floor));
        let (mut pages, mut began) = (Pages::new(api, query), None);
        let mut poll = Poll { cut: first.is_none(), ..Poll::default() };
        let reached = self.shown.last().map(|(at, _)| *at);
        let deep = self.polls.is_multiple_of(DEEP_EACH);
        for _ in 0..MAX_PAGES {
            let wanted = first.map_or(PAGE, |first| first.saturating_sub(poll.fresh.len()));
            let Some(answered) = pages.next(wanted).await? else {
                poll.cut = false;
                break;
            };
            began = began.or(answered.at);
            poll.gaps.extend(answered.value.gaps);
            let (fresh_before, empty) = (poll.fresh.len(), answered.value.events.is_empty());
            for event in answered.value.events {
                let at = event.last.at;
                // What was seen at the last poll has been reached: nothing between is missing.
                poll.cut &= reached.is_none_or(|reached| at > reached);
                if !self.shown.contains(&(at, key(&event))) {
                    poll.fresh.push((at, event));
                }
            }
            let nothing_new = poll.fresh.len() == fresh_before && !empty && !deep;
            if nothing_new || first.is_some_and(|first| poll.fresh.len() >= first) {
                break;
            }
        }
        if let Some(first) = first {
            // What is older than the oldest that is shown was not asked for; one that is not shown has been before.
            let after = poll.fresh.first().map(|(at, _)| *at + Duration::from_micros(1));
            poll.fresh.truncate(first);
            self.floor = poll.fresh.last().map(|(at, _)| *at).or(after);
        }
        poll.fresh.reverse();
        self.remember(&poll.fresh, began);
        self.polls = self.polls.wrapping_add(1);
        Ok(poll)
    }

    fn remember(&mut self, fresh: &[(Timestamp, Line)], now: Option<Timestamp>) {
        self.shown.extend(fresh.iter().map(|(at, event)| (*at, key(event))));
        let latest = self.shown.last().map(|(at, _)| *at);
        self.floor = self.floor.max(now.or(latest).map(|now| now - LATE));
        while let Some((at, _)) = self.shown.first() {
            if self.shown.len() > MAX_SHOWN {
                self.floor = self.floor.max(Some(*at));
            } else if self.floor.is_none_or(|floor| *at >= floor) {
                break;
            }
            self.shown.pop_first();
        }
    }

    /// Gaps that were not reported yet, oldest first.
    fn unreported<'a>(&mut self, gaps: &'a [Gap]) -> Vec<&'a Gap> {
        let mut unreported: Vec<_> =
            gaps.iter().filter(|gap| self.gap.is_none_or(|reported| gap.from > reported)).collect();
        unreported.sort_by_key(|gap| gap.from);
        // Each page repeats those of its stretch.
        unreported.dedup_by_key(|gap| gap.from);
        self.gap = self.gap.max(unreported.last().map(|gap| gap.from));
        unreported
    }
}
