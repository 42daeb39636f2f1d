//! Around what is down: a channel that has failed is not asked again while another one works.

use crate::harness::{Broker, Reply, Sink, outage};

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_refuses_us_is_asked_once_and_everyone_is_told_by_the_other() {
    const PEOPLE: usize = 60;
    let broken =
        Sink::answering(|_, _| Reply::Full(403, String::new(), "Authorization failed for sendsms".into())).await;
    let works = Sink::answering(|_, _| Reply::Full(202, String::new(), "0: Accepted for delivery".into())).await;
    let channel = |name: &str, port: u16| {
        format!(
            "[channels.{name}]\nplatform = \"kannel\"\nconcurrency = 1\n[channels.{name}.settings]\n\
             url = \"http://127.0.0.1:{port}\"\nusername = \"u\"\npassword = \"p\"\nfrom = \"ALERT\"\n"
        )
    };
    let broker = Broker::start(&(channel("broken", broken.port()) + &channel("works", works.port()))).await;
    for n in 0..PEOPLE {
        let phone = format!("+49151000000{n:02}");
        broker.subscriber(&format!("p{n}"), "businesses", &[("phone", &phone)], |_| ()).await;
    }
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    broker.stop().await;
    assert_eq!((broken.all().len(), works.all().len()), (1, PEOPLE));
}
