//! REST over the unix socket, asked with `curl`: every resource, every error, and uploads that go wrong.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use upgrade_agent::door::view::{JobView, OutcomeView, ReportView, Status, Taken};

use crate::appliance::{Appliance, MIB, Plan, Reply, make, noise, slow_writing};

const NAME: &str = "Test_Box_Upgrade-1.1.0-2.sh.REL.tar";

fn post(appliance: &Appliance, path: &str, body: &str) -> Reply {
    appliance.curl(path, &["--request", "POST", "--data-binary", body])
}

fn put(appliance: &Appliance, name: &str, file: &std::path::Path) -> Reply {
    appliance.curl(&format!("/bundle/{name}"), &["--upload-file", file.to_str().unwrap()])
}

#[test]
fn every_resource_answers() {
    let appliance = Appliance::on(Plan::default());
    let bundle = appliance.bundle("1.1.0-2", "well");
    let get = |path: &str| appliance.curl(path, &[]);
    assert_eq!(get("/status").json::<Status>(200).phase.word(), "idle");
    assert_eq!(get("/upgrade").json::<Option<JobView>>(200), None);
    assert_eq!(get("/history").json::<Vec<OutcomeView>>(200), []);
    assert_eq!(get("/explain").json::<Vec<String>>(200), ["Nothing is going on."]);
    assert_eq!(get("/bundle").json::<serde_json::Value>(200)["held"], serde_json::Value::Null);
    get("/check").is_problem(404, "no-report");

    let taken: Taken = post(&appliance, "/check", "").json(202);
    appliance.wait_until("the check is over", |status| status.job.is_none());
    assert!(get("/check").json::<ReportView>(200).rows.len() >= 5);
    assert_eq!(get("/status").json::<Status>(200).errand.map(|errand| errand.id), taken.id);

    let fetched: OutcomeView = put(&appliance, NAME, &bundle).json(201);
    assert_eq!((fetched.goal.as_str(), fetched.outcome.as_str()), ("fetch", "succeeded"));
    let held = get("/bundle").json::<serde_json::Value>(200);
    assert_eq!(held["held"]["name"], NAME);
    assert_eq!(held["held"]["len"], std::fs::metadata(&bundle).unwrap().len());

    let body = r#"{"stage_only": true, "force": ["clock"]}"#;
    let taken: Taken = post(&appliance, "/upgrade", body).json(202);
    appliance.wait_for_phase("staged");
    assert_eq!(
        get("/upgrade").json::<Option<JobView>>(200).map(|job| Some(job.id)),
        Some(taken.id)
    );
    post(&appliance, "/upgrade/activate", "").json::<Taken>(202);
    appliance.wait().exits(0);
    let id = taken.id.unwrap();
    assert_eq!(get(&format!("/history/{id}")).json::<OutcomeView>(200).outcome, "succeeded");
    assert!(!get(&format!("/explain/{id}")).json::<Vec<String>>(200).is_empty());
    appliance.curl(&format!("/bundle/{NAME}"), &["--request", "DELETE"]).json::<Taken>(202);
    assert_eq!(get("/bundle").json::<serde_json::Value>(200)["held"], serde_json::Value::Null);
    appliance.wait_until("the spool is empty", |_| {
        std::fs::metadata(appliance.path("data/spool.1")).unwrap().len() == 0
    });
}

#[test]
fn every_error_is_a_problem_with_a_code() {
    let appliance = Appliance::on(Plan::default());
    for path in ["/nothing", "/upgrade/nothing", "/status/now"] {
        appliance.curl(path, &[]).is_problem(404, "no-such-resource");
    }
    for (verb, path) in [
        ("POST", "/status"),
        ("GET", "/upgrade/cancel"),
        ("DELETE", "/upgrade"),
        ("PUT", "/bundle"),
    ] {
        appliance.curl(path, &["--request", verb]).is_problem(405, "wrong-method");
    }
    for body in ["{not json", r#"{"stage_only": 1}"#, r#"{"stage_onyl": true}"#, "[]", "null"] {
        post(&appliance, "/upgrade", body).is_problem(400, "body");
        post(&appliance, "/check", body).is_problem(400, "body");
    }
    post(&appliance, "/upgrade", r#"{"force": ["moon"]}"#).is_problem(400, "no-such-check");
    for body in ["", "{}", r#"{"digest": "12"}"#] {
        post(&appliance, "/forgive", body).is_problem(400, "body");
    }
    let digest = "0".repeat(64);
    let unknown = post(&appliance, "/forgive", &format!(r#"{{"digest": "{digest}"}}"#));
    unknown.is_problem(409, "not-stained");
    for (path, possible) in [
        ("/upgrade/retry", &["failed"][..]),
        ("/upgrade/activate", &["staged"]),
        ("/upgrade/confirm", &["on-trial"]),
    ] {
        let problem = post(&appliance, path, "").is_problem(409, "wrong-phase");
        assert_eq!(problem.possible, possible);
    }
    post(&appliance, "/upgrade/cancel", "").is_problem(409, "nothing-to-cancel");
    post(&appliance, "/upgrade", "").is_problem(409, "no-bundle");
    post(&appliance, "/revert", "").is_problem(409, "slot-unproven");
    appliance.curl("/history/7", &[]).is_problem(404, "no-such-number");
    appliance.curl("/explain/7", &[]).is_problem(404, "no-such-number");
    appliance.curl("/bundle/x", &["--request", "DELETE"]).is_problem(404, "no-bundle");
    assert_eq!(appliance.status().phase.word(), "idle");
}

#[test]
fn what_the_framework_refuses_is_a_problem_too() {
    let appliance = Appliance::on(Plan::default());
    let large = appliance.path("large");
    make(&large, &vec![b' '; 100_000]);
    let large = format!("@{}", large.display());
    post(&appliance, "/upgrade", &large).is_problem(413, "too-long");
    post(&appliance, "/forgive", &large).is_problem(413, "too-long");
    appliance.curl("/history/seven", &[]).is_problem(404, "no-such-number");
    appliance.curl("/explain/-1", &[]).is_problem(404, "no-such-number");
    appliance.curl("/bundle/%ff", &["--request", "DELETE"]).is_problem(404, "no-bundle");
}

#[test]
fn an_upload_with_a_wrong_name_or_content_keeps_what_is_held() {
    let appliance = Appliance::on(Plan::default());
    let good = appliance.bundle("1.1.0-2", "well");
    let bytes = std::fs::read(&good).unwrap();
    let short = appliance.path("short");
    make(&short, &bytes[..bytes.len() - 700]);
    let long = appliance.path("long");
    make(&long, &[&bytes[..], &[0; 512]].concat());
    let garbage = appliance.path("garbage");
    make(&garbage, &noise("garbage", 700_000));
    let empty = appliance.path("empty");
    make(&empty, b"");
    for held in [None, Some(NAME.to_owned())] {
        for (name, file, code) in [
            ("anything", &good, "name-spelling"),
            ("Test_Box_Upgrade-1.1.0-3.sh.REL.tar", &good, "name-mismatch"),
            (NAME, &short, "bundle-truncated"),
            (NAME, &long, "bundle-trailing-data"),
            (NAME, &garbage, "not-a-bundle"),
            (NAME, &empty, "bundle-truncated"),
        ] {
            put(&appliance, name, file).is_problem(422, code);
            let status = appliance.status();
            assert_eq!((status.phase.word(), &status.held), ("idle", &held), "{name} {code}");
        }
        put(&appliance, NAME, &good).json::<OutcomeView>(201);
    }
}

#[test]
fn an_upload_whose_client_dies_leaves_nothing_behind() {
    let appliance = Appliance::on(Plan::default());
    let bundle = appliance.bundle("1.1.0-2", "well");
    let upload = ["--limit-rate", "300k", "--upload-file", bundle.to_str().unwrap()];
    let curl = appliance.curl_in_background(&format!("/bundle/{NAME}"), &upload);
    appliance.wait_until("a part came", |status| {
        let progress = status.job.as_ref().and_then(|job| job.progress);
        status.phase.word() == "fetching" && progress.is_some_and(|progress| progress.done > 0)
    });
    // While one comes in, another one is refused, and so is a start.
    put(&appliance, NAME, &bundle).is_problem(409, "wrong-phase");
    appliance.upgrade(&Appliance::start_of(&bundle)).exits(3).says("cannot start while fetching");
    curl.signal(Signal::SIGKILL);
    drop(curl);
    let status = appliance.wait_until("the service is idle", |status| status.job.is_none());
    assert_eq!(status.held, None);
    assert_eq!(status.errand.map(|errand| errand.outcome), Some("cancelled".to_owned()));
    nothing_spooled(&appliance);
    put(&appliance, NAME, &bundle).json::<OutcomeView>(201);
}

/// The spool becomes empty by itself.
fn nothing_spooled(appliance: &Appliance) {
    appliance.wait_until("the spool is empty", |_| {
        ["data/spool.1", "data/spool.2"]
            .iter()
            .all(|side| std::fs::metadata(appliance.path(side)).map_or(0, |m| m.len()) == 0)
    });
}

#[test]
fn a_cancel_ends_an_upload() {
    let appliance = Appliance::on(Plan::default());
    let bundle = appliance.bundle("1.1.0-2", "well");
    let upload = ["--limit-rate", "300k", "--upload-file", bundle.to_str().unwrap()];
    let curl = appliance.curl_in_background(&format!("/bundle/{NAME}"), &upload);
    appliance.wait_for_phase("fetching");
    appliance.upgrade(&["cancel"]).exits(0);
    drop(curl.finish());
    assert_eq!(appliance.status().phase.word(), "idle");
    nothing_spooled(&appliance);
}

#[test]
fn a_content_length_that_lies_is_seen_through() {
    let appliance = Appliance::on(Plan::default());
    let bytes = std::fs::read(appliance.bundle("1.1.0-2", "well")).unwrap();
    let socket = appliance.path("run/api.sock");
    let put = |length: u64, body: &[u8]| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let head = format!(
            "PUT /api/v1/bundle/{NAME} HTTP/1.1\r\nHost: box\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // The service may answer and close before everything is sent.
        let _ = stream.write_all(body);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    // Less than announced, and nothing at all: the client broke off.
    for sent in [&bytes[..100_000], b""] {
        put(bytes.len() as u64, sent);
        let status = appliance.wait_until("the service is idle", |status| status.job.is_none());
        assert_eq!(status.held, None);
    }
    // More than announced: what is beyond is not the body's, and the body is not whole.
    let answer = put(bytes.len() as u64 - 1000, &bytes);
    assert!(answer.starts_with("HTTP/1.1 422") && answer.contains("bundle-truncated"), "{answer}");
    // More than any bundle has: refused before a byte is taken.
    let answer = put(u64::MAX / 2, b"");
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("too-long"), "{answer}");
    assert_eq!(appliance.status().held, None);
    nothing_spooled(&appliance);
}

#[test]
fn a_watcher_sees_every_phase() {
    let appliance = Appliance::on(slow_writing());
    let bundle = appliance.bundle("1.1.0-2", "well");
    let mut watch = appliance.curl_in_background("/status?watch", &["--include"]);
    watch.wait_for("data:");
    appliance.start(&bundle);
    // The connection ends with the service.
    let seen = watch.finish().says("content-type: text/event-stream");
    let data = seen.out.lines().filter_map(|line| line.strip_prefix("data:"));
    let statuses: Vec<Status> = data.map(|data| serde_json::from_str(data).unwrap()).collect();
    let mut phases: Vec<&str> = statuses.iter().map(|status| status.phase.word()).collect();
    phases.dedup();
    assert_eq!((phases.first(), phases.last()), (Some(&"idle"), Some(&"rebooting")), "{phases:?}");
    assert!(phases.contains(&"writing"), "{phases:?}");
    let written: Vec<u64> = statuses
        .iter()
        .filter(|status| status.phase.word() == "writing")
        .filter_map(|status| Some(status.job.as_ref()?.progress?.done))
        .collect();
    assert!(written.len() >= 4 && written.is_sorted(), "{written:?}");
    appliance.wait().exits(0);
}

#[test]
fn watchers_that_never_read_hold_nobody_up() {
    let appliance = Appliance::on(slow_writing());
    let bundle = appliance.bundle("1.1.0-2", "well");
    let watchers: Vec<UnixStream> = (0..50)
        .map(|_| {
            let mut stream = UnixStream::connect(appliance.path("run/api.sock")).unwrap();
            stream.write_all(b"GET /api/v1/status?watch HTTP/1.1\r\nHost: box\r\n\r\n").unwrap();
            stream
        })
        .collect();
    let began = Instant::now();
    appliance.start(&bundle);
    appliance.wait().exits(0);
    assert!(began.elapsed() < Duration::from_secs(30));
    drop(watchers);
}

#[test]
fn a_bundle_larger_than_every_buffer_is_streamed() {
    // Larger than the pipe, the body's limit and any frame, and slower than nothing.
    let appliance = Appliance::on(Plan::default());
    let bundle = appliance.bundle("1.1.0-2", "well");
    assert!(std::fs::metadata(&bundle).unwrap().len() > 2 * MIB);
    let chunked =
        ["--header", "Transfer-Encoding: chunked", "--upload-file", bundle.to_str().unwrap()];
    appliance.curl(&format!("/bundle/{NAME}"), &chunked).json::<OutcomeView>(201);
    assert_eq!(
        crate::appliance::digest_of(&appliance.path("data/spool.1")),
        crate::appliance::digest_of(&bundle)
    );
}
