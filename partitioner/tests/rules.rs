//! One small graph for each rule.

mod dags;
use dags::{parse, show};
use partitioner::{Policy, Stay, Step, partition, verify};

fn taken(text: &str) -> String {
    taken_by(text, &Policy::take_all())
}

fn taken_by(text: &str, policy: &Policy) -> String {
    let graph = parse(text);
    let partition = partition(&graph, policy);
    assert_eq!(verify(&graph, &partition), Ok(()));
    assert_eq!(verify::verify_maximal(&graph, &partition), Ok(()));
    show(&graph, &partition)
}

fn stays(text: &str, policy: &Policy) -> Vec<(String, Stay)> {
    let graph = parse(text);
    let host = partition(&graph, policy).host.into_iter();
    host.map(|host| (graph.node(host.node).place.clone(), host.stay)).collect()
}

mod legal {
    use super::*;

    #[test]
    fn a_chain_is_one_cluster() {
        assert_eq!(taken("a = conv(x)\nb = relu(a)\nc = conv(b)\nreturn c"), "[a b c] |");
    }

    #[test]
    fn a_refused_node_divides_a_chain() {
        assert_eq!(taken("a = conv(x)\nh = host(a)\nb = conv(h)"), "[a] [b] | h");
    }

    #[test]
    fn a_path_through_the_host_keeps_neighbours_apart() {
        assert_eq!(taken("a = conv(x)\nh = host(a)\nb = add(a, h)"), "[a] [b] | h");
    }

    #[test]
    fn a_host_node_that_does_not_depend_on_the_cluster_does_not_divide_it() {
        assert_eq!(taken("a = conv(x)\nh = host(y)\nb = add(a, h)"), "[a b] | h");
        assert_eq!(taken("a = conv(x)\nh = host(a)\nb = conv(a)"), "[a b] | h");
    }

    #[test]
    fn two_clusters_do_not_wait_for_each_other() {
        // [a c] and [b d] are convex, each alone; together they are a cycle.
        let text = "a = conv(x)\nb = conv(y)\nh = host(a)\nk = host(b)\nd = add(b, h)\nc = add(a, k)";
        let graph = parse(text);
        let partition = partition(&graph, &Policy::take_all());
        assert_eq!(verify(&graph, &partition), Ok(()));
        assert_eq!(partition.clusters.len(), 3, "{}", show(&graph, &partition));
    }

    #[test]
    fn what_lies_between_merges_too() {
        let text = "a = conv(x)\nh = host(y)\nb = add(a, h)\nc = relu(b)\nd = add(a, c)";
        assert_eq!(taken(text), "[a b c d] | h");
    }
}

mod maximal {
    use super::*;

    #[test]
    fn readers_of_one_value_share_a_cluster() {
        assert_eq!(taken("h = host(x)\na = conv(h)\nb = conv(h)\nc = conv(h)"), "[a b c] | h");
        assert_eq!(taken("a = conv(x)\nb = conv(x)"), "[a b] |");
        assert_eq!(taken("a = conv(x)\nb = conv(y)"), "[a] [b] |");
    }

    #[test]
    fn readers_with_the_host_between_do_not() {
        assert_eq!(taken("a = conv(x)\nh = host(a)\nb = conv(x, h)\nc = conv(x)"), "[a c] [b] | h");
    }

    #[test]
    fn a_trunk_wins_over_the_siblings_of_its_parts() {
        let text =
            "s = conv(x)\nt = conv(y)\nh = host(s)\nr = conv(h)\nu = add(t, h)\nk = host(r)\nv = add(u, k)";
        assert_eq!(taken(text), "[s] [t u v] [r] | h k");
    }

    #[test]
    fn a_node_of_a_dropped_cluster_may_join_another() {
        // [d e] grows first, is too small, and d can follow a although e cannot.
        let text =
            "a = conv(x)\nb = conv(a)\nc = conv(b)\nk = host(y)\nh = host(c)\nd = add(c, k)\ne = add(d, h)";
        let policy = Policy { min_block_size: 3, ..Policy::take_all() };
        assert_eq!(taken(text), "[a b c] [d e] | k h");
        assert_eq!(taken_by(text, &policy), "[a b c d] | k h e");
    }
}

mod bound {
    use super::*;

    #[test]
    fn a_list_stays_within_one_cluster() {
        assert_eq!(taken("a = conv(x)\nl! = list(a)\nb = cat(l!)\nreturn b"), "[a l! b] |");
    }

    #[test]
    fn a_list_for_the_host_keeps_its_nodes_there() {
        let text = "a = conv(x)\nl! = list(a)\nb = cat(l!)\nh = host(l!)";
        assert_eq!(taken(text), "[a] | l! b h");
        let stays = stays(text, &Policy::take_all());
        assert_eq!(stays[0], ("l!".into(), Stay::Bound));
        assert!(matches!(&stays[2].1, Stay::Refused(_)));
    }

    #[test]
    fn a_list_that_is_given_or_returned_keeps_its_nodes_on_the_host() {
        assert_eq!(taken("a = conv(x)\nl! = list(a)\nreturn l!"), "[a] | l!");
        assert_eq!(taken("a = cat(given!)\nb = conv(a)"), "[b] | a");
    }

    #[test]
    fn accepted_nodes_between_bound_ones_join_them() {
        assert_eq!(taken("l! = split(x)\na = first(l!)\nb = relu(a)\nc = second(l!, b)"), "[l! a b c] |");
    }

    #[test]
    fn bound_nodes_with_the_host_between_stay() {
        let text = "l! = split(x)\na = first(l!)\nh = host(a)\nc = second(l!, h)\nd = conv(c)";
        assert_eq!(taken(text), "[d] | l! a h c");
        assert_eq!(stays(text, &Policy::take_all())[0].1, Stay::NotConvex);
    }

    #[test]
    fn a_smaller_set_beside_them_is_taken() {
        let text =
            "l! = split(x)\na = first(l!)\nh = host(a)\nm! = list(h)\nb = cat(m!)\nc = second(l!, h, b)";
        assert_eq!(taken(text), "[m! b] | l! a h c");
    }

    #[test]
    fn of_bound_nodes_that_wait_for_each_other_the_smaller_set_stays() {
        let text = "l! = list(x)\nm! = list(y)\na = conv(l!)\nh = host(a)\nb = conv(m!, h)\nc = conv(m!)\nd = host(c)\
                    \ne = conv(l!, d)\nf = conv(l!)";
        assert_eq!(taken(text), "[l! a e f] | m! h b c d");
    }
}

mod free {
    use super::*;

    #[test]
    fn a_view_between_compute_nodes_is_taken() {
        assert_eq!(taken("a = conv(x)\nv = view(a)\nb = linear(v)"), "[a v b] |");
    }

    #[test]
    fn a_view_at_the_exit_is_not() {
        assert_eq!(taken("a = conv(x)\nv = view(a)\nw = view(v)\nreturn w"), "[a] | v w");
        assert_eq!(stays("a = conv(x)\nv = view(a)", &Policy::take_all()), [("v".into(), Stay::Free)]);
    }

    #[test]
    fn a_view_at_the_entry_is_taken_when_nobody_else_reads_it() {
        assert_eq!(taken("v = view(x)\na = conv(v)"), "[v a] |");
        assert_eq!(taken("s = view_size(x)\nv = view(x, s)\na = conv(v)\nh = host(v)"), "[a] | s v h");
        assert_eq!(taken("v = view(x)\na = conv(v)\nreturn v"), "[a] | v");
    }

    #[test]
    fn a_view_that_two_clusters_read_stays() {
        assert_eq!(taken("v = view(x)\na = conv(v)\nh = host(a)\nb = add(h, v)"), "[a] [b] | v h");
    }

    #[test]
    fn views_alone_are_no_cluster() {
        assert_eq!(taken("v = view(x)\nw = view(v)"), "| v w");
    }

    #[test]
    fn bound_views_go_together() {
        assert_eq!(taken("a = conv(x)\nl! = view_split(a)\nb = view_first(l!)\nreturn b"), "[a] | l! b");
        assert_eq!(taken("a = conv(x)\nl! = view_split(a)\nb = view_first(l!)\nc = conv(b)"), "[a l! b c] |");
    }
}

mod worth {
    use super::*;

    #[test]
    fn a_small_cluster_is_dropped_with_its_size() {
        let policy = Policy { min_block_size: 3, ..Policy::take_all() };
        let text = "a = conv(x)\nv = view(a)\nb = conv(v)";
        assert_eq!(taken_by(text, &policy), "| a v b");
        let small = Stay::TooSmall { compute: 2, needed: 3 };
        let expected = [("a".into(), small.clone()), ("v".into(), Stay::Free), ("b".into(), small.clone())];
        assert_eq!(stays(text, &policy), expected);
        let partition = partition(&parse(text), &policy);
        assert_eq!(partition.dropped.len(), 1);
        assert_eq!((partition.dropped[0].nodes.len(), &partition.dropped[0].stay), (3, &small));
    }

    #[test]
    fn a_cluster_that_loses_time_is_dropped_with_its_loss() {
        let policy = Policy { engine_launch_ns: 5.0, min_gain_ns: 0.0, ..Policy::take_all() };
        assert_eq!(taken_by("a = conv(x)\nb = conv(a)", &policy), "| a b");
        assert_eq!(stays("a = conv(x)\nb = conv(a)", &policy)[0].1, Stay::NotWorth { gain_ns: -3.0 });
        let text: String = (1..7).map(|i| format!("a{i} = conv(a{})\n", i - 1)).collect();
        assert_eq!(taken_by(&text, &policy), "[a1 a2 a3 a4 a5 a6] |");
    }

    #[test]
    fn a_node_of_many_kernels_is_a_cluster() {
        use partitioner::{Crossing, FlowGraph, Node, Role, Verdict};
        for (kernels, clusters) in [(2, 0), (3, 1)] {
            let mut graph = FlowGraph::new();
            let node = graph.add(Node { kernels, ..dags::node("lstm", Verdict::Accept, Role::Compute) });
            graph.produce(node, Crossing::Free, 4.0, "").expect("the node exists");
            let policy = Policy { min_block_size: 3, ..Policy::take_all() };
            assert_eq!(partition(&graph, &policy).clusters.len(), clusters);
        }
    }

    #[test]
    fn a_node_of_many_operations_is_a_cluster() {
        use partitioner::{Cost, Crossing, FlowGraph, Node, Role, Verdict};
        for (operations, clusters) in [(999.0, 0), (1000.0, 1)] {
            let mut graph = FlowGraph::new();
            let cost = Cost { operations, bytes: 4.0 };
            let node = graph.add(Node { cost, ..dags::node("linear", Verdict::Accept, Role::Compute) });
            graph.produce(node, Crossing::Free, 4.0, "").expect("the node exists");
            let policy = Policy { min_block_size: 3, enough_operations: 1000.0, ..Policy::take_all() };
            assert_eq!(partition(&graph, &policy).clusters.len(), clusters);
        }
    }

    #[test]
    fn the_default_policies_take_large_work_and_leave_small() {
        use partitioner::{Cost, Node, Role, Tally, Verdict};
        for policy in [Policy::cpu(), Policy::cuda()] {
            let tally = |operations: f64, bytes: f64| {
                let mut tally = Tally { border_bytes: bytes, ..Tally::default() };
                let cost = Cost { operations, bytes: 2.0 * bytes };
                let node = Node { cost, ..dags::node("conv", Verdict::Accept, Role::Compute) };
                (0..4).for_each(|_| tally.add(&node, &policy));
                tally
            };
            assert!(policy.gain_ns(&tally(1e9, 1e6)) > 0.0);
            assert!(policy.gain_ns(&tally(1e3, 1e2)) < policy.gain_ns(&tally(1e9, 1e6)));
        }
        let one = Tally { nodes: 1, compute: 1, host_ns: 2_000.0, ..Tally::default() };
        assert!(Policy::cpu().gain_ns(&one) < 0.0, "an empty call is not worth a launch");
    }
}

mod order {
    use super::*;

    #[test]
    fn it_is_the_source_order_where_that_is_legal() {
        let graph = parse("h = host(x)\na = conv(y)\nk = host(z)\nb = conv(a, k)\nm = host(b)");
        let partition = partition(&graph, &Policy::take_all());
        let places = partition.order.iter().map(|step| match step {
            Step::Host(node) => graph.node(*node).place.clone(),
            Step::Cluster(index) => format!("engine {index}"),
        });
        assert_eq!(places.collect::<Vec<_>>(), ["h", "k", "engine 0", "m"]);
    }

    #[test]
    fn effects_stay_on_the_host_in_order() {
        let graph = parse("p = print(x)\na = conv(y)\nq = print(a)\nb = conv(a)\nr = print(z)");
        let partition = partition(&graph, &Policy::take_all());
        assert_eq!(show(&graph, &partition), "[a b] | p q r");
        let host = partition.order.iter().filter(|step| matches!(step, Step::Host(_)));
        let nodes: Vec<u32> = host.map(|step| if let Step::Host(node) = step { node.0 } else { 0 }).collect();
        assert_eq!(nodes, [0, 2, 4]);
    }

    #[test]
    fn an_order_edge_divides_like_data() {
        let mut graph = parse("a = conv(x)\nh = host(x)\nb = conv(a)");
        let ids: Vec<_> = graph.ids().collect();
        graph.order(ids[0], ids[1]).unwrap();
        graph.order(ids[1], ids[2]).unwrap();
        assert_eq!(show(&graph, &partition(&graph, &Policy::take_all())), "[a] [b] | h");
    }
}
