//! Limits as lanes use them, attacked by seeds: random limits of channel, account, host and address, two lanes of one account,
//! random answers, pauses, restarts and learned changes. No window of any limit holds one attempt too many, by the permit's clock.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::Notify;

use super::*;
use crate::dispatch::hosts::limits::HostLimits;
use crate::dispatch::hosts::{Hosts, Ready, Said};
use crate::dispatch::keyed::Keyed;
use crate::dispatch::learned::{Kept, Learned};
use crate::dispatch::long::{self, Long};
use crate::dispatch::permit::{Reservation, SHORT};
use crate::quantity::Limit;

const CASES: u64 = 10_000;
const LANES: usize = 2;
const HOSTS: usize = 3;
const ADDRESSES: usize = 5;

/// What the operator allows.
struct Allowed {
    channel: [Vec<Limit>; LANES],
    account: Vec<Limit>,
    host: Vec<Limit>,
    address: Vec<Limit>,
}

fn limits(chance: &mut fastrand::Rng, most: usize, long: bool) -> Vec<Limit> {
    (0..chance.usize(..=most))
        .map(|_| {
            let window = match chance.u32(..10) {
                0 if long => chance.u64(61..4_000),
                1 => 60,
                2..5 => chance.u64(1..60),
                _ => 1,
            };
            let count = if chance.bool() { chance.u32(1..6) } else { chance.u32(1..2_000) };
            Limit { count, window: Duration::from_secs(window) }
        })
        .collect()
}

/// An attempt that has begun.
struct Begun {
    at: Instant,
    lane: usize,
    host: usize,
    address: usize,
    /// What the channel and the host had taught when it began, and which lesson of how many.
    learned: [(Option<Limit>, usize); 2],
}

struct World {
    allowed: Allowed,
    now: Instant,
    /// What outlives a restart.
    stored: BTreeMap<String, BTreeMap<i64, i64>>,
    lessons: [(Option<Kept>, BTreeMap<String, Kept>); LANES],
    lanes: [(Limits, Hosts<()>); LANES],
    wake: Arc<Notify>,
    begun: Vec<Begun>,
    on_wire: Vec<usize>,
    /// How many lessons each channel has had, and each of its hosts.
    taught: [[usize; HOSTS + 1]; LANES],
    /// Hosts that were taught before the restart they came through.
    outlived: usize,
}

fn permits(whose: &str, limits: &[Limit], stored: &BTreeMap<String, BTreeMap<i64, i64>>, now: Instant) -> Permits {
    let long = limits.iter().filter(|limit| limit.window > SHORT).map(|limit| {
        let name = format!("{whose} {limit}");
        let spent = stored.get(&name).cloned().unwrap_or_default();
        Long::new(name, *limit, spent)
    });
    Permits::new(limits, long.collect(), now)
}

type Life = [(Limits, Hosts<()>); LANES];

fn life(allowed: &Allowed, stored: &BTreeMap<String, BTreeMap<i64, i64>>, now: Instant) -> Life {
    let account = permits("account", &allowed.account, stored, now);
    let account = Arc::new(Account::new(account, Keyed::remembering(4, &allowed.address, now)));
    [0, 1].map(|lane| {
        let own = permits(&format!("lane {lane}"), &allowed.channel[lane], stored, now);
        let hosts = Hosts::new(100, usize::MAX, HostLimits::Own(Keyed::remembering(2, &allowed.host, now)));
        (Limits::new(own, None, Some(account.clone())), hosts)
    })
}

enum Came {
    Begun,
    Later(Instant),
    /// Something else must come first.
    Not,
}

impl World {
    fn new(allowed: Allowed, now: Instant) -> World {
        let lanes = life(&allowed, &BTreeMap::new(), now);
        World {
            allowed,
            now,
            stored: BTreeMap::new(),
            lessons: Default::default(),
            lanes,
            wake: Arc::new(Notify::new()),
            begun: Vec::new(),
            on_wire: Vec::new(),
            taught: Default::default(),
            outlived: 0,
        }
    }

    fn steady(&self) -> Time {
        Time(1_633_361_940_000 + self.now.as_millis() as i64)
    }

    fn restart(&mut self) {
        self.lanes = life(&self.allowed, &self.stored, self.now);
        self.on_wire.clear();
        self.taught.iter_mut().flatten().for_each(|lesson| *lesson += 1);
        let (now, steady) = (self.now, self.steady());
        for ((limits, hosts), (own, of_hosts)) in self.lanes.iter_mut().zip(&self.lessons) {
            let restored = |kept: &Kept| Learned::restored(kept, now, steady);
            limits.learned = own.as_ref().map(restored).unwrap_or_default();
            hosts.restore(of_hosts, now, steady);
            self.outlived += hosts.taught(now);
            // What was taught within the hour still holds.
            let holds = |kept: &&Kept| restored(kept).limit(now).is_some();
            assert_eq!(hosts.taught(now), of_hosts.values().filter(holds).count());
        }
    }

    /// As a lane does it; a reservation may be cut off by a crash after it was written.
    fn attempt(&mut self, lane: usize, rank: usize, address: usize, chance: &mut fastrand::Rng) -> Came {
        let (now, steady) = (self.now, self.steady());
        let (host, to) = (address % HOSTS, address.to_string());
        let (limits, hosts) = &mut self.lanes[lane];
        if now < limits.opens().max(hosts.opens()) {
            return Came::Later(limits.opens().max(hosts.opens()));
        }
        match hosts.ready(&host.to_string(), now) {
            Ready::Yes => {}
            Ready::Busy => return Came::Not,
            Ready::Limited(due) | Ready::Rests(due) => return Came::Later(due),
        }
        loop {
            limits.looks();
            let asking = Asking { lane: ChannelId(lane as u16), rank, wake: &self.wake, to: &to };
            match limits.spend(&asking, now, || steady) {
                Ok(()) => break,
                Err(Refusal::Until(due) | Refusal::Address(due)) => {
                    assert!(due > now, "it is due already, and would be asked again and again");
                    return Came::Later(due);
                }
                Err(Refusal::Turn) => return Came::Not,
                Err(Refusal::Reserve(reservation)) => {
                    let reserved = reserved(&mut self.stored, &reservation, steady);
                    if chance.u32(..50) == 0 {
                        self.restart();
                        return Came::Not;
                    }
                    limits.reserved(&reserved);
                }
            }
        }
        hosts.begins(&host.to_string(), now);
        let taught = &self.taught[lane];
        let learned =
            [(limits.learned.limit(now), taught[HOSTS]), (hosts.learned(&host.to_string(), now), taught[host])];
        self.on_wire.push(self.begun.len());
        self.begun.push(Begun { at: now, lane, host, address, learned });
        Came::Begun
    }

    /// One of those on the wire is answered.
    fn answer(&mut self, chance: &mut fastrand::Rng) {
        if self.on_wire.is_empty() {
            return;
        }
        let Begun { at, lane, host, .. } = self.begun[self.on_wire.swap_remove(chance.usize(..self.on_wire.len()))];
        let (limits, hosts) = &mut self.lanes[lane];
        let said = match chance.u32(..100) {
            0..6 => {
                self.taught[lane][HOSTS] += usize::from(limits.learned.throttled(at, self.now));
                Said::Nothing
            }
            6..12 => Said::TooMany { began: at, after: None },
            12..14 => Said::TooMany { began: at, after: Some(Duration::from_secs(chance.u64(..20))) },
            14..20 => Said::Fails(None),
            _ => {
                limits.learned.succeeded(self.now);
                Said::Works
            }
        };
        hosts.ended(&host.to_string(), &said, self.now);
        let steady = Time(1_633_361_940_000 + self.now.as_millis() as i64);
        let taught = hosts.have_taught();
        self.taught[lane][host] += usize::from(taught);
        // As the recorder keeps it, or the process ends before it does.
        if chance.u32(..20) > 0 {
            self.lessons[lane] = (limits.learned.kept(self.now, steady), hosts.kept(self.now, steady));
        }
    }

    /// The limit that was exceeded, if any.
    fn exceeded(&self) -> Option<String> {
        let all = |what: &str, limits: &[Limit], of: &dyn Fn(&Begun) -> bool| {
            let times: Vec<Instant> = self.begun.iter().filter(|begun| of(begun)).map(|begun| begun.at).collect();
            let broken = limits.iter().find(|limit| most_in_a_window(&times, limit.window) > limit.count as usize);
            broken.map(|limit| format!("{what}: {limit}"))
        };
        let channels = (0..LANES).find_map(|lane| all("channel", &self.allowed.channel[lane], &|one| one.lane == lane));
        let hosts = (0..LANES * HOSTS).find_map(|n| {
            let (lane, host) = (n % LANES, n / LANES);
            all("host", &self.allowed.host, &|one| one.lane == lane && one.host == host)
        });
        let addresses = (0..ADDRESSES).find_map(|n| all("address", &self.allowed.address, &|one| one.address == n));
        let learned = self.begun.iter().enumerate().flat_map(|(n, last)| [(n, last, 0), (n, last, 1)]);
        let learned = learned.into_iter().find_map(|(n, last, by)| {
            let (limit, lesson) = last.learned[by];
            let limit = limit?;
            let same = |one: &&Begun| {
                let (learned, other) = one.learned[by];
                one.lane == last.lane && (by == 0 || one.host == last.host) && other == lesson && learned.is_some()
            };
            let within = |one: &&Begun| one.at + limit.window > last.at;
            let count = self.begun[..=n].iter().rev().take_while(within).filter(same).count();
            let whom = ["channel", "host"][by];
            (count > limit.count as usize).then(|| format!("learned of a {whom}: {limit}, {count}"))
        });
        channels.or_else(|| all("account", &self.allowed.account, &|_| true)).or(hosts).or(addresses).or(learned)
    }
}

/// In any half-open window. The times are in order.
fn most_in_a_window(times: &[Instant], window: Duration) -> usize {
    let mut from = 0;
    let within = |to: usize| {
        while times[to] - times[from] >= window {
            from += 1;
        }
        to - from + 1
    };
    (0..times.len()).map(within).max().unwrap_or(0)
}

fn case(seed: u64) -> (World, u32) {
    let mut chance = fastrand::Rng::with_seed(seed);
    let allowed = Allowed {
        channel: [(); LANES].map(|()| limits(&mut chance, 2, true)),
        account: limits(&mut chance, 2, true),
        host: limits(&mut chance, 1, false),
        address: limits(&mut chance, 1, false),
    };
    let longest = [&allowed.channel[0], &allowed.channel[1], &allowed.account, &allowed.host, &allowed.address];
    let longest = longest.into_iter().flatten().map(|limit| limit.window).max().unwrap_or(SHORT);
    let mut world = World::new(allowed, Duration::from_nanos(chance.u64(..1_000_000_000)));
    let mut restarts = 0;
    for _ in 0..chance.usize(50..400) {
        let lane = chance.usize(..LANES);
        match world.attempt(lane, chance.usize(..4), chance.usize(..ADDRESSES), &mut chance) {
            Came::Begun if chance.u32(..4) > 0 => {}
            Came::Begun | Came::Not => world.now += Duration::from_nanos(chance.u64(..20_000_000)),
            // Mostly as early as may be, sometimes a little too early or too late.
            Came::Later(due) => {
                world.now = match chance.u32(..8) {
                    0 => world.now.max(due - Duration::from_nanos(1)),
                    1 => due + Duration::from_nanos(chance.u64(..50_000_000)),
                    2 => world.now,
                    _ => due,
                };
            }
        }
        match chance.u32(..100) {
            0..40 => world.answer(&mut chance),
            40 => world.now += longest.mul_f64(chance.f64() * 2.0),
            41 => {
                world.restart();
                restarts += 1;
            }
            42 => world.lanes[lane].0.found_nobody(ChannelId(lane as u16)),
            _ => {}
        }
    }
    (world, restarts)
}

#[test]
fn no_window_of_any_limit_holds_one_attempt_too_many_in_10_000_cases() {
    let (mut begun, mut restarts, mut lessons, mut outlived) = (0, 0, 0, 0);
    for seed in 0..CASES {
        let (world, restarted) = case(seed);
        if let Some(limit) = world.exceeded() {
            panic!("seed {seed}: {limit} is exceeded");
        }
        begun += world.begun.len() as u64;
        restarts += u64::from(restarted);
        lessons += world.taught.iter().flatten().sum::<usize>() as u64;
        outlived += world.outlived as u64;
    }
    let enough = begun > CASES * 50 && restarts > CASES && lessons > CASES * 10 && outlived > CASES;
    assert!(
        enough,
        "{begun} attempts, {restarts} restarts, {lessons} lessons and {outlived} that outlived one attack nothing"
    );
}

/// What a store that keeps them would answer.
fn reserved(stored: &mut BTreeMap<String, BTreeMap<i64, i64>>, reservation: &Reservation, now: Time) -> Reserved {
    let Reservation::Block { name, .. } = reservation else { panic!("one node keeps its own times") };
    let spent = stored.entry(name.clone()).or_default();
    Reserved::Block(name.clone(), long::tests::answer(spent, reservation, now))
}

#[test]
fn what_is_allowed_is_used() {
    for seed in 0..500 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut all = limits(&mut chance, 3, true);
        all.retain(|limit| limit.count < 400);
        let Some(longest) = all.iter().map(|limit| limit.window).max() else { continue };
        let allowed =
            Allowed { channel: [all.clone(), Vec::new()], account: Vec::new(), host: Vec::new(), address: Vec::new() };
        let mut world = World::new(allowed, Duration::ZERO);
        // An inline chance, so that no reservation is cut off.
        let mut chance = fastrand::Rng::with_seed(0);
        while world.now < longest * 10 {
            let (now, steady) = (world.now, world.steady());
            let limits = &mut world.lanes[0].0;
            let asking = Asking { lane: ChannelId(0), rank: 0, wake: &world.wake, to: "" };
            match limits.spend(&asking, now, || steady) {
                Ok(()) => world.begun.push(Begun { at: now, lane: 0, host: 0, address: 0, learned: [(None, 0); 2] }),
                Err(Refusal::Until(due)) => world.now = due + Duration::from_nanos(chance.u64(..2)),
                Err(Refusal::Reserve(reservation)) => {
                    limits.reserved(&reserved(&mut world.stored, &reservation, steady));
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        let tightest = |limit: &Limit| f64::from(limit.count) / limit.window.as_secs_f64();
        let allowed = all.iter().map(tightest).fold(f64::MAX, f64::min) * (longest * 10).as_secs_f64();
        let used = world.begun.len() as f64 / allowed;
        assert!(used >= 0.85, "seed {seed}: {} of {allowed} by {all:?}", world.begun.len());
    }
}
