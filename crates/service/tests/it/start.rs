//! Starts a service, and asks it.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::Method;
use serde_json::Value;
use service::{Error, ServiceConfig};
use tokio::sync::oneshot;

use crate::synthetic::{Knobs, Synthetic};

pub struct Running {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    pub task: tokio::task::JoinHandle<Result<(), Error>>,
    http: reqwest::Client,
}

pub async fn serve(knobs: &Arc<Knobs>, change: impl FnOnce(&mut ServiceConfig)) -> Running {
    let mut config = ServiceConfig::new(Arc::new(Synthetic(Arc::clone(knobs))));
    config.listen.set_port(0);
    change(&mut config);
    let (listening, address) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        let on_listening = |address| listening.send(address).unwrap();
        service::serve(config, on_listening, async move {
            let _ = stopped.await;
        })
        .await
    });
    Running { address: address.await.unwrap(), stop: Some(stop), task, http: http() }
}

fn http() -> reqwest::Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().use_preconfigured_tls(tls).no_proxy().build().unwrap()
}

impl Running {
    pub fn stop_now(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address))
    }

    /// Status and JSON; every answer carries the API's header.
    pub async fn ask(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        let response = self.request(method, path).body(body.to_owned()).send().await.unwrap();
        assert_eq!(response.headers()["neo4j-backup-api"], "1");
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if status >= 400 {
            assert!(json["error"]["message"].is_string(), "{json}");
        }
        (status, json)
    }

    pub async fn open(&self) -> String {
        let (status, json) =
            self.ask(Method::POST, "/v1/sessions", r#"{"database":"neo4j"}"#).await;
        assert_eq!(status, 201, "{json}");
        format!("/v1/sessions/{}", json["session_id"].as_str().unwrap())
    }
}
