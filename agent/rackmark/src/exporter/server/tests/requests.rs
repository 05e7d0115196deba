//! What is answered and what is refused on a connection that is let in.

use super::*;

#[test]
fn get_and_head_are_answered_and_nothing_else() {
    let endpoint = Endpoint::plain();
    let mut stream = endpoint.connect();
    for _ in 0..3 {
        let answer = get(&mut stream, "/metrics", "").expect("answer");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("rackmark_node_info"), "{answer}");
    }
    let head = ask(&mut stream, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").expect("answer");
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    let dcgm = get(&mut stream, "/metrics/dcgm", "Accept: application/openmetrics-text\r\n").expect("answer");
    assert!(dcgm.starts_with("HTTP/1.1 200") && dcgm.contains("text/plain; version=0.0.4"), "{dcgm}");
    assert!(get(&mut stream, "/", "").expect("answer").contains("href=\"/metrics\""));
    for (request, status, reason) in [
        ("POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "405", "method"),
        ("DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", "405", "method"),
        ("POST /metrics/dcgm HTTP/1.1\r\nHost: x\r\n\r\n", "405", "method"),
        ("GET /metrics/dcgm/ HTTP/1.1\r\nHost: x\r\n\r\n", "404", "path"),
        ("GET /metrics/ HTTP/1.1\r\nHost: x\r\n\r\n", "404", "path"),
        ("GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n", "404", "path"),
        ("GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", "413", "body"),
        ("GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "413", "body"),
        (
            "POST /metrics HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
            "413",
            "body",
        ),
    ] {
        let before = endpoint.refused(reason);
        let mut stream = endpoint.connect();
        let answer = ask(&mut stream, request).expect(request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        assert_eq!(answer.to_lowercase().contains("allow: get, head"), status == "405", "{answer}");
        assert!(is_closed(&mut stream), "only who gets what it asks for keeps a place: {request}");
        assert_eq!(endpoint.refused(reason), before + 1, "{request}");
    }
}

#[test]
fn the_status_page_is_guarded_and_configured_headers_win() {
    let endpoint = Endpoint::plain();
    let mut stream = endpoint.connect();
    let page = get(&mut stream, "/", "").expect("answer").to_lowercase();
    let head = ask(&mut stream, "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").expect("answer").to_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    for header in [
        "content-type: text/html; charset=utf-8\r\n",
        "content-security-policy: default-src 'none'; style-src 'sha256-",
        "x-content-type-options: nosniff\r\n",
        "referrer-policy: no-referrer\r\n",
        "cache-control: no-store\r\n",
    ] {
        assert!(page.contains(header) && head.contains(header), "{header} in {head}");
    }
    let metrics = get(&mut stream, "/metrics", "").expect("answer").to_lowercase();
    assert!(!metrics.contains("content-security-policy"));

    let web = "http_server_config:\n  headers:\n    Content-Security-Policy: \"sandbox\"\n";
    let endpoint = Endpoint::with(web);
    let page = get(&mut endpoint.connect(), "/", "").expect("answer").to_lowercase();
    assert!(page.contains("content-security-policy: sandbox\r\n") && !page.contains("style-src"), "{page}");
}

#[test]
fn a_password_is_needed_where_users_are_configured() {
    // Of the password "a"; made for cost 6, so that a debug build is quick.
    let endpoint = Endpoint::with(
        "basic_auth_users:\n  alice: $2y$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe\nhttp_server_config:\n  headers:\n    X-Frame-Options: deny\n",
    );
    const RIGHT: &str = "Authorization: Basic YWxpY2U6YQ==\r\n";
    for wrong in [
        "",
        "Authorization: Basic YWxpY2U6Yg==\r\n",
        "Authorization: Basic Ym9iOmE=\r\n",
        "Authorization: Bearer YWxpY2U6YQ==\r\n",
        "Authorization: Basic\r\n",
    ] {
        for path in ["/metrics", "/metrics/dcgm", "/", "/nothing"] {
            let mut stream = endpoint.connect();
            let answer = get(&mut stream, path, wrong).expect("answer");
            assert!(answer.starts_with("HTTP/1.1 401"), "{wrong}{path}: {answer}");
            let head = answer.to_lowercase();
            assert!(
                head.contains("www-authenticate: basic") && head.contains("x-frame-options: deny"),
                "{head}"
            );
            assert!(!answer.contains("rackmark_"), "{answer}");
        }
    }
    let mut stream = endpoint.connect();
    for _ in 0..3 {
        let answer = get(&mut stream, "/metrics", RIGHT).expect("answer");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("x-frame-options: deny"), "{answer}");
        assert_eq!(counter(&answer, "unauthorized"), 20);
    }
}

#[test]
fn requests_above_the_rate_are_refused() {
    let endpoint = Endpoint::with("rate_limit:\n  interval: 1h\n  burst: 3\n");
    let statuses: Vec<String> = (0..5)
        .map(|_| get(&mut endpoint.connect(), "/metrics", "").expect("answer")[9..12].to_owned())
        .collect();
    assert_eq!(statuses, ["200", "200", "200", "429", "429"]);
}

#[test]
fn a_password_that_is_being_checked_delays_no_other_request() {
    // Cost 12 is a good part of a second in any build; what the password is does not matter.
    let hash = "$2y$12$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe";
    let endpoint = Endpoint::with(&format!("basic_auth_users:\n  alice: {hash}\n"));
    let mut other = endpoint.connect();
    let mut guesser = endpoint.connect();
    let guess = "GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWxpY2U6Yg==\r\n\r\n";
    guesser.write_all(guess.as_bytes()).expect("request");
    assert!(get(&mut other, "/metrics", "").expect("answer").starts_with("HTTP/1.1 401"));
    guesser.set_nonblocking(true).expect("non-blocking");
    let early = guesser.read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(early, Err(io::ErrorKind::WouldBlock), "the password is still being checked");
    guesser.set_nonblocking(false).expect("blocking");
    assert!(answer(&mut guesser, true).expect("answer").starts_with("HTTP/1.1 401"));
}
