use std::collections::BTreeMap;

use loudhailer::channel::{Fault, Holds, Outcome};
use loudhailer::store::DeliveryState;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, Publish, QoS};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::server::Server;
use super::{EACH, crowd, driver, outage_of, parcel, sent, states, stopped_and_started};
use crate::harness::within;
use crate::peers::{eventually, peers};

/// What arrives under `filter`, from now on. The session outlives the broker.
async fn subscribed(host: &str, login: Option<(&str, &str)>, filter: &str) -> UnboundedReceiver<Publish> {
    let (host, port) = host.split_once(':').expect("host:port");
    let mut options = MqttOptions::new(format!("tests-{:08x}", fastrand::u32(..)), host, port.parse().expect("a port"));
    options.set_clean_session(false);
    if let Some((user, password)) = login {
        options.set_credentials(user, password);
    }
    let (client, mut events) = AsyncClient::new(options, 16);
    client.subscribe(filter, QoS::AtLeastOnce).await.expect("asked");
    let (arrived, arrives) = unbounded_channel();
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let (mut ready, at) = (Some(ready), format!("{host}:{port}"));
    tokio::spawn(async move {
        // Held, or the events would end.
        let _client = client;
        while !arrived.is_closed() {
            match events.poll().await {
                Ok(Event::Incoming(Packet::SubAck(_))) => drop(ready.take().map(|ready| ready.send(()))),
                Ok(Event::Incoming(Packet::Publish(publish))) => drop(arrived.send(publish)),
                Ok(_) => {}
                Err(_) => {
                    let at = at.clone();
                    let back = move || eventually(|| std::net::TcpStream::connect(&at).ok()).is_some();
                    if !tokio::task::spawn_blocking(back).await.expect("no panic") {
                        return;
                    }
                }
            }
        }
    });
    within("subscribed", is_ready).await.expect("subscribed");
    arrives
}

/// Everything up to the message at `last`: by topic, the ids of what came for the first time and of what came again.
async fn until_last(arrives: &mut UnboundedReceiver<Publish>, last: &str) -> BTreeMap<String, Vec<(String, bool)>> {
    let mut arrived: BTreeMap<String, Vec<(String, bool)>> = BTreeMap::new();
    loop {
        let publish = within("arrived", arrives.recv()).await.expect("the subscriber lives");
        if publish.topic == last {
            return arrived;
        }
        assert_eq!((publish.qos, publish.retain), (QoS::AtLeastOnce, false));
        let event: Value = serde_json::from_slice(&publish.payload).expect("JSON");
        assert_eq!((&event["type"], &event["subject"]), (&"incident.update".into(), &"web-down".into()));
        let id = event["id"].as_str().expect("an id").to_string();
        arrived.entry(publish.topic).or_default().push((id, publish.dup));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_arrives_at_every_topic_once_over_tls_with_a_login() {
    let names = ["mqtt", "mqtt_tls", "mqtt_user", "mqtt_password", "ca"];
    let Some([mqtt, tls, user, password, ca]) = peers(names) else { return };
    let prefix = format!("alerts/{:08x}/", fastrand::u32(..));
    let mut arrives = subscribed(&mqtt, Some((&user, &password)), &format!("{prefix}#")).await;
    let url = format!("mqtts://{tls}");
    let login = [("url", url.as_str()), ("ca_file", &ca), ("user", &user), ("password", &password)];
    let (_plans, broker, addresses) = crowd(EACH, "mqtt", "mqtt", &prefix, "", &login).await;
    let broadcast = outage_of(&broker).await;
    broker.settled().await;
    let states = states(&broker, broadcast, &addresses).await;
    assert_eq!(states.len(), EACH);
    assert!(states.values().all(|state| *state == DeliveryState::Told), "{states:?}");

    let last = format!("{prefix}last");
    let outcome = sent("mqtt", &*driver("mqtt", &login), parcel("dlv_1", &last, "{}"), &[&password]).await;
    assert_eq!(outcome, Outcome::Accepted { reference: None });
    let arrived = until_last(&mut arrives, &last).await;
    assert_eq!(arrived.len(), EACH);
    assert!(arrived.values().all(|ids| ids.len() == 1 && ids[0].0.starts_with("dlv_")), "{arrived:?}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_or_certificate_ends_the_channel_and_nobody_there_is_waited_for() {
    let names = ["mqtt", "mqtt_tls", "mqtt_user", "mqtt_password", "ca"];
    let Some([mqtt, tls, user, password, ca]) = peers(names) else { return };
    let (plain, secure) = (format!("mqtt://{mqtt}"), format!("mqtts://{tls}"));
    let to = |pairs: &[(&str, &str)]| driver("mqtt", pairs);
    let send =
        async |pairs: &[(&str, &str)]| sent("mqtt", &*to(pairs), parcel("dlv_1", "a/b", "{}"), &["hunter2"]).await;

    let login = |url| vec![("url", url), ("user", user.as_str())];
    let right = send(&[login(&plain), vec![("password", password.as_str())]].concat()).await;
    assert_eq!(right, Outcome::Accepted { reference: None });
    for wrong in [
        [login(&plain), vec![("password", "hunter2")]].concat(),
        [login(&secure), vec![("password", "hunter2"), ("ca_file", &ca)]].concat(),
        vec![("url", plain.as_str())],
    ] {
        let outcome = send(&wrong).await;
        let Outcome::Rejected { fault: Fault::Channel, detail } = outcome else { panic!("{outcome:?}") };
        assert!(detail.starts_with("CONNACK 5") || detail.starts_with("CONNACK 4"), "{detail}");
    }
    // The system does not know the tests' authority.
    let outcome = send(&[login(&secure), vec![("password", "hunter2")]].concat()).await;
    let Outcome::Rejected { fault: Fault::Channel, detail } = outcome else { panic!("{outcome:?}") };
    assert!(detail.starts_with("TLS: "), "{detail}");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let outcome = send(&[("url", &format!("mqtt://{closed}"))]).await;
    assert!(matches!(outcome, Outcome::Deferred { holds: Holds::Channel, throttled: false, .. }), "{outcome:?}");
    // Not MQTT at all, and what would end the connection for everyone.
    let outcome =
        sent("mqtt", &*to(&[login(&plain), vec![("password", &password)]].concat()), parcel("dlv_1", "a/#", "{}"), &[])
            .await;
    assert!(matches!(outcome, Outcome::Rejected { fault: Fault::Address, .. }), "{outcome:?}");
}

/// What was under way may have arrived or not, and is not sent again; all else arrives.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_stopped_in_mid_broadcast_and_started_again_loses_nobody() {
    let Some([program]) = peers(["mosquitto"]) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    // Ended by SIGTERM it keeps what its subscribers are still to get.
    let config = |port: u16, folder: &std::path::Path| {
        format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nuser root\npersistence true\n\
             persistence_location {}/\n",
            folder.display()
        )
    };
    let mut server = Server::new(&program, config, folder.path());
    let mut arrives = subscribed(&format!("127.0.0.1:{}", server.port), None, "alerts/#").await;
    let url = format!("mqtt://127.0.0.1:{}", server.port);
    let login = [("url", url.as_str()), ("timeout", "5s")];
    let more = "rate = [\"200/s\"]\nconcurrency = 16\n";
    let (_plans, broker, addresses) = crowd(EACH, "mqtt", "mqtt", "alerts/", more, &login).await;
    let broadcast = outage_of(&broker).await;
    stopped_and_started(&broker, &mut server, "TERM").await;

    let outcome = sent("mqtt", &*driver("mqtt", &login), parcel("dlv_1", "alerts/last", "{}"), &[]).await;
    assert_eq!(outcome, Outcome::Accepted { reference: None });
    let arrived = until_last(&mut arrives, "alerts/last").await;
    let states = states(&broker, broadcast, &addresses).await;
    assert_eq!(states.len(), EACH);
    let mut unknown = 0;
    for (address, state) in states {
        let came = arrived.get(&address).cloned().unwrap_or_default();
        // Between broker and subscriber a message may come again, marked so.
        let times = came.iter().filter(|(_, again)| !again).count();
        assert!(times <= 1, "{address} was told twice: {came:?}");
        match state {
            DeliveryState::Told => assert!(!came.is_empty(), "{address} was not told"),
            DeliveryState::Unknown => unknown += 1,
            other => panic!("{address}: {other:?}"),
        }
    }
    assert!(unknown <= 16, "{unknown} unknown: more than were under way");
    broker.stop().await;
}
