//! `Callers`: lists of callers. Their numbers are personal data: shown in clear only to who asks for one list,
//! and named in no error.

use std::collections::{BTreeMap, BTreeSet};

use tandem_proto::api::v1 as api;
use tandem_routing::{
    command::{Command, ListSpec, Rejection},
    entity::{ListedCaller, Matches, Number},
    limits::NUMBER_LEN_MAX,
    name::{CallerNumber, Name},
};
use tandem_sip::identity::PhoneNumber;
use tonic::{Request, Response, Status};

use super::{Api, name, read::View, tenancy::refused};
use crate::rpc::callers_server::Callers;

/// Callers in one answer, when nothing else is asked for.
const LIMIT: usize = 1_000;
/// Callers in one answer at most.
const LIMIT_MAX: usize = 10_000;

#[tonic::async_trait]
impl Callers for Api {
    async fn list(
        &self,
        request: Request<api::ListCallerListsRequest>,
    ) -> Result<Response<api::ListCallerListsReply>, Status> {
        let asked = Self::admit(request)?;
        let (as_of, lists) =
            self.look(&asked.tenant, asked.consistency, |view| Ok(lists(view))).await?;
        Ok(Response::new(api::ListCallerListsReply { as_of: Some(as_of), lists }))
    }

    async fn show(
        &self,
        request: Request<api::ShowCallersRequest>,
    ) -> Result<Response<api::ShowCallersReply>, Status> {
        let asked = Self::admit(request)?;
        let list = name("list", &asked.list)?;
        let after = match asked.after.as_str() {
            "" => None,
            after => Some(entry("after", 0, after)?.0),
        };
        let limit = match asked.limit as usize {
            0 => LIMIT,
            limit => limit.min(LIMIT_MAX),
        };
        let (as_of, shown) = self
            .look(&asked.tenant, asked.consistency, |view| show(view, &list, after, limit))
            .await?;
        Ok(Response::new(api::ShowCallersReply { as_of: Some(as_of), ..shown }))
    }

    async fn change(
        &self,
        request: Request<api::ChangeCallersRequest>,
    ) -> Result<Response<api::ChangeCallersReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let list = name("list", &asked.list)?;
        let read = |field, callers: &[String]| {
            let callers = callers.iter().enumerate();
            callers.map(|(at, text)| entry(field, at, text)).collect::<Result<Vec<_>, _>>()
        };
        let add: BTreeMap<CallerNumber, Matches> = read("add", &asked.add)?.into_iter().collect();
        let remove: BTreeSet<CallerNumber> =
            read("remove", &asked.remove)?.into_iter().map(|(caller, _)| caller).collect();
        let tenant = self.tenant(&asked.tenant).await?;
        let command = Command::ChangeList { tenant, change: ListSpec { list, add, remove } };
        Api::change(self, command, asked.idempotency_key, within).await?;
        Ok(Response::new(api::ChangeCallersReply {}))
    }
}

/// A caller as people write them: `+442079460089`, or `+4420*` for all whose numbers begin so. An error tells
/// which one it is, and not the number.
fn entry(field: &str, at: usize, text: &str) -> Result<(CallerNumber, Matches), Status> {
    let (number, matches) = match text.strip_suffix('*') {
        Some(start) => (start, Matches::Prefix),
        None => (text, Matches::Exactly),
    };
    // As callers' numbers are read when they call.
    let number = PhoneNumber::normalise(number.as_bytes());
    let number = number.filter(|number| number.expose().len() <= NUMBER_LEN_MAX).ok_or_else(|| {
        Status::invalid_argument(format!(
            "{field}: entry {} is no number: write it as callers show it, +442079460089, or how numbers \
             begin, +4420*",
            at + 1
        ))
    })?;
    Ok((CallerNumber::new(number.expose()), matches))
}

pub(super) fn show(
    view: View<'_>,
    list: &Name,
    after: Option<CallerNumber>,
    limit: usize,
) -> Result<api::ShowCallersReply, Status> {
    let listed = view.machine.queue().listed();
    let key = |caller| (view.tenant, list.clone(), caller);
    let of_list = |row: &&ListedCaller| row.tenant == view.tenant && row.list == *list;
    let first = key(CallerNumber::default());
    if listed.iter_from(&first).next().is_none_or(|row| !of_list(&row)) {
        return Err(refused(Rejection::ListMustExist(list.clone())));
    }
    let from = key(after.clone().unwrap_or_default());
    let rows = listed.iter_from(&from).take_while(of_list);
    let mut page = rows.filter(|row| after.as_ref() != Some(&row.caller));
    let callers = page.by_ref().take(limit).map(written).collect();
    Ok(api::ShowCallersReply { as_of: None, callers, more: page.next().is_some() })
}

fn written(row: &ListedCaller) -> String {
    let star = match row.matches {
        Matches::Exactly => "",
        Matches::Prefix => "*",
    };
    format!("{}{star}", row.caller.expose())
}

pub(super) fn lists(view: View<'_>) -> Vec<api::CallerList> {
    let state = view.machine.queue();
    let mut lists: BTreeMap<&Name, api::CallerList> = BTreeMap::new();
    for row in state.listed().iter().filter(|row| row.tenant == view.tenant) {
        let list = lists.entry(&row.list).or_default();
        list.callers += 1;
        list.prefixes += u64::from(row.matches == Matches::Prefix);
    }
    // Also those that a number goes by, and that are empty now.
    let own = |number: &&Number| number.tenant == view.tenant;
    for number in state.numbers().iter().filter(own) {
        for (list, _) in number.lists.iter() {
            let list = lists.entry(list).or_default();
            let number = number.number.to_string();
            if list.numbers.last() != Some(&number) {
                list.numbers.push(number);
            }
        }
    }
    let named =
        |(name, list): (&Name, api::CallerList)| api::CallerList { name: name.to_string(), ..list };
    lists.into_iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: numbers are read as callers' numbers are normalised; what is none is refused by its place, and
    // the refusal does not tell it.
    #[test]
    fn entries() {
        for (text, number, matches) in [
            ("+442079460089", "+442079460089", Matches::Exactly),
            ("+44 (20) 7946-0089", "+442079460089", Matches::Exactly),
            ("+4499*", "+4499", Matches::Prefix),
            ("0049 30 *", "004930", Matches::Prefix),
        ] {
            let (caller, how) = entry("add", 0, text).expect(text);
            assert_eq!((caller.expose(), how), (number, matches), "{text}");
        }
        let long = "9".repeat(NUMBER_LEN_MAX + 1);
        for text in ["", "*", "+*", "alice", "+44 no number 12345678", &long] {
            let refused = entry("add", 6, text).expect_err(text);
            assert!(refused.message().contains("add: entry 7 is no number"), "{refused}");
            assert!(text.len() < 3 || !refused.message().contains(text), "{refused}");
        }
    }
}
