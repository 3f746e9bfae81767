//! Calls without faults.

use tandem_phone::AnswerPolicy;

use crate::support::{Center, PATIENCE_MS, Shift};

// Goal: a caller at one site is answered with music, reaches an agent at another site, both hear
// each other, and hanging up ends both legs.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_across_sites() {
    let mut center = Center::start(1, AnswerPolicy::answer_after(300), Shift::Ready).await;
    let call = center.caller(1).await;
    let agent = center.phones[0].wait_call(PATIENCE_MS).await.unwrap();
    call.wait_hears_more(agent.sender_tag(), 50, PATIENCE_MS).await.unwrap();
    agent.wait_hears_more(call.sender_tag(), 50, PATIENCE_MS).await.unwrap();
    call.hang_up().await.unwrap();
    agent.wait_ended(PATIENCE_MS).await.unwrap();
    let judgement = center.end_clean().await;
    assert_eq!(judgement.answered, 1);
}
