//! Events as lines of Asterisk's queue log, for programs that read it.
//!
//! A line is `time|call|queue|agent|event|data…`: seconds of UTC (0 as long as the cluster does not know
//! them), the contact, names or `NONE`. Which event becomes which line, and what has no counterpart, is in
//! `docs/operating/events.md`. Field lists are those that app_queue of Asterisk 22 writes.

use tandem_proto::api::v1::Event;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// What it is of; `NONE` for what concerns all.
    pub(super) queue: String,
    pub(super) text: String,
}

/// The lines of an event, in order.
pub(super) fn lines(event: &Event) -> Vec<Line> {
    let log = Log { event };
    let (queue, agent) = (event.queue.as_str(), event.agent.as_str());
    match event.kind.as_str() {
        "contact-entered" => vec![log.enters(queue, event.came_as)],
        "contact-overflowed" => {
            let left = log.leaves(queue, &event.reason);
            vec![left, log.enters(&event.to_queue, event.came_as_to)]
        }
        "contact-left" => vec![log.leaves(queue, &event.reason)],
        "contact-connected" => {
            let data = [
                seconds(event.in_queue_ms),
                format!("offer_{}", event.offer),
                seconds(event.ring_ms),
            ];
            vec![log.of_call(queue, agent, "CONNECT", &data)]
        }
        "contact-completed" => {
            let event_name = match event.reason.as_str() {
                "agent-hung-up" | "operator" => "COMPLETEAGENT",
                _ => "COMPLETECALLER",
            };
            vec![log.completes(event_name)]
        }
        // The conversation is over, and the same call waits again.
        "contact-requeued" => {
            vec![log.completes("COMPLETEAGENT"), log.enters(queue, event.place)]
        }
        "offer-ended" => match event.reason.as_str() {
            "not-answered" | "expired" | "refused" | "phone-busy" | "phone-failed" => {
                vec![log.rang("RINGNOANSWER")]
            }
            "withdrawn" | "node-lost" | "node-failed" => vec![log.rang("RINGCANCELED")],
            // Another agent took it: app_queue says nothing of the others.
            _ => Vec::new(),
        },
        "agent-logged-in" => {
            let paused = event.to == "not-ready";
            let data = if paused { "PAUSED" } else { "" };
            let mut lines = log.members(&event.queues, "ADDMEMBER", data);
            lines.extend(paused.then(|| log.of_agent("NONE", "PAUSEALL", &event.reason)));
            lines
        }
        "agent-logged-out" => log.members(&event.left_queues, "REMOVEMEMBER", ""),
        "agent-serves" => {
            let mut lines = log.members(&event.left_queues, "REMOVEMEMBER", "");
            lines.extend(log.members(&event.queues, "ADDMEMBER", ""));
            lines
        }
        "agent-changed" => match (event.from.as_str(), event.to.as_str()) {
            (_, "not-ready") => vec![log.of_agent("NONE", "PAUSEALL", &event.reason)],
            ("not-ready", _) => vec![log.of_agent("NONE", "UNPAUSEALL", "")],
            _ => Vec::new(),
        },
        "configured" if event.thing == "queue" => {
            vec![log.line("NONE", "NONE", "NONE", "CONFIGRELOAD", "")]
        }
        _ => Vec::new(),
    }
}

struct Log<'a> {
    event: &'a Event,
}

impl Log<'_> {
    fn line(&self, call: &str, queue: &str, agent: &str, name: &str, data: &str) -> Line {
        let time = self.event.utc_ms / 1_000;
        let text = format!("{time}|{call}|{queue}|{agent}|{name}|{data}");
        Line { queue: queue.to_owned(), text }
    }

    fn of_call(&self, queue: &str, agent: &str, name: &str, data: &[String]) -> Line {
        self.line(&self.event.contact, queue, agent, name, &data.join("|"))
    }

    fn of_agent(&self, queue: &str, name: &str, data: &str) -> Line {
        self.line("NONE", queue, &self.event.agent, name, data)
    }

    fn members(&self, queues: &[String], name: &str, data: &str) -> Vec<Line> {
        queues.iter().map(|queue| self.of_agent(queue, name, data)).collect()
    }

    fn enters(&self, queue: &str, position: u32) -> Line {
        // Nobody sends an address of a page along.
        let data = [String::new(), plain(&self.event.caller), position.to_string()];
        self.of_call(queue, "NONE", "ENTERQUEUE", &data)
    }

    fn leaves(&self, queue: &str, reason: &str) -> Line {
        let (name, why) = match reason {
            "waited-too-long" | "waited" | "on-arrival" => ("EXITWITHTIMEOUT", None),
            "unstaffed" | "closed" => ("EXITEMPTY", None),
            "operator" | "retired" => ("WITHDRAW", Some(reason)),
            _ => ("ABANDON", None),
        };
        let event = self.event;
        let mut data =
            vec![event.place.to_string(), event.came_as.to_string(), seconds(event.in_queue_ms)];
        data.extend(why.map(str::to_owned));
        self.of_call(queue, "NONE", name, &data)
    }

    fn completes(&self, name: &str) -> Line {
        let event = self.event;
        let data = [seconds(event.in_queue_ms), seconds(event.talk_ms), event.came_as.to_string()];
        self.of_call(&event.queue, &event.agent, name, &data)
    }

    fn rang(&self, name: &str) -> Line {
        let event = self.event;
        self.of_call(&event.queue, &event.agent, name, &[event.ring_ms.to_string()])
    }
}

fn seconds(ms: u64) -> String {
    (ms / 1_000).to_string()
}

/// A caller's number comes from outside: it must not make fields or lines.
fn plain(text: &str) -> String {
    text.chars().filter(|c| *c != '|' && !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str) -> Event {
        Event {
            kind: kind.to_owned(),
            utc_ms: 1_800_000_000_999,
            contact: "contact_0_7".to_owned(),
            queue: "sales".to_owned(),
            agent: "amy".to_owned(),
            caller: "+4420|1\n".to_owned(),
            offer: 9,
            in_queue_ms: 12_900,
            waited_ms: 20_000,
            ring_ms: 4_500,
            talk_ms: 90_000,
            place: 2,
            came_as: 5,
            ..Event::default()
        }
    }

    fn text(event: &Event) -> String {
        let lines: Vec<String> = lines(event).into_iter().map(|line| line.text).collect();
        lines.join("\n")
    }

    // Goal: each event becomes the lines that a reader of Asterisk's log expects, with the fields in their
    // order and units; a caller's number cannot make a field.
    #[test]
    fn events_become_lines() {
        let with = |kind: &str, reason: &str| Event { reason: reason.to_owned(), ..event(kind) };
        let overflowed = Event {
            to_queue: "support".to_owned(),
            came_as_to: 1,
            ..with("contact-overflowed", "waited")
        };
        let queues = || vec!["sales".to_owned(), "support".to_owned()];
        let logged_in = Event {
            queues: queues(),
            to: "not-ready".to_owned(),
            ..with("agent-logged-in", "training")
        };
        let changed = |from: &str, to: &str| Event {
            from: from.to_owned(),
            to: to.to_owned(),
            ..with("agent-changed", "lunch")
        };
        let serves = Event {
            queues: queues(),
            left_queues: vec!["old".to_owned()],
            ..event("agent-serves")
        };
        let cases: Vec<(Event, &[&str])> = vec![
            (event("contact-entered"), &["C|sales|NONE|ENTERQUEUE||+44201|5"]),
            (
                overflowed,
                &["C|sales|NONE|EXITWITHTIMEOUT|2|5|12", "C|support|NONE|ENTERQUEUE||+44201|1"],
            ),
            (with("contact-left", "abandoned"), &["C|sales|NONE|ABANDON|2|5|12"]),
            (with("contact-left", "caller-leg-lost"), &["C|sales|NONE|ABANDON|2|5|12"]),
            (with("contact-left", "waited-too-long"), &["C|sales|NONE|EXITWITHTIMEOUT|2|5|12"]),
            (with("contact-left", "unstaffed"), &["C|sales|NONE|EXITEMPTY|2|5|12"]),
            (with("contact-left", "operator"), &["C|sales|NONE|WITHDRAW|2|5|12|operator"]),
            (event("contact-connected"), &["C|sales|amy|CONNECT|12|offer_9|4"]),
            (with("contact-completed", "agent-hung-up"), &["C|sales|amy|COMPLETEAGENT|12|90|5"]),
            (with("contact-completed", "caller-hung-up"), &["C|sales|amy|COMPLETECALLER|12|90|5"]),
            (
                event("contact-requeued"),
                &["C|sales|amy|COMPLETEAGENT|12|90|5", "C|sales|NONE|ENTERQUEUE||+44201|2"],
            ),
            (with("offer-ended", "not-answered"), &["C|sales|amy|RINGNOANSWER|4500"]),
            (with("offer-ended", "withdrawn"), &["C|sales|amy|RINGCANCELED|4500"]),
            (with("offer-ended", "answered-elsewhere"), &[]),
            (
                logged_in,
                &[
                    "NONE|sales|amy|ADDMEMBER|PAUSED",
                    "NONE|support|amy|ADDMEMBER|PAUSED",
                    "NONE|NONE|amy|PAUSEALL|training",
                ],
            ),
            (
                Event { left_queues: queues(), ..event("agent-logged-out") },
                &["NONE|sales|amy|REMOVEMEMBER|", "NONE|support|amy|REMOVEMEMBER|"],
            ),
            (
                serves,
                &[
                    "NONE|old|amy|REMOVEMEMBER|",
                    "NONE|sales|amy|ADDMEMBER|",
                    "NONE|support|amy|ADDMEMBER|",
                ],
            ),
            (changed("serving", "not-ready"), &["NONE|NONE|amy|PAUSEALL|lunch"]),
            (changed("not-ready", "serving"), &["NONE|NONE|amy|UNPAUSEALL|"]),
            (changed("wrap-up", "serving"), &[]),
            (
                Event { thing: "queue".to_owned(), ..event("configured") },
                &["NONE|NONE|NONE|CONFIGRELOAD|"],
            ),
            (event("offer-made"), &[]),
        ];
        for (event, expected) in cases {
            let expected: Vec<String> = expected
                .iter()
                .map(|line| format!("1800000000|{}", line.replacen("C|", "contact_0_7|", 1)))
                .collect();
            assert_eq!(text(&event), expected.join("\n"), "{}", event.kind);
        }
        let early = Event { utc_ms: 0, ..event("contact-entered") };
        assert!(text(&early).starts_with("0|"), "before anybody said what time it is");
    }
}
