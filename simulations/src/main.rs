//! `patchmesh-sim`.
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (a, b): (u64, u64) = (args[1].parse().unwrap(), args[2].parse().unwrap());
    let hosts: u32 = args[3].parse().unwrap();
    let p = patchmesh_simulations::scenario::Profile::ALL[args[4].parse::<usize>().unwrap()];
    let verbose = args.len() > 5;
    for seed in a..b {
        let s = patchmesh_simulations::scenario::Scenario::make(seed, hosts, p, 0);
        let o = patchmesh_simulations::world::World::new(seed, s, false).run();
        if o.finish != patchmesh_simulations::world::Finish::Completed || verbose {
            println!("{seed} {:?} {:?} {}", o.finish, o.record.violations.first().map(|v| (v.promise, v.at, &v.spots, v.text.chars().take(300).collect::<String>())), o.ended);
        }
        if verbose {
            for (at, spot, t) in o.history.iter().rev().take(args[5].parse().unwrap()).collect::<Vec<_>>().into_iter().rev() {
                println!("{at} {spot} {t:?}");
            }
            println!("{:?}\n{:?}\n{:?}", o.record.checked, o.faults, o.rollouts);
        }
    }
}
