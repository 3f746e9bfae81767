//! How much CPU a crowd costs: `cargo run -p tandem-phone --example load -- [CALLS] [SECONDS]`.
//!
//! Callers and agents of all calls live in this process, so each call is two legs: two streams
//! out, two streams in. Prints the process's CPU time and what was heard. Nothing is asserted.

use std::time::Instant;

use tandem_phone::{
    AnswerPolicy, CallPlan, CallerConfig, PhoneConfig, PhoneError, Server, World, WorldOptions,
};

const LINES_PER_PHONE: usize = 10;
const WAIT_MS: u64 = 60_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let calls = args.next().transpose()?.unwrap_or(200);
    let seconds = args.next().transpose()?.unwrap_or(10) as u64;
    let world = World::start(WorldOptions::default()).await?;
    let mut placed = Vec::new();
    let phones = calls.div_ceil(LINES_PER_PHONE);
    let mut callers = Vec::new();
    for n in 0..phones {
        let user = format!("{}", 1_000 + n);
        let mut config = PhoneConfig::new(&format!("agent-{user}"), &user, "127.0.3.1:0".parse()?);
        config.policy = AnswerPolicy::answer_after(0);
        config.lines = LINES_PER_PHONE;
        let phone = world.phone(config).await?;
        let node = Server::udp(phone.address());
        callers.push((
            world.caller(CallerConfig::new("trunk", "127.0.3.2:0".parse()?, vec![node])).await?,
            user,
        ));
    }
    for n in 0..calls {
        let (caller, user) = &callers[n % phones];
        placed.push(caller.call(CallPlan::to(user)).await?);
    }
    for call in &placed {
        call.wait_for(WAIT_MS, "a voice", |r| !r.media.senders.is_empty()).await?;
    }
    let (began, cpu_before) = (Instant::now(), cpu_ms()?);
    tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
    let (wall_ms, cpu) = (began.elapsed().as_millis() as u64, cpu_ms()? - cpu_before);
    summary(&placed, calls, wall_ms, cpu).await?;
    world.stop(WAIT_MS).await?;
    Ok(())
}

async fn summary(
    placed: &[tandem_phone::Call],
    calls: usize,
    wall_ms: u64,
    cpu_ms: u64,
) -> Result<(), PhoneError> {
    let (mut heard, mut lost, mut gaps, mut longest, mut stall_us) = (0, 0, 0, 0, 0);
    for call in placed {
        let media = call.report().await?.media;
        heard += media.received_packets;
        lost += media.lost();
        gaps += media.gaps_count;
        longest = longest.max(media.gap_ms_max());
        stall_us = stall_us.max(media.own_stall_us);
    }
    println!(
        "{calls} calls, {wall_ms} ms: {cpu_ms} ms of CPU = {:.2} cores",
        cpu_ms as f64 / wall_ms as f64
    );
    println!("callers heard {heard} packets, lost {lost}, {gaps} gaps, longest {longest} ms");
    println!("this process slept through {} ms", stall_us / 1_000);
    Ok(())
}

/// CPU time of this process, user and system, ms (Linux: ticks of 10 ms).
fn cpu_ms() -> Result<u64, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(ticks * 10)
}
