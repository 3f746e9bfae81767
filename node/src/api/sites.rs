//! `Sites`: what each site has and does, and the levers that move load between sites.

use tandem_proto::api::v1::{
    ListSitesReply, ListSitesRequest, SetSiteCapRequest, SetSiteStateRequest, SetSiteWeightRequest,
    SiteChangedReply,
};
use tandem_routing::{
    command::{Command, Reply, Unfinished},
    entity::SiteState,
};
use tonic::{Request, Response, Status};

use super::{Api, name, narrow, read::View};
use crate::rpc::sites_server::Sites;

#[tonic::async_trait]
impl Sites for Api {
    async fn list(
        &self,
        request: Request<ListSitesRequest>,
    ) -> Result<Response<ListSitesReply>, Status> {
        let asked = Self::admit(request)?;
        let now = self.core()?.clock.now();
        let (as_of, sites) =
            self.read(asked.consistency, |machine| View::of_cluster(machine, now).sites()).await?;
        Ok(Response::new(ListSitesReply { as_of: Some(as_of), sites }))
    }

    async fn set_state(
        &self,
        request: Request<SetSiteStateRequest>,
    ) -> Result<Response<SiteChangedReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let state = match asked.state.as_str() {
            "open" => SiteState::Open,
            "draining" => SiteState::Draining,
            "closed" => SiteState::Closed,
            other => {
                return Err(Status::invalid_argument(format!(
                    "state {other:?} is none of open, draining, closed"
                )));
            }
        };
        let command = Command::SetSiteState { site: name("site", &asked.site)?, state };
        self.change(command, asked.idempotency_key, within).await.map(changed)
    }

    async fn set_weight(
        &self,
        request: Request<SetSiteWeightRequest>,
    ) -> Result<Response<SiteChangedReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let command = Command::SetSiteWeight {
            site: name("site", &asked.site)?,
            weight: narrow("weight", asked.weight)?,
        };
        self.change(command, asked.idempotency_key, within).await.map(changed)
    }

    async fn set_cap(
        &self,
        request: Request<SetSiteCapRequest>,
    ) -> Result<Response<SiteChangedReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let (site, contacts_max) = (name("site", &asked.site)?, asked.contacts_max);
        let command = Command::SetSiteCap { site, contacts_max };
        self.change(command, asked.idempotency_key, within).await.map(changed)
    }
}

fn changed(reply: Reply) -> Response<SiteChangedReply> {
    Response::new(match reply {
        Reply::SiteChanged { moved, unfinished } => {
            SiteChangedReply { moved, more_follow: unfinished == Unfinished::Yes }
        }
        _ => SiteChangedReply::default(),
    })
}
