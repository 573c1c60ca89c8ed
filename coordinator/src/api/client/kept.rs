//! Questions about what the coordinator keeps: services, baselines, patch groups, policies and maintenance windows.

use hyper::Method;

use super::{
    super::document::{
        BaselineDocument, BaselinesDocument, ChangedDocument, GroupsDocument, KeptDocument, PoliciesDocument,
        PolicyDocument, RegisterRequest, ServiceDocument, ServiceRequest, ServicesDocument, WindowDocument,
        WindowListDocument,
    },
    Client, encode,
};
use crate::{
    fault::Fault,
    manifest::{baseline::Written, policy, window},
};

impl Client {
    /// Every service.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn services(&self) -> Result<ServicesDocument, Fault> {
        self.get("/v1/services").await
    }

    /// One service.
    ///
    /// # Errors
    /// As [`Self::hosts`], or if it is not there.
    pub async fn service(&self, name: &str) -> Result<ServiceDocument, Fault> {
        self.get(&format!("/v1/services/{}", encode(name))).await
    }

    /// Keeps the service `name`.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn keep_service(&self, name: &str, asked: &ServiceRequest) -> Result<KeptDocument, Fault> {
        self.send_json(Method::PUT, &format!("/v1/services/{}", encode(name)), Some(asked)).await
    }

    /// Drops the service `name`.
    ///
    /// # Errors
    /// As [`Self::service`].
    pub async fn drop_service(&self, name: &str) -> Result<KeptDocument, Fault> {
        self.send_json::<(), _>(Method::DELETE, &format!("/v1/services/{}", encode(name)), None).await
    }

    /// Every baseline, the predefined ones included.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn baselines(&self) -> Result<BaselinesDocument, Fault> {
        self.get("/v1/baselines").await
    }

    /// One baseline.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn baseline(&self, name: &str) -> Result<BaselineDocument, Fault> {
        self.get(&format!("/v1/baselines/{}", encode(name))).await
    }

    /// Keeps the baseline `name`.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn put_baseline(&self, name: &str, manifest: &Written) -> Result<ChangedDocument, Fault> {
        self.send_json(Method::PUT, &format!("/v1/baselines/{}", encode(name)), Some(manifest)).await
    }

    /// Takes the baseline `name` away.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn delete_baseline(&self, name: &str) -> Result<ChangedDocument, Fault> {
        self.send_json::<(), _>(Method::DELETE, &format!("/v1/baselines/{}", encode(name)), None).await
    }

    /// Makes the baseline `name` the default of its operating system.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn set_default(&self, name: &str) -> Result<ChangedDocument, Fault> {
        self.post::<(), _>(&format!("/v1/baselines/{}/default", encode(name)), None).await
    }

    /// Every patch policy.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn policies(&self) -> Result<PoliciesDocument, Fault> {
        self.get("/v1/policies").await
    }

    /// One patch policy.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn policy(&self, name: &str) -> Result<PolicyDocument, Fault> {
        self.get(&format!("/v1/policies/{}", encode(name))).await
    }

    /// Keeps the patch policy `name`.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn put_policy(&self, name: &str, manifest: &policy::Written) -> Result<KeptDocument, Fault> {
        self.send_json(Method::PUT, &format!("/v1/policies/{}", encode(name)), Some(manifest)).await
    }

    /// Takes the patch policy `name` away.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn delete_policy(&self, name: &str) -> Result<KeptDocument, Fault> {
        self.send_json::<(), _>(Method::DELETE, &format!("/v1/policies/{}", encode(name)), None).await
    }

    /// Every maintenance window.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn windows(&self) -> Result<WindowListDocument, Fault> {
        self.get("/v1/windows").await
    }

    /// One maintenance window.
    ///
    /// # Errors
    /// As [`Self::hosts`], or if it is not there.
    pub async fn window(&self, name: &str) -> Result<WindowDocument, Fault> {
        self.get(&format!("/v1/windows/{}", encode(name))).await
    }

    /// Keeps the maintenance window `name`.
    ///
    /// # Errors
    /// As [`Self::hosts`], or a limit that it breaks.
    pub async fn put_window(&self, name: &str, manifest: &window::Written) -> Result<KeptDocument, Fault> {
        self.send_json(Method::PUT, &format!("/v1/windows/{}", encode(name)), Some(manifest)).await
    }

    /// Takes the maintenance window `name` away.
    ///
    /// # Errors
    /// As [`Self::window`].
    pub async fn delete_window(&self, name: &str) -> Result<KeptDocument, Fault> {
        self.send_json::<(), _>(Method::DELETE, &format!("/v1/windows/{}", encode(name)), None).await
    }

    /// Every patch group with a baseline, and every default.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn groups(&self) -> Result<GroupsDocument, Fault> {
        self.get("/v1/groups").await
    }

    /// Gives `group` a baseline.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn register(&self, group: &str, asked: &RegisterRequest) -> Result<ChangedDocument, Fault> {
        self.post(&format!("/v1/groups/{}/register", encode(group)), Some(asked)).await
    }

    /// Takes a baseline from `group`.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn deregister(&self, group: &str, asked: &RegisterRequest) -> Result<ChangedDocument, Fault> {
        self.post(&format!("/v1/groups/{}/deregister", encode(group)), Some(asked)).await
    }
}
