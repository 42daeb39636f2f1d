//! Whoever watches whether dispatch turns is never told that a part hangs where none does: not in any world, whatever fails, waits,
//! is paused, is full or dies in it.

use std::sync::Arc;
use std::time::Duration;

use loudhailer::app::App;
use loudhailer::dispatch::progress::Watch;

use super::count;
use super::run::lives;
use super::world::{World, lock};

/// What CI runs.
const SEEDS: u64 = 60;

/// As often as the heartbeat looks, or oftener.
const LOOKS: [Duration; 2] = [Duration::from_secs(20), Duration::from_millis(1700)];

/// Looks for as long as the process lives.
pub async fn watch(world: Arc<World>, app: Arc<App>) {
    let mut watch = Watch::default();
    for look in LOOKS.iter().cycle() {
        app.clock.sleep(*look).await;
        let hanging = watch.hanging(&app.engine);
        *lock(&world.looks) += 1;
        lock(&world.hanging).extend(hanging);
    }
}

#[test]
fn no_part_is_said_to_hang_in_any_world() {
    let mut looks = 0;
    for seed in 0..count(SEEDS) {
        let mut world = World::new(seed, false);
        world.watched = true;
        let world = Arc::new(world);
        lives(seed, &world, async |_, _, _| ());
        let hanging = lock(&world.hanging).clone();
        assert!(hanging.is_empty(), "seed {seed}: {hanging:?}");
        looks += *lock(&world.looks);
    }
    assert!(looks > 1000, "{looks} looks");
}
