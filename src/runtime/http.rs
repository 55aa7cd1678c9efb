//! A connection that speaks HTTP: what the node says of itself.

use std::rc::Rc;

use serde_json::json;

use super::connection::Input;
use super::driver::Driver;
use crate::wire::http::{Method, Response, Status, parse};

/// What Prometheus takes.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Answers the requests that have come, as far as so much may wait for the client. Whether the connection
/// goes on.
pub fn advance(driver: &Rc<Driver>, input: &mut Input, out: &mut Vec<u8>) -> bool {
    while out.len() < driver.config.client.output_mib << 20 {
        let (request, length) = match parse(input.rest()) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return true,
            Err(status) => {
                Response::refusal(status).write(None, out);
                return false;
            }
        };
        let keeps = request.keep_alive;
        match (request.method, page(driver, request.path)) {
            (Method::Other, _) => {
                Response::refusal(Status::MethodNotAllowed).write(Some(&request), out);
            }
            (_, None) => Response::refusal(Status::NotFound).write(Some(&request), out),
            (_, Some((status, content_type, body))) => {
                let body = body.as_bytes();
                let response = Response {
                    status,
                    content_type,
                    body,
                };
                response.write(Some(&request), out);
            }
        }
        input.done += length;
        if !keeps {
            return false;
        }
    }
    true
}

fn page(driver: &Rc<Driver>, path: &str) -> Option<(Status, &'static str, String)> {
    match path {
        "/metrics" => Some((Status::Ok, METRICS, driver.board.metrics())),
        "/status" => {
            let status = json!({
                "version": env!("CARGO_PKG_VERSION"),
                "node": driver.station.node.0,
                "cluster": format!("{:016x}", driver.station.cluster.0),
                "stopping": driver.draining.get(),
                "shards": driver.board.status(),
            });
            Some((Status::Ok, JSON, format!("{status:#}\n")))
        }
        "/healthz" if driver.draining.get() => {
            Some((Status::Unavailable, TEXT, "stopping\n".into()))
        }
        "/healthz" => Some((Status::Ok, TEXT, "ok\n".into())),
        "/" => Some((
            Status::Ok,
            TEXT,
            "This is Coracle. See /status, /metrics and /healthz; keys are read and written by RESP on this port.\n"
                .into(),
        )),
        _ => None,
    }
}
