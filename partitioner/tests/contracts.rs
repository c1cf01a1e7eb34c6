//! Malformed graphs, edited partitions, and what the reports say.

mod dags;
use dags::{node, parse};
use partitioner::verify::Violation;
use partitioner::{
    Code, Crossing, FlowGraph, GraphError, NodeId, Policy, Report, Role, Stay, Step, ValueId, Verdict, dot,
    partition, picture, verify,
};

const TEXT: &str = "v = view(x)\na = conv(v)\nb = relu(a)\nh = host_sort(b)\nc = conv(h)\nd = relu(c)\nw = view(d)\nreturn w";

#[test]
fn a_malformed_graph_is_an_error() {
    let mut graph = FlowGraph::new();
    let a = graph.add(node("a", Verdict::Accept, Role::Compute));
    let b = graph.add(node("b", Verdict::Accept, Role::Compute));
    let value = graph.produce(b, Crossing::Free, 0.0, "").unwrap();
    assert_eq!(graph.read(a, value), Err(GraphError::Backward { from: b, to: a }));
    assert_eq!(graph.read(b, value), Err(GraphError::Backward { from: b, to: b }));
    assert_eq!(graph.order(b, a), Err(GraphError::Backward { from: b, to: a }));
    assert_eq!(graph.read(a, ValueId(9)), Err(GraphError::NoValue(ValueId(9))));
    assert_eq!(graph.escape(ValueId(9)), Err(GraphError::NoValue(ValueId(9))));
    assert_eq!(graph.order(a, NodeId(9)), Err(GraphError::NoNode(NodeId(9))));
    assert_eq!(graph.produce(NodeId(9), Crossing::Free, 0.0, ""), Err(GraphError::NoNode(NodeId(9))));
    assert!(graph.reads(a).is_empty() && graph.edges().next().is_none());
    assert_eq!(
        GraphError::Backward { from: b, to: a }.to_string(),
        "edge 1 -> 0 goes backward in source order"
    );
}

#[test]
fn an_empty_graph_has_an_empty_partition() {
    let graph = FlowGraph::new();
    let partition = partition(&graph, &Policy::cpu());
    assert!(partition.clusters.is_empty() && partition.host.is_empty() && partition.order.is_empty());
    assert_eq!(verify(&graph, &partition), Ok(()));
    assert_eq!(Report::new(&graph, &partition).to_string(), "coverage: 0 of 0 nodes, 0 of 0 compute nodes");
    assert!(picture(&graph, &partition, "").ends_with("</svg>\n"));
}

#[test]
fn the_border_is_described() {
    let graph = parse("a = conv(x, w)\nb = relu(a)\nh = host(a)\nc = add(b, x)\nreturn c");
    let partition = partition(&graph, &Policy::take_all());
    let cluster = &partition.clusters[0];
    let made_by = |v: &ValueId| graph.value(*v).producer.map(|v| graph.node(v).place.as_str());
    assert_eq!(cluster.inputs.iter().map(made_by).collect::<Vec<_>>(), [None, None]);
    assert_eq!(cluster.outputs.iter().map(made_by).collect::<Vec<_>>(), [Some("a"), Some("c")]);
    assert_eq!((cluster.tally.nodes, cluster.tally.compute), (3, 3));
    assert_eq!((cluster.tally.cost.operations, cluster.tally.border_bytes), (3000.0, 400.0));
}

#[test]
fn the_verifier_finds_each_fault() {
    let graph = parse(TEXT);
    let good = partition(&graph, &Policy::take_all());
    assert_eq!(good.clusters.len(), 2);
    let faults = |edit: &dyn Fn(&mut partitioner::Partition)| {
        let mut bad = good.clone();
        edit(&mut bad);
        verify(&graph, &bad).unwrap_err()
    };
    let node = |i| NodeId(i);
    assert_eq!(faults(&|p| p.host.truncate(1)), [Violation::Placed(node(6))]);
    assert_eq!(faults(&|p| p.clusters[0].nodes.push(node(4))), [Violation::Placed(node(4))]);
    assert_eq!(faults(&|p| p.clusters[0].nodes.push(node(40))), [Violation::Placed(node(40))]);
    assert_eq!(faults(&|p| p.order.truncate(2)), [Violation::Order]);
    assert_eq!(faults(&|p| p.order.push(Step::Cluster(7))), [Violation::Order]);
    assert_eq!(faults(&|p| p.order.push(Step::Host(node(1)))), [Violation::Order]);
    assert_eq!(faults(&|p| p.order.swap(0, 1)), [Violation::Backward(node(2), node(3))]);
    assert_eq!(faults(&|p| p.clusters[0].outputs.clear()), [Violation::Described(0)]);
    assert_eq!(faults(&|p| p.clusters[0].nodes.reverse())[0], Violation::Described(0));
    assert_eq!(faults(&|p| p.policy.min_block_size = 3), [Violation::Worth(0), Violation::Worth(1)]);
    let moved = faults(&|p| {
        p.host.retain(|host| host.node != node(3));
        p.clusters[0].nodes.push(node(3));
        p.order.retain(|step| *step != Step::Host(node(3)));
    });
    assert!(moved.contains(&Violation::Refused(0, node(3))));
    let untrimmed = faults(&|p| {
        p.host.retain(|host| host.node != node(6));
        p.clusters[1].nodes.push(node(6));
        p.order.retain(|step| *step != Step::Host(node(6)));
    });
    assert!(untrimmed.contains(&Violation::Untrimmed(1, node(6))));
}

#[test]
fn the_verifier_finds_a_bound_value_that_crosses() {
    let graph = parse("a = conv(x)\nl! = list(a)\nb = cat(l!)");
    let mut bad = partition(&graph, &Policy::take_all());
    bad.clusters[0].nodes.pop();
    bad.host.push(partitioner::HostNode { node: NodeId(2), stay: Stay::Bound });
    bad.order.push(Step::Host(NodeId(2)));
    assert!(verify(&graph, &bad).unwrap_err().contains(&Violation::Bound(ValueId(2))));
}

#[test]
fn the_verifier_finds_clusters_that_could_be_one() {
    let graph = parse("a = conv(x)\nb = conv(a)");
    let mut bad = partition(&graph, &Policy::take_all());
    let whole = bad.clusters.remove(0);
    for node in whole.nodes {
        bad.clusters.push(partitioner::Cluster { nodes: vec![node], ..whole_like(&graph, node) });
    }
    assert_eq!(verify::verify_maximal(&graph, &bad), Err(vec![Violation::Separate(0, 1)]));
    bad.clusters.pop();
    bad.host.push(partitioner::HostNode { node: NodeId(1), stay: Stay::NotWorth { gain_ns: 0.0 } });
    assert_eq!(verify::verify_maximal(&graph, &bad), Err(vec![Violation::Outside(0, NodeId(1))]));
}

fn whole_like(graph: &FlowGraph, node: NodeId) -> partitioner::Cluster {
    let (inputs, outputs) = (graph.reads(node).to_vec(), graph.makes(node).to_vec());
    partitioner::Cluster { nodes: vec![node], inputs, outputs, tally: Default::default(), gain_ns: 0.0 }
}

#[test]
fn the_report_says_who_runs_where_and_why_not() {
    let graph = parse(TEXT);
    let report = Report::new(&graph, &partition(&graph, &Policy::take_all()));
    assert_eq!(
        report.to_string(),
        "engine 0: 3 nodes (view, conv, relu), 3.00 kFLOP, 2.40 kB on the host, 200 B across the border\n\
         engine 1: 2 nodes (conv, relu), 2.00 kFLOP, 1.60 kB on the host, 200 B across the border\n\
         host: 1 node, no such operator\n    host_sort at h: host_sort\n\
         host: 1 node, free on the host\n    view at w\n\
         coverage: 5 of 7 nodes, 4 of 5 compute nodes, 71.4 % of 7.00 kFLOP"
    );
    assert_eq!((report.host[0].by_choice, report.host[1].by_choice), (false, true));
    assert!((report.coverage.fraction() - 5.0 / 7.0).abs() < 1e-12);
}

#[test]
fn host_nodes_are_grouped_by_kind_of_reason() {
    let mut graph = FlowGraph::new();
    let refuse = |code, text: &str| Verdict::refuse(code, text);
    graph.add(node("f", refuse(Code::Dtype, "f64 is never narrowed"), Role::Compute));
    graph.add(node("g", refuse(Code::Dtype, "f64 is never narrowed"), Role::Compute));
    graph.add(node("f", refuse(Code::Dtype, "f64 is never narrowed"), Role::Compute));
    graph.add(node("k", refuse(Code::Pinned, ""), Role::Compute));
    let report = Report::new(&graph, &partition(&graph, &Policy::take_all()));
    let groups: Vec<(&str, usize)> = report.host.iter().map(|g| (g.reason.as_str(), g.nodes)).collect();
    assert_eq!(groups, [("element type", 3), ("pinned to the host", 1)]);
    assert_eq!((report.host[0].operators[0].name.as_str(), report.host[0].operators[0].count), ("f", 2));
}

#[test]
fn drawings_show_every_node_and_escape_texts() {
    let mut graph = parse(TEXT);
    graph.add(node("a<b>&\"c\"\u{1}", Verdict::Accept, Role::Compute));
    let partition = partition(&graph, &Policy::take_all());
    let svg = picture(&graph, &partition, "<title>");
    assert!(svg.contains("&lt;title&gt;") && svg.contains("a&lt;b&gt;&amp;&quot;c&quot; "));
    assert!(!svg.contains('\u{1}'));
    for name in ["engine 0", "engine 1", "engine 2", "conv", "relu", "host_sort at h: no such operator"] {
        assert!(svg.contains(name), "{name} is missing");
    }
    assert_eq!(svg.matches("<g>").count(), svg.matches("</g>").count());
    let dot = dot(&graph, &partition);
    assert!(graph.ids().all(|id| dot.contains(&format!("n{} [label", id.0))));
    assert!(dot.contains("subgraph cluster_2") && dot.contains("a<b>&\\\"c\\\""));
}
