//! A caller and an agent who talk through a scripted node and its relay.

use tandem_phone::sip::Method;
use tandem_phone::{AnswerPolicy, Call, CallPlan, Caller, Phone, World};

use super::{FarLeg, Node, Relay, WAIT_MS, caller_config, phone_config, rtp_of};

/// A caller and an agent, connected through a node and its relay.
pub(crate) struct Connected {
    pub(crate) world: World,
    pub(crate) node: Node,
    pub(crate) relay: Relay,
    pub(crate) phone: Phone,
    pub(crate) caller: Caller,
    pub(crate) call: Call,
    pub(crate) agent_call: Call,
    pub(crate) caller_leg: FarLeg,
    pub(crate) agent_leg: FarLeg,
}

/// What a node does with a call for an agent: INVITE both ways, audio through its relay.
pub(crate) async fn connect(world: World, plan: CallPlan) -> Connected {
    let (node, relay) = (Node::new().await, Relay::new().await);
    let config = phone_config("1001").with_policy(AnswerPolicy::answer_after(0));
    let phone = world.phone(config).await.expect("a phone");
    let caller = world.caller(caller_config(node.address)).await.expect("a caller");
    let call = caller.call(plan).await.expect("a call");
    let (invite, from) = node.request(&Method::Invite).await;
    let mut caller_leg = FarLeg::of_invite(&invite, from, "queue");
    node.answer(&invite, 100, "queue", None).await;
    let mut agent_leg = FarLeg::to_phone("1001", phone.address(), &format!("{}", from.port()));
    let agent_rtp = agent_leg.invite(&node, relay.agent_side, "").await;
    relay.connect(rtp_of(&invite.message), agent_rtp);
    let body = caller_leg.sdp(relay.caller_side, "");
    node.answer(&invite, 200, "queue", Some(body)).await;
    node.request(&Method::Ack).await;
    let agent_call = phone.wait_call(WAIT_MS).await.expect("an incoming call");
    Connected { world, node, relay, phone, caller, call, agent_call, caller_leg, agent_leg }
}

impl Connected {
    /// Both hear each other.
    pub(crate) async fn talk(&self) {
        self.call.wait_hears_more(self.agent_call.sender_tag(), 5, WAIT_MS).await.expect("agent");
        self.agent_call.wait_hears_more(self.call.sender_tag(), 5, WAIT_MS).await.expect("caller");
    }
}
