//! Whom we write to without their asking gets no link to unsubscribe; a mail that then names nobody is one for all of them.

use std::collections::BTreeSet;

use mail_parser::MessageParser;

use crate::harness::{Broker, Mailbox, outage};

fn header(data: &str, name: &str) -> Option<String> {
    let mail = MessageParser::default().parse(data.as_bytes()).expect("parses");
    mail.header_raw(name).map(|value| value.trim().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_press_gets_one_mail_together_and_everyone_else_their_own() {
    const PRESS: usize = 120;
    let mailbox = Mailbox::start().await;
    let channel = mailbox.channel().replacen("platform", "concurrency = 200\nplatform", 1);
    let config = format!("{channel}[audiences.press]\nclearance = \"public\"\nunsubscribe = false\n");
    let broker = Broker::start(&config).await;
    let mut everyone = BTreeSet::new();
    for n in 0..PRESS {
        let address = format!("press{n}@example.org");
        broker.subscriber(&format!("p{n}"), "press", &[("email", &address)], |_| ()).await;
        everyone.insert(address);
    }
    for n in 0..3 {
        let address = format!("regulator{n}@example.org");
        broker.subscriber(&format!("r{n}"), "regulators", &[("email", &address)], |_| ()).await;
    }
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    let (mut told, mut ids, mut transactions, mut regulators) = (BTreeSet::new(), BTreeSet::new(), 0, 0);
    while told.len() < PRESS || regulators < 3 {
        let mail = mailbox.next().await;
        let [to, id, unsubscribe] =
            ["To", "Message-ID", "List-Unsubscribe"].map(|name| header(&mail.data, name).unwrap_or_default());
        if mail.to[0].starts_with("regulator") {
            regulators += 1;
            assert_eq!((mail.to.len(), to), (1, format!("<{}>", mail.to[0])));
            assert!(id.starts_with("<dlv_") && unsubscribe.starts_with("<http"), "{id} {unsubscribe}");
            continue;
        }
        transactions += 1;
        assert_eq!((to.as_str(), unsubscribe.as_str()), ("undisclosed-recipients:;", ""));
        assert!(mail.to.len() <= 50 && !mail.data.contains("@example.org"), "{}", mail.data);
        ids.insert(id);
        for address in mail.to {
            assert!(told.insert(address.clone()), "{address} twice");
        }
    }
    assert_eq!(told, everyone);
    assert!(ids.len() == 1 && ids.iter().all(|id| id.starts_with("<brd_")), "{ids:?}");
    assert!(transactions < PRESS / 4, "{transactions} transactions");
    broker.stop().await;
}
