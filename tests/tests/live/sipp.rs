//! SIPp plays carriers and agents' phones: programs that are not ours judge SIP, and a capture of the
//! network judges the audio.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tandem_chaos::{
    center::{self, AgentSetup, PASSWORD, QueueSetup},
    cluster::LocalCluster,
};

use crate::support::{Lab, NUMBER, QUEUE};

const SITES: usize = 3;
/// Agents of a site who have the skill.
const AGENTS: usize = 10;
/// Calls that come in at a site.
const CALLS: usize = 100;
/// Port of a site's agents.
const PHONE_PORT: u16 = 6100;
/// First byte of every payload: who said it.
const CALLER_SAYS: u8 = 0xC1;
const AGENT_SAYS: u8 = 0xA7;
/// Bytes of 20 ms of G.711.
const FRAME: usize = 160;
/// Frames of the spoken files: a minute, longer than any call.
const FRAMES: u16 = 3_000;
/// How many of the packets that one side sent the other must get, in percent.
const HEARD_MIN: usize = 98;

/// A program that is killed when the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended needs no signal.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Agents with the skill, and one at each site without it: a decoy.
fn agents() -> Vec<AgentSetup> {
    let agent = |site: usize, index: usize| AgentSetup {
        name: format!("site{site}agent{index:02}"),
        site,
        skills: vec![("english".to_owned(), if index < AGENTS { 5 } else { 2 })],
        queues: vec![QUEUE.to_owned()],
    };
    (0..SITES).flat_map(|site| (0..=AGENTS).map(move |index| agent(site, index))).collect()
}

/// SIPp 3.6 looks only at the first challenge, and knows MD5.
fn only_md5(cluster: &LocalCluster) {
    for place in cluster.places() {
        let file = place.dir.join("node.toml");
        let text = fs::read_to_string(&file).unwrap();
        let digest = "digest = [\"md5\"]\nregister_min_s";
        fs::write(file, text.replacen("register_min_s", digest, 1)).unwrap();
    }
}

fn phone_address(cluster: &LocalCluster, site: usize) -> String {
    let [a, b, c, _] = cluster.plan().sites[site].address.octets();
    format!("{a}.{b}.{c}.100")
}

fn trunk_address(cluster: &LocalCluster, site: usize) -> String {
    let [a, b, _, _] = cluster.plan().sites[site].address.octets();
    format!("{a}.{b}.9.{}", site + 1)
}

/// SIPp at `address`, against the node of a site.
fn sipp(cluster: &LocalCluster, dir: &Path, site: usize, address: &str) -> Command {
    let mut command = Command::new("sipp");
    command
        .arg(cluster.sip(site).to_string())
        .args(["-i", address, "-mi", address, "-nostdin", "-timeout_error", "-trace_err"])
        .current_dir(dir)
        .stdin(Stdio::null());
    command
}

fn spawn(mut command: Command, dir: &Path, name: &str) -> Running {
    let said = File::create(dir.join(format!("{name}.out"))).unwrap();
    command.stdout(said.try_clone().unwrap()).stderr(said);
    Running(command.spawn().expect("sipp is installed: cargo xtask setup"))
}

fn wait(running: &mut Running, dir: &Path, name: &str) {
    let status = running.0.wait().unwrap();
    let tail = || {
        let said = fs::read_to_string(dir.join(format!("{name}.out"))).unwrap_or_default();
        said.lines()
            .rev()
            .take(60)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert!(status.success(), "{name} ended with {status}:\n{}", tail());
}

/// A minute of frames that say who spoke and which frame it is.
fn speech(says: u8) -> Vec<u8> {
    let frame = |index: u16| {
        let [high, low] = index.to_be_bytes();
        let mut frame = vec![says; FRAME];
        frame[1] = high;
        frame[2] = low;
        frame
    };
    (0..FRAMES).flat_map(frame).collect()
}

fn write_files(dir: &Path) {
    for (name, text) in [
        ("register.xml", include_str!("sipp/register.xml")),
        ("caller.xml", include_str!("sipp/caller.xml")),
        ("agent.xml", include_str!("sipp/agent.xml")),
    ] {
        fs::write(dir.join(name), text).unwrap();
    }
    fs::write(dir.join("caller.ul"), speech(CALLER_SAYS)).unwrap();
    fs::write(dir.join("agent.ul"), speech(AGENT_SAYS)).unwrap();
    for site in 0..SITES {
        let mut lines = String::from("SEQUENTIAL\n");
        for agent in agents().iter().filter(|agent| agent.site == site) {
            let name = &agent.name;
            lines += &format!("{name};[authentication username={name} password={PASSWORD}]\n");
        }
        fs::write(dir.join(format!("agents{site}.csv")), lines).unwrap();
    }
}

fn register(cluster: &LocalCluster, dir: &Path, site: usize) {
    let address = phone_address(cluster, site);
    let mut command = sipp(cluster, dir, site, &address);
    let (port, count) = (PHONE_PORT.to_string(), (AGENTS + 1).to_string());
    let list = format!("agents{site}.csv");
    command.args(["-auth_uri", "tandem"]);
    command.args([
        "-sf",
        "register.xml",
        "-inf",
        &list,
        "-p",
        &port,
        "-m",
        &count,
        "-timeout",
        "30s",
    ]);
    let name = format!("register{site}");
    wait(&mut spawn(command, dir, &name), dir, &name);
}

fn answer(cluster: &LocalCluster, dir: &Path, site: usize) -> Running {
    let mut command = sipp(cluster, dir, site, &phone_address(cluster, site));
    let (port, log) = (PHONE_PORT.to_string(), format!("served{site}.log"));
    command.args(["-sf", "agent.xml", "-p", &port, "-trace_logs", "-log_file", &log]);
    spawn(command, dir, &format!("agents{site}"))
}

fn call(cluster: &LocalCluster, dir: &Path, site: usize) -> Running {
    let mut command = sipp(cluster, dir, site, &trunk_address(cluster, site));
    let (count, site_key) = (CALLS.to_string(), site.to_string());
    // Ten calls in three seconds from each of three sites.
    command.args(["-sf", "caller.xml", "-p", "5060", "-s", NUMBER, "-key", "site", &site_key]);
    command.args(["-m", &count, "-r", "10", "-rp", "3000", "-timeout", "240s"]);
    spawn(command, dir, &format!("callers{site}"))
}

fn capture(cluster: &LocalCluster, file: &Path) -> Running {
    let [a, b, _, _] = cluster.plan().sites[0].address.octets();
    // Only what begins or ends at callers and agents, and no SIP.
    let agents: Vec<String> = (0..SITES).map(|site| phone_address(cluster, site)).collect();
    let filter = format!(
        "udp and (net {a}.{b}.9.0/24 or host {}) and not port 5060 and not port {PHONE_PORT}",
        agents.join(" or host ")
    );
    let child = Command::new("dumpcap")
        .args(["-q", "-i", "lo", "-s", "96", "-B", "128", "-f", &filter, "-w"])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("dumpcap is installed: cargo xtask setup");
    Running(child)
}

fn interrupt(running: &mut Running) {
    let pid = running.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    running.0.wait().unwrap();
}

/// One RTP packet of the capture.
struct Packet {
    source: String,
    target: (String, u16),
    ssrc: String,
    says: u8,
    frame: u16,
}

fn packets(file: &Path) -> Vec<Packet> {
    let output = Command::new("tshark")
        .args(["-n", "-r"])
        .arg(file)
        .args(["-T", "fields", "-e", "ip.src", "-e", "ip.dst"])
        .args(["-e", "udp.dstport", "-e", "udp.payload", "-Y", "udp.length > 100"])
        .output()
        .expect("tshark is installed: cargo xtask setup");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(packet).collect()
}

fn packet(line: &str) -> Option<Packet> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [source, target, target_port, payload] = fields[..] else { return None };
    let byte = |index: usize| u8::from_str_radix(payload.get(index * 2..index * 2 + 2)?, 16).ok();
    // RFC 3550 section 5.1: version 2, then 12 bytes of header.
    if byte(0)? != 0x80 {
        return None;
    }
    Some(Packet {
        source: source.to_owned(),
        target: (target.to_owned(), target_port.parse().ok()?),
        ssrc: payload.get(16..24)?.to_owned(),
        says: byte(12)?,
        frame: u16::from_be_bytes([byte(13)?, byte(14)?]),
    })
}

/// Callers are at 127.x.9.y, agents at 127.x.y.100.
fn is_caller(address: &str) -> bool {
    address.split('.').nth(2) == Some("9")
}

fn is_agent(address: &str) -> bool {
    address.ends_with(".100")
}

/// Whom each agent served: caller's number, agent's name.
fn served(dir: &Path) -> Vec<(String, String)> {
    let mut served = Vec::new();
    for site in 0..SITES {
        let log = fs::read_to_string(dir.join(format!("served{site}.log"))).unwrap_or_default();
        for line in log.lines().filter_map(|line| line.split_once("served ")) {
            let mut words = line.1.split_ascii_whitespace().map(str::to_owned);
            served.push((words.next().unwrap(), words.next().unwrap()));
        }
    }
    served
}

// Goal: 300 calls of SIPp, ten a second over three nodes into one queue with 30 agents of SIPp: all
// complete, at least a hundred between sites, each by one agent with the skill, and each side gets at
// least 98 % of the packets that the other one sent, by a capture.
#[tokio::test(flavor = "multi_thread")]
async fn sipp_plays_callers_and_agents() {
    let mut lab = Lab::prepare();
    only_md5(&lab.cluster);
    lab.cluster.found().await.unwrap();
    let cluster = &lab.cluster;
    let dir: PathBuf = cluster.plan().dir.join("sipp");
    fs::create_dir_all(&dir).unwrap();
    write_files(&dir);
    let queues = [QueueSetup::new(QUEUE, NUMBER, "english>=3")];
    center::configure(cluster, &queues, &agents()).await.unwrap();
    for site in 0..SITES {
        register(cluster, &dir, site);
    }
    let file = dir.join("audio.pcapng");
    let mut capture = capture(cluster, &file);
    let phones: Vec<Running> = (0..SITES).map(|site| answer(cluster, &dir, site)).collect();
    center::log_in(cluster, &agents()).await.unwrap();
    let mut callers: Vec<Running> = (0..SITES).map(|site| call(cluster, &dir, site)).collect();
    for (site, running) in callers.iter_mut().enumerate() {
        let name = format!("callers{site}");
        tokio::task::block_in_place(|| wait(running, &dir, &name));
    }
    // The last BYEs of agents are confirmed.
    tokio::time::sleep(Duration::from_secs(1)).await;
    interrupt(&mut capture);
    drop(phones);

    let served = served(&dir);
    let distinct: BTreeSet<&String> = served.iter().map(|(caller, _)| caller).collect();
    assert_eq!((served.len(), distinct.len()), (SITES * CALLS, SITES * CALLS), "twice, or never");
    let decoy = format!("agent{AGENTS:02}");
    assert!(
        served.iter().all(|(_, agent)| !agent.ends_with(&decoy)),
        "delivered without the skill"
    );
    let crossing = served.iter().filter(|(caller, agent)| {
        let from = caller.strip_prefix("+44163").and_then(|rest| rest.get(..1)).unwrap();
        !agent.starts_with(&format!("site{from}agent"))
    });
    let crossing = crossing.count();

    let packets = packets(&file);
    let said = packets.iter().filter(|it| it.says == AGENT_SAYS && is_agent(&it.source)).count();
    let heard =
        packets.iter().filter(|it| it.says == AGENT_SAYS && is_caller(&it.target.0)).count();
    // Callers speak in the queue too, where nobody hears: what counts begins with the first frame
    // that the agent heard.
    let mut runs: BTreeMap<(&(String, u16), &str), BTreeSet<u16>> = BTreeMap::new();
    for it in packets.iter().filter(|it| it.says == CALLER_SAYS && is_agent(&it.target.0)) {
        runs.entry((&it.target, &it.ssrc)).or_default().insert(it.frame);
    }
    let spoken: usize =
        runs.values().map(|run| usize::from(run.last().unwrap() - run.first().unwrap()) + 1).sum();
    let caught: usize = runs.values().map(BTreeSet::len).sum();
    println!(
        "300 calls of SIPp: {crossing} between sites; agents sent {said} packets, callers got \
         {heard} ({:.2} %); callers sent {spoken} while connected, agents got {caught} ({:.2} %)",
        heard as f64 * 100.0 / said as f64,
        caught as f64 * 100.0 / spoken as f64,
    );
    assert!(crossing >= 100, "only {crossing} calls crossed sites");
    assert!(runs.len() >= SITES * CALLS, "only {} calls were heard by agents", runs.len());
    assert!(heard * 100 >= said * HEARD_MIN, "callers got {heard} of {said} packets");
    assert!(caught * 100 >= spoken * HEARD_MIN, "agents got {caught} of {spoken} packets");
    lab.end();
}
