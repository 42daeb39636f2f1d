use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use loudhailer::channel::{Fault, Holds, Outcome};
use loudhailer::store::DeliveryState;
use serde_json::{Value, json};

use super::{EACH, count, crowd, driver, outage_of, parcel, sent, states};
use crate::harness::within;
use crate::peers::{eventually, peers};

/// RabbitMQ's management API, as another client of the same broker.
struct Admin {
    host: String,
    login: String,
}

impl Admin {
    fn new(host: &str, user: &str, password: &str) -> Admin {
        Admin { host: host.into(), login: STANDARD.encode(format!("{user}:{password}")) }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.host).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        write!(
            stream,
            "{method} /api/{path} HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorization: Basic {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.login,
            body.len()
        )
        .expect("written");
        let mut whole = String::new();
        stream.read_to_string(&mut whole).expect("an answer");
        let (head, body) = whole.split_once("\r\n\r\n").expect("a head");
        assert!(head.split(' ').nth(1).is_some_and(|status| status.starts_with('2')), "{method} {path}: {whole}");
        serde_json::from_str(body).unwrap_or(Value::Null)
    }

    /// An exchange of topics, and a queue of that name for everything in it that begins so.
    fn queue(&self, name: &str, begins: &str) {
        self.ask("PUT", &format!("exchanges/%2F/{name}"), &json!({ "type": "topic", "durable": true }));
        self.ask("PUT", &format!("queues/%2F/{name}"), &json!({ "durable": true }));
        let binding = json!({ "routing_key": format!("{begins}.#") });
        self.ask("POST", &format!("bindings/%2F/e/{name}/q/{name}"), &binding);
    }

    /// What the queue holds: by routing key, the message-id and the id in the event of each.
    fn held(&self, name: &str) -> BTreeMap<String, Vec<(String, String)>> {
        let get = json!({ "count": 10000, "ackmode": "ack_requeue_true", "encoding": "auto" });
        let mut held: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for message in self.ask("POST", &format!("queues/%2F/{name}/get"), &get).as_array().expect("a list") {
            let text = |value: &Value| value.as_str().expect("text").to_string();
            let properties = &message["properties"];
            let kept = (&properties["delivery_mode"], &properties["content_type"]);
            assert_eq!(kept, (&json!(2), &json!("application/json")), "{message}");
            let event: Value = serde_json::from_str(&text(&message["payload"])).expect("JSON");
            let ids = (text(&properties["message_id"]), text(&event["id"]));
            held.entry(text(&message["routing_key"])).or_default().push(ids);
        }
        held
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_lies_in_the_queue_once_under_every_routing_key() {
    let names = ["rabbitmq_tls", "rabbitmq_admin", "rabbitmq_user", "rabbitmq_password", "ca"];
    let Some([rabbitmq, admin, user, password, ca]) = peers(names) else { return };
    let (admin, run) = (Admin::new(&admin, &user, &password), format!("r{:08x}", fastrand::u32(..)));
    admin.queue(&run, &run);
    let url = format!("amqps://{rabbitmq}");
    let login = [("url", url.as_str()), ("ca_file", &ca), ("user", &user), ("password", &password), ("exchange", &run)];
    let (_plans, broker, addresses) = crowd(EACH, "amqp", "amqp", &format!("{run}."), "", &login).await;
    let broadcast = outage_of(&broker).await;
    broker.settled().await;
    let states = states(&broker, broadcast, &addresses).await;
    assert_eq!(states.len(), EACH);
    assert!(states.values().all(|state| *state == DeliveryState::Told), "{states:?}");
    let held = admin.held(&run);
    assert_eq!(held.len(), EACH);
    for stored in held.values() {
        assert!(stored.len() == 1 && stored[0].0 == stored[0].1 && stored[0].0.starts_with("dlv_"), "{stored:?}");
    }
    broker.stop().await;

    // Longer than a frame; and the default exchange, which knows the queue by its name.
    let by_name = driver("amqp", &login[..4]);
    let long = format!("{{\"id\":\"dlv_1\",\"x\":\"{}\"}}", "x".repeat(300_000));
    let outcome = sent("amqp", &*by_name, parcel("dlv_1", &run, &long), &[&password]).await;
    assert_eq!(outcome, Outcome::Accepted { reference: None });
    assert_eq!(admin.held(&run)[&run], [("dlv_1".to_string(), "dlv_1".to_string())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_or_its_queue_refuses_ends_or_waits_as_it_says() {
    let names = ["rabbitmq", "rabbitmq_tls", "rabbitmq_admin", "rabbitmq_user", "rabbitmq_password"];
    let Some([rabbitmq, tls, admin, user, password]) = peers(names) else { return };
    let (admin, run) = (Admin::new(&admin, &user, &password), format!("r{:08x}", fastrand::u32(..)));
    let full = json!({ "durable": true, "arguments": { "x-max-length": 1, "x-overflow": "reject-publish" } });
    admin.ask("PUT", &format!("queues/%2F/{run}"), &full);
    let (plain, secure) = (format!("amqp://{rabbitmq}"), format!("amqps://{tls}"));
    let login = |password| vec![("url", plain.as_str()), ("user", user.as_str()), ("password", password)];

    let right = driver("amqp", &login(&password));
    let send = async |to: &str| sent("amqp", &*right, parcel("dlv_1", to, "{}"), &[&password]).await;
    assert_eq!(send(&run).await, Outcome::Accepted { reference: None });
    for (to, why) in [(run.as_str(), "the queue did not take it"), ("no-such-queue", "no queue takes")] {
        let outcome = send(to).await;
        let Outcome::Deferred { holds: Holds::Address, detail, .. } = outcome else { panic!("{to}: {outcome:?}") };
        assert!(detail.starts_with(why), "{detail}");
    }
    for (wrong, why) in [
        (login("hunter2"), "403: "),
        ([login(&password), vec![("vhost", "nowhere")]].concat(), "530: "),
        ([login(&password), vec![("exchange", "no-such-exchange")]].concat(), "404: "),
        // The system does not know the tests' authority.
        (vec![("url", &secure), ("user", &user), ("password", &password)], "TLS: "),
    ] {
        let outcome = sent("amqp", &*driver("amqp", &wrong), parcel("dlv_1", "a.b", "{}"), &["hunter2"]).await;
        let Outcome::Rejected { fault: Fault::Channel, detail } = outcome else { panic!("{why}: {outcome:?}") };
        assert!(detail.starts_with(why), "{detail}");
    }
}

/// What was under way may have arrived or not, and is not sent again; all else arrives, by the next connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_closed_in_mid_broadcast_loses_nobody() {
    let names = ["rabbitmq", "rabbitmq_admin", "rabbitmq_user", "rabbitmq_password"];
    let Some([rabbitmq, admin, user, password]) = peers(names) else { return };
    let (admin, run) = (Admin::new(&admin, &user, &password), format!("r{:08x}", fastrand::u32(..)));
    admin.queue(&run, &run);
    // A user of its own, so that its connection is known by it.
    admin.ask("PUT", &format!("users/{run}"), &json!({ "password": "own", "tags": "" }));
    let all = json!({ "configure": ".*", "write": ".*", "read": ".*" });
    admin.ask("PUT", &format!("permissions/%2F/{run}"), &all);
    let url = format!("amqp://{rabbitmq}");
    let login = [("url", url.as_str()), ("user", &run), ("password", "own"), ("exchange", &run)];
    let more = "rate = [\"200/s\"]\nconcurrency = 16\n";
    let (_plans, broker, addresses) = crowd(EACH, "amqp", "amqp", &format!("{run}."), more, &login).await;
    let broadcast = outage_of(&broker).await;
    let mut happenings = broker.app.engine.happenings();
    within("tells", async {
        while count(&broker, "told").await < EACH / 5 {
            broker.clock.advance(Duration::from_millis(50));
            let _ = tokio::time::timeout(Duration::from_millis(20), happenings.changed()).await;
        }
    })
    .await;
    // The management API hears of connections a little later.
    let connection = |but: &str| {
        let connections = admin.ask("GET", "connections", &Value::Null);
        let own = connections.as_array()?.iter().find(|one| one["user"] == run.as_str() && one["name"] != but)?;
        Some(own["name"].as_str()?.to_string())
    };
    let first = eventually(|| connection("")).expect("its connection");
    let name = url::form_urlencoded::byte_serialize(first.as_bytes()).collect::<String>().replace('+', "%20");
    broker.clock.advance(Duration::from_millis(100));
    admin.ask("DELETE", &format!("connections/{name}"), &Value::Null);
    within("settles", async {
        while !broker.app.engine.idle() {
            broker.clock.advance(Duration::from_secs(1));
            let _ = tokio::time::timeout(Duration::from_millis(50), happenings.changed()).await;
        }
    })
    .await;

    let (states, held) = (states(&broker, broadcast, &addresses).await, admin.held(&run));
    assert_eq!(states.len(), EACH);
    let mut unknown = 0;
    for (address, state) in states {
        let times = held.get(&address).map_or(0, Vec::len);
        match state {
            DeliveryState::Told => assert_eq!(times, 1, "{address}"),
            DeliveryState::Unknown => {
                unknown += 1;
                assert!(times <= 1, "{address} was told {times} times");
            }
            other => panic!("{address}: {other:?}"),
        }
    }
    assert!(unknown <= 16, "{unknown} unknown: more than were under way");
    assert!(eventually(|| connection(&first)).is_some(), "no other connection was opened");
    broker.stop().await;
    admin.ask("DELETE", &format!("users/{run}"), &Value::Null);
}
