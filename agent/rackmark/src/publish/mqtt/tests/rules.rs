//! Window, order, reasons, holds, silence and shutdown, in paused time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::super::transport::{CloseCause, ConnAckFacts, LinkEvent};
use super::mock::{MockBroker, MockConnection, Plan, Published, facts, lost, mock};
use super::queue::Queued;
use super::{Running, broker, config, start};

fn outbox() -> Queued {
    Queued::new()
}

fn run(outbox: Queued) -> (Running, MockBroker) {
    let (transport, mock) = mock();
    (start(transport, config(vec![broker(1)]), outbox), mock)
}

fn stream(outbox: &Queued, topic: &str, text: impl Into<String>) {
    outbox.stream(topic, text.into());
}

fn texts(published: &[Published]) -> Vec<String> {
    published.iter().map(|p| format!("{}={}", p.topic, String::from_utf8_lossy(&p.payload))).collect()
}

async fn accept_all(connection: &mut MockConnection) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let burst = connection.burst().await;
        if burst.is_empty() {
            return seen;
        }
        for published in &burst {
            connection.answer(published, 0).await;
        }
        seen.extend(texts(&burst));
    }
}

#[tokio::test(start_paused = true)]
async fn levels_go_first_and_again_after_a_reconnect_with_all_that_was_not_acknowledged() {
    let outbox = outbox();
    for n in 0..3 {
        stream(&outbox, "a", n.to_string());
    }
    outbox.level("status", Bytes::from_static(b"old"));
    outbox.level("status", Bytes::from_static(b"up"));
    let (running, mut mock) = run(outbox);

    let mut first = mock.connection().await;
    let burst = first.burst().await;
    assert_eq!(texts(&burst), ["status=up", "a=0", "a=1", "a=2"]);
    assert_eq!(burst.iter().map(|p| p.retain).collect::<Vec<_>>(), [true, false, false, false]);
    first.answer(&burst[0], 0).await;
    first.answer(&burst[2], 0).await;
    first.close(lost()).await;

    let mut second = mock.connection().await;
    assert_eq!(accept_all(&mut second).await, ["status=up", "a=0", "a=2"]);
    let stats = running.stats();
    assert_eq!((stats.connects_total, stats.disconnects_total, stats.acked_total), (2, 1, 5));
    assert_eq!((stats.waiting, stats.in_flight, stats.connected), (0, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_level_in_flight_is_followed_by_the_newest_only() {
    let outbox = outbox();
    let (_running, mut mock) = run(outbox.clone());
    let mut connection = mock.connection().await;
    outbox.level("status", Bytes::from_static(b"1"));
    let first = connection.next().await;
    for text in ["2", "3", "4"] {
        outbox.level("status", Bytes::from(text));
    }
    assert_eq!(texts(&connection.burst().await), Vec::<String>::new());
    connection.answer(&first, 0x10).await;
    assert_eq!(accept_all(&mut connection).await, ["status=4"]);
}

#[tokio::test(start_paused = true)]
async fn the_window_counts_distance_from_the_oldest_in_flight() {
    let outbox = outbox();
    for n in 0..100 {
        stream(&outbox, "a", n.to_string());
    }
    let (running, mut mock) = run(outbox);
    mock.plan(Plan::Accept(facts(20)));
    let mut connection = mock.connection().await;
    let burst = connection.burst().await;
    assert_eq!(burst.len(), 16, "receive maximum 20 less 4");
    for published in &burst[1..] {
        connection.answer(published, 0).await;
    }
    assert_eq!(connection.burst().await.len(), 0, "the oldest is still out");
    assert_eq!(running.stats().in_flight, 1);
    connection.answer(&burst[0], 0).await;
    assert_eq!(connection.burst().await.len(), 16);
}

#[tokio::test(start_paused = true)]
async fn the_window_is_never_empty_and_never_above_64() {
    for (receive_maximum, expected) in [(1, 1), (4, 1), (5, 1), (6, 2), (68, 64), (u16::MAX, 64)] {
        let outbox = outbox();
        for n in 0..100 {
            stream(&outbox, "a", n.to_string());
        }
        let (_running, mut mock) = run(outbox);
        mock.plan(Plan::Accept(facts(receive_maximum)));
        assert_eq!(mock.connection().await.burst().await.len(), expected, "of {receive_maximum}");
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_in_flight_stay_within_one_mebibyte() {
    let outbox = outbox();
    for n in 0..10_u8 {
        outbox.stream("a", Bytes::from(vec![n; 300 * 1024]));
    }
    let (_running, mut mock) = run(outbox);
    let mut connection = mock.connection().await;
    let burst = connection.burst().await;
    assert_eq!(burst.len(), 3);
    connection.answer(&burst[1], 0).await;
    assert_eq!(connection.burst().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_topic_without_subscriber_is_held_with_growing_probes_while_others_go_on() {
    let outbox = outbox();
    for n in 0..5 {
        stream(&outbox, "a", n.to_string());
    }
    let (running, mut mock) = run(outbox.clone());
    let mut connection = mock.connection().await;
    for published in &connection.burst().await {
        connection.answer(published, 0x10).await;
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(running.stats().held_topics, 1);
    assert_eq!(running.stats().no_subscriber_total, 5);

    stream(&outbox, "a", "5");
    stream(&outbox, "b", "0");
    let b = connection.next().await;
    assert_eq!(texts(std::slice::from_ref(&b)), ["b=0"]);
    connection.answer(&b, 0).await;

    let mut gaps = Vec::new();
    let mut last = Instant::now();
    for _ in 0..10 {
        let keep_alive = connection.events.clone();
        let probe = loop {
            tokio::select! {
                probe = connection.next() => break probe,
                () = tokio::time::sleep(Duration::from_secs(4)) => keep_alive.send(LinkEvent::Alive).await.unwrap(),
            }
        };
        assert_eq!(texts(std::slice::from_ref(&probe)), ["a=0"]);
        gaps.push((last.elapsed().as_secs_f64() * 10.0).round() / 10.0);
        last = Instant::now();
        connection.answer(&probe, 0x10).await;
    }
    assert_eq!(gaps, [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]);
    assert_eq!(running.stats().waiting, 6, "nothing is lost");

    let keep_alive = connection.events.clone();
    let probe = loop {
        tokio::select! {
            probe = connection.next() => break probe,
            () = tokio::time::sleep(Duration::from_secs(4)) => keep_alive.send(LinkEvent::Alive).await.unwrap(),
        }
    };
    connection.answer(&probe, 0).await;
    // What came meanwhile does not wait behind what had to.
    assert_eq!(accept_all(&mut connection).await, ["a=5", "a=1", "a=2", "a=3", "a=4"]);
    assert_eq!((running.stats().held_topics, running.stats().waiting), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_retained_message_needs_no_subscriber() {
    let outbox = outbox();
    outbox.level("status", Bytes::from_static(b"up"));
    let (running, mut mock) = run(outbox);
    let mut connection = mock.connection().await;
    for published in &connection.burst().await {
        connection.answer(published, 0x10).await;
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let stats = running.stats();
    assert_eq!((stats.acked_total, stats.no_subscriber_total, stats.held_topics), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_broker_without_retained_messages_is_sent_none() {
    let outbox = outbox();
    outbox.level("status", Bytes::from_static(b"up"));
    let (_running, mut mock) = run(outbox);
    mock.plan(Plan::Accept(ConnAckFacts { retain_available: false, ..facts(100) }));
    assert!(!mock.connection().await.next().await.retain);
}

#[tokio::test(start_paused = true)]
async fn refusals_hold_the_topic_or_give_the_message_up() {
    let cases = [
        (0x80, Some(1.0)),
        (0x83, Some(1.0)),
        (0x87, Some(30.0)),
        (0x90, None),
        (0x95, None),
        (0x97, Some(1.0)),
        (0x99, None),
    ];
    for (reason, pause_s) in cases {
        let outbox = outbox();
        stream(&outbox, "a", "0");
        stream(&outbox, "b", "0");
        let (running, mut mock) = run(outbox);
        mock.plan(Plan::Accept(ConnAckFacts { keep_alive: Duration::ZERO, ..facts(100) }));
        let mut connection = mock.connection().await;
        let burst = connection.burst().await;
        connection.answer(&burst[0], reason).await;
        connection.answer(&burst[1], 0).await;
        let refused_at = Instant::now();
        let again = tokio::time::timeout(Duration::from_secs(100), connection.next()).await.ok();
        let pause = again.is_some().then(|| refused_at.elapsed().as_secs_f64().round());
        assert_eq!(pause, pause_s, "reason 0x{reason:02x}");
        let stats = running.stats();
        assert_eq!(stats.quarantined_total, u64::from(pause_s.is_none()), "reason 0x{reason:02x}");
        assert_eq!(stats.waiting, usize::from(pause_s.is_some()), "reason 0x{reason:02x}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_level_is_tried_again_and_a_quarantined_one_only_when_it_changes() {
    let outbox = outbox();
    outbox.level("status", Bytes::from_static(b"1"));
    outbox.level("metrics", Bytes::from_static(b"1"));
    let (_running, mut mock) = run(outbox.clone());
    let mut connection = mock.connection().await;
    let burst = connection.burst().await;
    connection.answer(&burst[0], 0x97).await;
    connection.answer(&burst[1], 0x99).await;
    outbox.level("status", Bytes::from_static(b"2"));
    let begun = Instant::now();
    let again = connection.next().await;
    assert_eq!(texts(std::slice::from_ref(&again)), ["status=2"]);
    assert_eq!(begun.elapsed().as_secs(), 1);
    connection.answer(&again, 0).await;
    assert!(connection.burst().await.is_empty());
    outbox.level("metrics", Bytes::from_static(b"2"));
    assert_eq!(accept_all(&mut connection).await, ["metrics=2"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_broker_cannot_take_is_given_up_before_it_is_sent() {
    let outbox = outbox();
    // Header 2, topic length 2, topic 1, identifier 2, properties 1: 8 bytes around the payload.
    stream(&outbox, "a", "x".repeat(93));
    stream(&outbox, "a", "y".repeat(92));
    outbox.stream_as("b", "not/#/valid", "z");
    outbox.level("status", Bytes::from(vec![0; 200]));
    let (running, mut mock) = run(outbox);
    mock.plan(Plan::Accept(ConnAckFacts { maximum_packet_size: Some(100), ..facts(100) }));
    let mut connection = mock.connection().await;
    let seen = accept_all(&mut connection).await;
    assert_eq!(seen, [format!("a={}", "y".repeat(92))]);
    let stats = running.stats();
    assert_eq!((stats.quarantined_total, stats.waiting), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_silent_broker_is_given_up_after_twice_the_keep_alive_and_two_seconds() {
    let (running, mut mock) = run(outbox());
    let begun = Instant::now();
    let mut idle = mock.connection().await;
    assert!(idle.published.recv().await.is_none());
    assert_eq!(begun.elapsed().as_secs(), 12);
    assert_eq!(running.stats().disconnects_total, 1);

    // One that answers pings but no publish.
    let mut deaf = mock.connection().await;
    let begun = Instant::now();
    stream(&running.outbox, "a", "0");
    deaf.next().await;
    while tokio::time::timeout(Duration::from_secs(4), deaf.published.recv()).await.is_err() {
        let _ = deaf.events.send(LinkEvent::Alive).await;
    }
    assert_eq!(begun.elapsed().as_secs(), 12);

    // Keep alive turned off by the broker: silence alone is no fault.
    mock.plan(Plan::Accept(ConnAckFacts { keep_alive: Duration::ZERO, ..facts(100) }));
    let mut quiet = mock.connection().await;
    accept_all(&mut quiet).await;
    assert!(tokio::time::timeout(Duration::from_secs(3600), quiet.published.recv()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_farewell_is_awaited_and_the_will_deleted() {
    let outbox = outbox();
    outbox.level("status", Bytes::from_static(b"up"));
    let (running, mut mock) = run(outbox.clone());
    let mut connection = mock.connection().await;
    accept_all(&mut connection).await;
    outbox.level("status", Bytes::from_static(b"offline"));
    let disconnect = connection.disconnect.clone();
    let peer = tokio::spawn(async move {
        let farewell = connection.next().await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        connection.answer(&farewell, 0).await;
        farewell
    });
    let took = running.stop().await;
    assert_eq!(texts(&[peer.await.unwrap()]), ["status=offline"]);
    assert_eq!(*disconnect.lock().unwrap(), Some(false));
    assert_eq!(took.as_millis(), 700);
}

#[tokio::test(start_paused = true)]
async fn a_farewell_that_is_not_accepted_asks_for_the_will() {
    let outbox = outbox();
    let (running, mut mock) = run(outbox.clone());
    let connection = mock.connection().await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    outbox.level("status", Bytes::from_static(b"offline"));
    let took = running.stop().await;
    assert_eq!(*connection.disconnect.lock().unwrap(), Some(true));
    assert_eq!(took.as_millis(), 1000);
}

#[tokio::test(start_paused = true)]
async fn a_connection_stuck_in_a_write_is_dropped_in_time() {
    let outbox = outbox();
    let (running, mut mock) = run(outbox.clone());
    mock.stuck.store(true, Ordering::Relaxed);
    let mut connection = mock.connection().await;
    outbox.level("status", Bytes::from_static(b"offline"));
    assert_eq!(running.stop().await.as_millis(), 1500);
    connection.next().await;
    assert!(connection.published.recv().await.is_none(), "the link is gone");
}

#[tokio::test(start_paused = true)]
async fn a_probe_without_room_waits_for_an_acknowledgement_and_not_for_the_clock() {
    let outbox = outbox();
    for n in 0..10 {
        stream(&outbox, if n == 0 { "a" } else { "b" }, n.to_string());
    }
    let (_running, mut mock) = run(outbox);
    mock.plan(Plan::Accept(facts(6)));
    let mut connection = mock.connection().await;
    let burst = connection.burst().await;
    assert_eq!(texts(&burst), ["a=0", "b=1"]);
    connection.answer(&burst[0], 0x10).await;
    assert_eq!(texts(&connection.burst().await), ["b=2"]);
    // The pause ends with the window full. Were the publisher to spin, the clock would stand still.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(connection.burst().await.is_empty());
    connection.answer(&burst[1], 0).await;
    assert_eq!(texts(&connection.burst().await), ["a=0"]);
}

#[tokio::test(start_paused = true)]
async fn shutdown_is_at_once_without_a_connection() {
    let (running, mock) = run(outbox());
    mock.plan(Plan::Hang);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(running.stop().await, Duration::ZERO);

    let (running, mock) = run(outbox());
    for _ in 0..20 {
        mock.plan(Plan::Refuse(0x87));
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(running.stats().connect_failures_total >= 5);
    assert!(running.stats().backoff_current_ms > 0);
    assert_eq!(running.stop().await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn brokers_are_tried_in_order_and_the_first_is_preferred() {
    let (transport, mut mock) = mock();
    let running = start(transport, config((1..=3).map(broker).collect()), outbox());
    let ports = |mock: &MockBroker| mock.attempts.lock().unwrap().iter().map(|b| b.port).collect::<Vec<_>>();
    for plan in [Plan::Refuse(0x88), Plan::Hang, Plan::Refuse(0x89), Plan::Refuse(0x88)] {
        mock.plan(plan);
    }
    let connection = mock.connection().await;
    assert_eq!(ports(&mock), [1, 2, 3, 1, 2]);
    assert_eq!(running.stats().connect_failures_total, 4);
    tokio::time::sleep(Duration::from_secs(11)).await;
    connection.close(lost()).await;
    let short = mock.connection().await;
    assert_eq!(ports(&mock), [1, 2, 3, 1, 2, 1], "after a good connection the first again");
    short.close(lost()).await;
    mock.connection().await;
    assert_eq!(ports(&mock), [1, 2, 3, 1, 2, 1, 2], "after a short one the next");
}

#[tokio::test(start_paused = true)]
async fn pauses_between_attempts_grow_to_the_cap() {
    let (_running, mock) = run(outbox());
    for _ in 0..400 {
        mock.plan(Plan::Refuse(0x87));
    }
    let count = |mock: &MockBroker| mock.attempts.lock().unwrap().len();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let early = count(&mock);
    assert!((3..=20).contains(&early), "{early} attempts in the first 30 s");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let late = count(&mock) - early;
    assert!((80..=180).contains(&late), "{late} attempts in an hour at a mean of 30 s");
}

#[tokio::test(start_paused = true)]
async fn the_message_that_ends_every_connection_is_found_and_given_up_alone() {
    let outbox = outbox();
    for n in 0..20 {
        stream(&outbox, "a", n.to_string());
    }
    outbox.level("status", Bytes::from_static(b"up"));
    let (running, mut mock) = run(outbox);
    let mut delivered = Vec::new();
    while running.stats().quarantined_total == 0 {
        let mut connection = mock.connection().await;
        while let Some(published) = connection.published.recv().await {
            if published.payload == "7" {
                connection.close(CloseCause::Protocol("0x95".into())).await;
                break;
            }
            connection.answer(&published, 0).await;
            delivered.push(texts(&[published]).remove(0));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(running.stats().connects_total <= 6, "{:?}", running.stats());
    let mut connection = mock.connection().await;
    delivered.extend(accept_all(&mut connection).await);
    for n in (0..20).filter(|n| *n != 7) {
        assert!(delivered.contains(&format!("a={n}")), "{n} is missing");
    }
    assert!(!delivered.contains(&"a=7".to_owned()));
    assert_eq!(running.stats().quarantined_total, 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_network_never_gives_a_message_up() {
    let outbox = outbox();
    stream(&outbox, "a", "0");
    let (running, mut mock) = run(outbox);
    for _ in 0..20 {
        let mut connection = mock.connection().await;
        connection.next().await;
        connection.close(lost()).await;
    }
    let mut connection = mock.connection().await;
    assert_eq!(accept_all(&mut connection).await, ["a=0"]);
    assert_eq!(running.stats().quarantined_total, 0);
}

#[tokio::test(start_paused = true)]
async fn incoming_messages_are_passed_on_or_counted() {
    let (mut running, mut mock) = run(outbox());
    let connection = mock.connection().await;
    assert_eq!(connection.options.will.delay, Duration::from_secs(10));
    let message = super::super::Incoming {
        topic: "cmd".to_owned(),
        payload: Bytes::from_static(b"drain"),
        response_topic: Some("answers".to_owned()),
        correlation_data: Some(Bytes::from_static(b"7")),
    };
    for _ in 0..20 {
        connection.events.send(LinkEvent::Incoming(message.clone())).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(running.incoming.recv().await, Some(message));
    let stats = running.stats();
    assert_eq!((stats.incoming_total, stats.incoming_dropped_total), (20, 4));
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_levels_go_first_then_events_then_what_is_new_then_what_waited() {
    let outbox = outbox();
    for n in 0..3 {
        stream(&outbox, "a", format!("old{n}"));
        stream(&outbox, "events", n.to_string());
    }
    outbox.level("status", Bytes::from_static(b"up"));
    let (_running, mut mock) = run(outbox.clone());
    mock.plan(Plan::Accept(facts(5)));
    let mut connection = mock.connection().await;
    stream(&outbox, "a", "new");
    let seen = accept_all(&mut connection).await;
    let expected = ["status=up", "events=0", "events=1", "events=2", "a=new", "a=old0", "a=old1", "a=old2"];
    assert_eq!(seen, expected);
}

#[tokio::test(start_paused = true)]
async fn a_new_sample_waits_less_than_two_seconds_behind_a_long_backlog_on_a_slow_link() {
    let outbox = outbox();
    for n in 0..2000 {
        stream(&outbox, "events", n.to_string());
        stream(&outbox, "a", format!("old{n}"));
    }
    let (_running, mut mock) = run(outbox.clone());
    mock.plan(Plan::Accept(ConnAckFacts { keep_alive: Duration::ZERO, ..facts(100) }));
    let mut connection = mock.connection().await;
    // The link takes ten messages a second, one after the other; a sample comes every ten seconds.
    let mut longest = Duration::ZERO;
    let mut asked = None;
    let mut queue = std::collections::VecDeque::new();
    for tick in 0..3000 {
        if tick >= 300 && tick % 100 == 0 {
            stream(&outbox, "a", "new");
            asked = Some(Instant::now());
        }
        queue.extend(connection.burst().await);
        if let Some(published) = queue.pop_front() {
            if published.payload == "new"
                && let Some(asked) = asked.take()
            {
                longest = longest.max(asked.elapsed());
            }
            connection.answer(&published, 0).await;
        }
        tokio::time::sleep(Duration::from_millis(99)).await;
    }
    println!("longest wait of a new sample: {longest:?}");
    assert!(longest > Duration::ZERO && longest < Duration::from_secs(2), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_that_a_crash_would_forget_count_against_the_window() {
    let outbox = outbox();
    for n in 0..100 {
        stream(&outbox, "a", n.to_string());
    }
    outbox.note_acks(10);
    let (_running, mut mock) = run(outbox.clone());
    mock.plan(Plan::Accept(facts(20)));
    let mut connection = mock.connection().await;
    assert_eq!(connection.burst().await.len(), 6, "16 less 10");
    outbox.note_acks(0);
    assert_eq!(connection.burst().await.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_again_is_sent_last_and_its_answer_changes_nothing() {
    let outbox = outbox();
    for n in 0..4 {
        stream(&outbox, "a", n.to_string());
    }
    let (running, mut mock) = run(outbox.clone());
    let mut connection = mock.connection().await;
    assert_eq!(accept_all(&mut connection).await, ["a=0", "a=1", "a=2", "a=3"]);
    outbox.ask_again("a", 1, 2);
    outbox.ask_again("a", 3, 9);
    assert_eq!(accept_all(&mut connection).await, ["a=1", "a=2", "a=3"]);
    assert_eq!((running.stats().waiting, running.stats().held_topics), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_goes_once_with_its_correlation_data_and_not_on_a_later_connection() {
    let outbox = outbox();
    let reply = |text: &'static str| super::super::Reply {
        topic: "asker".into(),
        payload: Bytes::from_static(text.as_bytes()),
        correlation: Some(Bytes::from_static(b"7")),
    };
    outbox.reply(reply("too early"));
    let (_running, mut mock) = run(outbox.clone());
    let mut connection = mock.connection().await;
    outbox.reply(reply("yes"));
    let sent = connection.burst().await;
    assert_eq!(texts(&sent), ["asker=yes"]);
    assert_eq!(sent[0].correlation.as_deref(), Some(b"7".as_slice()));
    connection.answer(&sent[0], 0x10).await;
    connection.close(lost()).await;
    assert!(mock.connection().await.burst().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_given_up_is_named() {
    let outbox = outbox();
    stream(&outbox, "a", "x".repeat(93));
    stream(&outbox, "events", "y".repeat(200));
    stream(&outbox, "events", "z");
    let (_running, mut mock) = run(outbox.clone());
    mock.plan(Plan::Accept(ConnAckFacts { maximum_packet_size: Some(100), ..facts(100) }));
    let mut connection = mock.connection().await;
    assert_eq!(accept_all(&mut connection).await, ["events=z"]);
    assert_eq!(outbox.given_up(), ["y".repeat(200), "x".repeat(93)]);
}
