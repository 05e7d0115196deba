//! Several brokers, over the connection that the test plays.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::super::transport::LinkEvent;
use super::super::{Credentials, Publisher};
use super::mock::{MockBroker, MockConnection, Plan, lost, mock};
use super::queue::Queued;
use super::{Running, broker, config, start, will};

fn run(brokers: u16) -> (Running, MockBroker) {
    let (transport, mock) = mock();
    let outbox = Queued::new();
    (start(transport, config((1..=brokers).map(broker).collect()), outbox), mock)
}

fn tried(mock: &MockBroker) -> Vec<u16> {
    mock.attempts.lock().unwrap().iter().map(|broker| broker.port).collect()
}

/// The broker's pings, without which it would count as silent.
async fn keep_alive_until(connection: &MockConnection, done: impl Fn() -> bool) {
    while !done() {
        sleep(Duration::from_millis(100)).await;
        let _ = connection.events.try_send(LinkEvent::Alive);
    }
}

fn edge(running: &Running, text: &'static str) {
    running.outbox.stream("events", Bytes::from_static(text.as_bytes()));
}

#[tokio::test(start_paused = true)]
async fn the_next_broker_is_tried_at_once_and_a_whole_round_is_followed_by_the_growing_pause() {
    let (_running, mock) = run(3);
    for _ in 0..700 {
        mock.plan(Plan::Refuse(0x88));
    }
    let begun = Instant::now();
    while tried(&mock).len() < 3 {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(
        begun.elapsed() <= Duration::from_millis(1010),
        "two pauses within a round: {:?}",
        begun.elapsed()
    );
    sleep(Duration::from_secs(3600)).await;
    let tried = tried(&mock);
    assert!(tried.iter().zip([1, 2, 3].into_iter().cycle()).all(|(tried, expected)| *tried == expected));
    // About 8 rounds until the pause has grown, then one in 30 s on the mean.
    assert!((3 * 80..=3 * 180 + 24).contains(&tried.len()), "{} attempts in an hour", tried.len());
}

#[tokio::test(start_paused = true)]
async fn the_first_broker_is_taken_again_beside_the_running_connection() {
    let (running, mut mock) = run(2);
    mock.plan(Plan::Refuse(0x88));
    let mut second = mock.connection().await;
    assert_eq!(second.options.broker.port, 2);

    // Away, then hanging: the running connection serves all the while.
    mock.plan(Plan::Refuse(0x88));
    mock.plan(Plan::Hang);
    let since = Instant::now();
    keep_alive_until(&second, || tried(&mock).len() == 3).await;
    let waited = since.elapsed();
    assert!(waited >= Duration::from_secs(30) && waited <= Duration::from_millis(90_200), "{waited:?}");
    keep_alive_until(&second, || tried(&mock).len() == 4).await;
    edge(&running, "one");
    let one = second.next().await;
    second.answer(&one, 0).await;
    assert_eq!(*second.disconnect.lock().unwrap(), None, "not before the first answers");
    keep_alive_until(&second, || tried(&mock).len() == 5).await;
    let mut first = mock.connection().await;
    assert_eq!(tried(&mock), [1, 2, 1, 1, 1]);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(*second.disconnect.lock().unwrap(), Some(false), "left cleanly, without will");
    edge(&running, "two");
    assert_eq!(&*first.next().await.payload, b"two");
    let stats = running.stats();
    assert_eq!(
        (stats.connects_total, stats.failovers_total, stats.disconnects_total),
        (2, 1, 0),
        "{stats:?}"
    );
    assert_eq!(stats.broker.as_ref().map(|broker| broker.place), Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_takes_the_old_connection_over_costs_no_further_attempt() {
    let (running, mut mock) = run(2);
    mock.plan(Plan::Refuse(0x88));
    let second = mock.connection().await;
    mock.plan(Plan::AcceptAfter(Duration::from_secs(1)));
    keep_alive_until(&second, || tried(&mock).len() == 3).await;
    edge(&running, "kept");
    second.close(lost()).await;
    let mut first = mock.connection().await;
    assert_eq!(tried(&mock), [1, 2, 1], "the attempt under way is the one that counts");
    assert_eq!(&*first.next().await.payload, b"kept");
}

#[tokio::test(start_paused = true)]
async fn returns_that_do_not_last_become_rare() {
    let (running, mut mock) = run(2);
    mock.plan(Plan::Refuse(0x88));
    let mut returns = Vec::new();
    for _ in 0..4 {
        let second = mock.connection().await;
        assert_eq!(second.options.broker.port, 2);
        let since = Instant::now();
        let first = tokio::select! {
            first = mock.connection() => first,
            () = keep_alive_until(&second, || false) => unreachable!(),
        };
        assert_eq!(first.options.broker.port, 1);
        returns.push(since.elapsed());
        sleep(Duration::from_secs(5)).await;
        first.close(lost()).await;
    }
    println!("returned after {returns:?}");
    for (at, waited) in returns.iter().enumerate() {
        let mean = Duration::from_secs(60 << at);
        assert!(*waited >= mean / 2 && *waited <= mean * 3 / 2 + Duration::from_secs(2), "{returns:?}");
    }
    assert!(running.stats().failovers_total >= 7);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_connects_again_without_pause_and_with_the_new_password() {
    let (transport, mut mock) = mock();
    let outbox = Queued::new();
    let (renew, renewed) = watch::channel(None);
    let (incoming, _kept) = tokio::sync::mpsc::channel(1);
    let publisher =
        Publisher::new(transport, config(vec![broker(1)]), (*outbox).clone(), Box::new(will), incoming)
            .unwrap();
    let task = tokio::spawn(publisher.renewed_by(renewed).run(std::future::pending()));
    let mut first = mock.connection().await;
    outbox.stream("events", Bytes::from_static(b"kept"));
    assert_eq!(&*first.next().await.payload, b"kept");
    let now = Instant::now();
    let password = Bytes::from_static(b"new");
    renew.send_replace(Some(Credentials { username: "node".to_owned(), password: password.clone() }));
    let mut second = mock.connection().await;
    assert!(now.elapsed() < Duration::from_millis(10), "{:?}", now.elapsed());
    assert_eq!(*first.disconnect.lock().unwrap(), Some(false), "without will");
    assert_eq!(second.options.credentials.as_ref().map(|known| known.password.clone()), Some(password));
    assert_eq!(&*second.next().await.payload, b"kept", "what was not acknowledged is sent again");
    assert!(timeout(Duration::from_secs(5), mock.connection()).await.is_err(), "once");
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_renewal_ends_the_pause_after_failures() {
    let (transport, mock) = mock();
    for _ in 0..100 {
        mock.plan(Plan::Refuse(0x87));
    }
    let outbox = Queued::new();
    let (renew, renewed) = watch::channel(None);
    let (incoming, _kept) = tokio::sync::mpsc::channel(1);
    let publisher =
        Publisher::new(transport, config(vec![broker(1)]), (*outbox).clone(), Box::new(will), incoming)
            .unwrap();
    let task = tokio::spawn(publisher.renewed_by(renewed).run(std::future::pending()));
    while outbox.stats().snapshot().backoff_current_ms < 5000 {
        sleep(Duration::from_millis(100)).await;
    }
    let before = tried(&mock).len();
    renew.send_replace(None);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(tried(&mock).len(), before + 1);
    task.abort();
}
