//! Lines (a number, a queue, a skill), the agents who serve them, and how they answer.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use tandem_phone::{AfterAnswer, AnswerPolicy, Phone};

use super::millis;
use crate::{
    center::{AgentSetup, QueueSetup},
    check::AgentFacts,
    cluster::LocalCluster,
};

/// Their names; queue and skill are called alike.
pub(crate) const LINES: [&str; 2] = ["sales", "support"];
/// Number of each line.
pub(crate) const NUMBERS: [&str; 2] = ["8001", "8002"];

/// Agents of the sites in turn: sales, support, or both.
#[must_use]
pub(crate) fn agents(count: usize, cluster: &LocalCluster) -> Vec<AgentSetup> {
    let sites = cluster.places().len();
    let agent = |index: usize| {
        // Five is no multiple of the sites, so every site gets every kind.
        let lines: Vec<&str> = match index % 5 {
            0 | 3 => vec![LINES[0]],
            1 | 4 => vec![LINES[1]],
            _ => LINES.to_vec(),
        };
        AgentSetup {
            name: format!("agent{index:02}"),
            site: index % sites,
            skills: lines.iter().map(|line| ((*line).to_owned(), 5)).collect(),
            queues: lines.iter().map(|line| (*line).to_owned()).collect(),
        }
    };
    (0..count).map(agent).collect()
}

/// One queue for each line.
#[must_use]
pub(crate) fn queues() -> Vec<QueueSetup> {
    let both = LINES.iter().zip(NUMBERS);
    both.map(|(line, number)| QueueSetup::new(line, number, &format!("{line}>=3"))).collect()
}

/// What checkers know of the agents.
#[must_use]
pub(crate) fn facts(cluster: &LocalCluster, agents: &[AgentSetup]) -> Vec<AgentFacts> {
    let fact = |agent: &AgentSetup| AgentFacts {
        name: agent.name.clone(),
        site: cluster.plan().sites.get(agent.site).map_or(String::new(), |site| site.name.clone()),
        lines: agent.skills.iter().map(|(skill, _)| skill.clone()).collect::<BTreeSet<_>>(),
    };
    agents.iter().map(fact).collect()
}

/// Agents answer after ringing a little; each fourth call of an agent is ended by the agent.
///
/// # Errors
/// When the world has stopped.
pub(crate) async fn answer_as(phones: &[Phone], ring: Duration, talk: Duration) -> Result<()> {
    let (answer_after_ms, talk_ms) = (millis(ring), millis(talk));
    for (index, phone) in phones.iter().enumerate() {
        phone
            .set_policy_fn(move |call| {
                let hangs_up = (call.calls_before + index as u64) % 4 == 3;
                let then =
                    if hangs_up { AfterAnswer::HangUpAfter { talk_ms } } else { AfterAnswer::Stay };
                AnswerPolicy::Answer { ring_after_ms: 0, answer_after_ms, then }
            })
            .await?;
    }
    Ok(())
}
