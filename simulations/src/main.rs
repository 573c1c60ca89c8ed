//! `patchmesh-sim`.
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let seed: u64 = args[1].parse().unwrap();
    let hosts: u32 = args[2].parse().unwrap();
    let p = patchmesh_simulations::scenario::Profile::ALL[args[3].parse::<usize>().unwrap()];
    let s = patchmesh_simulations::scenario::Scenario::make(seed, hosts, p, 0);
    let t = std::time::Instant::now();
    let o = patchmesh_simulations::world::World::new(seed, s, false).run();
    println!("{:?} {} events {} ms {:?} {}", o.finish, o.events, o.ended, t.elapsed(), o.trace);
    println!("{:#?}\n{:?}\n{:?}\n{:?}", o.record.violations, o.record.checked, o.faults, o.rollouts);
}
