//! A cluster on this machine: one node and one relay per site, each site on its own loopback
//! address.

mod api;
mod ground;
mod process;
mod settings;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use tokio::time::Instant;

pub use api::Api;
pub use ground::{Dress, Ground, Loopback};
pub use process::Process;
pub use settings::{Timing, Trunk};

/// Port of a node for the other nodes; every site has its own address, so ports are the same.
pub const CLUSTER_PORT: u16 = 7100;
/// Port of a node for operators.
pub const API_PORT: u16 = 7200;
/// Port of a relay for nodes.
pub const CONTROL_PORT: u16 = 7300;
/// Port of a relay for other relays.
pub const LINK_PORT: u16 = 7301;
/// Port of a node for SIP.
pub const SIP_PORT: u16 = 5060;

/// How long a cluster may take to be founded or to settle.
const SETTLE_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A node that gives no linearizable reading within this time is passed over.
const ANSWERS_WITHIN: Duration = Duration::from_secs(4);

/// One site of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Name: `lon`. Its node and relay are `lon-1`.
    pub name: String,
    /// Failure domain.
    pub region: String,
    /// Address of everything there; phones and trunks of the site are in the same /16.
    pub address: Ipv4Addr,
    /// Where its node keeps its data, as its settings say: a path of its own, or one in the site's
    /// folder.
    pub data_dir: PathBuf,
}

/// What a cluster shall be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Folder for settings, certificates, data and logs.
    pub dir: PathBuf,
    /// Folder with the programs `tandem` and `tandem-relay`.
    pub programs: PathBuf,
    /// Its sites.
    pub sites: Vec<Site>,
    /// Heartbeats, elections, leases.
    pub timing: Timing,
    /// Where callers come from.
    pub trunks: Vec<Trunk>,
    /// The filter of the nodes' logs.
    pub log: String,
    /// Where the programs run.
    pub ground: Arc<dyn Ground>,
}

/// Names and regions of sites on loopback, in the order in which plans take them.
pub const CITIES: [(&str, &str); SITES_MAX] = [
    ("lon", "eu-west"),
    ("fra", "eu-central"),
    ("mil", "eu-south"),
    ("mad", "eu-iberia"),
    ("waw", "eu-east"),
];
/// Sites of a cluster here: five votes.
pub const SITES_MAX: usize = 5;

impl Plan {
    /// Three cities on 127.`block`.1.1, .2.1 and .3.1, with callers from 127.`block`.9.0/24.
    #[must_use]
    pub fn three_sites(dir: &Path, programs: &Path, block: u8) -> Self {
        Self::sites(dir, programs, [127, block], &CITIES[..3], Arc::new(Loopback))
    }

    /// These sites (name and region; at most [`SITES_MAX`]) on N.1.1, N.2.1 and so on, where N are the
    /// first two bytes of all addresses, with callers from N.9.0/24.
    #[must_use]
    pub fn sites(
        dir: &Path,
        programs: &Path,
        net: [u8; 2],
        named: &[(&str, &str)],
        ground: Arc<dyn Ground>,
    ) -> Self {
        let [a, b] = net;
        let site = |(third, (name, region)): (u8, &(&str, &str))| Site {
            name: (*name).to_owned(),
            region: (*region).to_owned(),
            address: Ipv4Addr::new(a, b, third, 1),
            data_dir: "data".into(),
        };
        Self {
            dir: dir.to_owned(),
            programs: programs.to_owned(),
            sites: (1..).zip(named).map(site).collect(),
            timing: Timing::default(),
            trunks: vec![Trunk {
                name: "carrier".to_owned(),
                network: format!("{a}.{b}.9.0/24"),
                calls_max: 10_000,
            }],
            ground,
            // Raft's own words are many while a peer is away.
            log: "info,openraft=error".to_owned(),
        }
    }

    /// The same, and a softphone on this machine may call in without an account: it speaks from
    /// 127.0.0.1.
    #[must_use]
    pub fn with_softphone(mut self) -> Self {
        self.trunks.push(Trunk {
            name: "softphone".to_owned(),
            network: "127.0.0.1/32".to_owned(),
            calls_max: 10,
        });
        self
    }
}

/// One site's processes.
#[derive(Debug)]
pub struct Place {
    /// The plan of it.
    pub site: Site,
    /// The number of its node; another one once the node was replaced.
    pub id: u64,
    /// Folder with its settings and data.
    pub dir: PathBuf,
    /// The node's process, if it was started and not taken away.
    pub node: Option<Process>,
    /// What is put around the node when it is started next.
    pub dress: Dress,
}

/// A cluster. Dropping it ends all its processes.
#[derive(Debug)]
pub struct LocalCluster {
    plan: Plan,
    places: Vec<Place>,
}

impl LocalCluster {
    /// Writes certificates and settings; starts nothing. This process becomes the one that waits
    /// for orphaned relays.
    ///
    /// # Errors
    /// When a file cannot be written or the certificates cannot be made.
    pub fn prepare(plan: Plan) -> Result<Self> {
        process::adopt_orphans()?;
        fs::create_dir_all(&plan.dir)?;
        let certs = plan.dir.join("certs");
        let mut command = Command::new(plan.programs.join("tandem"));
        command.args(["cluster", "certs", "--dir"]).arg(&certs);
        for site in &plan.sites {
            command.args(["--node", &node_name(site)]);
        }
        let made = command.output().context("tandem cluster certs cannot be started")?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut places = Vec::new();
        for (index, site) in plan.sites.iter().enumerate() {
            let dir = plan.dir.join(&site.name);
            fs::create_dir_all(&dir)?;
            let id = index as u64 + 1;
            let text = settings::node(&plan, id, site, &certs);
            fs::write(dir.join("node.toml"), text)?;
            places.push(Place { site: site.clone(), id, dir, node: None, dress: Dress::default() });
        }
        Ok(Self { plan, places })
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The sites' processes, in the order of the plan.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Starts a node (which starts its relay, or finds it running).
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start_node(&mut self, index: usize) -> Result<()> {
        let place = self.places.get_mut(index).context("no such site")?;
        let program = self.plan.programs.join("tandem");
        let config = place.dir.join("node.toml");
        let log = place.dir.join("node.log");
        let arguments = ["node".into(), "--config".into(), config.into_os_string()];
        let command = place.dress.command(&program, &arguments);
        let ground = &self.plan.ground;
        let process = Process::start_at(command, &log, |command| ground.spawn(index, command))?;
        place.node.insert(process).write_file(&place.dir.join("node.pid"))
    }

    /// Puts something around a site's node when it is started next.
    ///
    /// # Errors
    /// When there is no such site.
    pub fn dress(&mut self, index: usize, dress: Dress) -> Result<()> {
        self.places.get_mut(index).context("no such site")?.dress = dress;
        Ok(())
    }

    /// Starts all nodes, founds the cluster on the first and lets the others join; returns when all
    /// are up and hold a lease.
    ///
    /// # Errors
    /// When a step fails; with the end of the node's log.
    pub async fn found(&mut self) -> Result<()> {
        for index in 0..self.places.len() {
            self.start_node(index)?;
        }
        for index in 0..self.places.len() {
            self.until_answers(index).await?;
        }
        self.api(0)?.init().await.with_context(|| self.tail(0))?;
        self.until_up(&[0]).await?;
        for index in 1..self.places.len() {
            let address = SocketAddr::new(self.address(index), CLUSTER_PORT).to_string();
            self.api(0)?.join(&address).await.with_context(|| self.tail(index))?;
        }
        self.until_up(&(0..self.places.len()).collect::<Vec<_>>()).await
    }

    /// Waits until a node's API answers.
    ///
    /// # Errors
    /// When it does not in time, or its process has ended.
    pub async fn until_answers(&self, index: usize) -> Result<()> {
        let api = self.api(index)?;
        let deadline = Instant::now() + SETTLE_WITHIN;
        while api.status_local().await.is_err() {
            let ended = self.places.get(index).and_then(|place| place.node.as_ref());
            if ended.is_none_or(|node| !node.is_running()) || Instant::now() > deadline {
                bail!("{} does not answer:\n{}", self.name(index), self.tail(index));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Waits until these nodes are up in the replicated state, as the first of them that answers
    /// sees it, linearizably.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn until_up(&self, nodes: &[usize]) -> Result<()> {
        let ids: Vec<u64> =
            nodes.iter().filter_map(|index| self.places.get(*index)).map(|it| it.id).collect();
        self.until("the nodes are up", async || {
            for index in nodes {
                let Ok(status) = self.api(*index)?.status().await else { continue };
                let up = |id| status.nodes.iter().any(|node| node.id == id && node.life == "up");
                return Ok(ids.iter().all(|id| up(*id)));
            }
            Ok(false)
        })
        .await
    }

    /// Waits until something holds.
    ///
    /// # Errors
    /// When it does not in time, or looking at it fails.
    pub async fn until(
        &self,
        what: &str,
        mut holds: impl AsyncFnMut() -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + SETTLE_WITHIN;
        while !holds().await? {
            if Instant::now() > deadline {
                let logs: Vec<String> = (0..self.places.len()).map(|i| self.tail(i)).collect();
                bail!("waited in vain until {what}\n{}", logs.join("\n"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// The index of the node that leads, as a running node sees it.
    ///
    /// # Errors
    /// When no node knows a leader in time.
    pub async fn leader(&self) -> Result<usize> {
        let mut leader = 0;
        self.until("there is a leader", async || {
            for index in self.running() {
                // A frozen one runs and says nothing.
                let api = self.api(index)?;
                if let Ok(Ok(status)) = tokio::time::timeout(ANSWERS_WITHIN, api.status()).await {
                    leader = status.as_of.unwrap_or_default().leader;
                    return Ok(leader != 0);
                }
            }
            Ok(false)
        })
        .await?;
        self.index_of(leader).context("the leader is a node that was replaced")
    }

    /// The index of the site whose node has this number now.
    #[must_use]
    pub fn index_of(&self, id: u64) -> Option<usize> {
        self.places.iter().position(|place| place.id == id)
    }

    /// The exit code of a site's node that has ended by itself.
    #[must_use]
    pub fn exit_code(&self, index: usize) -> Option<i32> {
        self.places.get(index)?.node.as_ref()?.exit_code()
    }

    /// Sites whose node's process runs.
    pub fn running(&self) -> impl Iterator<Item = usize> + '_ {
        let running = |place: &Place| place.node.as_ref().is_some_and(Process::is_running);
        self.places.iter().enumerate().filter(move |(_, place)| running(place)).map(|(i, _)| i)
    }

    /// A client for a node's API.
    ///
    /// # Errors
    /// When the operator's certificate cannot be read.
    pub fn api(&self, index: usize) -> Result<Api> {
        Api::new(SocketAddr::new(self.address(index), API_PORT), &self.plan.dir.join("certs"))
    }

    /// Kills a node's process (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_node(&mut self, index: usize) -> Result<()> {
        let place = self.places.get_mut(index).context("no such site")?;
        place.node.take().context("the node does not run")?.kill()
    }

    /// Takes away the process of a node that has ended by itself.
    ///
    /// # Errors
    /// When it runs, or none was started.
    pub fn forget_node(&mut self, index: usize) -> Result<()> {
        ensure!(!self.node(index)?.is_running(), "{} runs", self.name(index));
        self.places.get_mut(index).context("no such site")?.node = None;
        Ok(())
    }

    /// Removes a site's node, which has ended for good, from the cluster, and lets it join anew under
    /// another number with an empty folder for its data; returns the number. The old folder stays.
    ///
    /// # Errors
    /// When the others do not remove it in time, or it does not come up.
    pub async fn replace_node(&mut self, index: usize) -> Result<u64> {
        let other = self.running().find(|other| *other != index).context("no other node runs")?;
        let old = self.places.get(index).context("no such site")?.id;
        let api = self.api(other)?;
        // Refused until it is declared lost.
        let removed = async || Ok(api.remove_node(old).await.is_ok());
        self.until("the node is removed", removed).await?;
        let id = self.places.iter().map(|place| place.id).max().unwrap_or(old) + 1;
        let certs = self.plan.dir.join("certs");
        let place = self.places.get_mut(index).context("no such site")?;
        place.id = id;
        place.site.data_dir = place.site.data_dir.with_file_name(format!("data-{id}"));
        let text = settings::node(&self.plan, id, &place.site, &certs);
        fs::write(place.dir.join("node.toml"), text)?;
        self.start_node(index)?;
        self.until_answers(index).await?;
        let address = SocketAddr::new(self.address(index), CLUSTER_PORT).to_string();
        api.join(&address).await.with_context(|| self.tail(index))?;
        self.until_up(&[index]).await?;
        Ok(id)
    }

    /// Asks a node's process to end in order (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// When it does not run, or does not end well.
    pub fn stop_node(&mut self, index: usize) -> Result<()> {
        let place = self.places.get_mut(index).context("no such site")?;
        place.node.take().context("the node does not run")?.stop()
    }

    /// The relay of a site, by its pid file.
    ///
    /// # Errors
    /// When none runs.
    pub fn relay(&self, index: usize) -> Result<Process> {
        let place = self.places.get(index).context("no such site")?;
        Process::of_relay(&place.dir.join("relay"))
    }

    /// Kills a site's relay (SIGKILL).
    ///
    /// # Errors
    /// When none runs.
    pub fn kill_relay(&self, index: usize) -> Result<()> {
        self.relay(index)?.kill()
    }

    /// Kills everything at a site, the relay first: a node would start it again.
    ///
    /// # Errors
    /// When the node or the relay does not run.
    pub fn kill_site(&mut self, index: usize) -> Result<()> {
        let relay = self.relay(index)?;
        let place = self.places.get_mut(index).context("no such site")?;
        let node = place.node.take().context("the node does not run")?;
        // Both get the signal before either is waited for.
        node.signal(rustix::process::Signal::KILL)?;
        relay.signal(rustix::process::Signal::KILL)?;
        node.until_gone()?;
        relay.until_gone()
    }

    /// Stops a node's process from running (SIGSTOP) without ending it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze_node(&self, index: usize) -> Result<()> {
        self.node(index)?.signal(rustix::process::Signal::STOP)
    }

    /// Lets a frozen node go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw_node(&self, index: usize) -> Result<()> {
        self.node(index)?.signal(rustix::process::Signal::CONT)
    }

    /// A site's node's process.
    ///
    /// # Errors
    /// When none was started, or it was taken away.
    pub fn node(&self, index: usize) -> Result<&Process> {
        let place = self.places.get(index).context("no such site")?;
        place.node.as_ref().context("the node does not run")
    }

    /// Where SIP is spoken at a site.
    #[must_use]
    pub fn sip(&self, index: usize) -> SocketAddr {
        SocketAddr::new(self.address(index), SIP_PORT)
    }

    /// A node's name.
    #[must_use]
    pub fn name(&self, index: usize) -> String {
        self.places.get(index).map(|place| node_name(&place.site)).unwrap_or_default()
    }

    fn address(&self, index: usize) -> IpAddr {
        let place = self.places.get(index);
        place.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |place| IpAddr::V4(place.site.address))
    }

    /// The end of a node's log, for a message.
    #[must_use]
    pub fn tail(&self, index: usize) -> String {
        let Some(place) = self.places.get(index) else { return String::new() };
        let text = fs::read_to_string(place.dir.join("node.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(30);
        format!("--- {} ---\n{}", self.name(index), lines.get(from..).unwrap_or(&[]).join("\n"))
    }

    /// Ends everything, in order where that is possible; returns the names of what had to be killed.
    pub fn end(&mut self) -> Vec<String> {
        let mut killed = Vec::new();
        for place in &mut self.places {
            if let Some(node) = place.node.take() {
                // A frozen one cannot hear.
                node.signal(rustix::process::Signal::CONT).ok();
                if node.stop().is_err() {
                    killed.push(node_name(&place.site));
                }
            }
        }
        for place in &self.places {
            if let Ok(relay) = Process::of_relay(&place.dir.join("relay"))
                && relay.stop().is_err()
            {
                killed.push(format!("the relay of {}", node_name(&place.site)));
            }
        }
        killed
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        for place in &mut self.places {
            let relay = Process::of_relay(&place.dir.join("relay"));
            // Whatever is gone already needs no signal.
            if let Some(node) = place.node.take() {
                node.kill().ok();
            }
            if let Ok(relay) = relay {
                relay.kill().ok();
            }
        }
        for orphan in process::orphans_of(&self.plan.dir) {
            orphan.kill().ok();
        }
    }
}

fn node_name(site: &Site) -> String {
    format!("{}-1", site.name)
}
