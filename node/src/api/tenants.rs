//! `Tenants`: customers of an outsourcing center, with what they have and may have.

use tandem_proto::api::v1 as api;
use tandem_routing::{
    command::Command,
    entity::{Quotas, Tenant},
    ids::TenantId,
};
use tonic::{Request, Response, Status};

use super::{Api, name};
use crate::rpc::tenants_server::Tenants;

#[tonic::async_trait]
impl Tenants for Api {
    async fn list(
        &self,
        request: Request<api::ListTenantsRequest>,
    ) -> Result<Response<api::ListTenantsReply>, Status> {
        let asked = Self::admit(request)?;
        let (as_of, tenants) = self
            .look("", asked.consistency, |view| {
                let state = view.machine.queue();
                let show = |id: TenantId, name: String, quotas: Quotas| {
                    let usage = state.usage(id);
                    let quotas = Some(api::Quotas {
                        queues: quotas.queues,
                        numbers: quotas.numbers,
                        agents: quotas.agents,
                        contacts: quotas.contacts,
                    });
                    api::Tenant {
                        name,
                        quotas,
                        queues: usage.queues,
                        numbers: usage.numbers,
                        agents: usage.agents,
                        contacts: usage.contacts,
                    }
                };
                let row = |row: &Tenant| show(row.id, row.name.to_string(), row.quotas);
                // The one that every cluster has needs no row.
                let default = TenantId::DEFAULT;
                let first =
                    state.tenants().get(&default).is_none().then(|| {
                        show(default, TenantId::DEFAULT_NAME.to_owned(), Quotas::default())
                    });
                Ok(first.into_iter().chain(state.tenants().iter().map(row)).collect())
            })
            .await?;
        Ok(Response::new(api::ListTenantsReply { as_of: Some(as_of), tenants }))
    }

    async fn put(
        &self,
        request: Request<api::PutTenantRequest>,
    ) -> Result<Response<api::PutTenantReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let quotas = asked.quotas.unwrap_or_default();
        let quotas = Quotas {
            queues: quotas.queues,
            numbers: quotas.numbers,
            agents: quotas.agents,
            contacts: quotas.contacts,
        };
        let command = Command::PutTenant { name: name("name", &asked.name)?, quotas };
        self.change(command, asked.idempotency_key, within).await?;
        Ok(Response::new(api::PutTenantReply {}))
    }

    async fn remove(
        &self,
        request: Request<api::RemoveTenantRequest>,
    ) -> Result<Response<api::RemoveTenantReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let command = Command::RemoveTenant { name: name("name", &asked.name)? };
        self.change(command, asked.idempotency_key, within).await?;
        Ok(Response::new(api::RemoveTenantReply {}))
    }
}
